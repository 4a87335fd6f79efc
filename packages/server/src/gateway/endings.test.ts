import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  answerWith,
  callRaw,
  chunked,
  jsonAnswer,
  messageJson,
  messageRequest,
  parseAnswer,
  startRawUpstream,
  startTestGateway,
  streamFrames,
  streamHead,
  type RawUpstream,
  type TestGateway,
} from './testing.ts'

let upstream: RawUpstream
let gateway: TestGateway
const start = async (settings: Record<string, unknown> = {}) => {
  gateway = await startTestGateway(upstream.url, settings)
}
beforeEach(async () => {
  upstream = await startRawUpstream()
})
afterEach(async () => {
  await gateway.close()
  await upstream.close()
})

const completed = () => gateway.ledger.ofKind('interaction.completed')[0]

/** Answers with the first frames of a stream and keeps it open. */
const beginStream = (frames: number) => {
  upstream.answer = ({ socket }) => {
    socket.write(streamHead)
    for (const text of streamFrames.slice(0, frames)) socket.write(chunked(text))
  }
}

describe('the caller goes away', () => {
  test('in a stream: upstream is closed at once and the record says how far it was', async () => {
    beginStream(4)
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await caller.until('🌍')
    const upstreamClosed = new Promise((resolve) => upstream.sockets[0]?.on('close', resolve))
    const appended = gateway.ledger.appended('interaction.completed')
    caller.socket.destroy()
    await Promise.all([upstreamClosed, appended])
    await caller.closed
    await new Promise((resolve) => setImmediate(resolve))
    expect(completed()).toMatchObject({
      end_state: 'client_abort',
      status: 'incomplete',
      http_status: 200,
      prompt_tokens: 7,
      usage_source: 'partial',
      response: { bytes: Buffer.byteLength(streamFrames.slice(0, 4).join('')), parsed: 'sse' },
    })
    expect(completed()).not.toHaveProperty('delivered')
  })

  test('before the answer begins: the same', async () => {
    upstream.answer = () => {}
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await upstream.received(1)
    const upstreamClosed = new Promise((resolve) => upstream.sockets[0]?.on('close', resolve))
    const appended = gateway.ledger.appended('interaction.completed')
    caller.socket.destroy()
    await Promise.all([upstreamClosed, appended])
    await new Promise((resolve) => setImmediate(resolve))
    expect(completed()).toMatchObject({ end_state: 'client_abort', http_status: null })
  })

  test('while an answer is held back: the record says that none of it was delivered', async () => {
    upstream.answer = ({ socket }) => {
      socket.write(
        `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"id"`,
      )
    }
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    while (gateway.metrics().includes('affidavit_answer_bytes_total 0')) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    const appended = gateway.ledger.appended('interaction.completed')
    caller.socket.destroy()
    await appended
    await new Promise((resolve) => setImmediate(resolve))
    expect(completed()).toMatchObject({
      end_state: 'client_abort',
      response: { bytes: 5 },
      delivered: { bytes: 0 },
    })
  })

  test('while the record is written: the outcome stands', async () => {
    await start()
    gateway.ledger.heldKinds.add('interaction.completed')
    const appended = gateway.ledger.appended('interaction.completed')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await appended
    caller.socket.destroy()
    await caller.closed
    gateway.ledger.release()
    await new Promise((resolve) => setImmediate(resolve))
    expect(completed()).toMatchObject({ end_state: 'complete' })
    expect(gateway.context.live.size).toBe(0)
  })
})

