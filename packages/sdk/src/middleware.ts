/**
 * The audit middleware for every `@anthropic-ai/*` client (SDK 0.101 and newer, and the Bedrock,
 * Vertex and Foundry clients built on it): it sees the canonical request of every attempt.
 *
 * @module
 */
import { createDoor, type AuditOptions } from './door.ts'
import { removeAuditHeaders } from './audit-headers.ts'

/** What the SDKs hand to a middleware, as far as it is needed here. */
export interface MiddlewareRequest {
  url: string
  method?: string
  headers: Headers
  body?: unknown
  signal?: AbortSignal | null | undefined
}

/** Fits the `middleware` option of a client and of a single call, in every supported SDK version. */
export type AuditMiddleware = <Request extends MiddlewareRequest>(
  request: Request,
  next: (request: Request) => Promise<Response>,
  context: { readonly options?: unknown },
) => Promise<Response>

/**
 * Makes the middleware.
 *
 * Put it last in the client's `middleware` array: what stands after it sees requests that are
 * recorded as something else, and a helper that sends several requests for one (such as
 * `betaRefusalFallbackMiddleware`) must stand before it, so that each is a record.
 *
 * Token exchanges, which the SDK sends through the same chain, are passed on and not recorded: they
 * carry credentials and no content.
 *
 * In `fail_closed` mode a call rejects with an `AuditError` (its code says why) when its record
 * cannot be made; the SDK does not repeat it, and nothing has been sent.
 */
export function auditMiddleware(options: AuditOptions): AuditMiddleware {
  const door = createDoor(options, 'middleware')
  return (request, next, context) => {
    if (context.options === undefined) return next(request)
    const { method = 'GET', url, headers, body, signal } = request
    const path = canonicalPath(url, context.options)
    return door(
      {
        method: method.toUpperCase(),
        url,
        path,
        headers,
        body,
        readsBody: path.startsWith('/v1/'),
        signal,
        options: context.options,
      },
      (bodyToSend) => next({ ...request, headers: removeAuditHeaders(headers), body: bodyToSend }),
    )
  }
}

/** The path that the SDK was asked for: a base URL may put a prefix before it. */
function canonicalPath(url: string, options: unknown): string {
  const { pathname, search } = new URL(url)
  const asked: unknown =
    typeof options === 'object' && options !== null && 'path' in options ? options.path : undefined
  if (typeof asked !== 'string') return pathname + search
  const [path = ''] = asked.split('?')
  return (path !== '' && pathname.endsWith(path) ? path : pathname) + search
}
