import { createHash } from 'node:crypto'
import { canonicalize } from '@affidavit/format'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ResponseOutcome } from './exchange.ts'
import { captureRequest } from './request.ts'
import { createResponseTap } from './response.ts'
import {
  anyJson,
  asJson,
  asStream,
  capture,
  createFakeClock,
  cut,
  frame,
  jsonHeaders,
  options,
  outcomeOf,
  requestInput,
  simpleRequest,
  sseHeaders,
  trickyText,
  type Block,
  type Message,
} from './testing.ts'

const sha256 = (text: string | Uint8Array) => createHash('sha256').update(text).digest('hex')
const streaming = capture({ ...simpleRequest, stream: true })

const anyText = fc.oneof(
  trickyText,
  trickyText.map((short) => short.repeat(1500)),
)
const anyBlock: fc.Arbitrary<Block> = fc.oneof(
  fc.record({ type: fc.constant('text'), text: anyText }),
  fc.record({
    type: fc.constant('text'),
    text: anyText,
    citations: fc.constantFrom(null, [], [{ type: 'char_location', cited_text: 'é' }, { n: 1.5 }]),
  }),
  fc.record({
    type: fc.constant('text'),
    text: anyText,
    extra: fc.constantFrom({ a: 1 }, null),
    zone: fc.constant('"text":@'),
  }),
  fc.record({ type: fc.constant('thinking'), thinking: anyText, signature: fc.string() }),
  fc.record({ type: fc.constant('redacted_thinking'), data: fc.string() }),
  fc.record({
    type: fc.constantFrom('tool_use', 'server_tool_use'),
    id: fc.constant('toolu_1'),
    name: fc.constantFrom('Bash', 'Edit'),
    input: fc.dictionary(fc.string(), anyJson, { maxKeys: 3 }),
    caller: fc.constantFrom({ type: 'direct' }, null),
  }),
  fc.record({
    type: fc.constant('web_search_tool_result'),
    tool_use_id: fc.constant('s'),
    content: fc.constant([
      { type: 'web_search_result', url: 'https://a.example/', page_age: null },
    ]),
  }),
  fc.record({ type: fc.constant('compaction'), content: fc.constantFrom('summary', null) }),
)
const message: fc.Arbitrary<Message> = fc.record({
  content: fc.array(anyBlock, { maxLength: 4 }),
  stop_reason: fc.constantFrom('end_turn', 'tool_use', 'stop_sequence'),
  stop_sequence: fc.constantFrom(null, '\n\nHuman:'),
  model: fc.constant('claude-opus-5-5'),
})
const cuts = fc.array(fc.nat({ max: 20_000 }), { maxLength: 10 })

/** What is known of an answer, without how long it took and how it came. */
function substance(outcome: ResponseOutcome) {
  const {
    canonicalSha256,
    blocks,
    usage: reported,
    stopReason,
    toolCalls,
    modelServed,
    endState,
  } = outcome
  return { canonicalSha256, blocks, reported, stopReason, toolCalls, modelServed, endState }
}

