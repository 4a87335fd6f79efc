import { createServer } from 'node:http'
import Newest from '@anthropic-ai/sdk'
import { betaRefusalFallbackMiddleware } from '@anthropic-ai/sdk/lib/middleware'
import Oldest from 'anthropic-sdk-oldest'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { AuditError, auditMiddleware, eventIdOf, type AuditOptions } from './index.ts'
import {
  createMemoryDestination,
  listen,
  portOf,
  startFakeClaude,
  type FakeClaude,
  type MemoryDestination,
  type Mode,
} from './testing.ts'

let claude: FakeClaude
let destination: MemoryDestination

beforeAll(async () => {
  claude = await startFakeClaude()
})
afterAll(() => claude.close())
beforeEach(() => {
  destination = createMemoryDestination()
  claude.seen.length = 0
  claude.sent.length = 0
})

const ask = {
  model: 'claude-test',
  max_tokens: 64,
  messages: [{ role: 'user' as const, content: 'Hello' }],
}

const versions = [
  ['1.12.0', Newest],
  ['0.101.0', Oldest as unknown as typeof Newest],
] as const

type Client = InstanceType<typeof Newest>
type Sdk = typeof Newest

function clientOf(Sdk: Sdk, mode: Mode, middleware: readonly unknown[] = []): Client {
  return new Sdk({
    baseURL: claude.url,
    apiKey: 'sk-ant-secret-value',
    defaultHeaders: { 'x-test-mode': mode },
    // The two versions name the same function type apart.
    middleware: middleware as never,
  })
}

const audit = (options: Partial<AuditOptions> = {}) =>
  auditMiddleware({
    destination,
    identity: () => ({ user: 'alice', session: 's-1', application: 'desk' }),
    report: () => undefined,
    ...options,
  })

/** What a caller can tell of an outcome, without what differs from run to run. */
async function outcomeOf(run: () => Promise<unknown>): Promise<unknown> {
  try {
    return { value: JSON.parse(JSON.stringify((await run()) ?? null)) }
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const { name, message } = error
    const status = 'status' in error ? error.status : undefined
    return { kind: error.constructor.name, name, message, status }
  }
}

async function readStream(client: Client, eventsMax = Number.POSITIVE_INFINITY) {
  const events: unknown[] = []
  const stream = await client.messages.create({ ...ask, stream: true })
  for await (const event of stream) {
    events.push(event)
    if (events.length >= eventsMax) break
  }
  return events
}

async function abortStream(client: Client) {
  const stream = client.messages.stream(ask)
  stream.on('text', () => stream.abort())
  return stream.finalMessage()
}

async function abortEarly(client: Client) {
  const controller = new AbortController()
  const call = client.messages.create(ask, { signal: controller.signal })
  const before = claude.seen.length
  const poll = async (): Promise<void> => {
    if (claude.seen.length > before) return controller.abort()
    await new Promise(setImmediate)
    return poll()
  }
  await Promise.all([call, poll()])
}

interface Scenario {
  readonly name: string
  readonly mode: Mode
  run(client: Client): Promise<unknown>
  /** One for every exchange that must be on record. */
  readonly records: readonly object[]
  /** The caller goes away before the answer is over. */
  readonly leaves?: boolean
}

const complete = { status: 'success', end_state: 'complete', http_status: 200 }
const failed = { status: 'error', end_state: 'upstream_error' }
const aborted = { status: 'incomplete', end_state: 'client_abort' }
const tokens = { prompt_tokens: 12, completion_tokens: 7, usage_source: 'final' }

