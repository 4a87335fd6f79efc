import { request as startRequest } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Mode } from '../../packages/server/src/simulate/modes.ts'
import {
  apiHeaders,
  messagesBody,
  send,
  valuesOf,
} from '../../packages/server/src/simulate/testing.ts'
import { type Completed, isCompleted, type Pair, startPair } from './harness.ts'
import { digestsOf, sha256 } from './hashes.ts'

/** How long an upstream may go on after its caller has left. */
const abortMsMax = 1000

let pair: Pair

beforeAll(async () => {
  pair = await startPair({ simulator: { slowMs: 60_000, dripMs: 5 } })
})

beforeEach(() => pair.simulator.clear())

afterAll(() => pair.close())

const headersFor = (mode: Mode, more: readonly string[] = []) => [
  ...apiHeaders,
  'x-simulate-mode',
  mode,
  'x-audit-session',
  `session-of-${mode}`,
  ...more,
]

/** The only record of the session that `headersFor(mode)` names. */
async function recordOf(mode: Mode): Promise<Completed> {
  await pair.idle()
  const records = (await pair.entries()).filter(
    (entry) => isCompleted(entry) && entry.session_id === `session-of-${mode}`,
  )
  const [record, ...others] = records
  expect(others).toEqual([])
  if (!isCompleted(record)) throw new Error('no record')
  return record
}

describe('a caller that leaves', () => {
  test('in the middle of a stream: upstream is aborted, the record says so', async () => {
    const headers = headersFor('slow_drip')
    const seen = await send(pair.url, {
      headers,
      body: messagesBody({ stream: true }),
      leaveAfterBytes: 700,
    })
    const leftAtMs = performance.now()
    await pair.simulator.settled()
    const [exchange] = pair.simulator.requests
    expect(seen.end).toBe('left')
    expect(exchange?.sent.end).toBe('client_abort')
    expect((exchange?.abortedAtMs ?? Infinity) - leftAtMs).toBeLessThan(abortMsMax)
    const record = await recordOf('slow_drip')
    expect(record).toMatchObject({
      status: 'incomplete',
      end_state: 'client_abort',
      http_status: 200,
      usage_source: 'partial',
      completion_tokens: exchange?.facts.usageAtStart?.['output_tokens'],
      message_id: exchange?.facts.messageId,
      stop_reason: null,
    })
    expect(record.response.bytes).toBeLessThanOrEqual(exchange?.sent.bodyBytes ?? 0)
    const digests = digestsOf(pair.dataDir)
    const passed = exchange?.sent.body?.subarray(0, record.response.bytes) ?? Buffer.alloc(0)
    expect(record.response.wire_digest).toBe(digests.keyed(sha256(passed)))
  })

  test.each(['hang', 'slow_first_byte'] as const)(
    'before the first byte (%s): upstream is aborted, nothing was answered',
    async (mode) => {
      const leaving = new AbortController()
      const answer = fetch(`${pair.url}/v1/messages`, {
        method: 'POST',
        headers: {
          'x-api-key': 'sk-test',
          'anthropic-version': '2023-06-01',
          'x-simulate-mode': mode,
          'x-audit-session': `session-of-${mode}`,
        },
        body: messagesBody(),
        signal: leaving.signal,
      })
      await pair.simulator.arrived(1)
      leaving.abort()
      await expect(answer).rejects.toThrow(/abort/)
      const record = await recordOf(mode)
      expect(record).toMatchObject({
        end_state: 'client_abort',
        http_status: null,
        completion_tokens: null,
        usage_source: 'none',
        response_hash: null,
      })
      expect(record.response.bytes).toBe(0)
    },
  )

  test('after the last frame of a stream that stays open: the answer is complete', async () => {
    const seen = await send(pair.url, {
      headers: headersFor('never_end'),
      body: messagesBody({ stream: true }),
    })
    expect(seen.end).toBe('complete')
    expect(seen.body.toString()).toContain('message_stop')
    const record = await recordOf('never_end')
    expect(record.end_state).toBe('complete')
    expect(record.event_id).toBe(valuesOf(seen.rawHeaders, 'x-audit-event-id')[0])
  })

  test('while it still sends its request: nothing is forwarded, nothing is open', async () => {
    await new Promise<void>((resolve) => {
      const socket = connect(pair.gateway.port, '127.0.0.1', () => {
        socket.write('POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{"mo')
        socket.end(() => socket.destroy())
      })
      socket.on('close', () => resolve())
    })
    await pair.idle()
    expect(pair.simulator.requests).toEqual([])
  })
})

