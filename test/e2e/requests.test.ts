import { createHash } from 'node:crypto'
import { type IncomingMessage, request as startRequest } from 'node:http'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  apiHeaders,
  messagesBody,
  send,
  type Sending,
  valuesOf,
} from '../../packages/server/src/simulate/testing.ts'
import { type Completed, isCompleted, type Pair, startPair } from './harness.ts'
import { digestsOf, sha256 } from './hashes.ts'
import { answerHeaders, endToEnd, forwardedHeaders } from './wire.ts'

let pair: Pair

beforeAll(async () => {
  pair = await startPair()
})

beforeEach(() => pair.simulator.clear())

afterAll(() => pair.close())

/** Sends a request; both sides of it must have passed unchanged. Returns its record. */
async function passed(sending: Sending): Promise<Completed> {
  const seen = await send(pair.url, sending)
  await pair.simulator.settled()
  const [exchange] = pair.simulator.requests
  expect(exchange?.received.method).toBe(sending.method ?? 'POST')
  expect(exchange?.received.url).toBe(sending.path ?? '/v1/messages')
  expect(endToEnd(exchange?.received.rawHeaders ?? [])).toEqual(
    forwardedHeaders(sending.headers ?? apiHeaders),
  )
  expect(exchange?.received.bodySha256).toBe(sha256(Buffer.from(sending.body ?? '')))
  expect(seen.status).toBe(exchange?.sent.status)
  expect(answerHeaders(seen.rawHeaders)).toEqual(answerHeaders(exchange?.sent.headers ?? []))
  if (sending.method !== 'HEAD') expect(sha256(seen.body)).toBe(exchange?.sent.bodySha256)
  const record = await pair.record(valuesOf(seen.rawHeaders, 'x-audit-event-id')[0])
  const digests = digestsOf(pair.dataDir)
  expect(record.request.bytes).toBe(Buffer.byteLength(sending.body ?? ''))
  expect(record.request.wire_digest).toBe(digests.keyed(sha256(Buffer.from(sending.body ?? ''))))
  return record
}

describe('operations beside messages', () => {
  test('count_tokens has a record of its own, with the prompt’s hash', async () => {
    const body = messagesBody()
    const record = await passed({ path: '/v1/messages/count_tokens', body })
    expect(record).toMatchObject({
      operation: 'messages.count_tokens',
      end_state: 'complete',
      prompt_hash: digestsOf(pair.dataDir).prompt(body),
      prompt_tokens: pair.simulator.requests[0]?.facts.usage?.['input_tokens'],
      completion_tokens: null,
    })
  })

  test('an unknown path is recorded as bytes and forwarded', async () => {
    const body = Buffer.from(Array.from({ length: 5000 }, (_, index) => (index * 37) % 256))
    const record = await passed({ path: '/v1/tomorrow?a=b&a=c', body })
    expect(record).toMatchObject({ operation: 'opaque', end_state: 'complete', prompt_hash: null })
    expect(record.request.parsed).toBe('opaque')
  })

  test.each(['GET', 'DELETE', 'PUT', 'PATCH'])(
    '%s on an unknown path is recorded',
    async (method) => {
      const record = await passed({ method, path: '/v1/files/file_123', headers: apiHeaders })
      expect(record.route).toContain(method)
      expect(record.route).not.toContain('file_123')
    },
  )

  test('the connectivity probe passes and leaves no record', async () => {
    const before = (await pair.entries()).length
    const seen = await send(pair.url, { method: 'HEAD', path: '/api/hello', headers: [] })
    expect(seen.status).toBe(200)
    expect((await pair.entries()).length).toBe(before)
  })

  test('a batch is recorded, and its body passes', async () => {
    const body = JSON.stringify({
      requests: [{ custom_id: 'first', params: JSON.parse(messagesBody()) }],
    })
    const record = await passed({ path: '/v1/messages/batches', body })
    expect(record.operation).toMatch(/batch/)
    expect(record.prompt_hash).not.toBeNull()
  })
})