describe('the upstream breaks off', () => {
  test.each([1, 2, 3, 4, 5, 6])(
    'after frame %d of a stream: the caller gets what came and no end',
    async (frames) => {
      upstream.answer = ({ socket }) => {
        socket.write(streamHead)
        for (const text of streamFrames.slice(0, frames)) socket.write(chunked(text))
        socket.end()
      }
      await start()
      const caller = await callRaw(gateway.port)
      caller.send(messageRequest({ stream: true }))
      await caller.closed
      const answer = parseAnswer(caller.received())
      expect(answer.body.toString()).toBe(streamFrames.slice(0, frames).join(''))
      expect(answer.isWhole).toBe(false)
      expect(completed()).toMatchObject({ end_state: 'upstream_cut', status: 'incomplete' })
    },
  )

  test('with a reset: the same', async () => {
    await start()
    const caller = await callRaw(gateway.port)
    beginStream(3)
    caller.send(messageRequest({ stream: true }))
    await caller.until('content_block_start')
    upstream.sockets[0]?.resetAndDestroy()
    await caller.closed
    expect(parseAnswer(caller.received()).isWhole).toBe(false)
    expect(completed()).toMatchObject({ end_state: 'upstream_cut' })
  })

  test('in the middle of a JSON body: the caller gets the head, what came, and no end', async () => {
    upstream.answer = ({ socket }) => {
      socket.end(
        'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"id"',
      )
    }
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.headers).toContain('Content-Length: 500')
    expect(answer.body.toString()).toBe('{"id"')
    expect(completed()).toMatchObject({ end_state: 'upstream_cut', response: { bytes: 5 } })
  })

  test('of the second of two pipelined requests: the first answer is whole, and comes first', async () => {
    let finishFirst = () => {}
    upstream.answer = ({ socket }) => {
      if (upstream.requests.length > 1) socket.destroy()
      else finishFirst = () => socket.write(jsonAnswer)
    }
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ close: false }) + messageRequest({ close: false }))
    await upstream.received(2)
    finishFirst()
    await caller.until('502')
    const text = caller.text()
    expect(text.indexOf(messageJson)).toBeGreaterThan(0)
    expect(text.indexOf('HTTP/1.1 502')).toBeGreaterThan(text.indexOf(messageJson))
    caller.socket.destroy()
  })

  test('of a pipelined stream whose turn has not come: its connection breaks when it does', async () => {
    let finishFirst = () => {}
    upstream.answer = ({ socket }) => {
      if (upstream.requests.length === 1) {
        finishFirst = () => socket.write(jsonAnswer)
        return
      }
      socket.write(streamHead)
      socket.write(chunked(streamFrames[0] ?? ''))
      socket.end()
    }
    await start()
    const caller = await callRaw(gateway.port)
    const appended = gateway.ledger.appended('interaction.completed')
    caller.send(messageRequest({ close: false }) + messageRequest({ close: false, stream: true }))
    await appended
    await new Promise((resolve) => setImmediate(resolve))
    finishFirst()
    await caller.closed
    expect(caller.text()).toContain(messageJson)
    expect(caller.text()).not.toContain('message_stop')
  })

  test('towards a caller of HTTP/1.0, whose messages have no frame: its connection is reset', async () => {
    beginStream(3)
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }).replace('HTTP/1.1', 'HTTP/1.0'))
    await caller.until('content_block_start')
    upstream.sockets[0]?.destroy()
    expect(await caller.closed).toBe('ECONNRESET')
  })

  test('before it answers: 502 in Claude’s shape, recorded as cut', async () => {
    upstream.answer = ({ socket }) => socket.destroy()
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.status).toBe(502)
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      type: 'error',
      error: { type: 'api_error' },
    })
    expect(answer.headers).toContain('x-should-retry: true')
    expect(answer.headers).toContain(`x-audit-event-id: ${completed()?.event_id}`)
    expect(completed()).toMatchObject({ end_state: 'upstream_cut', http_status: 502 })
  })

  test('by speaking something else than HTTP: 502', async () => {
    upstream.answer = answerWith('SSH-2.0-OpenSSH_9.7\r\n\r\n')
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await caller.closed
    expect(parseAnswer(caller.received()).status).toBe(502)
  })
})

