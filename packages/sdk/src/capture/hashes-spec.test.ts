import { createHash, createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { canonicalize } from '@affidavit/format'
import { expect, test } from 'vitest'
import { createHashKeys } from './hash-keys.ts'
import { startedBody } from './record.ts'
import { canonicalPrompt, captureRequest } from './request.ts'
import {
  capture,
  identity,
  jsonHeaders,
  options,
  outcomeOf,
  policy,
  requestInput,
} from './testing.ts'

type Vector =
  | { vector: 'block'; name: string; block: unknown; canonical: string; sha256: string }
  | { vector: 'request'; request: unknown; skeleton: string; sha256: string; prompt_hash: string }
  | {
      vector: 'answer'
      message: unknown
      stream: string
      skeleton: string
      sha256: string
      response_hash: string
    }
  | {
      vector: 'headers'
      headers: string[]
      sha256: string
      headers_digest: string
      fingerprint: string
      session: string
      session_id: string
    }

const document = readFileSync(new URL('../../../../docs/spec/hashes.md', import.meta.url), 'utf8')
const vectors: Vector[] = [...document.matchAll(/```json\n(.*?)\n```/gs)].map(([, text]) =>
  JSON.parse(text ?? ''),
)

const key = Uint8Array.from({ length: 32 }, (_, at) => at)
const hashKeys = createHashKeys({ mode: 'tenant', version: '1', key })
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const hmac = (message: string | Uint8Array) =>
  createHmac('sha256', key).update(message).digest('hex')
const keyed = (digest: string) => hmac(Buffer.from(digest, 'hex'))

test('the specification of digests has vectors of every kind', () => {
  const kinds = vectors.map(({ vector }) => vector)
  expect(new Set(kinds)).toEqual(new Set(['block', 'request', 'answer', 'headers']))
  expect(kinds.length).toBeGreaterThanOrEqual(9)
})

test.each(vectors)('its vector of a $vector holds: $name', (vector) => {
  switch (vector.vector) {
    case 'block': {
      const captured = capture({ messages: [{ role: 'user', content: [vector.block] }] })
      expect(captured.blockText(0)).toBe(vector.canonical)
      expect(captured.blocks[0]?.sha256).toBe(vector.sha256)
      expect(canonicalize(JSON.parse(vector.canonical))).toBe(vector.canonical)
      expect(sha256(vector.canonical)).toBe(vector.sha256)
      break
    }
    case 'request': {
      const prompt = canonicalPrompt(Buffer.from(JSON.stringify(vector.request)))
      expect(prompt?.skeleton).toBe(vector.skeleton)
      expect(sha256(vector.skeleton)).toBe(vector.sha256)
      expect(keyed(vector.sha256)).toBe(vector.prompt_hash)
      const captured = captureRequest(requestInput(vector.request), { ...options, hashKeys })
      expect(startedBody(captured, identity, policy).prompt_hash).toBe(vector.prompt_hash)
      break
    }
    case 'answer': {
      const whole = outcomeOf([JSON.stringify(vector.message)], { headers: jsonHeaders })
      const streamed = outcomeOf([vector.stream])
      expect([whole.canonicalSha256, streamed.canonicalSha256]).toEqual([
        vector.sha256,
        vector.sha256,
      ])
      expect(sha256(vector.skeleton)).toBe(vector.sha256)
      expect(keyed(vector.sha256)).toBe(vector.response_hash)
      break
    }
    default: {
      const input = requestInput({}, { rawHeaders: vector.headers })
      const captured = captureRequest(input, { ...options, hashKeys })
      const record = startedBody(captured, { ...identity, sessionId: vector.session }, policy)
      expect(captured.headersSha256).toBe(vector.sha256)
      expect(keyed(vector.sha256)).toBe(vector.headers_digest)
      expect(record.request.headers_digest).toBe(vector.headers_digest)
      expect(record.credential?.fingerprint).toBe(vector.fingerprint)
      expect(hmac('affidavit credential fingerprint\nsk-ant-api03-example').slice(0, 32)).toBe(
        vector.fingerprint,
      )
      expect(record.session_id).toBe(vector.session_id)
      expect(`hash:${keyed(sha256(vector.session)).slice(0, 32)}`).toBe(vector.session_id)
    }
  }
})
