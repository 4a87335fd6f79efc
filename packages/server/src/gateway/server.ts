/**
 * The gateway's HTTP server: which requests are exchanges, which are the gateway's own, and how it
 * stops. Framing and timeouts are set so that nothing but the upstream or the caller ends an exchange.
 *
 * @module
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { findRoute } from '@affidavit/sdk/capture'
import type { Address } from '../base/config.ts'
import type { GatewayKeys } from '../control/keys.ts'
import type { Policies } from '../control/policies.ts'
import { readCaller } from './callers.ts'
import { isForwarded, isLoopback } from './client-address.ts'
import type { GatewayContext } from './context.ts'
import { Exchange } from './exchange.ts'
import { auditUnavailable, refusals, sendRefusal, type Refusal } from './refusals.ts'

/** Answers one of the gateway's own paths. */
export type OwnHandler = (request: IncomingMessage, response: ServerResponse) => void

export interface GatewayServerOptions {
  readonly context: GatewayContext
  readonly keys: GatewayKeys
  readonly policies: Policies
  readonly listen: Address
  readonly unknownPaths: 'record' | 'deny'
  readonly requireGatewayKey: boolean
  readonly headerBytes: number
  readonly keepAliveMs: number
  readonly shutdownMs: number
  /** Own paths beside health and metrics, e.g. the ingest endpoint, by path. */
  readonly ownPaths: ReadonlyMap<string, OwnHandler>
  renderMetrics(): string
}

export interface GatewayServer {
  readonly port: number
  /** Stops accepting, lets exchanges finish, ends those that do not; then the server is closed. */
  close(): Promise<void>
}

const ownPrefix = '/affidavit/'
const probePath = '/api/hello'
const headersTimeoutMs = 60_000
const backlog = 4096
const idleSweepMs = 50

/** Starts the server. Rejects with the system's error when it cannot listen. */
export async function startGatewayServer(options: GatewayServerOptions): Promise<GatewayServer> {
  const state: ServerState = { isDraining: false, silent: new Set() }
  const server = createServer(
    {
      noDelay: true,
      keepAlive: true,
      // Longer than any load balancer's in front, so that the other side closes first.
      keepAliveTimeout: options.keepAliveMs,
      headersTimeout: headersTimeoutMs,
      requestTimeout: 0,
      maxHeaderSize: options.headerBytes,
    },
    (request, response) => accept(options, state, request, response),
  )
  // The default silently drops headers beyond 1000; their size is bounded by maxHeaderSize.
  server.maxHeadersCount = 0
  server.timeout = 0
  server.on('clientError', answerClientError)
  server.on('connection', (socket: Socket) => {
    state.silent.add(socket)
    socket.once('close', () => state.silent.delete(socket))
  })
  await listen(server, options.listen)
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : options.listen.port
  return { port, close: () => closeServer(server, options, state) }
}

interface ServerState {
  isDraining: boolean
  /** Connections without a request yet: Node does not count them as idle. */
  readonly silent: Set<Socket>
}

function accept(
  options: GatewayServerOptions,
  state: ServerState,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  state.silent.delete(request.socket)
  const path = normalizeTarget(request)
  if (state.isDraining) response.shouldKeepAlive = false
  const refuse = (refusal: Refusal) => {
    options.context.metrics.refused(refusal.code)
    sendRefusal(response, refusal)
  }
  if (path === undefined) return refuse(refusals.malformedRequest)
  if (path.startsWith(ownPrefix)) return answerOwn(options, state, request, response)
  if (path === probePath && (request.method === 'HEAD' || request.method === 'GET')) {
    // Claude Code's connectivity probe carries no content: answered here, not recorded.
    response.writeHead(200).end()
    return
  }
  const { context } = options
  const refusal = overloadOf(context, request)
  if (refusal !== undefined) return refuse(refusal)
  const caller = readCaller(request.rawHeaders, options.keys)
  if (caller === undefined) return refuse(refusals.badGatewayKey)
  if (caller.key === null && options.requireGatewayKey) {
    return refuse(refusals.gatewayKeyRequired)
  }
  if (caller.key !== null && !caller.bringsProviderKey && context.providerKey === null) {
    return refuse(refusals.noProviderKey)
  }
  const policy = options.policies.of(caller.key?.application ?? null)
  const { closedBy } = context.store
  if (closedBy !== undefined && !policy.failOpen) {
    return refuse(auditUnavailable(closedBy, false))
  }
  const isDenied =
    options.unknownPaths === 'deny' && findRoute(request.method ?? '', path).operation === 'opaque'
  const denial = isDenied ? refusals.pathDenied : undefined
  new Exchange(context, { request, response }, { caller, policy, denial }).begin()
}

