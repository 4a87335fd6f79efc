import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Mode, modes } from '../../packages/server/src/simulate/modes.ts'
import {
  asObject,
  eventsIn,
  messageFrom,
  type Seen,
  send,
  valuesOf,
} from '../../packages/server/src/simulate/testing.ts'
import { type Completed, type Pair, startPair } from './harness.ts'
import { digestsOf, sha256 } from './hashes.ts'
import { answerHeaders, endToEnd, forwardedHeaders } from './wire.ts'

let pair: Pair

beforeAll(async () => {
  pair = await startPair({
    simulator: { slowMs: 5, dripMs: 1, hugeBytes: 1_500_000, retryAfterMs: 1 },
  })
})

beforeEach(() => pair.simulator.clear())

afterAll(() => pair.close())

/** Callers leave a hanging upstream; end-states.test.ts has that. */
const answered = modes.filter((mode) => mode !== 'hang')

const secrets = ['sk-ant-secret-0001', 'mcp-secret-0002', 'credit-secret-0003']

/** A request with everything that a digest must cover, or leave out. */
function requestBody(stream: boolean): string {
  return JSON.stringify({
    model: 'claude-opus-5-5',
    max_tokens: 4096,
    stream,
    metadata: { user_id: 'user-017' },
    system: [
      { type: 'text', text: 'Answer like a clerk. ✍️', cache_control: { type: 'ephemeral' } },
      { type: 'text', text: 'Be exact.' },
    ],
    tools: [
      {
        name: 'Bash',
        description: 'Run a command',
        input_schema: { type: 'object', properties: { command: { type: 'string' } } },
        cache_control: { type: 'ephemeral' },
      },
    ],
    messages: [
      { role: 'user', content: 'Which of these is right: “é”, “日本”, or 🧪?' },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'Hm.', signature: 'c2lnbmF0dXJl' },
          { type: 'tool_use', id: 'toolu_1', name: 'Bash', input: { command: 'true', n: 1.5e-7 } },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'toolu_1', content: 'done', is_error: false },
          { type: 'text', text: 'Go on.', cache_control: { type: 'ephemeral', ttl: '1h' } },
        ],
      },
    ],
    mcp_servers: [
      { type: 'url', url: 'https://example.com/mcp', name: 'x', authorization_token: secrets[1] },
    ],
    fallback_credit_token: secrets[2],
    tomorrow_parameter: { nested: [null, true, 'x'] },
  })
}

function requestHeaders(mode: Mode, chunkBytes?: number): string[] {
  const headers = [
    ['x-api-key', secrets[0] ?? ''],
    ['anthropic-version', '2023-06-01'],
    ['content-type', 'application/json'],
    ['Anthropic-Beta', 'one-2026-01-01'],
    ['anthropic-beta', 'two-2026-01-01'],
    ['X-Unknown-Header', 'kept'],
    ['x-unknown-header', 'kept too'],
    ['accept-encoding', 'gzip, br'],
    ['x-simulate-mode', mode],
    ['X-Audit-User', 'user-017'],
    ['x-audit-session', 'session-42'],
    ['x-audit-application', 'e2e'],
  ]
  if (chunkBytes !== undefined) headers.push(['x-simulate-chunk-bytes', String(chunkBytes)])
  if (mode === 'huge' && chunkBytes === 1) headers.push(['x-simulate-bytes', '3000'])
  return headers.flat()
}

interface Outcome {
  readonly endState: Completed['end_state']
  readonly errorType?: string | null
}

/** How an exchange in `mode` must end in the record. */
function outcomeOf(mode: Mode, stream: boolean, errorType: string | null): Outcome {
  if (mode === 'error_html') return { endState: 'upstream_error', errorType: 'http_502' }
  if (/^(error|refuse|early_413)/.test(mode)) return { endState: 'upstream_error', errorType }
  if (stream && mode === 'mid_error') {
    return { endState: 'upstream_error', errorType: 'overloaded_error' }
  }
  if (stream && mode === 'mid_permission') {
    return { endState: 'upstream_error', errorType: 'permission_error' }
  }
  if (stream && mode === 'early_error') {
    return { endState: 'upstream_error', errorType: 'api_error' }
  }
  const cutAlways = ['cut_any', 'truncated', 'reset', 'empty_body', 'no_content', 'redirect']
  const cutStreams = ['cut', 'end_early', 'no_stop', 'garbage_only']
  if (cutAlways.includes(mode) || (stream && cutStreams.includes(mode))) {
    return { endState: 'upstream_cut' }
  }
  return { endState: 'complete', errorType: null }
}

