/**
 * Fakes for the gateway's tests, stricter than what they stand for: a ledger that resolves appends
 * only when told to and refuses what the real one would have to believe, an upstream and a caller
 * that speak raw bytes.
 *
 * @module
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { assert, AuditError, canonicalize, type AuditErrorCode } from '@affidavit/format'
import { createHashKeys, systemClock, type Clock } from '@affidavit/sdk/capture'
import { configFrom } from '../base/config.ts'
import { silentLog } from '../base/log.ts'
import { createMetrics } from '../base/metrics.ts'
import { startTimer } from '../base/system.ts'
import type { GatewayKey, GatewayKeys } from '../control/keys.ts'
import { createPolicies } from '../control/policies.ts'
import { openAuditStore, type EntryAppend, type EntryLog, type OpenedStore } from './audit-store.ts'
import { createClientAddress } from './client-address.ts'
import type { GatewayContext } from './context.ts'
import { createGatewayMetrics } from './gateway-metrics.ts'
import { startGatewayServer } from './server.ts'
import { createUpstream } from './upstream.ts'

type Body = Record<string, unknown>

interface PendingAppend {
  readonly entry: EntryAppend
  readonly body: Body
  resolve(): void
  reject(error: Error): void
}

/** A ledger in memory. */
export class FakeLog implements EntryLog {
  state: EntryLog['state'] = 'open'
  /** Entries that were acknowledged, in order. */
  readonly entries: Body[] = []
  readonly pending: PendingAppend[] = []
  /** Holds appends of these kinds back until `release`. */
  readonly heldKinds = new Set<string>()
  /** Appends of these kinds fail with the code. */
  readonly failingKinds = new Map<string, AuditErrorCode>()
  readonly #open = new Set<string>()
  readonly #seen = new Set<string>()
  readonly #listeners = new Set<(state: EntryLog['state'], error?: AuditError) => void>()
  readonly #waiters: { kind: string; resolve: () => void }[] = []