describe('an upstream that fails', () => {
  test('is cut in a stream: the caller’s stream is cut too, never ended', async () => {
    const seen = await send(pair.url, {
      headers: headersFor('cut'),
      body: messagesBody({ stream: true }),
    })
    expect(seen.end).toBe('cut')
    const record = await recordOf('cut')
    expect(record).toMatchObject({ end_state: 'upstream_cut', status: 'incomplete' })
    expect(record.usage_source).toBe('partial')
    expect(record.delivered).toBeUndefined()
  })

  test('is reset before it answers: 502 in Claude’s error shape, and a record', async () => {
    const seen = await send(pair.url, { headers: headersFor('reset'), body: messagesBody() })
    expect(seen.status).toBe(502)
    expect(JSON.parse(seen.body.toString())).toMatchObject({
      type: 'error',
      error: { type: 'api_error' },
    })
    expect(await recordOf('reset')).toMatchObject({ end_state: 'upstream_cut', http_status: 502 })
  })

  test('cannot be reached: 502, and a record that nothing was answered', async () => {
    const alone = await startPair()
    await alone.simulator.close()
    const seen = await send(alone.url, { body: messagesBody() })
    const record = await alone.record(valuesOf(seen.rawHeaders, 'x-audit-event-id')[0])
    await alone.gateway.close()
    expect(seen.status).toBe(502)
    expect(record).toMatchObject({ end_state: 'upstream_error', status: 'error' })
    expect(record.response.bytes).toBe(0)
  })

  test('takes longer than the limit to answer: 504, and upstream is let go', async () => {
    const impatient = await startPair({
      gateway: { limits: { linger_ms: 20 } },
      config: {},
      upstream: { headers_timeout_ms: 1 },
    })
    const seen = await send(impatient.url, {
      headers: headersFor('hang'),
      body: messagesBody(),
    })
    await impatient.simulator.settled()
    const record = await impatient.record(valuesOf(seen.rawHeaders, 'x-audit-event-id')[0])
    await impatient.close()
    expect(seen.status).toBe(504)
    expect(record).toMatchObject({ end_state: 'upstream_error', error_type: 'timeout_error' })
  })
})

describe('a gateway that stops', () => {
  test('ends open streams, and their records say who did', async () => {
    const stopping = await startPair({
      gateway: { limits: { shutdown_ms: 1, linger_ms: 20 } },
      simulator: { dripMs: 60_000 },
    })
    const answer = new Promise<'end' | 'cut'>((resolve) => {
      const request = startRequest(`${stopping.url}/v1/messages`, { method: 'POST', agent: false })
      for (const [name, value] of [
        ['x-api-key', 'sk-test'],
        ['anthropic-version', '2023-06-01'],
        ['x-simulate-mode', 'hang'],
      ] as const) {
        request.setHeader(name, value)
      }
      request.on('error', () => resolve('cut'))
      request.on('response', (response) => {
        response.resume()
        response.on('end', () => resolve(response.complete ? 'end' : 'cut'))
        response.on('error', () => resolve('cut'))
      })
      request.end(messagesBody({ stream: true }))
    })
    await stopping.simulator.arrived(1)
    await stopping.gateway.close()
    await answer
    const ends = (await stopping.entries()).filter(isCompleted)
    await stopping.simulator.close()
    expect(ends.map(({ end_state: state }) => state)).toEqual(['gateway_terminated'])
  })
})