/** The message in the body that upstream sent; `undefined` if there is none to be understood. */
function messageIn(body: Buffer, mode: Mode, stream: boolean): Record<string, unknown> | undefined {
  const plain = mode === 'gzip' ? gunzipSync(body) : body
  if (stream) {
    const message = messageFrom(eventsIn(plain.toString()))
    return message['type'] === 'message' ? message : undefined
  }
  try {
    const message = asObject(JSON.parse(plain.toString()))
    return message['type'] === 'message' ? message : undefined
  } catch {
    return undefined
  }
}

const forms = [
  ['JSON', false, undefined],
  ['a stream', true, undefined],
  ['JSON in 1-byte pieces', false, 1],
  ['a stream in 1-byte pieces', true, 1],
] as const

describe.each(forms)('%s', (_, stream, chunkBytes) => {
  test.each(answered)('%s', async (mode) => {
    const body = requestBody(stream)
    const headers = requestHeaders(mode, chunkBytes)
    const seen = await send(pair.url, { path: '/v1/messages?beta=true', headers, body })
    await pair.simulator.settled()
    expect(pair.simulator.requests).toHaveLength(1)
    expectRequestForwarded(headers, body, mode)
    if (mode === 'reset') expect(seen.status).toBe(502)
    else expectAnswerForwarded(seen, mode)
    await expectRecord(seen, { mode, stream, body })
  })
})

function expectRequestForwarded(headers: readonly string[], body: string, mode: Mode): void {
  const received = pair.simulator.requests[0]?.received
  expect(received?.method).toBe('POST')
  expect(received?.url).toBe('/v1/messages?beta=true')
  expect(endToEnd(received?.rawHeaders ?? [])).toEqual(forwardedHeaders(headers))
  // An early refusal comes before the simulator has read the body.
  if (mode !== 'early_413') expect(received?.body?.toString()).toBe(body)
}

function expectAnswerForwarded(seen: Seen, mode: Mode): void {
  const sent = pair.simulator.requests[0]?.sent
  expect(seen.status).toBe(sent?.status)
  expect(answerHeaders(seen.rawHeaders)).toEqual(answerHeaders(sent?.headers ?? []))
  expect(sha256(seen.body)).toBe(sent?.bodySha256)
  expect(seen.end).toBe(sent?.end === 'cut' ? 'cut' : 'complete')
  expect(seen.informational).toEqual(mode === 'informational' ? [102, 103] : [])
}

async function expectRecord(
  seen: Seen,
  { mode, stream, body }: { mode: Mode; stream: boolean; body: string },
): Promise<void> {
  const record = await pair.record(valuesOf(seen.rawHeaders, 'x-audit-event-id')[0])
  const digests = digestsOf(pair.dataDir)
  const exchange = pair.simulator.requests[0]
  const { endState, errorType } = outcomeOf(mode, stream, exchange?.facts.errorType ?? null)
  expect(record.end_state).toBe(endState)
  if (errorType !== undefined) expect(record.error_type).toBe(errorType)
  expect(record).toMatchObject({
    operation: 'messages.create',
    route: 'POST /v1/messages',
    streaming: stream,
    model: 'claude-opus-5-5',
    session_id: 'session-42',
    application_id: 'e2e',
    http_status: seen.status,
    prompt_hash: digests.prompt(body),
    prompt_completeness: 'full',
    request: { bytes: Buffer.byteLength(body), wire_digest: digests.keyed(sha256(body)) },
    tools_offered: ['Bash'],
  })
  expect(record.user_id).toMatch(/^sub_[A-Za-z0-9_-]{22}$/)
  const sent = exchange?.sent.body ?? Buffer.alloc(0)
  expect(record.response.bytes).toBe(sent.length)
  expect(record.response.wire_digest).toBe(digests.keyed(sha256(sent)))
  if (mode !== 'reset') expect(record.request_id).toBe(exchange?.facts.requestId)
  expectMessage(record, messageIn(sent, mode, stream), digests)
  const text = JSON.stringify(record)
  for (const secret of [...secrets, 'user-017', 'Answer like a clerk', 'Go on.']) {
    expect(text).not.toContain(secret)
  }
}

function expectMessage(
  record: Completed,
  message: Record<string, unknown> | undefined,
  digests: ReturnType<typeof digestsOf>,
): void {
  if (message === undefined) {
    expect(record.completion_tokens).toBeNull()
    expect(record.response_hash).toBeNull()
    return
  }
  const usage = asObject(message['usage'])
  const input = ['input_tokens', 'cache_creation_input_tokens', 'cache_read_input_tokens']
  expect(record.message_id).toBe(message['id'])
  expect(record.model_served).toBe(message['model'])
  expect(record.stop_reason).toBe(message['stop_reason'])
  expect(record.prompt_tokens).toBe(input.reduce((sum, name) => sum + Number(usage[name]), 0))
  expect(record.completion_tokens).toBe(usage['output_tokens'])
  expect(record.usage?.cache_read_input_tokens).toBe(usage['cache_read_input_tokens'])
  expect(record.response_hash).toBe(digests.message(message))
}