describe('the upstream is not there', () => {
  test('502, recorded as an upstream error, and the message is no leak', async () => {
    await start()
    await upstream.close()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.status).toBe(502)
    expect(answer.body.toString()).not.toContain('127.0.0.1')
    expect(completed()).toMatchObject({
      end_state: 'upstream_error',
      http_status: 502,
      error_type: 'api_error',
    })
    upstream = await startRawUpstream()
  })

  test('504 when it takes longer than the limit to answer', async () => {
    upstream.answer = () => {}
    await gateway?.close().catch(() => {})
    gateway = await startTestGateway(upstream.url, {})
    const caller = await callRaw(gateway.port)
    const { dispatch } = gateway.context.upstream
    // The pool's own limit is minutes; this request has a shorter one.
    gateway.context.upstream.dispatch = (options, handler) =>
      dispatch({ ...options, headersTimeout: 20 }, handler)
    caller.send(messageRequest())
    await caller.closed
    expect(parseAnswer(caller.received()).status).toBe(504)
    expect(completed()).toMatchObject({ end_state: 'upstream_error', error_type: 'timeout_error' })
  })

  test('an error that upstream answers with passes untouched', async () => {
    const body =
      '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_x"}'
    upstream.answer = answerWith(
      `HTTP/1.1 529 \r\nContent-Type: application/json\r\nretry-after: 3\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.body.toString()).toBe(body)
    expect(answer.headers).toContain('retry-after: 3')
    expect(completed()).toMatchObject({
      end_state: 'upstream_error',
      error_type: 'overloaded_error',
      http_status: 529,
    })
  })
})

describe('pressure', () => {
  test('an upstream faster than the caller is held up, and nothing is lost', async () => {
    const piece = Buffer.alloc(64 * 1024, 'p')
    const pieces = 400
    let written = 0
    upstream.answer = ({ socket }) => {
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
      )
      const more = () => {
        while (written < pieces) {
          written++
          if (!socket.write(chunked(piece))) {
            socket.once('drain', more)
            return
          }
        }
        socket.write('0\r\n\r\n')
      }
      more()
    }
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ path: '/v1/sessions/s/events/stream' }))
    await caller.until('pppp')
    caller.socket.pause()
    let before = -1
    // Wait until nothing moves any more: everything that fits into buffers is there.
    for (let still = 0; still < 50; still = before === written ? still + 1 : 0) {
      before = written
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(written).toBeLessThan(pieces)
    caller.socket.resume()
    await caller.closed
    expect(parseAnswer(caller.received()).body.length).toBe(pieces * piece.length)
  })

  test('a caller that takes nothing for too long is let go, and recorded', async () => {
    const piece = Buffer.alloc(1024 * 1024, 'p')
    upstream.answer = ({ socket }) => {
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
      )
      for (let count = 0; count < 30; count++) socket.write(chunked(piece))
    }
    await start({ limits: { stalled_ms: 1000 } })
    Object.assign(gateway.context, { limits: { ...gateway.context.limits, stalledMs: 30 } })
    const caller = await callRaw(gateway.port)
    const appended = gateway.ledger.appended('interaction.completed')
    caller.socket.pause()
    caller.send(messageRequest({ path: '/v1/sessions/s/events/stream' }))
    await appended
    await new Promise((resolve) => setImmediate(resolve))
    expect(completed()).toMatchObject({ end_state: 'client_abort' })
    caller.socket.destroy()
  })
})

describe('fail open', () => {
  const settings = { applications: { unnamed: { fail_open: true } } }

  test('a request passes unrecorded, and the gap is told of when the store returns', async () => {
    await start(settings)
    gateway.ledger.failingKinds.set('interaction.started', 'ERR_LEDGER_BUSY')
    gateway.ledger.failingKinds.set('capture.gap', 'ERR_LEDGER_BUSY')
    for (let count = 0; count < 3; count++) {
      const caller = await callRaw(gateway.port)
      caller.send(messageRequest())
      await caller.closed
      const answer = parseAnswer(caller.received())
      expect(answer.body.toString()).toBe(messageJson)
      expect(answer.headers.join('\n')).not.toContain('x-audit-event-id')
    }
    expect(gateway.metrics()).toContain('affidavit_unrecorded_total 3')
    gateway.ledger.stop('ERR_LEDGER_WRITE_FAILED')
    while (gateway.ledger.ofKind('capture.gap').length === 0) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(gateway.ledger.ofKind('capture.gap')).toMatchObject([
      {
        application_id: 'unnamed',
        reason: 'ERR_LEDGER_BUSY',
        requests: 3,
        retention_class: 'standard',
      },
    ])
    expect(gateway.context.store.unrecorded).toBe(0)
  })

  test('while the store is closed requests pass, streams too', async () => {
    await start(settings)
    const { store } = gateway.context
    Object.assign(gateway.context, {
      store: Object.create(store, { closedBy: { value: 'ERR_LEDGER_STOPPED' } }),
    })
    upstream.answer = ({ socket }) => {
      socket.write(streamHead)
      for (const text of streamFrames) socket.write(chunked(text))
      socket.write('0\r\n\r\n')
    }
    gateway.ledger.failingKinds.set('interaction.started', 'ERR_LEDGER_STOPPED')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await caller.closed
    expect(parseAnswer(caller.received()).body.toString()).toBe(streamFrames.join(''))
  })

  test('an answer whose record fails is delivered: its start is on disk', async () => {
    await start(settings)
    gateway.ledger.failingKinds.set('interaction.completed', 'ERR_LEDGER_WRITE_FAILED')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await caller.closed
    expect(parseAnswer(caller.received()).body.toString()).toBe(messageJson)
    expect(gateway.ledger.openInteractions).toBe(1)
  })

  test('an answer that broke off stays broken when its record fails', async () => {
    upstream.answer = ({ socket }) => {
      socket.write(streamHead)
      socket.write(chunked(streamFrames[0] ?? ''))
      socket.end()
    }
    await start(settings)
    gateway.ledger.failingKinds.set('interaction.completed', 'ERR_LEDGER_WRITE_FAILED')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await caller.closed
    expect(parseAnswer(caller.received()).isWhole).toBe(false)
  })

  test('naming such an application is not enough', async () => {
    await start({ applications: { lax: { fail_open: true } } })
    gateway.ledger.failingKinds.set('interaction.started', 'ERR_LEDGER_BUSY')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ headers: ['x-audit-application: lax'] }))
    await caller.closed
    expect(parseAnswer(caller.received()).status).toBe(503)
    expect(upstream.requests).toHaveLength(0)
    expect(jsonAnswer).toContain('200')
  })
})
