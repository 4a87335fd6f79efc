import {
  captureRequest,
  completedBody,
  createHashKeys,
  createResponseTap,
  systemClock,
  type HashKeys,
} from '@affidavit/sdk/capture'
import { describe, expect, test } from 'vitest'
import { bodyOf, parseDraft, type DraftRuling } from './drafts.ts'
import { startedDraft } from './testing.ts'

const plain = createHashKeys({ mode: 'plain' })
const tenant = createHashKeys({ mode: 'tenant', version: '3', key: new Uint8Array(32).fill(7) })
const subject = createHashKeys({
  mode: 'subject',
  key: new Uint8Array(32).fill(8),
  subjectKey: (handle) => new Uint8Array(32).fill(handle.length),
})
const userId = 'sub_0000000000000000000000'
const trust = { application: 'verified', session: 'none', user: 'none' } as const
const ruling: DraftRuling = {
  userId,
  sessionId: null,
  applicationId: 'app',
  trust,
  retentionClass: 'standard',
  classification: 'INTERNAL',
  classificationSource: 'default',
  policyVersion: 'p1',
}

/** The record of one exchange, as a door with `hashKeys` makes it. */
function recordWith(hashKeys: HashKeys) {
  const options = { clock: systemClock, hashKeys }
  const body = {
    model: 'claude-sonnet-4-5',
    max_tokens: 5,
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'Who is it?' },
          { type: 'image', source: { type: 'url', url: 'https://pictures.example/a.png' } },
        ],
      },
    ],
  }
  const captured = captureRequest(
    {
      eventId: '01a208f0-f8ba-7a31-bd61-ed8d6f3d627c',
      startedAtMicros: Date.UTC(2026, 10, 23) * 1000,
      startedMonotonicMs: 0,
      captureSource: 'middleware',
      method: 'POST',
      url: '/v1/messages',
      rawHeaders: ['content-type', 'application/json'],
      body: Buffer.from(JSON.stringify(body)),
    },
    options,
  )
  const tap = createResponseTap(captured, options)
  tap.head(200, ['content-type', 'application/json'])
  tap.chunk(
    Buffer.from(
      '{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Me."}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}',
    ),
  )
  return completedBody(
    captured,
    { ...ruling, trust },
    { ...ruling, policyFlags: [] },
    tap.end('end'),
    1,
  )
}

describe('bare digests of a draft', () => {
  test.each([
    ['tenant', tenant],
    ['subject', subject],
  ] as const)('become those that the gateway itself would have made (%s)', (_mode, keys) => {
    const draft = parseDraft(recordWith(plain))
    const wanted = recordWith(keys)
    const { latency_ms: _, first_byte_ms: __, ...rest } = wanted
    expect('faults' in draft ? draft : bodyOf(draft, ruling, keys)).toMatchObject(rest)
  })

  test('stay where the gateway is set to bare digests', () => {
    const draft = parseDraft(startedDraft())
    const body = 'faults' in draft ? draft : bodyOf(draft, ruling, plain)
    expect(body).toMatchObject({ hash: { alg: 'sha256', key_id: 'plain' } })
  })

  test('keyed ones are left as they are, with the name of their key', () => {
    const hash = { alg: 'hmac-sha256', key_id: 'tenant:app-7' }
    const draft = parseDraft(startedDraft({ hash }))
    const body = 'faults' in draft ? draft : bodyOf(draft, ruling, tenant)
    expect(body).toMatchObject({ hash, prompt_hash: startedDraft().prompt_hash })
  })
})