const scenarios: readonly Scenario[] = [
  {
    name: 'a message',
    mode: 'ok',
    run: (client) => client.messages.create(ask),
    records: [{ ...complete, ...tokens, stop_reason: 'end_turn', request_id: 'req_01' }],
  },
  {
    name: 'a stream read to its end',
    mode: 'ok',
    run: (client) => readStream(client),
    records: [{ ...complete, ...tokens, streaming: true, model_served: 'claude-test' }],
  },
  {
    name: 'a stream in chunks of one byte',
    mode: 'bytes',
    run: (client) => readStream(client),
    records: [{ ...complete, ...tokens }],
  },
  {
    name: 'the stream helper',
    mode: 'ok',
    run: (client) => client.messages.stream(ask).finalMessage(),
    records: [{ ...complete, ...tokens }],
  },
  {
    name: 'a tool call, streamed',
    mode: 'tool',
    run: (client) => client.messages.stream(ask).finalMessage(),
    records: [{ ...complete, stop_reason: 'tool_use', tool_calls: ['look_up'] }],
  },
  {
    name: 'a tool call, whole',
    mode: 'tool',
    run: (client) => client.messages.create(ask),
    records: [{ ...complete, stop_reason: 'tool_use', tool_calls: ['look_up'] }],
  },
  {
    name: 'count_tokens',
    mode: 'ok',
    run: (client) => client.messages.countTokens({ model: 'm', messages: ask.messages }),
    records: [{ ...complete, operation: 'messages.count_tokens' }],
  },
  {
    name: 'break after three events',
    mode: 'stall',
    run: (client) => readStream(client, 3),
    records: [{ ...aborted, usage_source: 'partial' }],
    leaves: true,
  },
  {
    name: 'stream.abort()',
    mode: 'stall',
    run: abortStream,
    records: [aborted],
    leaves: true,
  },
  {
    name: 'an abort before any answer',
    mode: 'silent',
    run: abortEarly,
    records: [{ ...aborted, http_status: null }],
    leaves: true,
  },
  {
    name: 'a time limit of the client',
    mode: 'silent',
    run: (client) => client.messages.create(ask, { timeout: 50, maxRetries: 0 }),
    records: [{ ...aborted, http_status: null }],
    leaves: true,
  },
  {
    name: 'a connection that breaks',
    mode: 'cut',
    run: (client) => readStream(client),
    records: [{ status: 'incomplete', end_state: 'upstream_cut' }],
  },
  {
    name: 'an error event in the middle',
    mode: 'miderror',
    run: (client) => readStream(client),
    records: [{ ...failed, error_type: 'overloaded_error', http_status: 200 }],
  },
  {
    name: 'every attempt refused',
    mode: 'overloaded',
    run: (client) => client.messages.create(ask),
    records: [0, 1, 2].map((attempt) => ({
      ...failed,
      attempt,
      http_status: 529,
      error_type: 'overloaded_error',
    })),
  },
  {
    name: 'a second attempt that succeeds',
    mode: 'flaky',
    run: (client) => readStream(client),
    records: [
      { ...failed, attempt: 0, http_status: 529 },
      { ...complete, attempt: 1 },
    ],
  },
]

