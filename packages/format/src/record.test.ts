/**
 * One whole example of each kind of entry: it encodes, reads back, and keeps within its size.
 *
 * @module
 */
import { describe, expect, it } from 'vitest'
import { utf8Decode } from './bytes.ts'
import { canonicalize } from './canonical.ts'
import { encodeBody, encodeEntry, parseEntry, stampEntry } from './entry.ts'
import {
  entryBytesMax,
  type EntryBody,
  type Ingested,
  type RequestFields,
  type ResponseFields,
  type WireSide,
  type WriterStamp,
} from './record.ts'

const digest = '5f'.repeat(32)

const writer: WriterStamp = {
  epoch: 12,
  id: '0123456789abcdef',
  log: 'standard/2026q4',
  prev: digest,
  seq: 4_711,
}

const wire: Required<WireSide> = {
  bytes: 10_240,
  wire_digest: digest,
  encoding: 'gzip',
  decoded_digest: digest,
  headers_digest: digest,
  parsed: 'sse',
  block_count: 3,
}

/** Every field that a request can have. */
const request: Required<RequestFields> = {
  v: 1,
  event_id: '0199b5c2-7a10-7cde-8123-456789abcdef',
  timestamp: '2026-11-23T14:00:00.123456Z',
  capture_source: 'gateway',
  provider: 'anthropic',
  operation: 'messages.create',
  route: 'POST /v1/messages',
  streaming: true,
  model: 'claude-opus-4-8',
  user_id: 'sub_AAAAAAAAAAAAAAAAAAAAAA',
  session_id: '5b1f2c3d-0000-4000-8000-000000000000',
  application_id: 'claims-assistant',
  identity_trust: {
    application: 'verified',
    session: 'client-asserted',
    user: 'upstream-asserted',
  },
  device_id: 'device-1',
  agent_id: 'agent-1',
  parent_agent_id: 'agent-0',
  is_subagent: true,
  client: 'claude-cli/2.1.330',
  attempt: 1,
  anthropic_version: '2023-06-01',
  anthropic_beta: ['context-1m-2025-08-07'],
  credential: { kind: 'gateway_key', fingerprint: '0123456789abcdef' },
  ip_address: '192.0.2.0/24',
  hash: { alg: 'hmac-sha256', key_id: 'tenant:1' },
  prompt_hash: digest,
  prompt_completeness: 'full',
  request: { ...wire, parsed: 'json' },
  tools_offered: ['Bash', 'Read'],
  tools_offered_count: 2,
  external_refs: [{ type: 'file', ref: 'file_011CNha8iCJcU1wXNR6q4V8w', state: 'unresolved' }],
  external_refs_count: 1,
  max_tokens: 64_000,
  data_classification: 'INTERNAL',
  classification_source: 'default',
  policy_flags: ['injection.suspected'],
  policy_version: 'config:1',
  retention_class: 'standard',
  prompt_raw: null,
}

/** Every field that a response can have. */
const response: Required<ResponseFields> = {
  status: 'success',
  end_state: 'complete',
  http_status: 200,
  stop_reason: 'tool_use',
  stop_sequence: 'END',
  refusal_category: 'none',
  error_type: null,
  request_id: 'req_011CSHoEeqs5C35K2UUqR7Fy',
  message_id: 'msg_01XFDUDYJgAACzvnptvVoYEL',
  model_served: 'claude-opus-4-8',
  models: ['claude-opus-4-8'],
  prompt_tokens: 1_200,
  completion_tokens: 350,
  usage: {
    input_tokens: 200,
    output_tokens: 350,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 1_000,
    service_tier: 'standard',
    iterations: [{ type: 'message', model: 'claude-opus-4-8', output_tokens: 350 }],
  },
  usage_source: 'final',
  response_hash: digest,
  response: wire,
  delivered: { bytes: 10_000, wire_digest: digest },
  tool_calls: ['Bash'],
  tool_calls_count: 1,
  latency_ms: 5_200,
  first_byte_ms: 300,
  first_token_ms: 410,
  upstream: { 'anthropic-organization-id': 'org-1' },
  response_raw: null,
}

