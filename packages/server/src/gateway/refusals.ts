/**
 * The gateway's own answers to requests that it does not forward, in the shape of Claude's errors, so
 * that every client shows the message. The status decides what clients do: Claude Code repeats a 400 or
 * 422 six times with degraded bodies, and an SDK repeats a 5xx unless `x-should-retry` says no. So
 * policy is 451, an unavailable audit store is 503 with `x-should-retry: false`, limits are 429.
 *
 * Invariant: an answer of ours carries no `request-id`, which is Anthropic's name for its own.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AuditErrorCode } from '@affidavit/format'
import { eventIdHeader } from './headers.ts'

/** One answer of ours. */
export interface Refusal {
  readonly status: number
  /** `error.type` as Claude's API names it. */
  readonly type: string
  readonly code: AuditErrorCode
  /** For the person at the other end: what happened, what did not, what to do. */
  readonly message: string
  /** `false`: the same request fails again until somebody does something. */
  readonly retry: boolean
  readonly retryAfterSeconds?: number
  /** Close the connection: the rest of the request is not read. */
  readonly close?: boolean
}

/** Header with the error code of a refusal. */
export const errorCodeHeader = 'x-audit-error'

/** Refusals whose cause is fixed. */
export const refusals = {
  badGatewayKey: {
    status: 401,
    type: 'authentication_error',
    code: 'ERR_CREDENTIAL_REFUSED',
    message:
      'Affidavit: this gateway key is not known or was revoked. Ask your operator for a new one.',
    retry: false,
  },
  gatewayKeyRequired: {
    status: 401,
    type: 'authentication_error',
    code: 'ERR_CREDENTIAL_REFUSED',
    message:
      'Affidavit: this gateway asks for a gateway key (afk_…), as x-api-key, as a bearer token or ' +
      'in x-audit-key. Ask your operator for one.',
    retry: false,
  },
  noProviderKey: {
    status: 401,
    type: 'authentication_error',
    code: 'ERR_CREDENTIAL_REFUSED',
    message:
      'Affidavit: the gateway key is good, but neither it nor the gateway brings a key for Claude. ' +
      'The operator sets gateway.provider_keys.anthropic, or send the key in x-api-key and the ' +
      'gateway key in x-audit-key.',
    retry: false,
  },
  pathDenied: {
    status: 451,
    type: 'permission_error',
    code: 'ERR_PATH_DENIED',
    message:
      'Affidavit: this path is not known here, and unknown paths are denied by policy ' +
      '(gateway.unknown_paths). Nothing was forwarded.',
    retry: false,
  },
  bodyTooLarge: {
    status: 413,
    type: 'request_too_large',
    code: 'ERR_BODY_TOO_LARGE',
    message:
      'Affidavit: the request body is larger than gateway.limits.request_body_bytes. Nothing was forwarded.',
    retry: false,
  },
  overloaded: {
    status: 429,
    type: 'rate_limit_error',
    code: 'ERR_GATEWAY_BUSY',
    message: 'Affidavit: the gateway is at its own limit of requests or request bytes. Try again.',
    retry: true,
    retryAfterSeconds: 1,
  },
  upstreamTimeout: {
    status: 504,
    type: 'timeout_error',
    code: 'ERR_UPSTREAM_UNREACHABLE',
    message: 'Affidavit: Claude did not answer within gateway.upstream.headers_timeout_ms.',
    retry: true,
  },
  upstreamUnreachable: {
    status: 502,
    type: 'api_error',
    code: 'ERR_UPSTREAM_UNREACHABLE',
    message:
      'Affidavit: the upstream could not be reached, or closed the connection before it answered.',
    retry: true,
  },
  malformedRequest: {
    status: 400,
    type: 'invalid_request_error',
    code: 'ERR_REQUEST_MALFORMED',
    message: 'Affidavit: this is not a well-formed HTTP request, or its headers are too large.',
    retry: false,
    close: true,
  },
} as const satisfies Record<string, Refusal>

/** The audit store cannot take the record. `code` says why, for the operator. */
export function auditUnavailable(code: AuditErrorCode, answerLost: boolean): Refusal {
  const fate = answerLost
    ? 'Claude answered, but the answer could not be recorded and is withheld.'
    : 'This request could not be recorded and was not forwarded to Claude.'
  return {
    status: 503,
    type: 'api_error',
    code,
    message: `Affidavit: the audit store is not available (${code}). ${fate} Tell your operator.`,
    retry: false,
  }
}

/** Bytes of a refused body that are read and dropped at most. */
export const discardedBytesMax = 1024 * 1024 * 1024

/**
 * Sends `refusal`; the head must not have been sent. The whole answer goes out at once, but its end waits
 * until the caller has sent its request, which is read and dropped: one that writes everything before it
 * reads would otherwise see a broken connection instead.
 */
export function sendRefusal(response: ServerResponse, refusal: Refusal, eventId?: string): void {
  const { type, message } = refusal
  const body = Buffer.from(JSON.stringify({ type: 'error', error: { type, message } }), 'utf8')
  const headers = [
    'content-type',
    'application/json',
    'content-length',
    String(body.length),
    'x-should-retry',
    String(refusal.retry),
    errorCodeHeader,
    refusal.code,
  ]
  if (refusal.retryAfterSeconds !== undefined) {
    headers.push('retry-after', String(refusal.retryAfterSeconds))
  }
  if (eventId !== undefined) headers.push(eventIdHeader, eventId)
  if (refusal.close === true) headers.push('connection', 'close')
  response.writeHead(refusal.status, headers)
  if (response.req.complete) {
    response.end(body)
    return
  }
  response.write(body)
  endAfterRequest(response.req, response)
}

function endAfterRequest(request: IncomingMessage, response: ServerResponse): void {
  let bytes = 0
  request.on('end', () => response.end())
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > discardedBytesMax) request.socket.destroy()
  })
}
