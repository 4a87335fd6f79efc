import { createHash } from 'node:crypto'
import { gzipSync, deflateSync, brotliCompressSync } from 'node:zlib'
import { canonicalize } from '@affidavit/format'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EndCause, ResponseOutcome } from './exchange.ts'
import { captureRequest } from './request.ts'
import { createResponseTap } from './response.ts'
import {
  anyJson,
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
} from './testing.ts'

const sha256 = (text: string | Uint8Array) => createHash('sha256').update(text).digest('hex')
const streaming = capture({ ...simpleRequest, stream: true })

type Block = Readonly<Record<string, unknown>>
interface Message {
  readonly content: readonly Block[]
  readonly stop_reason: string
  readonly stop_sequence: string | null
  readonly model: string
}

/** Pieces of a text, cut anywhere, surrogate pairs included. */
function pieces(text: string, cuts: readonly number[]): string[] {
  const offsets = [...new Set(cuts.map((at) => at % (text.length + 1)))].sort((a, b) => a - b)
  return [...offsets, text.length].map((to, at) => text.slice(at === 0 ? 0 : offsets[at - 1], to))
}

/** The events that stream one block, as Claude's API cuts them. */
function blockEvents(block: Block, index: number, cuts: readonly number[]): string[] {
  const delta = (value: Block) => frame({ type: 'content_block_delta', index, delta: value })
  const start = (content_block: Block) =>
    frame({ type: 'content_block_start', index, content_block })
  const stop = frame({ type: 'content_block_stop', index })
  const { type, text, thinking, signature, input, citations } = block
  if (type === 'text' && typeof text === 'string') {
    const list = Array.isArray(citations) ? citations : []
    return [
      start({ ...block, text: '', ...(citations === undefined ? {} : { citations: [] }) }),
      ...pieces(text, cuts).map((piece) => delta({ type: 'text_delta', text: piece })),
      ...list.map((citation: unknown) => delta({ type: 'citations_delta', citation })),
      stop,
    ]
  }
  if (type === 'thinking' && typeof thinking === 'string') {
    return [
      start({ type, thinking: '', signature: '' }),
      ...pieces(thinking, cuts).map((piece) =>
        delta({ type: 'thinking_delta', thinking: piece, estimated_tokens: 3 }),
      ),
      delta({ type: 'signature_delta', signature }),
      stop,
    ]
  }
  if (type === 'tool_use' || type === 'server_tool_use') {
    const json = JSON.stringify(input)
    return [
      start({ ...block, input: {} }),
      ...pieces(json, cuts).map((piece) =>
        delta({ type: 'input_json_delta', partial_json: piece }),
      ),
      stop,
    ]
  }
  if (type === 'compaction') {
    return [
      start({ ...block, content: null }),
      delta({ type: 'compaction_delta', content: block['content'] }),
      stop,
    ]
  }
  return [start(block), stop]
}

const usage = {
  input_tokens: 10,
  output_tokens: 20,
  cache_read_input_tokens: 5,
  cache_creation_input_tokens: 2,
}

function asStream(message: Message, cuts: readonly number[]): string {
  const start = {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: message.model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { ...usage, output_tokens: 1 },
  }
  return [
    frame({ type: 'message_start', message: start }),
    frame({ type: 'ping' }),
    ...message.content.flatMap((block, index) => blockEvents(block, index, cuts)),
    frame({
      type: 'message_delta',
      delta: { stop_reason: message.stop_reason, stop_sequence: message.stop_sequence },
      usage: { output_tokens: 20, input_tokens: null },
    }),
    frame({ type: 'message_stop' }),
  ].join('')
}

function asJson(message: Message): string {
  return JSON.stringify({ id: 'msg_1', type: 'message', role: 'assistant', ...message, usage })
}

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