describe.each(versions)('SDK %s', (_, Sdk) => {
  describe.each(['strict', 'standard'] as const)('%s delivery', (delivery) => {
    test.each(scenarios)(
      '$name: the caller sees no difference, the record is right',
      async (scenario) => {
        const bare = await outcomeOf(() => scenario.run(clientOf(Sdk, scenario.mode)))
        const bareSeen = claude.seen.splice(0)
        const client = clientOf(Sdk, scenario.mode, [audit({ delivery })])
        expect(await outcomeOf(() => scenario.run(client))).toEqual(bare)

        expect(claude.seen.map(({ body }) => body)).toEqual(bareSeen.map(({ body }) => body))
        expect(claude.seen.map(({ url }) => url)).toEqual(bareSeen.map(({ url }) => url))
        const leaving = scenario.leaves === true ? [...bareSeen, ...claude.seen] : []
        const left = await Promise.all(leaving.map((seen) => seen.left))
        expect(left).toEqual(leaving.map(() => true))
        const ends = await destination.ended(scenario.records.length)
        const byAttempt = [...ends].sort((a, b) => (a.attempt ?? 0) - (b.attempt ?? 0))
        expect(byAttempt).toMatchObject(scenario.records)
        expect(destination.starts.map(({ event_id }) => event_id).sort()).toEqual(
          ends.map(({ event_id }) => event_id).sort(),
        )
        expect(JSON.stringify([destination.starts, ends])).not.toContain('secret-value')
      },
    )

    test('what the caller gets is what was sent, byte for byte', async () => {
      for (const mode of ['ok', 'bytes', 'tool', 'flaky'] as const) {
        claude.sent.length = 0
        const client = clientOf(Sdk, mode, [audit({ delivery })])
        const response = await client.messages.create({ ...ask, stream: true }).asResponse()
        const got = Buffer.from(await response.arrayBuffer())
        const refusals = mode === 'flaky' ? 1 : 0
        expect(got.equals(Buffer.concat(claude.sent.slice(refusals)))).toBe(true)
      }
    })

    test('an answer that nobody reads is recorded as abandoned when it is collected', async () => {
      const unread = async () => {
        const client = clientOf(Sdk, 'stall', [audit({ delivery })])
        await client.messages.create({ ...ask, stream: true }).asResponse()
      }
      await unread()
      const collected = destination.ended(1)
      await collectUntil(collected)
      expect(await collected).toMatchObject([{ end_state: 'abandoned' }])
      expect(await claude.seen[0]?.left).toBe(true)
    })
  })

  test('a request that cannot be recorded is not sent, and tried exactly once', async () => {
    const causes = [
      new AuditError('ERR_SPOOL_FULL', 'the spool is full'),
      new Error('connect ETIMEDOUT: connection timed out'),
      new DOMException('aborted', 'AbortError'),
      Object.assign(new Error('fetch failed'), { cause: new Sdk.APIConnectionError({}) }),
    ]
    for (const cause of causes) {
      let attempts = 0
      const failing = {
        ...destination,
        async started() {
          attempts++
          throw cause
        },
      }
      const client = clientOf(Sdk, 'ok', [audit({ destination: failing })])
      const error = await client.messages.create(ask).catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(AuditError)
      expect(error).toMatchObject({
        code: cause instanceof AuditError ? 'ERR_SPOOL_FULL' : 'ERR_AUDIT_UNAVAILABLE',
        message: expect.stringContaining('was not sent'),
        cause: { errors: [cause] },
      })
      expect(attempts).toBe(1)
    }
    expect(claude.seen).toEqual([])
  })

  test('nothing is sent before the start is durable', async () => {
    let release: () => void = () => undefined
    const durable = new Promise<void>((resolve) => {
      release = resolve
    })
    const waiting = { ...destination, started: () => durable }
    const call = clientOf(Sdk, 'ok', [audit({ destination: waiting })]).messages.create(ask)
    await new Promise(setImmediate)
    expect(claude.seen).toEqual([])
    release()
    await call
    expect(claude.seen).toHaveLength(1)
  })

  test.each(['create', 'stream'] as const)(
    'strict: the end of an answer (%s) waits for its record, and is withheld without one',
    async (kind) => {
      let release: () => void = () => undefined
      destination.holdEnd = new Promise((resolve) => {
        release = resolve
      })
      let isOver = false
      const client = clientOf(Sdk, 'ok', [audit()])
      const run = () => (kind === 'create' ? client.messages.create(ask) : readStream(client))
      const call = run().finally(() => {
        isOver = true
      })
      await claude.seen[0]?.left
      for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate)
      expect(isOver).toBe(false)
      release()
      await call
      destination.failEnd = new Error('disk gone')
      await expect(run()).rejects.toMatchObject({
        name: 'AuditError',
        message: expect.stringContaining('withheld'),
      })
    },
  )

  test('strict: everything but the last event has been handed on by then', async () => {
    destination.failEnd = new Error('disk gone')
    const events: string[] = []
    const client = clientOf(Sdk, 'ok', [audit()])
    const stream = await client.messages.create({ ...ask, stream: true })
    await expect(async () => {
      for await (const event of stream) events.push(event.type)
    }).rejects.toThrow(/withheld/)
    expect(events.at(-1)).toBe('message_delta')
  })

  test('fail_open: the request passes, and the gap is recorded when the destination is back', async () => {
    const events: string[] = []
    const report = (event: { kind: string }) => void events.push(event.kind)
    const client = clientOf(Sdk, 'ok', [audit({ mode: 'fail_open', application: 'desk', report })])
    destination.failStart = new Error('down')
    await client.messages.create(ask)
    await client.messages.create(ask)
    expect(claude.seen).toHaveLength(2)
    expect(events).toEqual(['unrecorded_request', 'unrecorded_request'])
    destination.failStart = undefined
    await client.messages.create(ask)
    expect(destination.gaps).toMatchObject([
      { kind: 'capture.gap', requests: 2, application_id: 'desk', reason: 'destination_failed' },
    ])
    expect(destination.ends).toHaveLength(1)
  })

  test('fail_open: an outcome that cannot be recorded does not cost the caller the answer', async () => {
    const client = clientOf(Sdk, 'ok', [audit({ mode: 'fail_open', report: () => undefined })])
    destination.failEnd = new Error('down')
    expect(await readStream(client)).toHaveLength(8)
    destination.failEnd = undefined
    await client.messages.create(ask)
    expect(destination.gaps).toMatchObject([{ requests: 1, application_id: 'desk' }])
  })

  test('an upstream that cannot be reached is recorded at every attempt', async () => {
    const client = new Sdk({
      baseURL: 'http://127.0.0.1:1',
      apiKey: 'k',
      maxRetries: 1,
      middleware: [audit()] as never,
    })
    await expect(client.messages.create(ask)).rejects.toThrow(Sdk.APIConnectionError)
    expect(destination.ends).toMatchObject(
      [0, 1].map((attempt) => ({ ...failed, attempt, error_type: 'connection_error' })),
    )
  })

  test('uploads are digested without being changed, and sent as they are', async () => {
    const client = clientOf(Sdk, 'ok', [audit()])
    const content = Buffer.alloc(300_000, 'x')
    await client.beta.files.upload({ file: new File([content], 'notes.txt') })
    expect(claude.seen[0]?.body.includes(content)).toBe(true)
    expect(destination.ends).toMatchObject([
      {
        operation: 'files.upload',
        request: { bytes: content.length, parsed: 'opaque', encoding: 'form-parts' },
        prompt_hash: null,
      },
    ])
  })

  test('the response keeps its url, status and headers, and knows its event id', async () => {
    const client = clientOf(Sdk, 'ok', [audit()])
    const response = await client.messages.create(ask).asResponse()
    expect(response.url).toBe(`${claude.url}/v1/messages`)
    const clone = response.clone()
    expect(clone.url).toBe(response.url)
    expect(await clone.json()).toEqual(await response.json())
    expect([response.status, response.headers.get('request-id')]).toEqual([200, 'req_01'])
    expect(eventIdOf(response)).toBe(destination.ends[0]?.event_id)
  })
})