const common = {
  v: 1,
  event_id: request.event_id,
  timestamp: request.timestamp,
  retention_class: 'standard',
} as const

const examples: readonly EntryBody[] = [
  { kind: 'interaction.started', ...request },
  {
    kind: 'interaction.completed',
    logged_at: '2026-11-23T14:00:05.323456Z',
    ...request,
    ...response,
  },
  {
    kind: 'interaction.interrupted',
    logged_at: '2026-11-23T15:00:00.000000Z',
    status: 'incomplete',
    end_state: 'abandoned',
    ...request,
  },
  { kind: 'ledger.heartbeat', ...common },
  {
    kind: 'ledger.opened',
    ...common,
    product: 'affidavit/0.1.0',
    recovered_entries: 3,
    interrupted: 1,
    torn_bytes: 512,
  },
  {
    kind: 'capture.gap',
    ...common,
    ended_at: '2026-11-23T14:05:00.000000Z',
    application_id: 'claims-assistant',
    requests: 12,
    reason: 'ERR_LEDGER_DISK_FULL',
  },
  {
    kind: 'control.event',
    ...common,
    action: 'gateway_key.created',
    details: { application: 'claims-assistant', expires_days: 90, exportable: false, note: null },
  },
]

describe.each(examples.map((body) => [body.kind, body] as const))('%s', (_, body) => {
  it('is encoded and read back as it was', () => {
    expect(parseEntry(encodeEntry(body, writer))).toEqual({ ...body, writer })
  })

  it('has one text, however its fields came together', () => {
    const shuffled = Object.fromEntries(Object.entries(body).toReversed())
    expect(canonicalize(shuffled)).toBe(encodeBody(body))
    expect(utf8Decode(encodeEntry(body, writer))).toBe(stampEntry(encodeBody(body), writer))
  })

  it('has no field that sorts after its writer', () => {
    const names = Object.keys({ ...parseEntry(encodeEntry(body, writer)) })
    expect(names.at(-1)).toBe('writer')
  })

  it('stays readable when a later version adds fields to it', () => {
    const newer = { ...body, added_later: { any: ['thing', 1, null] } }
    const read = parseEntry(encodeEntry(newer, writer))
    expect(read).toEqual({ ...newer, writer })
    expect(encodeBody(newer)).not.toBe(encodeBody(body))
  })

  it('is another entry when anything in it changes', () => {
    const texts = new Set([encodeBody(body)])
    for (const name of Object.keys(body)) texts.add(encodeBody({ ...body, [name]: 'changed' }))
    expect(texts.size).toBe(Object.keys(body).length + 1)
  })
})

describe('size', () => {
  const [started, completed] = examples
  if (started === undefined || completed === undefined) throw new Error('there are examples')

  it('of a record with every field is below 4 KiB, of a start below 3 KiB', () => {
    expect(encodeEntry(started, writer).length).toBeLessThan(3 * 1_024)
    expect(encodeEntry(completed, writer).length).toBeLessThan(4 * 1_024)
  })

  it('of a record with all lists as long as they may be still fits into a bundle', () => {
    const names = Array.from({ length: 128 }, (_, at) => `${at}`.padStart(128, 'x'))
    const largest: EntryBody = {
      kind: 'interaction.completed',
      logged_at: '2026-11-23T14:00:05.323456Z',
      ...request,
      tools_offered: names,
      ...response,
      tool_calls: names,
    }
    expect(encodeEntry(largest, writer).length).toBeLessThan(entryBytesMax)
  })
})

describe('a record that came through an ingest endpoint', () => {
  it('keeps the stamp of the gateway beside that of the ledger', () => {
    const heartbeat: EntryBody = { kind: 'ledger.heartbeat', ...common }
    const ingested: Ingested<EntryBody> = {
      ...heartbeat,
      ingest: { epoch: 1, id: 'fedcba9876543210', key: 'key_1', seq: 0 },
    }
    expect(parseEntry(encodeEntry(ingested, writer))).toEqual({ ...ingested, writer })
  })
})
