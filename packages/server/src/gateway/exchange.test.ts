import { AuditError } from '@affidavit/format'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  answerWithStream,
  callRaw,
  chunked,
  FakeLog,
  jsonAnswer,
  lastChunk,
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

const stop = streamFrames.at(-1) ?? ''

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

/** Lets everything that is under way on this machine happen. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}

describe('before the request is forwarded', () => {
  test('upstream sees nothing while the start is being written', async () => {
    await start()
    gateway.ledger.heldKinds.add('interaction.started')
    const appended = gateway.ledger.appended('interaction.started')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await appended
    await settle()
    expect(upstream.requests).toHaveLength(0)
    gateway.ledger.release()
    await caller.closed
    expect(upstream.requests).toHaveLength(1)
    expect(parseAnswer(caller.received()).body.toString()).toBe(messageJson)
  })

  test('a start that cannot be written is a 503 that says so, and nothing is forwarded', async () => {
    await start()
    gateway.ledger.failingKinds.set('interaction.started', 'ERR_LEDGER_DISK_FULL')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.status).toBe(503)
    expect(answer.headers).toContain('x-should-retry: false')
    expect(answer.headers).toContain('x-audit-error: ERR_LEDGER_DISK_FULL')
    const { type, error } = JSON.parse(answer.body.toString())
    expect(type).toBe('error')
    expect(error.type).toBe('api_error')
    expect(error.message).toContain('was not forwarded')
    expect(upstream.requests).toHaveLength(0)
    expect(upstream.sockets).toHaveLength(0)
  })

  test('a name that cannot be made durable is a 503, and nothing is forwarded', async () => {
    await start()
    gateway.ring.failing = true
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ headers: ['x-audit-user: jane'] }))
    await caller.closed
    expect(parseAnswer(caller.received()).status).toBe(503)
    expect(gateway.ledger.entries).toHaveLength(0)
    expect(upstream.requests).toHaveLength(0)
  })

  test('a stopped ledger refuses before the body is read, and is opened again by itself', async () => {
    await start()
    gateway.nextLedgers.push(new AuditError('ERR_LEDGER_LOCKED', 'held'), new FakeLog())
    gateway.ledger.stop('ERR_LEDGER_WRITE_FAILED')
    const caller = await callRaw(gateway.port)
    caller.send('POST /v1/messages HTTP/1.1\r\nHost: g\r\ncontent-length: 1000000\r\n\r\n')
    await caller.until('ERR_LEDGER')
    expect(parseAnswer(caller.received()).status).toBe(503)
    caller.socket.destroy()
    await settle()
    const next = await callRaw(gateway.port)
    next.send(messageRequest())
    await next.closed
    expect(parseAnswer(next.received()).status).toBe(200)
    expect(gateway.ledger.ofKind('interaction.completed')).toHaveLength(1)
  })

  test('a caller that goes away while the start is written is recorded, and nothing is forwarded', async () => {
    await start()
    gateway.ledger.heldKinds.add('interaction.started')
    const appended = gateway.ledger.appended('interaction.started')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await appended
    caller.socket.destroy()
    await caller.closed
    await settle()
    const completed = gateway.ledger.appended('interaction.completed')
    gateway.ledger.release()
    await completed
    await settle()
    expect(upstream.requests).toHaveLength(0)
    expect(gateway.ledger.ofKind('interaction.completed')[0]).toMatchObject({
      end_state: 'client_abort',
      http_status: null,
    })
  })

  test('a request that never becomes whole leaves nothing', async () => {
    await start()
    const caller = await callRaw(gateway.port)
    caller.send('POST /v1/messages HTTP/1.1\r\nHost: g\r\ncontent-length: 100\r\n\r\nhalf')
    await settle()
    caller.socket.destroy()
    await caller.closed
    await settle()
    expect(gateway.ledger.entries).toHaveLength(0)
    expect(gateway.context.live.size).toBe(0)
    expect(gateway.context.bodies.bytes).toBe(0)
  })
})

describe('strict delivery', () => {
  test('the last frame waits for the record; everything before it does not', async () => {
    upstream.answer = answerWithStream
    await start()
    gateway.ledger.heldKinds.add('interaction.completed')
    const appended = gateway.ledger.appended('interaction.completed')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await appended
    await caller.until('message_delta')
    await settle()
    expect(caller.text()).not.toContain('message_stop')
    gateway.ledger.release()
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.isWhole).toBe(true)
    expect(answer.body.toString()).toBe(streamFrames.join(''))
  })

  test('an answer that is not a stream waits whole, head included', async () => {
    await start()
    gateway.ledger.heldKinds.add('interaction.completed')
    const appended = gateway.ledger.appended('interaction.completed')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await appended
    await settle()
    expect(caller.received()).toHaveLength(0)
    gateway.ledger.release()
    await caller.closed
    expect(parseAnswer(caller.received()).body.toString()).toBe(messageJson)
  })

  test('of an answer above the limit only the last piece waits', async () => {
    const piece = 'x'.repeat(600)
    upstream.answer = ({ socket }) => {
      socket.write(
        'HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n',
      )
      for (let count = 0; count < 3; count++) socket.write(chunked(piece))
      socket.write(lastChunk)
    }
    await start({ limits: { held_answer_bytes: 1000 } })
    gateway.ledger.heldKinds.add('interaction.completed')
    const appended = gateway.ledger.appended('interaction.completed')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ path: '/v1/files/file_1/content' }))
    await appended
    await caller.until(piece)
    await settle()
    expect(parseAnswer(caller.received()).body.length).toBeLessThan(1800)
    expect(parseAnswer(caller.received()).isWhole).toBe(false)
    gateway.ledger.release()
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.isWhole).toBe(true)
    expect(answer.body.toString()).toBe(piece.repeat(3))
  })

  test('a stream whose record fails breaks off before its last frame', async () => {
    upstream.answer = answerWithStream
    await start()
    gateway.ledger.failingKinds.set('interaction.completed', 'ERR_LEDGER_WRITE_FAILED')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.isWhole).toBe(false)
    expect(answer.body.toString()).not.toContain('message_stop')
    expect(gateway.metrics()).toContain('affidavit_completions_lost_total 1')
  })

  test('an answer whose head is not sent yet becomes a 503 when its record fails', async () => {
    await start()
    gateway.ledger.failingKinds.set('interaction.completed', 'ERR_LEDGER_DISK_FULL')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.status).toBe(503)
    expect(answer.headers).toContain('x-should-retry: false')
    expect(answer.body.toString()).toContain('withheld')
    expect(answer.body.toString()).not.toContain('Hello.')
  })

  test('an error event waits for the record too', async () => {
    const event =
      'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n'
    upstream.answer = ({ socket }) => {
      socket.write(streamHead)
      socket.write(chunked(streamFrames[0] ?? ''))
      socket.write(chunked(event))
      socket.write(lastChunk)
    }
    await start()
    gateway.ledger.heldKinds.add('interaction.completed')
    const appended = gateway.ledger.appended('interaction.completed')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await appended
    await settle()
    expect(caller.text()).not.toContain('overloaded_error')
    gateway.ledger.release()
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.body.toString()).toBe(`${streamFrames[0]}${event}`)
    expect(gateway.ledger.ofKind('interaction.completed')[0]).toMatchObject({
      end_state: 'upstream_error',
      error_type: 'overloaded_error',
    })
  })

  test('an upstream that keeps a finished stream open does not keep the caller waiting', async () => {
    upstream.answer = ({ socket }) => {
      socket.write(streamHead)
      for (const text of streamFrames) socket.write(chunked(text))
    }
    await start({ limits: { linger_ms: 10 } })
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await caller.closed
    const answer = parseAnswer(caller.received())
    expect(answer.isWhole).toBe(true)
    expect(answer.body.toString()).toBe(streamFrames.join(''))
    expect(gateway.ledger.ofKind('interaction.completed')[0]).toMatchObject({
      end_state: 'complete',
    })
  })

  test('what upstream sends after the last frame is delivered with it', async () => {
    const after = 'event: ping\ndata: {"type":"ping"}\n\n'
    upstream.answer = ({ socket }) => {
      socket.write(streamHead)
      socket.write(chunked(`${streamFrames.join('')}${after.slice(0, 5)}`))
      socket.write(chunked(after.slice(5)))
      socket.write(lastChunk)
    }
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await caller.closed
    expect(parseAnswer(caller.received()).body.toString()).toBe(streamFrames.join('') + after)
  })

  test('a stream that capture does not read passes event by event, and its end waits', async () => {
    let finish = () => {}
    upstream.answer = ({ socket }) => {
      socket.write(streamHead)
      socket.write(chunked('event: agent.message\ndata: {"id":"evt_1"}\n\n'))
      finish = () => socket.write(lastChunk)
    }
    await start()
    gateway.ledger.heldKinds.add('interaction.completed')
    const caller = await callRaw(gateway.port)
    caller.send(
      'GET /v1/sessions/s_1/events/stream HTTP/1.1\r\nHost: g\r\nconnection: close\r\n\r\n',
    )
    await caller.until('evt_1')
    const appended = gateway.ledger.appended('interaction.completed')
    finish()
    await appended
    await settle()
    expect(parseAnswer(caller.received()).isWhole).toBe(false)
    gateway.ledger.release()
    await caller.closed
    expect(parseAnswer(caller.received()).isWhole).toBe(true)
  })
})

describe('standard delivery', () => {
  test('the answer does not wait for its record, which is written all the same', async () => {
    upstream.answer = answerWithStream
    await start({ delivery: 'standard' })
    gateway.ledger.heldKinds.add('interaction.completed')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await caller.closed
    expect(parseAnswer(caller.received()).body.toString()).toBe(streamFrames.join(''))
    await settle()
    gateway.ledger.release()
    expect(gateway.ledger.ofKind('interaction.completed')[0]).toMatchObject({
      end_state: 'complete',
    })
  })

  test('a record that fails after delivery is counted', async () => {
    await start({ delivery: 'standard' })
    gateway.ledger.failingKinds.set('interaction.completed', 'ERR_LEDGER_WRITE_FAILED')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await caller.closed
    await settle()
    expect(parseAnswer(caller.received()).body.toString()).toBe(messageJson)
    expect(gateway.metrics()).toContain('affidavit_completions_lost_total 1')
  })

  test('the start is written first all the same', async () => {
    await start({ delivery: 'standard' })
    gateway.ledger.failingKinds.set('interaction.started', 'ERR_LEDGER_WRITE_FAILED')
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest())
    await caller.closed
    expect(parseAnswer(caller.received()).status).toBe(503)
    expect(upstream.requests).toHaveLength(0)
  })
})

describe('the record', () => {
  test('start and end name the same exchange, and the caller is told which', async () => {
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ headers: ['x-audit-user: jane', 'x-audit-session: s-1'] }))
    await caller.closed
    const [started] = gateway.ledger.ofKind('interaction.started')
    const [completed] = gateway.ledger.ofKind('interaction.completed')
    const { headers } = parseAnswer(caller.received())
    expect(headers).toContain(`x-audit-event-id: ${started?.event_id}`)
    expect(completed).toMatchObject({
      event_id: started?.event_id,
      user_id: 'sub_0000000000000000000000',
      session_id: 's-1',
      application_id: 'unnamed',
      identity_trust: { application: 'none', session: 'client-asserted', user: 'client-asserted' },
      model: 'claude-sonnet-4-5',
      prompt_tokens: 7,
      completion_tokens: 3,
      request_id: 'req_1',
      end_state: 'complete',
      ip_address: '127.0.0.0/24',
    })
    expect(gateway.ledger.openInteractions).toBe(0)
  })

  test('connections are used again, in both directions', async () => {
    await start()
    const caller = await callRaw(gateway.port)
    for (let count = 1; count <= 5; count++) {
      caller.send(messageRequest({ close: false }))
      await upstream.received(count)
      while (caller.text().split('HTTP/1.1 200 OK').length <= count) await settle()
    }
    expect(upstream.sockets).toHaveLength(1)
    expect(gateway.ledger.ofKind('interaction.completed')).toHaveLength(5)
    caller.socket.destroy()
  })

  test('nothing is left when exchanges are over', async () => {
    upstream.answer = ({ socket, body }) =>
      body.includes('"stream"') ? answerWithStream({ socket } as never) : socket.write(jsonAnswer)
    await start()
    const callers = await Promise.all(Array.from({ length: 20 }, () => callRaw(gateway.port)))
    for (const [at, caller] of callers.entries())
      caller.send(messageRequest({ stream: at % 2 === 0 }))
    await Promise.all(callers.map((caller) => caller.closed))
    await settle()
    expect(gateway.context.live.size).toBe(0)
    expect(gateway.context.bodies.bytes).toBe(0)
    expect(gateway.ledger.ofKind('interaction.completed')).toHaveLength(20)
    expect(callers.every((caller) => parseAnswer(caller.received()).isWhole)).toBe(true)
    expect(stop).toContain('message_stop')
  })
})