describe('identity', () => {
  test('the function says who it is; headers and metadata say the rest, and stay inside', async () => {
    const client = clientOf(Newest, 'ok', [
      audit({ identity: ({ claims }) => ({ user: `${claims.userId}!` }) }),
    ])
    await client.messages.create(
      { ...ask, metadata: { user_id: 'u-17' } },
      { headers: { 'X-Audit-Session': 's-9', 'X-Audit-Classification': 'restricted' } },
    )
    expect(destination.starts).toMatchObject([
      {
        subject_claim: 'u-17!',
        user_id: null,
        session_id: 's-9',
        data_classification: 'RESTRICTED',
        capture_source: 'middleware',
        identity_trust: {
          user: 'client-asserted',
          session: 'client-asserted',
          application: 'none',
        },
      },
    ])
    const names = Object.keys(claude.seen[0]?.headers ?? {})
    expect(names.filter((name) => name.startsWith('x-audit-'))).toEqual([])
  })

  test('an empty name is none, and an endless one is hashed', async () => {
    const identity = () => ({ user: 'u'.repeat(2000), session: '', application: '' })
    const client = clientOf(Newest, 'ok', [audit({ identity, application: 'desk' })])
    await client.messages.create(ask)
    expect(destination.starts).toMatchObject([
      {
        subject_claim: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
        session_id: null,
        application_id: 'desk',
      },
    ])
  })

  test('a classification cannot be lowered from outside', async () => {
    const client = clientOf(Newest, 'ok', [audit({ classification: 'CONFIDENTIAL' })])
    await client.messages.create(ask, { headers: { 'x-audit-classification': 'PUBLIC' } })
    expect(destination.starts).toMatchObject([{ data_classification: 'CONFIDENTIAL' }])
  })

  test('a function that fails stops the request', async () => {
    const identity = () => {
      throw new Error('no session')
    }
    const client = clientOf(Newest, 'ok', [audit({ identity })])
    await expect(client.messages.create(ask)).rejects.toBeInstanceOf(AuditError)
    expect(claude.seen).toEqual([])
  })

  test('a base URL with a prefix changes nothing in the record', async () => {
    const client = new Newest({
      baseURL: `${claude.url}/proxy`,
      apiKey: 'k',
      middleware: [audit()],
    })
    await client.messages.create(ask)
    expect(destination.starts).toMatchObject([{ operation: 'messages.create' }])
    expect(claude.seen[0]?.url).toBe('/proxy/v1/messages')
  })
})