  append(entry: EntryAppend): Promise<unknown> {
    if (this.state !== 'open')
      return Promise.reject(new AuditError('ERR_LEDGER_STOPPED', 'stopped'))
    const body = this.#check(entry)
    const kind = String(body.kind)
    return new Promise<void>((resolve, reject) => {
      const pending: PendingAppend = {
        entry,
        body,
        resolve: () => {
          this.#acknowledge(entry, body)
          resolve()
        },
        reject,
      }
      const code = this.failingKinds.get(kind)
      if (code !== undefined) reject(new AuditError(code, 'as the test wants'))
      else if (this.heldKinds.has(kind)) this.pending.push(pending)
      // Durability takes a while: never resolved in the turn of the call.
      else setImmediate(() => pending.resolve())
      for (const waiter of this.#waiters.filter((it) => it.kind === kind)) waiter.resolve()
    })
  }

  /** What the real ledger takes on trust. */
  #check({ body: text, opens, closes, retentionClass }: EntryAppend): Body {
    const body = JSON.parse(text) as Body
    assert(canonicalize(body) === text, 'the body is canonical')
    assert(!('writer' in body), 'the body is not stamped yet')
    assert(body.retention_class === retentionClass, 'the body names its class')
    assert(!text.includes('secret'), 'no secret is in an entry')
    if (opens !== undefined) {
      assert(body.kind === 'interaction.started' && body.event_id === opens, 'a start opens itself')
      assert(!this.#seen.has(opens), 'an interaction starts once')
      this.#seen.add(opens)
    }
    if (closes !== undefined) {
      assert(body.kind === 'interaction.completed' && body.event_id === closes, 'an end is its own')
      assert(this.#open.has(closes), 'an interaction ends once, after its start is durable')
    }
    return body
  }

  #acknowledge({ opens, closes }: EntryAppend, body: Body): void {
    this.entries.push(body)
    if (opens !== undefined) this.#open.add(opens)
    if (closes !== undefined) this.#open.delete(closes)
  }

  /** Acknowledges what is held. */
  release(): void {
    for (const pending of this.pending.splice(0)) pending.resolve()
  }

  /** Fails what is held. */
  failHeld(code: AuditErrorCode): void {
    for (const { reject } of this.pending.splice(0))
      reject(new AuditError(code, 'as the test wants'))
  }

  /** Resolves with the next append of `kind`. */
  appended(kind: string): Promise<void> {
    return new Promise((resolve) => this.#waiters.push({ kind, resolve }))
  }

  onStateChange(listener: (state: EntryLog['state'], error?: AuditError) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  stop(code: AuditErrorCode): void {
    this.state = 'stopped'
    for (const listener of this.#listeners) listener('stopped', new AuditError(code, 'stopped'))
    this.failHeld(code)
  }

  /** Entries of one kind. */
  ofKind(kind: string): Body[] {
    return this.entries.filter((entry) => entry.kind === kind)
  }

  /** Interactions without an end. */
  get openInteractions(): number {
    return this.#open.size
  }
}

/** A key ring that mints handles in memory. */
export function fakeRing(): OpenedStore['ring'] & { failing: boolean; open: boolean } {
  const handles = new Map<string, string>()
  return {
    open: true,
    failing: false,
    subject(user) {
      const known = handles.get(user)
      if (known !== undefined) return known
      if (this.failing) {
        this.open = false
        return Promise.reject(new AuditError('ERR_AUDIT_UNAVAILABLE', 'as the test wants'))
      }
      const handle = `sub_${String(handles.size).padStart(22, '0')}`
      handles.set(user, handle)
      return Promise.resolve(handle)
    },
    identifier: (_kind, value) => value,
  }
}

/** Gateway keys in memory, by their text. */
export function fakeKeys(): GatewayKeys & { readonly byText: Map<string, GatewayKey> } {
  const byText = new Map<string, GatewayKey>()
  return { byText, find: (token) => byText.get(token), all: () => [...byText.values()] }
}

export interface TestGateway {
  readonly port: number
  /** The ledger that is open now. */
  readonly ledger: FakeLog
  readonly ring: ReturnType<typeof fakeRing>
  readonly keys: ReturnType<typeof fakeKeys>
  readonly context: GatewayContext
  /** Ledgers that the next openings give; a new one when it is empty. */
  readonly nextLedgers: (FakeLog | AuditError)[]
  metrics(): string
  close(): Promise<void>
}

/** Starts a gateway on fakes, with that section of the configuration file, and a `providerKey`. */
export async function startTestGateway(
  upstreamUrl: string,
  settings: Record<string, unknown> = {},
  clock: Clock = systemClock,
): Promise<TestGateway> {
  const { providerKey = null, ...gateway } = settings
  const config = configFrom({
    gateway: {
      ...gateway,
      listen: '127.0.0.1:0',
      upstream: { anthropic: upstreamUrl },
      // A test that leaves an exchange behind ends at once.
      limits: { shutdown_ms: 100, ...(gateway.limits as object) },
    },
  })
  const nextLedgers: (FakeLog | AuditError)[] = []
  const ring = fakeRing()
  let ledger = new FakeLog()
  let first = true
  const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))
  const store = await openAuditStore({
    open() {
      const next = first ? ledger : (nextLedgers.shift() ?? new FakeLog())
      first = false
      if (next instanceof AuditError) return Promise.reject(next)
      ledger = next
      ring.open = true
      return Promise.resolve({ log: next, ring, close: () => Promise.resolve() })
    },
    clock,
    log: silentLog,
    random,
    pause: () => new Promise((resolve) => setImmediate(resolve)),
    reopenMsMax: 1000,
  })
  const registry = createMetrics()
  const keys = fakeKeys()
  const live: GatewayContext['live'] = new Set()
  const bodies = { bytes: 0 }
  const context: GatewayContext = {
    clock,
    random,
    startTimer,
    log: silentLog,
    metrics: createGatewayMetrics(registry, {
      live: () => live.size,
      bodyBytes: () => bodies.bytes,
      isOpen: () => store.closedBy === undefined,
      unrecordedPending: () => store.unrecorded,
      reopened: () => store.reopened,
    }),
    store,
    capture: {
      clock,
      hashKeys: createHashKeys({ mode: 'tenant', version: '1', key: new Uint8Array(32) }),
    },
    clientAddress: createClientAddress(config.gateway.trustedProxies),
    upstream: createUpstream(config),
    providerKey: typeof providerKey === 'string' ? providerKey : null,
    defaultApplication: config.gateway.defaultApplication,
    limits: config.gateway.limits,
    bodies,
    live,
  }
  const server = await startGatewayServer({
    context,
    keys,
    policies: createPolicies(config),
    listen: { host: '127.0.0.1', port: 0 },
    unknownPaths: config.gateway.unknownPaths,
    requireGatewayKey: config.gateway.requireGatewayKey,
    headerBytes: config.gateway.limits.headerBytes,
    keepAliveMs: config.gateway.limits.keepAliveMs,
    shutdownMs: config.gateway.limits.shutdownMs,
    ownPaths: new Map(),
    renderMetrics: () => registry.render(),
  })
  return {
    port: server.port,
    get ledger() {
      return ledger
    },
    ring,
    keys,
    context,
    nextLedgers,
    metrics: () => registry.render(),
    async close() {
      await server.close()
      await context.upstream.close()
      await store.close()
    },
  }
}

/** One request as an upstream got it. */
export interface ReceivedRequest {
  /** Head without the last empty line, as Latin-1. */
  readonly head: string
  readonly headers: readonly string[]
  readonly body: Buffer
  readonly socket: Socket
}

/** An upstream that speaks raw bytes. */
export interface RawUpstream {
  readonly url: string
  readonly requests: ReceivedRequest[]
  /** What answers; replaced by tests at will. */
  answer(request: ReceivedRequest): void
  /** Resolves when `count` requests have been read whole. */
  received(count: number): Promise<void>
  /** Connections that were made. */
  readonly sockets: Socket[]
  close(): Promise<void>
}

/** Starts it; `answer` is called with every whole request. */
export async function startRawUpstream(
  answer: (request: ReceivedRequest) => void = answerWith(jsonAnswer),
): Promise<RawUpstream> {
  const sockets: Socket[] = []
  let waiters: { count: number; resolve: () => void }[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    readRequests(socket, (request) => {
      upstream.requests.push(request)
      waiters = waiters.filter(({ count, resolve }) => {
        if (upstream.requests.length < count) return true
        resolve()
        return false
      })
      upstream.answer(request)
    })
  })
  const upstream: RawUpstream = {
    url: await listening(server),
    requests: [],
    answer,
    sockets,
    received: (count) =>
      upstream.requests.length >= count
        ? Promise.resolve()
        : new Promise((resolve) => waiters.push({ count, resolve })),
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return upstream
}

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function readRequests(socket: Socket, onRequest: (request: ReceivedRequest) => void): void {
  let chunks: Buffer[] = []
  let bytes = 0
  let wanted = 0
  socket.on('data', (chunk) => {
    chunks.push(chunk)
    bytes += chunk.length
    // Not looked at before it can be whole: 31 MB come in hundreds of pieces.
    while (bytes > 0 && bytes >= wanted) {
      const buffered = Buffer.concat(chunks)
      chunks = [buffered]
      const end = buffered.indexOf('\r\n\r\n')
      if (end < 0) return
      const head = buffered.subarray(0, end).toString('latin1')
      const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0)
      wanted = end + 4 + length
      if (bytes < wanted) return
      const body = Buffer.from(buffered.subarray(end + 4, wanted))
      const rest = buffered.subarray(wanted)
      chunks = rest.length === 0 ? [] : [rest]
      bytes = rest.length
      wanted = 0
      onRequest({ head, headers: head.split('\r\n').slice(1), body, socket })
    }
  })
}

/** A message as Claude answers it. */
export const messageJson = JSON.stringify({
  id: 'msg_01',
  type: 'message',
  role: 'assistant',
  model: 'claude-sonnet-4-5',
  content: [{ type: 'text', text: 'Hello.' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 7, output_tokens: 3 },
})

/** Whole answer with that message. */
export const jsonAnswer = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nrequest-id: req_1\r\nContent-Length: ${messageJson.length}\r\n\r\n${messageJson}`

const frame = (data: { readonly type: string; readonly [name: string]: unknown }) =>
  `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`

/** Frames of a stream, the last one `message_stop`. */
export const streamFrames: readonly string[] = [
  frame({
    type: 'message_start',
    message: {
      id: 'msg_02',
      type: 'message',
      role: 'assistant',
      model: 'claude-sonnet-4-5',
      content: [],
      usage: { input_tokens: 7, output_tokens: 1 },
    },
  }),
  frame({ type: 'ping' }),
  frame({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
  frame({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Grüße 🌍' } }),
  frame({ type: 'content_block_stop', index: 0 }),
  frame({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 5 } }),
  frame({ type: 'message_stop' }),
]

export const streamHead =
  'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nrequest-id: req_2\r\nTransfer-Encoding: chunked\r\n\r\n'

/** One chunk of chunked coding. */
export function chunked(text: string | Buffer): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([
    Buffer.from(`${bytes.length.toString(16)}\r\n`),
    bytes,
    Buffer.from('\r\n'),
  ])
}

export const lastChunk = '0\r\n\r\n'

/** Answers every request with the same bytes. */
export function answerWith(bytes: string | Buffer): (request: ReceivedRequest) => void {
  return ({ socket }) => socket.write(bytes)
}

/** Answers every request with the whole stream. */
export function answerWithStream({ socket }: ReceivedRequest): void {
  socket.write(streamHead)
  for (const text of streamFrames) socket.write(chunked(text))
  socket.write(lastChunk)
}

/** A caller that speaks raw bytes. */
export interface RawCaller {
  readonly socket: Socket
  /** Everything received so far. */
  received(): Buffer
  text(): string
  send(bytes: string | Buffer): void
  /** Resolves when what was received contains `text`. */
  until(text: string): Promise<void>
  /** Resolves when the connection is over: cleanly, or with an error code. */
  readonly closed: Promise<string>
}

/** Connects to a gateway. */
export async function callRaw(port: number): Promise<RawCaller> {
  const socket = connect({ port, host: '127.0.0.1' })
  await new Promise((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  const chunks: Buffer[] = []
  let waiters: { text: string; resolve: () => void }[] = []
  const received = () => Buffer.concat(chunks)
  socket.on('data', (chunk) => {
    chunks.push(chunk)
    if (waiters.length === 0) return
    const now = received()
    waiters = waiters.filter(({ text, resolve }) => {
      if (!now.includes(text)) return true
      resolve()
      return false
    })
  })
  const closed = new Promise<string>((resolve) => {
    socket.on('error', (error: Error & { code?: string }) => resolve(error.code ?? error.name))
    socket.on('close', () => resolve('end'))
  })
  return {
    socket,
    received,
    text: () => received().toString('utf8'),
    send: (bytes) => socket.write(bytes),
    until: (text) =>
      received().includes(text)
        ? Promise.resolve()
        : new Promise((resolve) => waiters.push({ text, resolve })),
    closed,
  }
}

/** Bytes of a request for a message. */
export function messageRequest(
  options: { stream?: boolean; headers?: readonly string[]; close?: boolean; path?: string } = {},
): string {
  const body = JSON.stringify({
    model: 'claude-sonnet-4-5',
    max_tokens: 16,
    ...(options.stream === true ? { stream: true } : {}),
    messages: [{ role: 'user', content: 'Hi' }],
  })
  const lines = [
    `POST ${options.path ?? '/v1/messages'} HTTP/1.1`,
    'Host: gateway',
    'x-api-key: sk-ant-secret',
    'content-type: application/json',
    ...(options.headers ?? []),
    ...(options.close === false ? [] : ['connection: close']),
    `content-length: ${Buffer.byteLength(body)}`,
  ]
  return `${lines.join('\r\n')}\r\n\r\n${body}`
}

/** Status line, headers and body of the one answer in `bytes`; a chunked body is put together. */
export function parseAnswer(bytes: Buffer): {
  readonly status: number
  readonly reason: string
  readonly headers: readonly string[]
  readonly body: Buffer
  readonly isWhole: boolean
} {
  const end = bytes.indexOf('\r\n\r\n')
  assert(end >= 0, 'the answer has a head')
  const [line = '', ...headers] = bytes.subarray(0, end).toString('latin1').split('\r\n')
  const [, status = '', reason = ''] = /^HTTP\/1\.1 (\d+) ?(.*)$/.exec(line) ?? []
  const rest = bytes.subarray(end + 4)
  const head = headers.join('\n').toLowerCase()
  const parts = head.includes('transfer-encoding: chunked') ? dechunk(rest) : undefined
  const length = Number(/content-length: (\d+)/.exec(head)?.[1] ?? Number.NaN)
  return {
    status: Number(status),
    reason,
    headers,
    body: parts?.body ?? rest,
    isWhole: parts?.isWhole ?? rest.length === length,
  }
}

function dechunk(bytes: Buffer): { body: Buffer; isWhole: boolean } {
  const parts: Buffer[] = []
  let at = 0
  for (;;) {
    const end = bytes.indexOf('\r\n', at)
    if (end < 0) return { body: Buffer.concat(parts), isWhole: false }
    const size = Number.parseInt(bytes.subarray(at, end).toString('latin1'), 16)
    if (size === 0) return { body: Buffer.concat(parts), isWhole: true }
    const chunk = bytes.subarray(end + 2, end + 2 + size)
    parts.push(chunk)
    if (chunk.length < size) return { body: Buffer.concat(parts), isWhole: false }
    at = end + 2 + size + 2
  }
}