describe('bodies', () => {
  test('31 MB pass', async () => {
    const body = messagesBody({ system: 'Ünïcödé 日本 '.repeat(1_650_000) })
    expect(Buffer.byteLength(body)).toBeGreaterThan(31_000_000)
    const record = await passed({ body })
    expect(record.end_state).toBe('complete')
    expect(record.prompt_hash).toBe(digestsOf(pair.dataDir).prompt(body))
  })

  test('above 32 MB are refused with 413, and nothing is forwarded', async () => {
    const seen = await send(pair.url, { body: Buffer.alloc(33 * 1024 * 1024, ' ') })
    expect(seen.status).toBe(413)
    expect(pair.simulator.requests).toEqual([])
  })

  test('gzip-coded ones pass as they are, and are understood', async () => {
    const plain = messagesBody()
    const headers = [...apiHeaders, 'content-encoding', 'gzip']
    const record = await passed({ headers, body: gzipSync(plain) })
    const digests = digestsOf(pair.dataDir)
    expect(record.prompt_hash).toBe(digests.prompt(plain))
    expect(record.request.encoding).toBe('gzip')
    expect(record.request.decoded_digest).toBe(digests.keyed(sha256(plain)))
  })

  test.each([
    ['nothing', ''],
    ['no JSON', '{"model": "claude", '],
    ['no object', '[1, 2]'],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d])],
    ['a body that nests 5000 deep', `{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`],
    ['duplicate members', '{"model":"a","model":"b","messages":[],"max_tokens":1}'],
  ])('%s passes and is recorded', async (_, body) => {
    const record = await passed({ body })
    expect(record.end_state).toBe('upstream_error')
    expect(record.error_type).toBe('invalid_request_error')
  })

  test('a byte order mark before the JSON passes', async () => {
    const record = await passed({ body: `\uFEFF${messagesBody()}` })
    expect(record.request.bytes).toBe(Buffer.byteLength(messagesBody()) + 3)
  })
})

describe('large answers', () => {
  test.each([false, true])('12 MB pass, streamed: %s', async (stream) => {
    const headers = [...apiHeaders, 'x-simulate-mode', 'huge', 'x-simulate-bytes', '12000000']
    const record = await passed({ headers, body: messagesBody({ stream }) })
    expect(record.end_state).toBe('complete')
    expect(record.response.bytes).toBeGreaterThan(12_000_000)
  })

  test('a caller that does not read holds its upstream up, and nobody else', async () => {
    const headers = [...apiHeaders, 'x-simulate-mode', 'huge', 'x-simulate-bytes', '40000000']
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = startRequest(`${pair.url}/v1/messages`, { method: 'POST', agent: false })
      for (let at = 0; at < headers.length; at += 2) {
        request.setHeader(headers[at] ?? '', headers[at + 1] ?? '')
      }
      request.on('response', resolve).on('error', reject)
      request.end(messagesBody({ stream: true }))
    })
    for (let count = 0; count < 50; count += 1) {
      expect((await send(pair.url, { body: messagesBody() })).status).toBe(200)
    }
    const stalled = pair.simulator.requests[0]
    expect(stalled?.sent.end).toBe('pending')
    const digest = createHash('sha256')
    for await (const chunk of answer) digest.update(chunk)
    await pair.simulator.settled()
    expect(stalled?.sent.end).toBe('complete')
    expect(digest.digest('hex')).toBe(stalled?.sent.bodySha256)
  })
})