test('the middleware fits the types of both SDK versions', () => {
  const options = { apiKey: 'k', middleware: [audit()] }
  expect([new Newest(options), new Oldest(options)]).toHaveLength(2)
})

test('a token exchange passes unrecorded', async () => {
  const middleware = audit()
  const request = { url: `${claude.url}/v1/oauth/token`, headers: new Headers(), body: 'secret' }
  const answer = new Response('{}')
  const next = async (passed: unknown) => {
    expect(passed).toBe(request)
    return answer
  }
  expect(await middleware(request, next, {})).toBe(answer)
  expect(destination.starts).toEqual([])
})

test('behind betaRefusalFallbackMiddleware every attempt is a record of its own', async () => {
  const refusal = {
    id: 'msg_02',
    type: 'message',
    role: 'assistant',
    model: 'claude-first',
    content: [],
    stop_reason: 'refusal',
    stop_details: { type: 'refusal', category: 'cyber', fallback_credit_token: 'tok-secret' },
    usage: { input_tokens: 1, output_tokens: 1 },
  }
  let requests = 0
  const server = createServer((request, response) => {
    request.resume()
    const body =
      requests++ === 0
        ? refusal
        : { ...refusal, content: [{ type: 'text', text: 'ok' }], stop_reason: 'end_turn' }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
  })
  await listen(server)
  const client = new Newest({
    baseURL: `http://127.0.0.1:${portOf(server)}`,
    apiKey: 'k',
    middleware: [betaRefusalFallbackMiddleware([{ model: 'claude-second' }]), audit()],
  })
  await client.beta.messages.create(ask)
  expect(destination.ends).toMatchObject([
    { model: 'claude-test', stop_reason: 'refusal', refusal_category: 'cyber' },
    { model: 'claude-second', stop_reason: 'end_turn' },
  ])
  expect(JSON.stringify([destination.starts, destination.ends])).not.toContain('tok-secret')
  server.closeAllConnections()
  server.close()
})

const collectionsMax = 2_000

/** Asks for collections until `event` has happened; the collector decides when it looks. */
async function collectUntil(event: Promise<unknown>): Promise<void> {
  const { setFlagsFromString } = await import('node:v8')
  const { runInNewContext } = await import('node:vm')
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  const state = { isOver: false }
  void event.finally(() => {
    state.isOver = true
  })
  for (let turn = 0; turn < collectionsMax && !state.isOver; turn++) {
    collect()
    await new Promise(setImmediate)
  }
}