describe('an answer', () => {
  test('has one digest, streamed or not, however it is cut', () => {
    fc.assert(
      fc.property(message, cuts, cuts, (answer, textCuts, chunkCuts) => {
        const streamed = outcomeOf(cut(Buffer.from(asStream(answer, textCuts)), chunkCuts))
        const whole = outcomeOf(cut(Buffer.from(asJson(answer)), chunkCuts), {
          headers: jsonHeaders,
        })
        expect(substance(streamed)).toEqual(substance(whole))
        expect(streamed.canonicalSha256).toMatch(/^[0-9a-f]{64}$/)
      }),
      { numRuns: 400 },
    )
  })

  test('is the same in any chunking, down to single bytes', () => {
    fc.assert(
      fc.property(message, cuts, (answer, chunkCuts) => {
        const bytes = Buffer.from(asStream(answer, [3, 50]))
        const whole = outcomeOf([bytes])
        expect(outcomeOf(cut(bytes, chunkCuts))).toEqual(whole)
        if (bytes.length < 5000) {
          expect(outcomeOf(Array.from(bytes, (_, at) => bytes.subarray(at, at + 1)))).toEqual(whole)
        }
        expect(whole.wireSha256).toBe(sha256(bytes))
      }),
      { numRuns: 100 },
    )
  })

  test('has the digest that the specification gives', () => {
    const answer = {
      content: [{ type: 'text', text: 'Hellö' }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      model: 'm',
    }
    const digest = sha256(canonicalize({ text: 'Hellö', type: 'text' }))
    const skeleton = {
      content: [digest],
      model: 'm',
      role: 'assistant',
      stop_reason: 'end_turn',
      stop_sequence: null,
    }
    expect(outcomeOf([asStream(answer, [])]).canonicalSha256).toBe(sha256(canonicalize(skeleton)))
  })

  test('resent in the next turn has the digests that it had as an answer', () => {
    fc.assert(
      fc.property(message, (answer) => {
        const { blocks } = outcomeOf([asStream(answer, [7])])
        const next = capture({
          ...simpleRequest,
          messages: [{ role: 'assistant', content: answer.content }],
        })
        expect(next.blocks.map(({ sha256: digest }) => digest)).toEqual(
          blocks.map(({ sha256: digest }) => digest),
        )
      }),
      { numRuns: 100 },
    )
  })

  test('survives any bytes', () => {
    const event = fc.tuple(
      fc.constantFrom(
        'message_start',
        'content_block_start',
        'content_block_delta',
        'content_block_stop',
        'message_delta',
        'error',
        'ping',
        'x',
        '',
      ),
      anyJson,
    )
    fc.assert(
      fc.property(fc.array(event), fc.uint8Array(), cuts, (events, noise, chunkCuts) => {
        const text = events
          .map(
            ([name, data]) =>
              `event: ${name}\ndata: ${JSON.stringify({ ...Object(data), type: name })}\n\n`,
          )
          .join('')
        const bytes = Buffer.concat([Buffer.from(text), noise])
        expect(outcomeOf(cut(bytes, chunkCuts))).toEqual(outcomeOf([bytes]))
        outcomeOf([bytes], { headers: jsonHeaders })
        outcomeOf([bytes], { headers: [...jsonHeaders, 'content-encoding', 'gzip'] })
      }),
      { numRuns: 500 },
    )
  })
})

describe('tool input', () => {
  const call = (...parts: string[]) =>
    [
      frame({
        type: 'message_start',
        message: { id: 'm', role: 'assistant', model: 'm', content: [] },
      }),
      frame({
        type: 'content_block_start',
        index: 0,
        content_block: { type: 'tool_use', id: 't', name: 'n', input: {} },
      }),
      ...parts.map((partial_json) =>
        frame({
          type: 'content_block_delta',
          index: 0,
          delta: { type: 'input_json_delta', partial_json },
        }),
      ),
      frame({ type: 'content_block_stop', index: 0 }),
      frame({
        type: 'message_delta',
        delta: { stop_reason: 'max_tokens' },
        usage: { output_tokens: 5 },
      }),
      frame({ type: 'message_stop' }),
    ].join('')
  const block = { id: 't', name: 'n', type: 'tool_use' }

  test('that is no JSON stands by the digest of its text', () => {
    const { blocks } = outcomeOf([call('{"a":', ' "cut o')])
    const input_raw = sha256('{"a": "cut o')
    expect(blocks[0]?.sha256).toBe(sha256(canonicalize({ ...block, input_raw })))
  })

  test('that was never sent is what the start of the block says', () => {
    const { blocks } = outcomeOf([call('')])
    expect(blocks[0]?.sha256).toBe(sha256(canonicalize({ ...block, input: {} })))
  })

  test('beyond the limit stands by the digest of its text', () => {
    const small = captureRequest(requestInput({ ...simpleRequest, stream: true }), {
      ...options,
      limits: { toolInputCharsMax: 10 },
    })
    const { blocks } = outcomeOf([call('{"a":', '"12345', '67"}')], { captured: small })
    expect(blocks[0]?.sha256).toBe(
      sha256(canonicalize({ ...block, input_raw: sha256('{"a":"1234567"}') })),
    )
  })
})

describe('what has gone wrong in a stream', () => {
  const start = frame({
    type: 'message_start',
    message: { id: 'm', role: 'assistant', model: 'm', content: [] },
  })
  const open = frame({
    type: 'content_block_start',
    index: 0,
    content_block: { type: 'text', text: '' },
  })
  const delta = (value: Block) => frame({ type: 'content_block_delta', index: 0, delta: value })
  const stop = frame({ type: 'message_stop' })

  test('an unknown delta changes the digest, and is bound by it', () => {
    const digest = (...deltas: string[]) =>
      outcomeOf([start, open, ...deltas, stop]).canonicalSha256
    const plain = digest(delta({ type: 'text_delta', text: 'a' }))
    const one = digest(delta({ type: 'text_delta', text: 'a' }), delta({ type: 'new_delta', x: 1 }))
    const other = digest(
      delta({ type: 'text_delta', text: 'a' }),
      delta({ type: 'new_delta', x: 2 }),
    )
    expect(new Set([plain, one, other]).size).toBe(3)
  })

  test('a delta that belongs to no block costs the digest', () => {
    expect(
      outcomeOf([start, delta({ type: 'text_delta', text: 'a' }), stop]).canonicalSha256,
    ).toBeNull()
  })

  test('data that is no JSON costs the digest, and not the rest', () => {
    const outcome = outcomeOf([start, open, 'event: content_block_delta\ndata: {oops\n\n', stop])
    expect(outcome).toMatchObject({ canonicalSha256: null, endState: 'complete', modelServed: 'm' })
  })

  test('unknown events and pings change nothing', () => {
    const noise = `${frame({ type: 'ping' })}${frame({ type: 'brand_new', x: 1 })}data: [DONE]\n\n: note\n\n`
    const quiet = [start, open, delta({ type: 'text_delta', text: 'a' }), stop]
    const noisy = quiet.flatMap((part) => [noise, part])
    expect(outcomeOf(noisy).canonicalSha256).toBe(outcomeOf(quiet).canonicalSha256)
  })

  test('an event beyond the limit costs the digest, and not the rest', () => {
    const small = captureRequest(requestInput({ ...simpleRequest, stream: true }), {
      ...options,
      limits: { eventBytesMax: 200 },
    })
    const outcome = outcomeOf(
      [start, open, delta({ type: 'text_delta', text: 'a'.repeat(300) }), stop],
      { captured: small },
    )
    expect(outcome).toMatchObject({ canonicalSha256: null, endState: 'complete' })
  })

  test('more blocks than the limit cost the digest', () => {
    const small = captureRequest(requestInput({ ...simpleRequest, stream: true }), {
      ...options,
      limits: { outputBlocksMax: 1 },
    })
    expect(
      outcomeOf([start, open, open.replace('"index":0', '"index":1'), stop], { captured: small })
        .canonicalSha256,
    ).toBeNull()
  })

  test('content that nests too deep costs the digest', () => {
    const deep = `${'['.repeat(500)}${']'.repeat(500)}`
    const nested = `event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"x","v":${deep}}}\n\n`
    expect(outcomeOf([start, nested, stop])).toMatchObject({
      canonicalSha256: null,
      endState: 'complete',
    })
    const whole = `{"type":"message","role":"assistant","model":"m","content":[{"type":"x","v":${deep}}]}`
    expect(outcomeOf([whole], { headers: jsonHeaders })).toMatchObject({
      canonicalSha256: null,
      endState: 'complete',
    })
  })
})

describe('the offset that may be released', () => {
  const before = asStream(
    {
      content: [{ type: 'text', text: 'é' }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      model: 'm',
    },
    [],
  )
  const stopFrame = frame({ type: 'message_stop' })
  const bytes = Buffer.from(before)
  const stopAt = bytes.length - Buffer.byteLength(stopFrame)

  test('never reaches the last byte of the terminal frame, and is everything before it arrives whole', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 5000 }), { maxLength: 12 }), (chunkCuts) => {
        const tap = createResponseTap(streaming, options)
        tap.head(200, sseHeaders)
        expect(tap.framing).toBe('sse')
        let from = 0
        for (const chunk of cut(bytes, chunkCuts)) {
          const released = tap.chunk(chunk)
          const to = from + chunk.length
          if (to < bytes.length) expect(released).toBe(chunk.length)
          else if (chunk.length > 0) expect(released).toBe(Math.max(0, stopAt - from))
          from = to
        }
        expect(tap.terminalSeen).toBe(true)
        expect(tap.chunk(Buffer.from('\n'))).toBe(0)
      }),
    )
  })

  test('is the start of an error event too', () => {
    const tap = createResponseTap(streaming, options)
    tap.head(200, sseHeaders)
    const ping = frame({ type: 'ping' })
    const error = frame({ type: 'error', error: { type: 'overloaded_error', message: 'x' } })
    expect(tap.chunk(Buffer.from(ping + error + ping))).toBe(Buffer.byteLength(ping))
    expect(tap.terminalSeen).toBe(true)
  })

  test.each([
    ['by its event name alone', 'event: message_stop\ndata: {}\n\n'],
    ['by its type alone', 'data: {"type":"message_stop"}\n\n'],
    ['under another event name', 'event: x\ndata: {"type":"message_stop"}\n\n'],
    ['with another type', 'event: message_stop\ndata: {"type":"x"}\n\n'],
    ['without JSON', 'event: message_stop\ndata: oops\n\n'],
  ])('holds a message_stop that is known %s', (_, text) => {
    const tap = createResponseTap(streaming, options)
    tap.head(200, sseHeaders)
    expect(tap.chunk(Buffer.from(text))).toBe(0)
    expect(tap.terminalSeen).toBe(true)
    expect(tap.end('end').endState).toBe('complete')
  })

  test('is everything for a stream of another operation, which may stay open for hours', () => {
    const events = capture('', { method: 'GET', url: '/v1/sessions/s_1/events/stream' })
    const tap = createResponseTap(events, options)
    tap.head(200, sseHeaders)
    expect(tap.framing).toBe('sse')
    expect(tap.chunk(bytes)).toBe(bytes.length)
    expect(tap.terminalSeen).toBe(false)
    expect(tap.end('end')).toMatchObject({ endState: 'complete', parsed: 'opaque' })
  })

  test('is everything for a body whose end only its own end tells', () => {
    const tap = createResponseTap(streaming, options)
    tap.head(200, jsonHeaders)
    expect(tap.framing).toBe('body')
    expect(tap.chunk(Buffer.from('{}'))).toBe(2)
    expect(tap.terminalSeen).toBe(false)
  })
})

