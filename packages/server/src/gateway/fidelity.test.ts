import { createHash, randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  answerWith,
  callRaw,
  chunked,
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
  type ReceivedRequest,
  type TestGateway,
} from './testing.ts'

let upstream: RawUpstream
let gateway: TestGateway
beforeEach(async () => {
  upstream = await startRawUpstream()
  gateway = await startTestGateway(upstream.url)
})
afterEach(async () => {
  await gateway.close()
  await upstream.close()
})

async function exchange(request: string | Buffer): Promise<Buffer> {
  const caller = await callRaw(gateway.port)
  caller.send(request)
  await caller.closed
  return caller.received()
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

/** Headers that the gateway's own connection sets. */
const ownHeaders = /^(host|connection|content-length): /

describe('what upstream receives', () => {
  test('headers keep order, case and duplicates; hop-by-hop and audit headers are gone', async () => {
    await exchange(
      [
        'POST /v1/messages?beta=true&x=%20a HTTP/1.1',
        'Host: gateway',
        'X-Odd-CASE: One',
        'anthropic-beta: a-1,b-2',
        'Anthropic-Beta: c-3',
        'x-odd-case:   two  ',
        'X-Empty:',
        'Cookie: a=1',
        'cookie: b=2',
        'X-Latin: caf\u00e9',
        'Accept-Encoding: gzip, br, zstd',
        'Authorization: Bearer sk-ant-oat-x',
        'x-api-key: sk-ant-secret',
        'x-audit-user: jane',
        'X-AUDIT-Session: s',
        'x-audit-anything: y',
        'Connection: close, X-Hop',
        'X-Hop: gone',
        'Keep-Alive: timeout=5',
        'TE: trailers',
        'Trailer: X-T',
        'Proxy-Authorization: Basic zzz',
        'Expect: 100-continue',
        'Content-Length: 2',
        '',
        '{}',
      ].join('\r\n'),
    )
    const [request] = upstream.requests
    expect(request?.head.split('\r\n')[0]).toBe('POST /v1/messages?beta=true&x=%20a HTTP/1.1')
    expect(request?.headers.filter((line) => !ownHeaders.test(line))).toEqual([
      'X-Odd-CASE: One',
      'anthropic-beta: a-1,b-2',
      'Anthropic-Beta: c-3',
      'x-odd-case: two',
      'X-Empty: ',
      'Cookie: a=1',
      'cookie: b=2',
      'X-Latin: caf\u00c3\u00a9',
      'Accept-Encoding: identity',
      'Authorization: Bearer sk-ant-oat-x',
      'x-api-key: sk-ant-secret',
    ])
    expect(request?.headers).toContain(`host: ${new URL(upstream.url).host}`)
    expect(request?.body.toString()).toBe('{}')
  })

  test('no accept-encoding is added for a caller that sends none', async () => {
    await exchange(messageRequest())
    expect(upstream.requests[0]?.head.toLowerCase()).not.toContain('accept-encoding')
  })

  test('more headers than any default limit pass', async () => {
    const headers = Array.from({ length: 2500 }, (_, at) => `x-many-${at}: ${at}`)
    await exchange(messageRequest({ headers }))
    expect(upstream.requests[0]?.headers).toEqual(expect.arrayContaining(headers))
  })

  test('a body that is not JSON, or not even text, passes byte for byte', async () => {
    const body = Buffer.concat([Buffer.from('{"broken": '), randomBytes(5000)])
    const head = `POST /v1/messages HTTP/1.1\r\nHost: g\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`
    await exchange(Buffer.concat([Buffer.from(head), body]))
    expect(upstream.requests[0]?.body.equals(body)).toBe(true)
  })

  test('a request that arrives byte by byte is the same request', async () => {
    const caller = await callRaw(gateway.port)
    caller.socket.setNoDelay(true)
    for (const byte of Buffer.from(messageRequest())) {
      caller.send(Buffer.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await caller.closed
    await exchange(messageRequest())
    const [slow, fast] = upstream.requests
    expect(slow?.body.equals(fast?.body ?? Buffer.alloc(0))).toBe(true)
    expect(parseAnswer(caller.received()).body.toString()).toBe(messageJson)
    const [first, second] = gateway.ledger.ofKind('interaction.completed')
    expect(first?.prompt_hash).toBe(second?.prompt_hash)
    expect(first?.request).toEqual(second?.request)
  })

  test('a chunked body arrives whole, with its length', async () => {
    const parts = ['{"model":"m",', '"messages":[]}']
    const request =
      'POST /v1/messages HTTP/1.1\r\nHost: g\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n' +
      parts.map((part) => chunked(part).toString()).join('') +
      lastChunk
    await exchange(request)
    expect(upstream.requests[0]?.body.toString()).toBe(parts.join(''))
    expect(upstream.requests[0]?.head).toContain(`content-length: ${parts.join('').length}`)
  })

  test('31 MB pass, and are let go when they have been sent', async () => {
    const body = Buffer.alloc(31 * 1024 * 1024, 'a')
    body.write('{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"')
    body.write('"}]}', body.length - 4)
    let held = -1
    upstream.answer = ({ socket }) => {
      held = gateway.context.bodies.bytes
      socket.write(jsonAnswer)
    }
    const head = `POST /v1/messages HTTP/1.1\r\nHost: g\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`
    await exchange(Buffer.concat([Buffer.from(head), body]))
    expect(sha256(upstream.requests[0]?.body ?? Buffer.alloc(0))).toBe(sha256(body))
    expect(held).toBe(0)
    expect(gateway.ledger.ofKind('interaction.completed')[0]).toMatchObject({
      request: { bytes: body.length, parsed: 'json' },
    })
  })

  test.each(['GET', 'DELETE', 'PUT', 'PATCH', 'OPTIONS'])('%s passes', async (method) => {
    await exchange(`${method} /v1/files/file_1 HTTP/1.1\r\nHost: g\r\nconnection: close\r\n\r\n`)
    expect(upstream.requests[0]?.head).toMatch(new RegExp(`^${method} /v1/files/file_1 HTTP/1.1`))
    expect(gateway.ledger.ofKind('interaction.completed')).toHaveLength(1)
  })

  test('an absolute target is forwarded as its path', async () => {
    await exchange(
      'GET http://api.anthropic.com/v1/models?limit=1 HTTP/1.1\r\nHost: api.anthropic.com\r\nconnection: close\r\n\r\n',
    )
    expect(upstream.requests[0]?.head).toMatch(/^GET \/v1\/models\?limit=1 HTTP/)
  })
})

describe('what the caller receives', () => {
  const answer = (text: string) => {
    upstream.answer = answerWith(Buffer.from(text, 'latin1'))
  }

  test('status text, order, case and duplicates of headers are kept', async () => {
    answer(
      'HTTP/1.1 529 Site is overloaded\r\nX-B: 1\r\nx-b: 2\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n' +
        'Request-ID: req_9\r\nX-Latin: caf\xe9\r\nDate: yesterday\r\nx-audit-event-id: forged\r\n' +
        'Keep-Alive: timeout=1\r\nConnection: X-Drop\r\nX-Drop: 1\r\nContent-Length: 0\r\n\r\n',
    )
    const { status, reason, headers } = parseAnswer(await exchange(messageRequest()))
    expect([status, reason]).toEqual([529, 'Site is overloaded'])
    const eventId = String(gateway.ledger.ofKind('interaction.completed')[0]?.event_id)
    expect(headers).toEqual([
      'X-B: 1',
      'x-b: 2',
      'Set-Cookie: a=1',
      'set-cookie: b=2',
      'Request-ID: req_9',
      'X-Latin: caf\xe9',
      'Date: yesterday',
      'Content-Length: 0',
      `x-audit-event-id: ${eventId}`,
      'Connection: close',
    ])
  })

  test('an empty status text stays empty, and no date is invented', async () => {
    answer('HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok')
    const { reason, headers } = parseAnswer(await exchange(messageRequest()))
    expect(reason).toBe('')
    expect(headers.join('\n').toLowerCase()).not.toContain('date:')
  })

  test.each(['strict', 'standard'])(
    'a status text that no status line may hold is left out (%s)',
    async (delivery) => {
      answer('HTTP/1.1 200 a\x01b\r\nContent-Length: 2\r\n\r\nok')
      const own = await startTestGateway(upstream.url, { delivery })
      const caller = await callRaw(own.port)
      caller.send(messageRequest())
      await caller.closed
      await own.close()
      expect(parseAnswer(caller.received())).toMatchObject({ status: 200, reason: '' })
    },
  )

  test('a status text in UTF-8 is the same bytes again', async () => {
    answer('HTTP/1.1 200 caf\xc3\xa9\r\nContent-Length: 2\r\n\r\nok')
    expect(parseAnswer(await exchange(messageRequest())).reason).toBe('caf\xc3\xa9')
  })

  test('a body with an unknown content-encoding passes untouched', async () => {
    answer('HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: 4\r\n\r\n\x28\xb5\x2f\xfd')
    const { headers, body } = parseAnswer(await exchange(messageRequest()))
    expect(headers).toContain('Content-Encoding: zstd')
    expect(body.toString('latin1')).toBe('\x28\xb5\x2f\xfd')
  })

  test('a redirect is passed on, never followed', async () => {
    answer(
      'HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n',
    )
    const { status, headers } = parseAnswer(await exchange(messageRequest()))
    expect(status).toBe(307)
    expect(headers).toContain('Location: http://127.0.0.1:1/')
    expect(upstream.requests).toHaveLength(1)
  })

  test('an answer to HEAD has its headers and no body', async () => {
    answer('HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nX-A: b\r\n\r\n')
    const text = (
      await exchange('HEAD /v1/models HTTP/1.1\r\nHost: g\r\nconnection: close\r\n\r\n')
    ).toString()
    expect(text).toContain('Content-Length: 1234\r\nX-A: b\r\n')
    expect(text.endsWith('\r\n\r\n')).toBe(true)
  })

  test.each(['204 No Content', '304 Not Modified'])('%s has no body', async (line) => {
    answer(`HTTP/1.1 ${line}\r\nETag: "x"\r\n\r\n`)
    const text = (
      await exchange('GET /v1/models HTTP/1.1\r\nHost: g\r\nconnection: close\r\n\r\n')
    ).toString()
    expect(text.startsWith(`HTTP/1.1 ${line}\r\nETag: "x"\r\n`)).toBe(true)
    expect(text.endsWith('\r\n\r\n')).toBe(true)
  })

  test('early hints pass before the answer', async () => {
    answer(`HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n${jsonAnswer}`)
    const text = (await exchange(messageRequest())).toString()
    expect(
      text.startsWith(
        'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n',
      ),
    ).toBe(true)
    expect(text.endsWith(messageJson)).toBe(true)
  })

  test('a body that ends with its connection is passed whole', async () => {
    upstream.answer = ({ socket }) => {
      socket.end(`HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n${messageJson}`)
    }
    const { body, isWhole } = parseAnswer(await exchange(messageRequest()))
    expect(isWhole).toBe(true)
    expect(body.toString()).toBe(messageJson)
  })

  test('a caller of HTTP/1.0 gets the whole body and the end of its connection', async () => {
    const request = messageRequest().replace('HTTP/1.1', 'HTTP/1.0')
    const { headers, body } = parseAnswer(await exchange(request))
    expect(headers.join('\n').toLowerCase()).not.toContain('transfer-encoding')
    expect(body.toString()).toBe(messageJson)
  })
})

describe('chunk boundaries', () => {
  const whole = Buffer.from(streamFrames.join(''))

  async function streamIn(pieces: readonly Buffer[]): Promise<Buffer> {
    upstream.answer = ({ socket }: ReceivedRequest) => {
      socket.setNoDelay(true)
      void (async () => {
        socket.write(streamHead)
        for (const piece of pieces) {
          socket.write(chunked(piece))
          await new Promise((resolve) => setImmediate(resolve))
        }
        socket.write(lastChunk)
      })()
    }
    const answer = parseAnswer(await exchange(messageRequest({ stream: true })))
    expect(answer.isWhole).toBe(true)
    return answer.body
  }

  test('a stream that comes byte by byte is the same stream and the same record', async () => {
    const pieces = [...whole].map((byte) => Buffer.of(byte))
    expect((await streamIn(pieces)).equals(whole)).toBe(true)
    expect((await streamIn([whole])).equals(whole)).toBe(true)
    const [slow, fast] = gateway.ledger.ofKind('interaction.completed')
    expect(slow).toMatchObject({ end_state: 'complete', completion_tokens: 5 })
    expect(slow?.response_hash).toBe(fast?.response_hash)
    expect(slow?.response).toEqual(fast?.response)
  })

  test('a split inside every multi-byte character changes nothing', async () => {
    const first = whole.indexOf(Buffer.from('ü'))
    for (let at = first; at < first + 12; at++) {
      const body = await streamIn([whole.subarray(0, at), whole.subarray(at)])
      expect(body.equals(whole)).toBe(true)
    }
    const hashes = gateway.ledger
      .ofKind('interaction.completed')
      .map((entry) => entry.response_hash)
    expect(new Set(hashes).size).toBe(1)
  })

  test('a head that comes byte by byte is the same head', async () => {
    upstream.answer = ({ socket }) => {
      socket.setNoDelay(true)
      void (async () => {
        for (const byte of Buffer.from(jsonAnswer)) {
          socket.write(Buffer.of(byte))
          await new Promise((resolve) => setImmediate(resolve))
        }
      })()
    }
    // Its reason phrase is not: undici keeps the last piece of one that came in several.
    const { status, headers, body } = parseAnswer(await exchange(messageRequest()))
    expect(status).toBe(200)
    expect(headers.slice(0, 2)).toEqual(['Content-Type: application/json', 'request-id: req_1'])
    expect(body.toString()).toBe(messageJson)
  })
})