describe('raw requests', () => {
  const body = messagesBody()
  const lines = ['host: gateway', 'x-api-key: sk-test', 'anthropic-version: 2023-06-01']

  /** Writes `pieces` to a connection, each when the one before has left, and reads until it closes. */
  function converse(pieces: readonly (string | Buffer)[]): Promise<string> {
    return new Promise((resolve, reject) => {
      let answer = ''
      const socket = connect(pair.gateway.port, '127.0.0.1', () => {
        const next = (index: number) => {
          const piece = pieces[index]
          if (piece !== undefined) socket.write(piece, () => next(index + 1))
        }
        next(0)
      })
      socket.setNoDelay(true)
      socket.setEncoding('latin1').on('data', (text: string) => {
        answer += text
      })
      socket.on('close', () => resolve(answer))
      socket.on('error', reject)
    })
  }

  const head = (...more: readonly string[]) =>
    [`POST /v1/messages HTTP/1.1`, ...lines, 'connection: close', ...more, '', ''].join('\r\n')

  test('a request in 1-byte segments is the same request', async () => {
    const bytes = Buffer.from(head(`content-length: ${body.length}`) + body)
    const answer = await converse([...bytes].map((byte) => Buffer.from([byte])))
    expect(answer).toMatch(/^HTTP\/1.1 200 /)
    expect(pair.simulator.requests[0]?.received.bodySha256).toBe(sha256(body))
  })

  test('a chunked body is the same body', async () => {
    const chunks = Array.from(body, (character) => `1;ext=x\r\n${character}\r\n`)
    const answer = await converse([head('transfer-encoding: chunked'), ...chunks, '0\r\n\r\n'])
    expect(answer).toMatch(/^HTTP\/1.1 200 /)
    expect(pair.simulator.requests[0]?.received.bodySha256).toBe(sha256(body))
  })

  test('Expect: 100-continue is answered before the body is sent', async () => {
    const answer = await new Promise<string>((resolve) => {
      let text = ''
      const socket = connect(pair.gateway.port, '127.0.0.1', () => {
        socket.write(head(`content-length: ${body.length}`, 'expect: 100-continue'))
      })
      socket.setEncoding('latin1').on('data', (more: string) => {
        const first = text === ''
        text += more
        if (first) socket.write(body)
      })
      socket.on('close', () => resolve(text))
    })
    expect(answer).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 /)
  })

  test('two requests on one connection are two exchanges, in order', async () => {
    const first = head(`content-length: ${body.length}`).replace('connection: close\r\n', '')
    const answer = await converse([first + body + head(`content-length: ${body.length}`) + body])
    expect(answer.match(/HTTP\/1.1 200 /g)).toHaveLength(2)
    expect(pair.simulator.requests).toHaveLength(2)
  })

  test('a header named by connection stays on this side', async () => {
    const answer = await converse([
      head(`content-length: ${body.length}`, 'x-hop: 1', 'x-end: 2').replace(
        'connection: close',
        'connection: close, x-hop',
      ) + body,
    ])
    expect(answer).toMatch(/^HTTP\/1.1 200 /)
    const names = pair.simulator.requests[0]?.received.rawHeaders ?? []
    expect(names).toContain('x-end')
    expect(names).not.toContain('x-hop')
  })

  test('what is no HTTP gets 400, and nothing is forwarded', async () => {
    const answer = await converse(['NONSENSE\r\n\r\n'])
    expect(answer).toMatch(/^HTTP\/1.1 400 /)
    expect(pair.simulator.requests).toEqual([])
  })
})

describe('many at a time', () => {
  test('300 exchanges in every form: each has one start and one end of its own', async () => {
    const before = new Set((await pair.entries()).map(({ event_id: id }) => id))
    const forms = ['ok', 'thinking', 'tool_use', 'error_529', 'mid_error', 'multibyte'] as const
    const sendings = Array.from({ length: 300 }, (_, index) => ({
      headers: [...apiHeaders, 'x-simulate-mode', forms[index % forms.length] ?? 'ok'],
      body: messagesBody({ stream: index % 2 === 0, metadata: { user_id: `u${index % 17}` } }),
    }))
    const seen = await Promise.all(sendings.map((sending) => send(pair.url, sending)))
    const entries = (await pair.entries()).filter(({ event_id: id }) => !before.has(id))
    const interactions = entries.filter(({ kind }) => kind.startsWith('interaction.'))
    expect(interactions).toHaveLength(600)
    const completed = new Map(
      interactions.filter(isCompleted).map((record) => [record.event_id, record]),
    )
    const digests = digestsOf(pair.dataDir)
    for (const [index, { rawHeaders, body }] of seen.entries()) {
      const record = completed.get(valuesOf(rawHeaders, 'x-audit-event-id')[0] ?? '')
      expect(record?.prompt_hash).toBe(digests.prompt(sendings[index]?.body ?? ''))
      expect(record?.response.wire_digest).toBe(digests.keyed(sha256(body)))
    }
    const users = new Set(interactions.map((entry) => ('user_id' in entry ? entry.user_id : null)))
    expect(users.size).toBe(17)
  })
})
