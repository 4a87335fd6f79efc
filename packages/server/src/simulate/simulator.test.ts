import { hash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Mode, modes } from './modes.ts'
import { type Simulator, startSimulator } from './simulator.ts'
import { apiHeaders, asObject, eventsIn, messagesBody, send, valuesOf } from './testing.ts'

const endless: readonly Mode[] = ['never_end', 'hang']
const ending = modes.filter((mode) => !endless.includes(mode))
const quick = {
  slowMs: 5,
  dripMs: 1,
  hugeBytes: 300_000,
  retryAfterMs: 1,
  record: 'bodies',
} as const

let simulator: Simulator

beforeAll(async () => {
  simulator = await startSimulator(quick)
})

beforeEach(() => simulator.clear())

afterAll(() => simulator.close())

const withMode = (mode: Mode, more: readonly string[] = []) => [
  ...apiHeaders,
  'x-simulate-mode',
  mode,
  ...more,
]

describe('every mode', () => {
  test.each(ending)('%s: the same request gets the same bytes', async (mode) => {
    for (const stream of [false, true]) {
      const sending = { headers: withMode(mode), body: messagesBody({ stream }) }
      const first = await send(simulator.url, sending)
      const second = await send(simulator.url, sending)
      expect(second.body.equals(first.body)).toBe(true)
      expect(second.end).toBe(first.end)
    }
  })

  test.each(ending)('%s: what is recorded as sent is what arrives', async (mode) => {
    for (const stream of [false, true]) {
      simulator.clear()
      const seen = await send(simulator.url, {
        headers: withMode(mode),
        body: messagesBody({ stream }),
      })
      await simulator.settled()
      const [exchange] = simulator.requests
      expect(exchange?.facts.mode).toBe(mode)
      expect(exchange?.sent.body?.equals(seen.body)).toBe(true)
      expect(exchange?.sent.bodySha256).toBe(hash('sha256', seen.body))
      expect(exchange?.sent.end === 'complete').toBe(seen.end === 'complete')
    }
  })

  test.each(ending)('%s: one byte at a time gives the same body', async (mode) => {
    for (const stream of [false, true]) {
      const body = messagesBody({ stream })
      const small = ['x-simulate-bytes', '3000']
      const whole = await send(simulator.url, { headers: withMode(mode, small), body })
      const bytes = await send(simulator.url, {
        headers: withMode(mode, [...small, 'x-simulate-chunk-bytes', '1']),
        body,
      })
      expect(bytes.end).toBe(whole.end)
      // A cut stream is cut at the same byte, whatever the pieces.
      expect(bytes.body.equals(whole.body)).toBe(true)
    }
  })

  test.each(endless)('%s: the simulator notes when the caller leaves', async (mode) => {
    const leaving = new AbortController()
    const answer = fetch(`${simulator.url}/v1/messages`, {
      method: 'POST',
      headers: { 'x-api-key': 'k', 'anthropic-version': '2023-06-01', 'x-simulate-mode': mode },
      body: messagesBody({ stream: true }),
      signal: leaving.signal,
    }).then((response) => response.text())
    await simulator.arrived(1)
    leaving.abort()
    await expect(answer).rejects.toThrow(/abort/)
    await simulator.settled()
    const [exchange] = simulator.requests
    expect(exchange?.sent.end).toBe('client_abort')
    expect(exchange?.abortedAtMs).toBeGreaterThan(exchange?.arrivedAtMs ?? Infinity)
  })
})

