import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  callRaw,
  chunked,
  lastChunk,
  parseAnswer,
  startRawUpstream,
  startTestGateway,
  streamFrames,
  type RawUpstream,
  type TestGateway,
} from './testing.ts'

let upstream: RawUpstream
let gateway: TestGateway
beforeAll(async () => {
  upstream = await startRawUpstream()
  gateway = await startTestGateway(upstream.url)
})
afterAll(async () => {
  await gateway.close()
  await upstream.close()
})

const headerName = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9-]{0,20}$/)
const headerValue = fc.stringMatching(/^[!-~\u00a1-\u00ff]{1,30}$/)
const taken =
  /^(host|connection|content-length|transfer-encoding|expect|upgrade|te|trailer|keep-alive|proxy-.*|authorization|x-api-key|accept-encoding|x-audit-.*|content-encoding)$/i
const headers = fc.array(
  fc.tuple(
    headerName.filter((name) => !taken.test(name)),
    headerValue,
  ),
  { maxLength: 20 },
)

/** Bytes that look like JSON, like SSE, or like nothing. */
const content = fc.oneof(
  fc.uint8Array({ maxLength: 2000 }).map((bytes) => Buffer.from(bytes)),
  fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value))),
  fc
    .record({
      model: fc.jsonValue(),
      messages: fc.jsonValue(),
      stream: fc.jsonValue(),
      system: fc.jsonValue(),
    })
    .map((value) => Buffer.from(JSON.stringify(value))),
  fc
    .array(fc.oneof(fc.constantFrom(...streamFrames), fc.string({ unit: 'binary' })))
    .map((parts) => Buffer.from(parts.join(''))),
)

const path = fc.constantFrom(
  '/v1/messages',
  '/v1/messages/count_tokens',
  '/v1/files',
  '/v1/x%ff',
  '/',
)
const contentType = fc.constantFrom('application/json', 'text/event-stream', 'text/plain', '')

test('whatever passes, it passes unchanged, and leaves one whole record', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        path,
        headers,
        body: content,
        status: fc.constantFrom(200, 400, 529),
        contentType,
        answerHeaders: headers,
        answer: content,
        pieceBytes: fc.integer({ min: 1, max: 3000 }),
      }),
      async (run) => {
        upstream.requests.length = 0
        gateway.ledger.entries.length = 0
        upstream.answer = ({ socket }) => {
          const lines = run.answerHeaders.map(([name, value]) => `${name}: ${value}\r\n`).join('')
          const type = run.contentType === '' ? '' : `content-type: ${run.contentType}\r\n`
          const head = `HTTP/1.1 ${run.status} X\r\n${type}${lines}transfer-encoding: chunked\r\n\r\n`
          socket.write(Buffer.from(head, 'latin1'))
          for (let at = 0; at < run.answer.length; at += run.pieceBytes) {
            socket.write(chunked(run.answer.subarray(at, at + run.pieceBytes)))
          }
          socket.write(lastChunk)
        }
        const lines = run.headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
        const head = `POST ${run.path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n${lines}content-length: ${run.body.length}\r\n\r\n`
        const caller = await callRaw(gateway.port)
        caller.send(Buffer.concat([Buffer.from(head, 'latin1'), run.body]))
        await caller.closed
        const received = parseAnswer(caller.received())
        expect(received.body.equals(run.answer)).toBe(true)
        expect(received.isWhole).toBe(true)
        expect(received.status).toBe(run.status)
        const [request] = upstream.requests
        expect(request?.body.equals(run.body)).toBe(true)
        const sent = run.headers.map(([name, value]) => `${name}: ${value}`)
        expect(request?.headers.filter((line) => sent.includes(line))).toEqual(sent)
        expect(gateway.ledger.entries.map((entry) => entry.kind)).toEqual([
          'interaction.started',
          'interaction.completed',
        ])
        expect(gateway.ledger.openInteractions).toBe(0)
      },
    ),
    { numRuns: 150 },
  )
})

test('bytes that are no HTTP at all, in any pieces, end nothing but their connection', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          fc.uint8Array({ minLength: 1, maxLength: 50 }),
          fc.constant(Buffer.from('\r\n\r\n')),
        ),
        {
          minLength: 1,
          maxLength: 5,
        },
      ),
      async (pieces) => {
        const caller = await callRaw(gateway.port)
        for (const piece of pieces) caller.send(Buffer.from(piece))
        caller.socket.end()
        await caller.closed
        expect(gateway.context.live.size).toBe(0)
      },
    ),
    { numRuns: 100 },
  )
})