describe('times', () => {
  test('are whole milliseconds of the monotonic clock since the request began', () => {
    const clock = createFakeClock()
    clock.advance(100)
    const captured = captureRequest(
      requestInput({ ...simpleRequest, stream: true }, { startedMonotonicMs: 90 }),
      { ...options, clock },
    )
    const tap = createResponseTap(captured, { ...options, clock })
    tap.head(200, sseHeaders)
    clock.advance(5.4)
    tap.chunk(Buffer.from(frame({ type: 'message_start', message: { content: [] } })))
    clock.advance(10)
    tap.chunk(
      Buffer.from(
        frame({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
      ),
    )
    clock.advance(10)
    tap.chunk(
      Buffer.from(
        frame({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'a' } }),
      ),
    )
    clock.advance(30)
    expect(tap.end('client_abort')).toMatchObject({
      firstByteMs: 15,
      firstTokenMs: 35,
      latencyMs: 65,
    })
  })
})

describe('what the answer tells of itself', () => {
  test('models in order of appearance, fallback and iterations included', () => {
    const outcome = outcomeOf([
      frame({
        type: 'message_start',
        message: { id: 'm', role: 'assistant', model: 'a', content: [] },
      }),
      frame({
        type: 'content_block_start',
        index: 0,
        content_block: { type: 'fallback', from: { model: 'a' }, to: { model: 'b' } },
      }),
      frame({
        type: 'message_delta',
        delta: { stop_reason: 'end_turn' },
        usage: {
          output_tokens: 1,
          iterations: [
            { type: 'message', model: 'b', output_tokens: 1 },
            { type: 'advisor_message', model: 'c' },
          ],
        },
      }),
      frame({ type: 'message_stop' }),
    ])
    expect(outcome).toMatchObject({ modelServed: 'b', models: ['a', 'b', 'c'] })
    expect(outcome.usage.iterations).toEqual([
      { type: 'message', model: 'b', output_tokens: 1 },
      { type: 'advisor_message', model: 'c' },
    ])
  })

  test('tool calls by name, counted beyond what is listed', () => {
    const content = Array.from({ length: 200 }, (_, at) => ({
      type: 'tool_use',
      id: `t${at}`,
      name: `tool-${at}`,
      input: {},
    }))
    const outcome = outcomeOf(
      [asJson({ content, stop_reason: 'tool_use', stop_sequence: null, model: 'm' })],
      { headers: jsonHeaders },
    )
    expect(outcome.toolCallCount).toBe(200)
    expect(outcome.toolCalls).toHaveLength(128)
  })

  test('a refusal with its category', () => {
    const outcome = outcomeOf([
      frame({ type: 'message_start', message: { content: [] } }),
      frame({
        type: 'message_delta',
        delta: {
          stop_reason: 'refusal',
          stop_details: { category: 'cyber', fallback_credit_token: 'secret' },
        },
        usage: {},
      }),
      frame({ type: 'message_stop' }),
    ])
    expect(outcome).toMatchObject({ stopReason: 'refusal', refusalCategory: 'cyber' })
    expect(JSON.stringify(outcome)).not.toContain('secret')
  })

  test('headers worth keeping, and no others; limits on errors only', () => {
    const answered = {
      headers: [
        ...sseHeaders,
        'Request-Id',
        'req_1',
        'Anthropic-Organization-Id',
        'org_1',
        'anthropic-ratelimit-tokens-remaining',
        '5',
        'anthropic-ratelimit-tokens-reset',
        '2026-11-23T14:00:00Z',
        'Retry-After',
        'Wed, 21 Oct 2026 07:28:00 GMT',
        'Set-Cookie',
        'secret=1',
        'X-Other',
        'no',
        'anthropic-ratelimit-odd',
        'é"\\',
      ],
    }
    const kept = outcomeOf([''], answered)
    expect(kept.requestId).toBe('req_1')
    expect(kept.upstream).toEqual({
      'anthropic-organization-id': 'org_1',
      'retry-after': 'Wed, 21 Oct 2026 07:28:00 GMT',
    })
    const limited = outcomeOf([''], { ...answered, status: 429 })
    expect(limited.upstream).toEqual({
      'anthropic-organization-id': 'org_1',
      'anthropic-ratelimit-odd': '???',
      'anthropic-ratelimit-tokens-remaining': '5',
      'anthropic-ratelimit-tokens-reset': '2026-11-23T14:00:00Z',
      'retry-after': 'Wed, 21 Oct 2026 07:28:00 GMT',
    })
  })
})
