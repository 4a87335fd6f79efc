/**
 * What the tests of capture share: a clock that is moved by hand, requests and streams made of plain
 * values, and arbitrary JSON in arbitrary spelling.
 *
 * @module
 */
import * as fc from 'fast-check'
import type { Clock } from './clock.ts'
import type {
  CapturedRequest,
  CaptureOptions,
  EndCause,
  HashKeys,
  RecordPolicy,
  RequestInput,
  ResolvedIdentity,
  ResponseOutcome,
} from './exchange.ts'
import { createHashKeys } from './hash-keys.ts'
import { captureRequest } from './request.ts'
import { createResponseTap } from './response.ts'

export const tenantKeys: HashKeys = createHashKeys({
  mode: 'tenant',
  version: '1',
  key: new Uint8Array(32).fill(7),
})

export interface FakeClock extends Clock {
  advance(ms: number): void
}

export function createFakeClock(startMicros = 1_700_000_000_000_000): FakeClock {
  let elapsedMs = 0
  return {
    nowMicros: () => startMicros + elapsedMs * 1000,
    monotonicMs: () => elapsedMs,
    advance(ms) {
      elapsedMs += ms
    },
  }
}

export const options: CaptureOptions = { clock: createFakeClock(), hashKeys: tenantKeys }

export const identity: ResolvedIdentity = {
  userId: 'sub_AAAAAAAAAAAAAAAAAAAAAA',
  sessionId: 'session-1',
  applicationId: 'app-1',
  trust: { application: 'verified', session: 'client-asserted', user: 'verified' },
}

export const policy: RecordPolicy = {
  retentionClass: 'standard',
  classification: 'INTERNAL',
  classificationSource: 'default',
  policyVersion: '1',
  policyFlags: [],
}

/** A `POST /v1/messages` with `body` (bytes, text, or a value for JSON). */
export function requestInput(body: unknown, more: Partial<RequestInput> = {}): RequestInput {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return {
    eventId: '0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b',
    startedAtMicros: 1_700_000_000_123_456,
    startedMonotonicMs: 0,
    captureSource: 'gateway',
    method: 'POST',
    url: '/v1/messages?beta=true',
    rawHeaders: ['Content-Type', 'application/json'],
    body: body instanceof Uint8Array ? body : Buffer.from(text),
    ...more,
  }
}

export function capture(body: unknown, more: Partial<RequestInput> = {}): CapturedRequest {
  return captureRequest(requestInput(body, more), options)
}

export const simpleRequest = {
  model: 'claude-sonnet-5-5',
  max_tokens: 64,
  messages: [{ role: 'user', content: 'hi' }],
}

export const sseHeaders = ['Content-Type', 'text/event-stream; charset=utf-8']
export const jsonHeaders = ['Content-Type', 'application/json']

/** One SSE frame as Claude's API writes it. */
export function frame(event: { readonly type: string; readonly [name: string]: unknown }): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

export interface Answer {
  readonly captured?: CapturedRequest
  readonly status?: number
  readonly headers?: readonly string[]
  readonly cause?: EndCause
}

/** Shows a whole answer to a tap. */
export function outcomeOf(
  chunks: readonly (Uint8Array | string)[],
  answer: Answer = {},
): ResponseOutcome {
  const tap = createResponseTap(
    answer.captured ?? capture({ ...simpleRequest, stream: true }),
    options,
  )
  tap.head(answer.status ?? 200, answer.headers ?? sseHeaders)
  for (const chunk of chunks) tap.chunk(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
  return tap.end(answer.cause ?? 'end')
}

/** `bytes` cut at the offsets in `cuts`, modulo its length. */
export function cut(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const offsets = [...new Set(cuts.map((offset) => offset % (bytes.length + 1)))].sort(
    (a, b) => a - b,
  )
  const chunks: Uint8Array[] = []
  let from = 0
  for (const offset of [...offsets, bytes.length]) {
    chunks.push(bytes.slice(from, offset))
    from = offset
  }
  return chunks
}

/** Text with everything that has gone wrong in proxies: several bytes, pairs, escapes, controls. */
export const trickyText: fc.Arbitrary<string> = fc
  .array(
    fc.oneof(
      fc.string({ maxLength: 8 }),
      fc.constantFrom(
        'é',
        '漢字',
        '😀',
        '\u{1f469}‍\u{1f680}',
        '"',
        '\\',
        '\n',
        '\r\n',
        '\t',
        '\u0000',
        '\u001b[0m',
        '/',
        '\u2028',
        '\u007f',
        '\ufeff',
        'data: ',
        '\n\n',
      ),
    ),
    { maxLength: 6 },
  )
  .map((parts) => parts.join(''))

/** Any value that `JSON.parse` may return, lone surrogates and strange names included. */
export const anyJson: fc.Arbitrary<unknown> = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    trickyText,
    fc.string({ unit: 'binary', maxLength: 6 }),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(
      null,
      true,
      false,
      -0,
      1e21,
      1e-7,
      123_456_789_012_345_680,
      0.1,
      '\ud83d',
      '\ude00\ud83d',
    ),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(
      fc.oneof(
        trickyText,
        fc.constantFrom('__proto__', '1', '10', '2', 'b', 'a', '\u{1f600}', '\ufb33', 'é'),
      ),
      tie('value'),
      { maxKeys: 5 },
    ),
  ),
})).value

/** The same JSON value, written with other white space and other escapes. */
export function respell(text: string, seed: number): string {
  let state = seed >>> 0
  const next = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return (state >>> 8) % below
  }
  let out = ''
  let isInString = false
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? ''
    if (!isInString) {
      out += ['', '', '', ' ', '\n', '\t\r'][next(6)] ?? ''
      if (char === '"') isInString = true
      // Numbers and words stay in one piece.
      if (!/[[\]{},:"]/.test(char)) {
        const rest = /^[^[\]{},:"]+/.exec(text.slice(at))?.[0] ?? char
        out += rest
        at += rest.length - 1
        continue
      }
      out += char
    } else if (char === '\\') {
      const length = text[at + 1] === 'u' ? 6 : 2
      out += text.slice(at, at + length)
      at += length - 1
    } else if (char === '"') {
      isInString = false
      out += char
    } else if (next(8) === 0) {
      // Both halves of a pair or none: bytes cannot hold one half.
      const pair = String.fromCodePoint(text.codePointAt(at) ?? 0)
      for (let half = 0; half < pair.length; half++) {
        out += `\\u${pair.charCodeAt(half).toString(16).padStart(4, '0')}`
      }
      at += pair.length - 1
    } else if ((char.charCodeAt(0) & 0xfc00) === 0xd800) {
      out += text.slice(at, at + 2)
      at++
    } else {
      out += char === '/' && next(2) === 0 ? '\\/' : char
    }
  }
  return out
}

/** A content block of an answer. */
export type Block = Readonly<Record<string, unknown>>
/** An answer, as far as its digest goes. */
export interface Message {
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

/** The answer as a stream of events, its texts cut at `cuts`. */
export function asStream(message: Message, cuts: readonly number[]): string {
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

/** The answer as one body. */
export function asJson(message: Message): string {
  return JSON.stringify({ id: 'msg_1', type: 'message', role: 'assistant', ...message, usage })
}