describe('the end state', () => {
  const answer: Message = {
    content: [{ type: 'text', text: 'a' }],
    stop_reason: 'end_turn',
    stop_sequence: null,
    model: 'm',
  }
  const whole = asStream(answer, [])
  const open = whole.slice(0, whole.indexOf('event: message_delta'))
  const withDelta = whole.slice(0, whole.indexOf('event: message_stop'))
  const error = frame({
    type: 'error',
    error: { type: 'overloaded_error', message: 'x' },
    request_id: 'req_9',
  })
  const json = asJson(answer)
  const errorBody =
    '{"type":"error","error":{"type":"rate_limit_error","message":"x"},"request_id":"req_8"}'

  test.each<[string, string, number, readonly string[], EndCause, Partial<ResponseOutcome>]>([
    [
      'a message_stop',
      whole,
      200,
      sseHeaders,
      'end',
      { endState: 'complete', status: 'success', usageSource: 'final', stopReason: 'end_turn' },
    ],
    [
      'a message_stop, then the client goes',
      whole,
      200,
      sseHeaders,
      'client_abort',
      { endState: 'complete', status: 'success' },
    ],
    [
      'a clean end without message_stop',
      withDelta,
      200,
      sseHeaders,
      'end',
      {
        endState: 'upstream_cut',
        status: 'incomplete',
        usageSource: 'partial',
        completionTokens: 20,
      },
    ],
    [
      'a message_stop without its blank line',
      whole.slice(0, -1),
      200,
      sseHeaders,
      'end',
      { endState: 'upstream_cut' },
    ],
    [
      'a cut',
      open,
      200,
      sseHeaders,
      'upstream_cut',
      { endState: 'upstream_cut', usageSource: 'partial', completionTokens: 1 },
    ],
    [
      'a client that goes',
      open,
      200,
      sseHeaders,
      'client_abort',
      { endState: 'client_abort', status: 'incomplete', stopReason: null },
    ],
    [
      'a stream that nobody reads',
      open,
      200,
      sseHeaders,
      'abandoned',
      { endState: 'abandoned', status: 'incomplete' },
    ],
    [
      'an end that the gateway makes',
      open,
      200,
      sseHeaders,
      'gateway_terminated',
      { endState: 'gateway_terminated', status: 'blocked' },
    ],
    [
      'an error event',
      open + error,
      200,
      sseHeaders,
      'end',
      {
        endState: 'upstream_error',
        status: 'error',
        errorType: 'overloaded_error',
        httpStatus: 200,
        requestId: 'req_9',
      },
    ],
    [
      'an error event, then a cut',
      open + error,
      200,
      sseHeaders,
      'upstream_cut',
      { endState: 'upstream_error' },
    ],
    [
      'an error after message_stop',
      whole + error,
      200,
      sseHeaders,
      'end',
      { endState: 'complete', errorType: null },
    ],
    [
      'a whole JSON body',
      json,
      200,
      jsonHeaders,
      'end',
      { endState: 'complete', usageSource: 'final', promptTokens: 17, completionTokens: 20 },
    ],
    [
      'a JSON body cut off',
      json.slice(0, -1),
      200,
      jsonHeaders,
      'end',
      { endState: 'upstream_cut', parsed: 'opaque', canonicalSha256: null },
    ],
    [
      'a JSON body cut off by the socket',
      json.slice(0, -9),
      200,
      jsonHeaders,
      'upstream_cut',
      { endState: 'upstream_cut' },
    ],
    [
      'an error body',
      errorBody,
      429,
      jsonHeaders,
      'end',
      {
        endState: 'upstream_error',
        status: 'error',
        errorType: 'rate_limit_error',
        usageSource: 'none',
        requestId: 'req_8',
      },
    ],
    [
      'an error page',
      '<html>',
      502,
      ['content-type', 'text/html'],
      'end',
      { endState: 'upstream_error', errorType: 'http_502', parsed: 'opaque' },
    ],
    [
      'an empty error',
      '',
      529,
      [],
      'end',
      { endState: 'upstream_error', errorType: 'http_529', parsed: 'none' },
    ],
    ['an empty answer', '', 200, jsonHeaders, 'end', { endState: 'upstream_cut', parsed: 'none' }],
    [
      'an answer of another type',
      'hello',
      200,
      ['content-type', 'text/plain'],
      'end',
      { endState: 'complete', parsed: 'opaque' },
    ],
  ])('of %s', (_, text, status, headers, cause, expected) => {
    expect(outcomeOf([text], { status, headers, cause })).toMatchObject(expected)
  })

  test('without any answer is what the door says', () => {
    const end = (cause: EndCause, facts = {}) =>
      createResponseTap(streaming, options).end(cause, facts)
    expect(end('upstream_error')).toMatchObject({
      endState: 'upstream_error',
      httpStatus: null,
      errorType: 'connection_error',
    })
    expect(end('client_abort')).toMatchObject({
      endState: 'client_abort',
      httpStatus: null,
      parsed: 'none',
    })
    expect(
      end('gateway_terminated', { httpStatus: 451, errorType: 'permission_error' }),
    ).toMatchObject({
      endState: 'gateway_terminated',
      status: 'blocked',
      httpStatus: 451,
      errorType: 'permission_error',
    })
  })

  test('is judged once', () => {
    const tap = createResponseTap(streaming, options)
    tap.head(200, sseHeaders)
    tap.chunk(Buffer.from(open))
    const first = tap.end('client_abort')
    tap.chunk(Buffer.from(whole))
    expect(tap.end('end')).toBe(first)
  })

  test('of an operation whose answer is not read is its clean end', () => {
    const files = capture('', { method: 'GET', url: '/v1/files/file_1/content' })
    const answered = (cause: EndCause) =>
      outcomeOf(['bytes'], { captured: files, headers: ['content-type', 'application/pdf'], cause })
    expect(answered('end')).toMatchObject({
      endState: 'complete',
      parsed: 'opaque',
      wireSha256: sha256('bytes'),
    })
    expect(answered('upstream_cut').endState).toBe('upstream_cut')
    const gone = outcomeOf([errorBody], { captured: files, headers: jsonHeaders, status: 404 })
    expect(gone).toMatchObject({ endState: 'upstream_error', errorType: 'rate_limit_error' })
  })

  test('of count_tokens is complete with its number', () => {
    const count = capture(simpleRequest, { url: '/v1/messages/count_tokens' })
    const outcome = outcomeOf(['{"input_tokens":42}'], { captured: count, headers: jsonHeaders })
    expect(outcome).toMatchObject({
      endState: 'complete',
      promptTokens: 42,
      completionTokens: null,
      usageSource: 'final',
      canonicalSha256: null,
    })
  })
})

