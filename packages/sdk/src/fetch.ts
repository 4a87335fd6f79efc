/**
 * A `fetch` that records, for everything with a `fetch` option: the Vercel AI SDK, LangChain, and
 * whatever else talks to Claude by HTTP.
 *
 * @module
 */
import { isAuditError, traitsOf } from '@affidavit/format'
import { removeAuditHeaders } from './audit-headers.ts'
import { createDoor, type AuditOptions } from './door.ts'
import { ingestPath } from './ship.ts'

export interface AuditFetchOptions extends AuditOptions {
  /** What sends the request; the global `fetch` unless set. */
  readonly fetch?: typeof fetch
  /**
   * How a request is refused that cannot be recorded. `throw` (the default): with an `AuditError`.
   * `respond`: with an answer that has status 503, `x-should-retry: false` and the shape of Claude's
   * errors, for clients that repeat a request on any thrown error, as the Anthropic SDKs do.
   */
  readonly refusal?: 'throw' | 'respond'
}

/** Requests that carry credentials and no content are passed on and not recorded. */
const tokenPath = /\/oauth2?(\/v\d+)?\/token\/?$/

/**
 * Makes the `fetch`. The request is sent as it was given; the answer has the same status, headers,
 * url and bytes. Redirects are followed inside, as without it, and are one exchange.
 */
export function auditFetch(options: AuditFetchOptions): typeof fetch {
  const send = options.fetch ?? globalThis.fetch
  const door = createDoor(options, 'fetch')
  return async (input, init) => {
    const url = urlOf(input)
    // What is no URL is refused by `fetch` itself.
    if (url === undefined || isUnrecorded(url)) return send(input, init)
    const call = await readCall(input, init)
    try {
      return await door(
        {
          method: call.method.toUpperCase(),
          url: url.href,
          path: canonicalPath(url),
          headers: call.headers,
          body: call.body,
          readsBody: true,
          signal: call.signal,
          options: undefined,
        },
        (body) => send(...call.argumentsFor(body)),
      )
    } catch (error) {
      if (options.refusal === 'respond' && isAuditError(error)) return refusalResponse(error)
      throw error
    }
  }
}

interface Call {
  readonly method: string
  readonly headers: Headers
  readonly body: unknown
  readonly signal: AbortSignal | null | undefined
  /** Arguments that send the same request with `body`. */
  argumentsFor(body: unknown): [Request | string | URL, RequestInit | undefined]
}

async function readCall(
  input: Request | string | URL,
  init: RequestInit | undefined,
): Promise<Call> {
  if (input instanceof Request) return readRequest(input, init)
  const headers = new Headers(init?.headers)
  return {
    method: init?.method ?? 'GET',
    headers,
    body: init?.body,
    signal: init?.signal,
    argumentsFor(body) {
      const sent = removeAuditHeaders(headers)
      const isAsGiven = sent === headers && body === init?.body
      if (isAsGiven) return [input, init]
      return [input, { ...init, headers: sent, ...bodyInit(body) }]
    },
  }
}

/** A `Request` gives its body once: what is JSON is read and put back, the rest is a stream. */
async function readRequest(given: Request, init: RequestInit | undefined): Promise<Call> {
  const request = init === undefined ? given : new Request(given, init)
  const isJson = /\bjson\b/i.test(request.headers.get('content-type') ?? '')
  const body = isJson && request.body !== null ? await request.arrayBuffer() : request.body
  return {
    method: request.method,
    headers: request.headers,
    body,
    signal: request.signal,
    argumentsFor(sentBody) {
      const headers = removeAuditHeaders(request.headers)
      if (sentBody === null && headers === request.headers) return [request, undefined]
      return [new Request(request, { headers, ...bodyInit(sentBody) }), undefined]
    },
  }
}

function bodyInit(body: unknown): RequestInit {
  // The body is the caller's own or our reading of it, and `fetch` checks it again.
  const sent = body as BodyInit | null | undefined
  if (sent === undefined) return {}
  const init: RequestInit & { duplex?: 'half' } = { body: sent }
  if (body instanceof ReadableStream) init.duplex = 'half'
  return init
}

function urlOf(input: Request | string | URL): URL | undefined {
  const url = input instanceof Request ? input.url : input
  return URL.canParse(url) ? new URL(url) : undefined
}

function isUnrecorded({ pathname }: URL): boolean {
  // Shipping uses the global `fetch`, which may be this one.
  return tokenPath.test(pathname) || pathname.endsWith(ingestPath)
}

/** Path and query from `/v1/` on: a base URL may put a prefix before it, or leave it out. */
function canonicalPath({ pathname, search }: URL): string {
  const at = pathname.indexOf('/v1/')
  if (at >= 0) return pathname.slice(at) + search
  const [bare] = /\/messages(\/.*)?$/.exec(pathname) ?? []
  return (bare === undefined ? pathname : `/v1${bare}`) + search
}

function refusalResponse(error: {
  code: Parameters<typeof traitsOf>[0]
  message: string
}): Response {
  const body = { type: 'error', error: { type: 'api_error', message: error.message } }
  return Response.json(body, { status: 503, headers: { 'x-should-retry': 'false' } })
}