describe('how a mode is chosen', () => {
  const modeOf = async (sending: { headers?: readonly string[]; text?: string }) => {
    await send(simulator.url, {
      headers: sending.headers ?? apiHeaders,
      body: messagesBody({ messages: [{ role: 'user', content: sending.text ?? 'Hello.' }] }),
    })
    return simulator.requests.at(-1)?.facts.mode
  }

  test('by words in the last user text', async () => {
    expect(await modeOf({ text: 'Please USE_TOOL now' })).toBe('tool_use')
    expect(await modeOf({ text: 'SPAWN_AGENT' })).toBe('spawn_agent')
    expect(await modeOf({ text: 'SIMULATE:error-529 please' })).toBe('error_529')
    expect(await modeOf({ text: 'SIMULATE:429' })).toBe('error_429')
    expect(await modeOf({ text: 'SIMULATE:nothing_known' })).toBe('ok')
  })

  test('words in an earlier turn decide nothing', async () => {
    await send(simulator.url, {
      body: messagesBody({
        messages: [
          { role: 'user', content: 'USE_TOOL' },
          { role: 'assistant', content: 'No.' },
          { role: 'user', content: 'As you like.' },
        ],
      }),
    })
    expect(simulator.requests.at(-1)?.facts.mode).toBe('ok')
  })

  test('the header wins over words, words over the board', async () => {
    simulator.setMode({ mode: 'error_500' })
    expect(await modeOf({})).toBe('error_500')
    expect(await modeOf({ text: 'SIMULATE:529' })).toBe('error_529')
    expect(await modeOf({ text: 'SIMULATE:529', headers: withMode('refusal') })).toBe('refusal')
  })

  test('a count holds for so many requests, then the standing mode returns', async () => {
    simulator.setMode({ mode: 'error_529', count: 2 })
    expect([await modeOf({}), await modeOf({}), await modeOf({})]).toEqual([
      'error_529',
      'error_529',
      'ok',
    ])
  })

  test('the control endpoint sets it, lists requests and clears', async () => {
    const control = (method: string, path: string, body = '') =>
      send(simulator.url, { method, path, headers: [], body })
    const set = await control('POST', '/simulate/mode', '{"mode":"refusal","count":1}')
    expect(set.status).toBe(200)
    expect([await modeOf({}), await modeOf({})]).toEqual(['refusal', 'ok'])
    const listed = await control('GET', '/simulate/requests')
    expect(JSON.parse(listed.body.toString())).toHaveLength(2)
    expect(listed.body.toString()).not.toContain('sk-test')
    await control('DELETE', '/simulate/requests')
    expect(simulator.requests).toHaveLength(0)
    const catalogue = asObject(JSON.parse((await control('GET', '/simulate')).body.toString()))
    expect(Object.keys(asObject(catalogue['modes']))).toEqual([...modes])
  })

  test.each(['', '[]', '{"mode":"x"}', '{"mode":"ok","count":0}', '{"mode":"ok","what":1}'])(
    'the control endpoint refuses %j',
    async (body) => {
      const refused = await send(simulator.url, { path: '/simulate/mode', headers: [], body })
      expect(refused.status).toBe(400)
    },
  )
})

describe('the API around messages', () => {
  test('both credentials are accepted, none is refused', async () => {
    const version = ['anthropic-version', '2026-10-21']
    const statuses = await Promise.all(
      [['x-api-key', 'k'], ['authorization', 'Bearer k'], []].map(async (credential) => {
        const headers = [...version, ...credential]
        return (await send(simulator.url, { headers, body: messagesBody() })).status
      }),
    )
    expect(statuses).toEqual([200, 200, 401])
  })

  test('every answer has a request id, an organisation and rate limits', async () => {
    for (const mode of ['ok', 'error_529', 'cut'] as const) {
      const { rawHeaders } = await send(simulator.url, {
        headers: withMode(mode),
        body: messagesBody({ stream: true }),
      })
      expect(valuesOf(rawHeaders, 'request-id')[0]).toMatch(/^req_011C\w{20}$/)
      expect(valuesOf(rawHeaders, 'anthropic-organization-id')[0]).toMatch(/^[0-9a-f-]{36}$/)
      expect(valuesOf(rawHeaders, 'anthropic-ratelimit-requests-limit')).toEqual(['4000'])
    }
  })

  test('a retried request has the same body and another request id', async () => {
    const sending = (count: string) => ({
      headers: [...apiHeaders, 'x-stainless-retry-count', count],
      body: messagesBody(),
    })
    const [first, again] = [
      await send(simulator.url, sending('0')),
      await send(simulator.url, sending('1')),
    ]
    expect(again.body.equals(first.body)).toBe(true)
    expect(valuesOf(again.rawHeaders, 'request-id')).not.toEqual(
      valuesOf(first.rawHeaders, 'request-id'),
    )
  })

  test('count_tokens counts what a message would be charged for', async () => {
    const body = messagesBody({
      system: [
        { type: 'text', text: 'Be brief. '.repeat(50), cache_control: { type: 'ephemeral' } },
      ],
    })
    const counted = await send(simulator.url, { path: '/v1/messages/count_tokens', body })
    await send(simulator.url, { body })
    const usage = simulator.requests.at(-1)?.facts.usage ?? {}
    const total =
      Number(usage['input_tokens']) +
      Number(usage['cache_creation_input_tokens']) +
      Number(usage['cache_read_input_tokens'])
    expect(Number(usage['cache_creation_input_tokens'])).toBeGreaterThan(100)
    expect(JSON.parse(counted.body.toString())).toEqual({ input_tokens: total })
  })

  test('models are listed one by one and together', async () => {
    const list = await send(simulator.url, { method: 'GET', path: '/v1/models?limit=1000' })
    const data = asObject(JSON.parse(list.body.toString()))['data']
    expect(data).toHaveLength(3)
    const one = await send(simulator.url, { method: 'GET', path: '/v1/models/claude-opus-5-5' })
    expect(asObject(JSON.parse(one.body.toString()))['display_name']).toBe('Claude Opus 5.5')
    const none = await send(simulator.url, { method: 'GET', path: '/v1/models/none' })
    expect(none.status).toBe(404)
  })

  test('HEAD /api/hello answers without a credential and without a body', async () => {
    const hello = await send(simulator.url, { method: 'HEAD', path: '/api/hello', headers: [] })
    expect(hello.status).toBe(200)
    expect(hello.body).toHaveLength(0)
  })

  test('an unknown path under /v1 says what arrived; any other is not found', async () => {
    const echoed = await send(simulator.url, { path: '/v1/files?x=1', body: 'any bytes' })
    expect(asObject(JSON.parse(echoed.body.toString()))).toMatchObject({
      method: 'POST',
      url: '/v1/files?x=1',
      body_bytes: 9,
      body_sha256: hash('sha256', 'any bytes'),
    })
    expect((await send(simulator.url, { path: '/v2/files' })).status).toBe(404)
  })

  test.each([
    ['no JSON', '{"model":', /not valid JSON/],
    ['no object', '[]', /object/],
    ['no model', '{"messages":[]}', /model/],
    ['no messages', '{"model":"m"}', /messages/],
    ['no message', '{"model":"m","max_tokens":1,"messages":[]}', /at least one/],
    ['no max_tokens', '{"model":"m","messages":[{"role":"user","content":"x"}]}', /max_tokens/],
  ])('a body with %s is refused with 400', async (_, body, message) => {
    const refused = await send(simulator.url, { body })
    expect(refused.status).toBe(400)
    expect(refused.body.toString()).toMatch(message)
  })

  test('sampling parameters are refused from version 2026-10-21 on, not before', async () => {
    const body = messagesBody({ temperature: 0.5 })
    const strict = ['x-api-key', 'k', 'anthropic-version', '2026-10-21']
    expect((await send(simulator.url, { body })).status).toBe(200)
    expect((await send(simulator.url, { body, headers: strict })).status).toBe(400)
  })

  test('a body above 32 MB is refused with 413', async () => {
    const body = Buffer.alloc(33 * 1024 * 1024, 'x')
    expect((await send(simulator.url, { body })).status).toBe(413)
  })

  test('a gzip-coded request is understood', async () => {
    const headers = [...apiHeaders, 'content-encoding', 'gzip']
    const seen = await send(simulator.url, { headers, body: gzipSync(messagesBody()) })
    expect(seen.status).toBe(200)
  })
})