describe('encoded answers', () => {
  const answer: Message = {
    content: [{ type: 'text', text: 'é'.repeat(100) }],
    stop_reason: 'end_turn',
    stop_sequence: null,
    model: 'm',
  }
  const plain = outcomeOf([asJson(answer)], { headers: jsonHeaders })
  const encoded = (headers: readonly string[], coding: string) => [
    ...headers,
    'Content-Encoding',
    coding,
  ]

  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ])('in %s are read on a copy, with both digests', (coding, encode) => {
    const bytes = encode(asJson(answer))
    const outcome = outcomeOf([bytes], { headers: encoded(jsonHeaders, coding) })
    expect(outcome).toMatchObject({
      canonicalSha256: plain.canonicalSha256,
      encoding: coding,
      wireSha256: sha256(bytes),
      decodedSha256: sha256(asJson(answer)),
      endState: 'complete',
    })
  })

  test('that stream are read at their end, as far as they came', () => {
    const bytes = gzipSync(asStream(answer, []))
    const headers = encoded(sseHeaders, 'gzip')
    expect(outcomeOf([bytes], { headers })).toMatchObject({
      parsed: 'sse',
      endState: 'complete',
      canonicalSha256: plain.canonicalSha256,
    })
    expect(outcomeOf([bytes.subarray(0, -12)], { headers, cause: 'upstream_cut' })).toMatchObject({
      parsed: 'sse',
      endState: 'upstream_cut',
      modelServed: 'm',
    })
  })

  test('in a coding that we do not know are opaque, and complete at their clean end', () => {
    const outcome = outcomeOf(['anything'], { headers: encoded(jsonHeaders, 'zstd') })
    expect(outcome).toMatchObject({
      parsed: 'opaque',
      endState: 'complete',
      usageSource: 'none',
      decodedSha256: null,
    })
    expect(
      outcomeOf(['anything'], { headers: encoded(jsonHeaders, 'zstd'), cause: 'upstream_cut' })
        .endState,
    ).toBe('upstream_cut')
  })

  test('that do not decode are not complete', () => {
    const bytes = gzipSync(asJson(answer))
    expect(
      outcomeOf([bytes.subarray(0, -4)], { headers: encoded(jsonHeaders, 'gzip') }),
    ).toMatchObject({ parsed: 'opaque', endState: 'upstream_cut' })
  })

  test('that unpack beyond the limit, and bodies beyond it, are opaque', () => {
    const small = captureRequest(requestInput(simpleRequest), {
      ...options,
      limits: { parseBytesMax: 1000 },
    })
    const bomb = gzipSync(Buffer.alloc(100_000))
    expect(
      outcomeOf([bomb], { captured: small, headers: encoded(jsonHeaders, 'gzip') }),
    ).toMatchObject({ parsed: 'opaque', endState: 'complete' })
    const large = Buffer.from(`"${'x'.repeat(2000)}"`)
    expect(
      outcomeOf(cut(large, [500, 999, 1500]), { captured: small, headers: jsonHeaders }),
    ).toMatchObject({
      parsed: 'opaque',
      endState: 'complete',
      wireSha256: sha256(large),
      bodyBytes: 2002,
    })
  })

  test('are already decoded where fetch shows them', () => {
    const inProcess = capture(simpleRequest, { captureSource: 'fetch' })
    const outcome = outcomeOf([asJson(answer)], {
      captured: inProcess,
      headers: encoded(jsonHeaders, 'gzip'),
    })
    expect(outcome).toMatchObject({ canonicalSha256: plain.canonicalSha256, encoding: null })
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
