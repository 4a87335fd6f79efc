import * as fc from 'fast-check'
import {
  captureRequest,
  completedBody,
  createHashKeys,
  createResponseTap,
  startedBody,
  systemClock,
} from '@affidavit/sdk/capture'
import { expect, test } from 'vitest'
import { bodyOf, parseDraft, type DraftRuling } from './drafts.ts'
import { completedDraft, startedDraft } from './testing.ts'

const keys = createHashKeys({ mode: 'tenant', version: '1', key: new Uint8Array(32) })
const trust = {
  application: 'verified',
  session: 'client-asserted',
  user: 'client-asserted',
} as const
const ruling: DraftRuling = {
  userId: 'sub_0000000000000000000000',
  sessionId: 's-1',
  applicationId: 'app',
  trust,
  retentionClass: 'standard',
  classification: 'INTERNAL',
  classificationSource: 'default',
  policyVersion: 'p1',
}

test('what capture makes of an exchange passes whole, in both kinds', () => {
  const options = { clock: systemClock, hashKeys: keys }
  const body = {
    model: 'claude-sonnet-4-5',
    max_tokens: 5,
    system: 'Be brief.',
    tools: [{ name: 'look_up', input_schema: { type: 'object' } }],
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'Hi' },
          { type: 'image', source: { type: 'url', url: 'https://x.example/a.png' } },
        ],
      },
    ],
    metadata: { user_id: '{"device_id":"d1","account_uuid":"","session_id":"s-1"}' },
  }
  const captured = captureRequest(
    {
      eventId: String(startedDraft().event_id),
      startedAtMicros: Date.UTC(2026, 10, 23) * 1000,
      startedMonotonicMs: 0,
      captureSource: 'middleware',
      method: 'POST',
      url: '/v1/messages',
      rawHeaders: ['user-agent', 'Anthropic/JS 1.12.0', 'x-api-key', 'k', 'anthropic-beta', 'a-1'],
      body: Buffer.from(JSON.stringify(body)),
    },
    options,
  )
  const identity = { ...ruling, trust }
  const policy = { ...ruling, policyFlags: [] }
  const tap = createResponseTap(captured, options)
  tap.head(200, ['content-type', 'application/json', 'request-id', 'req_1'])
  tap.chunk(
    Buffer.from(
      '{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"tool_use","id":"t","name":"look_up","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":2,"service_tier":"standard"}}',
    ),
  )
  const started = startedBody(captured, identity, policy)
  const completed = completedBody(captured, identity, policy, tap.end('end'), 1)
  for (const entry of [started, completed]) {
    const draft = parseDraft(entry)
    expect('faults' in draft ? draft.faults : bodyOf(draft, ruling, keys)).toEqual(entry)
  }
})

test('the faults of a draft are named by field, never by value', () => {
  const draft = parseDraft(completedDraft({ latency_ms: 'my secret', response: { bytes: -1 } }))
  expect(draft).toEqual({
    faults: ['response.bytes', 'response.wire_digest', 'response.parsed', 'latency_ms'],
  })
})

test('a record cannot pretend to be the gateway’s own, or an administrative one', () => {
  expect(parseDraft(startedDraft({ capture_source: 'gateway' }))).toHaveProperty('faults')
  for (const kind of ['control.event', 'ledger.opened', 'ledger.heartbeat']) {
    expect(parseDraft({ ...startedDraft(), kind })).toHaveProperty('faults')
  }
})

test('whatever comes is a draft or a list of faults', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(parseDraft(value)).toBeTypeOf('object')
      expect(parseDraft({ ...completedDraft(), usage: value })).toBeTypeOf('object')
    }),
  )
})