describe('on the wire', () => {
  const stream = messagesBody({ stream: true })

  test('one-byte pieces arrive as one-byte pieces', async () => {
    const headers = [...apiHeaders, 'x-simulate-chunk-bytes', '1']
    const { pieces } = await send(simulator.url, { headers, body: stream })
    expect(new Set(pieces)).toEqual(new Set([1]))
  })

  test('repeated header names keep their number, order and spelling', async () => {
    const headers = withMode('duplicate_headers')
    const { rawHeaders } = await send(simulator.url, { headers, body: stream })
    expect(valuesOf(rawHeaders, 'x-simulated-twice')).toEqual(['one', 'two', 'one'])
    expect(rawHeaders).toContain('X-SIMULATED-TWICE')
    expect(valuesOf(rawHeaders, 'set-cookie')).toHaveLength(2)
  })

  test('1xx responses come before the answer', async () => {
    const seen = await send(simulator.url, { headers: withMode('informational'), body: stream })
    expect(seen.informational).toEqual([102, 103])
    expect(seen.status).toBe(200)
  })

  test('trailers follow the body', async () => {
    const seen = await send(simulator.url, { headers: withMode('trailers'), body: stream })
    expect(seen.trailers['x-simulated-trailer']).toBe('last words')
  })

  test('an early refusal comes before the request body is read', async () => {
    const body = messagesBody({ system: 'x'.repeat(4_000_000) })
    const { received } = await (async () => {
      await send(simulator.url, { headers: withMode('early_413'), body })
      await simulator.settled()
      return simulator.requests[0] ?? { received: undefined }
    })()
    expect(received?.bodyBytes).toBe(0)
  })

  test('rate limits carry retry-after', async () => {
    const { rawHeaders } = await send(simulator.url, {
      headers: withMode('error_429'),
      body: stream,
    })
    expect(valuesOf(rawHeaders, 'retry-after')).toEqual(['1'])
    expect(valuesOf(rawHeaders, 'retry-after-ms')).toEqual(['1'])
  })

  test('a caller that leaves half-way is seen to leave', async () => {
    const headers = withMode('huge', ['x-simulate-bytes', '20000000'])
    await send(simulator.url, { headers, body: stream, leaveAfterBytes: 1000 })
    await simulator.settled()
    expect(simulator.requests[0]?.sent.end).toBe('client_abort')
    expect(simulator.requests[0]?.abortedAtMs).toBeDefined()
  })

  test('another seed gives other bytes', async () => {
    const other = await startSimulator({ ...quick, seed: 'other' })
    const [ours, theirs] = [
      await send(simulator.url, { body: stream }),
      await send(other.url, { body: stream }),
    ]
    await other.close()
    expect(theirs.body.equals(ours.body)).toBe(false)
  })

  test('pauses of a cadence are asked for between events', async () => {
    const paused = await startSimulator({ ...quick, cadence: { firstByteMs: 1, partMs: 1 } })
    const seen = await send(paused.url, { body: stream })
    await paused.close()
    expect(eventsIn(seen.body.toString()).at(-1)?.['type']).toBe('message_stop')
    expect(seen.pieces.length).toBeGreaterThan(5)
  })
})
