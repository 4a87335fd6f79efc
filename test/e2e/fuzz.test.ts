import { createServer, type Server } from 'node:http'
import { once } from 'node:events'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  apiHeaders,
  messagesBody,
  send,
  valuesOf,
} from '../../packages/server/src/simulate/testing.ts'
import { type Pair, startPair } from './harness.ts'
import { digestsOf, sha256 } from './hashes.ts'

/** What the upstream answers next. */
let answer: { type: string; pieces: readonly Uint8Array[] } = { type: '', pieces: [] }
let received = Buffer.alloc(0)
let upstream: Server
let pair: Pair
let template: Buffer

beforeAll(async () => {
  upstream = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      received = Buffer.concat(chunks)
      response.writeHead(200, { 'content-type': answer.type, 'request-id': 'req_fuzz' })
      for (const piece of answer.pieces) response.write(piece)
      response.end()
    })
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  const address = upstream.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  pair = await startPair({ upstreamUrl: `http://127.0.0.1:${port}` })
  const seen = await send(pair.simulator.url, {
    headers: [...apiHeaders, 'x-simulate-mode', 'server_tools'],
    body: messagesBody({ stream: true }),
  })
  template = seen.body
})

afterAll(async () => {
  await pair.close()
  upstream.close()
  upstream.closeAllConnections()
})

/** A valid stream with parts cut out, repeated, moved, or bytes changed; in pieces of any size. */
const brokenStream = fc
  .array(
    fc.record({
      kind: fc.constantFrom('cut', 'repeat', 'flip', 'insert'),
      at: fc.nat(),
      length: fc.integer({ min: 1, max: 200 }),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }),
    }),
    { maxLength: 5 },
  )
  .map((edits) => edits.reduce<Buffer>(edited, template))

interface Edit {
  readonly kind: string
  readonly at: number
  readonly length: number
  readonly bytes: Uint8Array
}

function edited(stream: Buffer, { kind, at, length, bytes }: Edit): Buffer {
  const start = stream.length === 0 ? 0 : at % stream.length
  const [before, part, rest] = [
    stream.subarray(0, start),
    stream.subarray(start, start + length),
    stream.subarray(start + length),
  ]
  if (kind === 'cut') return Buffer.concat([before, rest])
  if (kind === 'repeat') return Buffer.concat([before, part, part, rest])
  if (kind === 'insert') return Buffer.concat([before, bytes, part, rest])
  return Buffer.concat([before, part.map((byte) => byte ^ (bytes[0] ?? 1)), rest])
}

function cutInto(body: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = []
  let from = 0
  for (let at = 0; from < body.length; at += 1) {
    const size = sizes[at % sizes.length] ?? 1
    pieces.push(body.subarray(from, from + size))
    from += size
  }
  return pieces
}

/** How an exchange that nobody left can end. */
const ended = /^(complete|upstream_cut|upstream_error)$/

const sizes = fc.array(fc.integer({ min: 1, max: 600 }), { minLength: 1, maxLength: 5 })

/** Sends a request: the bytes are equal both ways, and there is one whole record. Returns its end state. */
async function exchange(
  body: Uint8Array,
  headers: readonly string[] = apiHeaders,
): Promise<string> {
  const seen = await send(pair.url, { headers, body })
  const sent = Buffer.concat(answer.pieces)
  expect(seen.status).toBe(200)
  expect(seen.end).toBe('complete')
  expect(seen.body.equals(sent)).toBe(true)
  expect(received.equals(body)).toBe(true)
  const record = await pair.record(valuesOf(seen.rawHeaders, 'x-audit-event-id')[0])
  const digests = digestsOf(pair.dataDir)
  expect(record.request.wire_digest).toBe(digests.keyed(sha256(body)))
  expect(record.response.wire_digest).toBe(digests.keyed(sha256(sent)))
  return record.end_state
}

describe('whatever arrives, the bytes pass and one record tells of it', () => {
  const question = Buffer.from(messagesBody({ stream: true }))

  test('broken streams', async () => {
    await fc.assert(
      fc.asyncProperty(brokenStream, sizes, async (body, cuts) => {
        answer = { type: 'text/event-stream; charset=utf-8', pieces: cutInto(body, cuts) }
        expect(await exchange(question)).toMatch(ended)
      }),
      { numRuns: 60 },
    )
  })

  test('any bytes in place of a stream or of JSON', async () => {
    const types = fc.constantFrom('text/event-stream', 'application/json', 'text/plain', 'x')
    await fc.assert(
      fc.asyncProperty(
        types,
        fc.uint8Array({ maxLength: 4000 }),
        sizes,
        async (type, body, cuts) => {
          answer = { type, pieces: cutInto(body, cuts) }
          expect(await exchange(question)).toMatch(ended)
        },
      ),
      { numRuns: 40 },
    )
  })

  test('any JSON in place of a message', async () => {
    await fc.assert(
      fc.asyncProperty(fc.json(), async (json) => {
        answer = { type: 'application/json', pieces: [Buffer.from(json)] }
        expect(await exchange(question)).toMatch(ended)
      }),
      { numRuns: 30 },
    )
  })

  test('any request body', async () => {
    answer = { type: 'application/json', pieces: [Buffer.from('{"type":"message"}')] }
    const bodies = fc.oneof(
      fc.uint8Array({ maxLength: 4000 }),
      fc.json().map((json) => Buffer.from(json)),
      fc
        .record({ model: fc.jsonValue(), messages: fc.jsonValue(), system: fc.jsonValue() })
        .map((value) => Buffer.from(JSON.stringify(value))),
    )
    await fc.assert(
      fc.asyncProperty(bodies, async (body) => {
        expect(await exchange(body)).toMatch(ended)
      }),
      { numRuns: 60 },
    )
  })

  test('any headers', async () => {
    const name = fc
      .stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,30}$/)
      // Framing is not what is tried here, and a compressed body is another test's.
      .filter(
        (text) =>
          !/^(content-|transfer-|host$|connection$|expect$|upgrade$|te$|keep-|proxy|trailer)/i.test(
            text,
          ),
      )
    const value = fc.stringMatching(
      /^[\x21-\x7e\x80-\xff]([\x20-\x7e\x80-\xff]{0,60}[\x21-\x7e\x80-\xff])?$/,
    )
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(name, value), { maxLength: 20 }), async (pairs) => {
        expect(await exchange(question, [...apiHeaders, ...pairs.flat()])).toMatch(ended)
      }),
      { numRuns: 40 },
    )
  })

  test('claims of any content', async () => {
    const names = ['x-audit-user', 'x-audit-session', 'x-audit-application', 'anthropic-beta']
    const value = fc.stringMatching(
      /^[\x21-\x7e\x80-\xff]([\x20-\x7e\x80-\xff]{0,300}[\x21-\x7e\x80-\xff])?$/,
    )
    await fc.assert(
      fc.asyncProperty(fc.tuple(value, value, value, value), async (values) => {
        const claims = names.flatMap((name, at) => [name, values[at] ?? 'x'])
        expect(await exchange(question, [...apiHeaders, ...claims])).toMatch(ended)
      }),
      { numRuns: 30 },
    )
  })
})
