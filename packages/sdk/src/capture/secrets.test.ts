import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createPrefixCache } from './prefix.ts'
import { completedText, startedText } from './record.ts'
import { captureRequest } from './request.ts'
import { createResponseTap } from './response.ts'
import {
  frame,
  identity,
  jsonHeaders,
  options,
  policy,
  requestInput,
  sseHeaders,
} from './testing.ts'

/** Looks like an id, so that no rule about names hides it by chance. */
const canary = 'canary-4f9d1c7b-canary'

const url = fc.constantFrom(
  `/v1/messages?key=${canary}`,
  `/v1/messages/count_tokens?k=${canary}`,
  `/v1/files/${canary}`,
  `/v1/sessions/${canary}/events`,
  `/v1/${canary}`,
  `/${canary}`,
  '/v1/messages/batches',
  '/v1/vaults',
  '/v1/sessions',
)

const secretHeaders = [
  'x-api-key',
  'X-Api-Key',
  'api-key',
  'Authorization',
  'proxy-authorization',
  'cookie',
  'x-amz-security-token',
  'x-goog-api-key',
  'x-audit-key',
  'x-audit-user',
  'x-unknown-token',
  'X-Custom',
  'referer',
  'x-forwarded-for',
  'user-agent',
  'anthropic-workspace-id',
]
const header = fc.tuple(
  fc.constantFrom(...secretHeaders),
  fc.constantFrom(
    canary,
    `Bearer ${canary}`,
    `Basic ${canary}`,
    `sk-ant-${canary}`,
    `name=${canary}; x`,
  ),
)

const block = fc.constantFrom<unknown>(
  canary,
  { type: 'text', text: canary, citations: [{ cited_text: canary }] },
  { type: 'thinking', thinking: canary, signature: canary },
  { type: 'redacted_thinking', data: canary },
  { type: 'tool_use', id: 't', name: 'n', input: { [canary]: canary } },
  { type: 'tool_result', tool_use_id: 't', content: [{ type: 'text', text: canary }] },
  { type: 'image', source: { type: 'base64', data: canary } },
  { type: 'image', source: { type: 'url', url: `https://example.com/${canary}` } },
  { type: 'document', title: canary, context: canary, source: { type: 'text', data: canary } },
  { [canary]: canary },
)
const body = fc.record({
  model: fc.constant('m'),
  stream: fc.boolean(),
  system: fc.constantFrom<unknown>(canary, [{ type: 'text', text: canary }]),
  messages: fc.array(
    fc.record({
      role: fc.constant('user'),
      content: fc.array(block, { maxLength: 3 }),
      [canary]: fc.constant(canary),
    }),
    { maxLength: 3 },
  ),
  tools: fc.constant([{ name: 'n', description: canary, input_schema: { [canary]: canary } }]),
  mcp_servers: fc.constant([
    { type: 'url', url: `https://${canary}.example/`, name: canary, authorization_token: canary },
  ]),
  fallback_credit_token: fc.constant(canary),
  stop_sequences: fc.constant([canary]),
  metadata: fc.constantFrom({ user_id: canary }, { other: canary }),
  output_config: fc.constant({ format: { schema: canary } }),
  [canary]: fc.constant(canary),
})

const reply = {
  type: 'message',
  id: 'msg_1',
  role: 'assistant',
  model: 'm',
  stop_reason: 'refusal',
  stop_sequence: null,
  stop_details: { category: 'cyber', explanation: canary, fallback_credit_token: canary },
  container: { id: canary },
  usage: { input_tokens: 1 },
}
const content = [
  { type: 'text', text: canary, citations: [{ cited_text: canary }] },
  { type: 'thinking', thinking: canary, signature: canary },
  { type: 'tool_use', id: canary, name: 'n', input: { [canary]: canary } },
  { type: 'web_search_tool_result', content: [{ url: canary }] },
]
const deltas = [
  { type: 'text_delta', text: canary },
  { type: 'thinking_delta', thinking: canary },
  { type: 'signature_delta', signature: canary },
  { type: 'input_json_delta', partial_json: `{"${canary}":"${canary}` },
  { type: 'citations_delta', citation: { cited_text: canary } },
  { type: `${canary}_delta`, x: canary },
]
const stream = [
  frame({ type: 'message_start', message: { ...reply, stop_reason: null, content: [] } }),
  ...content.flatMap((start, index) => [
    frame({ type: 'content_block_start', index, content_block: start }),
    ...deltas.map((delta) => frame({ type: 'content_block_delta', index, delta })),
  ]),
  `event: ${canary}\ndata: ${canary}\n\n`,
  frame({ type: 'message_delta', delta: reply, usage: {} }),
  frame({ type: 'message_stop' }),
].join('')
const error = {
  type: 'error',
  error: { type: 'invalid_request_error', message: canary, details: { x: canary } },
}
const answer = fc.constantFrom(
  { headers: sseHeaders, text: stream },
  { headers: sseHeaders, text: frame(error) },
  { headers: jsonHeaders, text: JSON.stringify({ ...reply, content }) },
  { headers: jsonHeaders, text: JSON.stringify(error) },
  { headers: [...jsonHeaders, 'content-encoding', 'gzip'], text: canary },
  { headers: ['content-type', `text/${canary}`], text: canary },
)
const answerHeaders = ['set-cookie', canary, 'x-other', canary, 'server', canary, 'date', canary]

describe('a secret', () => {
  test('and content stand in no record, wherever they were put', () => {
    const prefixCache = createPrefixCache({ prefixBytesMin: 0 })
    fc.assert(
      fc.property(
        url,
        fc.array(header),
        body,
        answer,
        (path, headers, request, { headers: kind, text }) => {
          const input = requestInput(request, {
            url: path,
            rawHeaders: headers.flat(),
            remoteAddress: canary,
          })
          const captured = captureRequest(input, { ...options, prefixCache })
          const tap = createResponseTap(captured, options)
          tap.head(200, [...kind, ...answerHeaders])
          tap.chunk(Buffer.from(text))
          const outcome = tap.end('end')
          const records = [
            startedText(captured, identity, policy),
            completedText(captured, identity, policy, outcome, 1_700_000_000_000_000),
          ]
          for (const record of records) expect(record).not.toContain(canary)
          // What is kept until then holds no credential either; identity claims are for the door.
          const { claims: _, references: __, ...kept } = captured
          expect(JSON.stringify(kept)).not.toContain(canary)
        },
      ),
      { numRuns: 500 },
    )
  })

  test('is not told by its fingerprint', () => {
    const captured = captureRequest(
      requestInput({}, { rawHeaders: ['x-api-key', canary] }),
      options,
    )
    expect(captured.credential?.fingerprint).toBe(options.hashKeys.fingerprint(canary))
    expect(JSON.stringify(captured)).not.toContain(canary)
  })
})
