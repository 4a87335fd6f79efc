import { createHash } from 'node:crypto'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import type { EndCause, ResponseOutcome } from './exchange.ts'
import { captureRequest } from './request.ts'
import { createResponseTap } from './response.ts'
import {
  asJson,
  asStream,
  capture,
  cut,
  frame,
  jsonHeaders,
  options,
  outcomeOf,
  requestInput,
  simpleRequest,
  sseHeaders,
  type Message,
} from './testing.ts'

const sha256 = (text: string | Uint8Array) => createHash('sha256').update(text).digest('hex')
const streaming = capture({ ...simpleRequest, stream: true })

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