/** What is refused whoever asks, because there is no room for it. */
function overloadOf(context: GatewayContext, request: IncomingMessage): Refusal | undefined {
  if (context.live.size >= context.limits.exchanges) return refusals.overloaded
  if (Number(request.headers['content-length'] ?? 0) > context.limits.requestBodyBytes) {
    return refusals.bodyTooLarge
  }
  return undefined
}

/** Rewrites an absolute target to its path (RFC 9112 section 3.2.2); `undefined` for any other form. */
function normalizeTarget(request: IncomingMessage): string | undefined {
  const target = request.url ?? ''
  if (target.startsWith('/')) return target
  const scheme = /^https?:\/\/[^/?#]*/i.exec(target)?.[0]
  if (scheme === undefined) return undefined
  const path = target.slice(scheme.length)
  request.url = path.startsWith('/') ? path : `/${path}`
  return request.url
}

function answerOwn(
  options: GatewayServerOptions,
  state: ServerState,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const path = (request.url ?? '').split('?', 1)[0] ?? ''
  const own = options.ownPaths.get(path)
  if (own !== undefined) return own(request, response)
  if (path === '/affidavit/healthz') return sendJson(response, 200, { status: 'ok' })
  if (path === '/affidavit/readyz') {
    const code = options.context.store.closedBy
    const isReady = code === undefined && !state.isDraining
    const body = {
      ready: isReady,
      draining: state.isDraining,
      ...(code === undefined ? {} : { code }),
    }
    return sendJson(response, isReady ? 200 : 503, body)
  }
  if (path !== '/affidavit/metrics') return sendJson(response, 404, { error: 'not found' })
  if (!isLoopback(request.socket.remoteAddress) || isForwarded(request.rawHeaders)) {
    return sendJson(response, 403, { error: 'metrics are for loopback only' })
  }
  response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' })
  response.end(options.renderMetrics())
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(`${JSON.stringify(body)}\n`)
}

/** Bytes that are not HTTP, or headers that are too large. */
function answerClientError(error: Error & { code?: string }, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request'
  const { type, message } = refusals.malformedRequest
  const body = JSON.stringify({ type: 'error', error: { type, message } })
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\nx-should-retry: false\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

function listen(server: Server, address: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ ...address, backlog }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

async function closeServer(
  server: Server,
  { context, shutdownMs }: GatewayServerOptions,
  state: ServerState,
): Promise<void> {
  state.isDraining = true
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  for (const socket of state.silent) socket.destroy()
  // Connections that wait for a next request would keep the server open.
  const sweep = setInterval(() => server.closeIdleConnections(), idleSweepMs)
  const stopPatience = context.startTimer(shutdownMs, () => {
    context.log.warn({ exchanges: context.live.size }, 'exchanges ended by shutdown')
    for (const exchange of context.live) exchange.terminate()
    context.startTimer(closeGraceMs, () => server.closeAllConnections())
  })
  server.closeIdleConnections()
  await closed
  clearInterval(sweep)
  stopPatience()
}

// Time for the records of exchanges that were ended, and for their last bytes.
const closeGraceMs = 2_000
