/**
 * One exchange from inside an application, in the order that makes it evidence: capture, start
 * durable, send, watch the answer, completion durable, last bytes. The middleware and the auditing
 * `fetch` are two thin adapters of it.
 *
 * Invariants:
 * - `fail_closed` (the default): nothing is sent unless the start is durable, and `strict` delivery
 *   hands on the end of an answer only when its completion is.
 * - `fail_open`: the exchange goes on whatever happens to its record, and each that has none is
 *   counted, reported, and written down as a gap.
 * - An error of the exchange itself reaches the caller as the very object that was thrown.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import {
  AuditError,
  isAuditError,
  newEventId,
  sha256Hex,
  type Classification,
  type IdentityTrust,
} from '@affidavit/format'
import { readRequestBody, type RequestBody } from './body.ts'
import {
  completedBody,
  createHashKeys,
  createPrefixCache,
  createResponseTap,
  captureRequest,
  startedBody,
  systemClock,
  type CapturedRequest,
  type CaptureOptions,
  type Clock,
  type EndCause,
  type HashKeys,
  type IdentityClaims,
  type RecordPolicy,
  type ResolvedIdentity,
} from './capture.ts'
import type { AuditDestination } from './destination.ts'
import { createGapKeeper, type GapKeeper } from './gaps.ts'
import { observeResponse } from './observe.ts'
import { systemTimers, type Timers } from './timers.ts'

/** Who a call is made for, in the application's own words. What is left out is unknown. */
export interface AuditIdentity {
  /** The application's stable identifier of the user, e.g. the subject of its login token. */
  readonly user?: string | undefined
  readonly session?: string | undefined
  readonly application?: string | undefined
}

/** What an `identity` function can look at. */
export interface IdentityContext {
  readonly method: string
  readonly url: string
  /** Headers as the caller set them, credentials included: do not log them. */
  readonly headers: Headers
  /** The SDK's options of the call; `undefined` through `auditFetch`. */
  readonly options: unknown
  /** What headers and `metadata.user_id` say already; used where `identity` says nothing. */
  readonly claims: IdentityClaims
}

/** Facts for the operator; none holds content. */
export type DoorEvent =
  /** An exchange goes on without a record (`fail_open`). */
  | { readonly kind: 'unrecorded_request'; readonly error: unknown }
  /** The outcome of a started exchange could not be made durable. */
  | { readonly kind: 'unrecorded_outcome'; readonly eventId: string; readonly error: unknown }

export interface AuditOptions {
  readonly destination: AuditDestination
  readonly identity?: (context: IdentityContext) => AuditIdentity | Promise<AuditIdentity>
  /** `application_id` where nobody says another. */
  readonly application?: string
  /** What happens when a record cannot be made; `fail_closed` unless set. */
  readonly mode?: 'fail_closed' | 'fail_open'
  /** When the end of an answer is handed on; `strict` unless set. */
  readonly delivery?: 'strict' | 'standard'
  /** `standard` unless set. */
  readonly retentionClass?: string
  /** `INTERNAL` unless set; a request can raise it by `x-audit-classification`, never lower it. */
  readonly classification?: Classification
  /** Needed with `ledgerDestination`; a gateway keys plain digests itself. */
  readonly hashKeys?: HashKeys
  /** A response on which nothing was read for so long counts as abandoned; one hour unless set. */
  readonly idleMsMax?: number
  readonly report?: (event: DoorEvent) => void
  /** For tests. */
  readonly dependencies?: Partial<DoorDependencies>
}

export interface DoorDependencies {
  readonly clock: Clock
  readonly timers: Timers
  readonly random: (bytes: number) => Uint8Array
}

/** One request at a door. */
export interface DoorRequest {
  readonly method: string
  /** Absolute, as it is requested. */
  readonly url: string
  /** Path and query by which the operation is known. */
  readonly path: string
  readonly headers: Headers
  readonly body: unknown
  /** False for bodies that must not even be hashed. */
  readonly readsBody: boolean
  readonly signal: AbortSignal | null | undefined
  /** The SDK's options of the call. */
  readonly options: unknown
}

/** Records one exchange around `send`, which gets the body to send in place of the request's. */
export type Door = (
  request: DoorRequest,
  send: (body: unknown) => Promise<Response>,
) => Promise<Response>

const idleMsDefault = 60 * 60 * 1000
const eventIdRandomBytes = 10
const claimCharsMax = 1024
/** What a door may keep of earlier turns, in an application's memory. */
const prefixCacheBytesMax = 16 * 1024 * 1024
const levels: readonly Classification[] = ['PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED']
const nothing = new Uint8Array(0)
const eventIds = new WeakMap<Response, string>()

/** The event id under which the exchange of a response is recorded, if it came through a door. */
export function eventIdOf(response: Response): string | undefined {
  return eventIds.get(response)
}

/** Makes a door. */
export function createDoor(options: AuditOptions, source: 'middleware' | 'fetch'): Door {
  const dependencies: DoorDependencies = {
    clock: systemClock,
    timers: systemTimers,
    random: (bytes) => randomBytes(bytes),
    ...options.dependencies,
  }
  const context: DoorContext = {
    ...dependencies,
    options,
    source,
    gaps: createGapKeeper({ destination: options.destination, ...dependencies }),
    capture: {
      clock: dependencies.clock,
      hashKeys: options.hashKeys ?? createHashKeys({ mode: 'plain' }),
      prefixCache: createPrefixCache({ prefixCacheBytesMax }),
    },
  }
  return async (request, send) => {
    const begun = await begin(context, request)
    if (begun.kind === 'refused') throw begun.error
    if (begun.kind === 'unrecorded') return send(begun.bodyToSend)
    const { exchange } = begun
    let response: Response
    try {
      response = await send(begun.bodyToSend)
    } catch (error) {
      await endWithout(exchange, request, error)
      throw error
    }
    return watch(context, exchange, request, response)
  }
}

interface DoorContext extends DoorDependencies {
  readonly options: AuditOptions
  readonly source: 'middleware' | 'fetch'
  readonly gaps: GapKeeper
  readonly capture: CaptureOptions
}

/** An exchange whose start is durable. */
interface Exchange {
  readonly eventId: string
  readonly tap: ReturnType<typeof createResponseTap>
  /** Makes the outcome durable; the first call counts. Rejects as `Observation.end` says. */
  end(cause: EndCause, errorType?: string): Promise<void>
}

type Begun =
  | { readonly kind: 'recorded'; readonly exchange: Exchange; readonly bodyToSend: unknown }
  | { readonly kind: 'unrecorded'; readonly bodyToSend: unknown }
  | { readonly kind: 'refused'; readonly error: AuditError }

async function begin(context: DoorContext, request: DoorRequest): Promise<Begun> {
  let body: RequestBody | undefined
  let bodyToSend = request.body
  try {
    body = request.readsBody ? await readRequestBody(request.body) : undefined
    // From here on the caller's own stream belongs to ours.
    if (body?.kind === 'stream') bodyToSend = body.stream
    const exchange = await start(context, request, body ?? { kind: 'bytes', bytes: nothing })
    void context.gaps.flush()
    return { kind: 'recorded', exchange, bodyToSend }
  } catch (error) {
    if (context.options.mode === 'fail_open') {
      passUnrecorded(context, error)
      return { kind: 'unrecorded', bodyToSend }
    }
    if (body?.kind === 'stream') await body.stream.cancel(error).catch(() => undefined)
    return { kind: 'refused', error: refusal(error) }
  }
}

async function start(
  context: DoorContext,
  request: DoorRequest,
  body: RequestBody,
): Promise<Exchange> {
  const { clock, options, capture } = context
  const startedAtMicros = clock.nowMicros()
  const startedMonotonicMs = clock.monotonicMs()
  const eventId = newEventId(Math.floor(startedAtMicros / 1000), context.random(eventIdRandomBytes))
  const read = captureRequest(
    {
      eventId,
      startedAtMicros,
      startedMonotonicMs,
      captureSource: context.source,
      method: request.method,
      url: request.path,
      rawHeaders: [...request.headers].flat(),
      body: body.kind === 'bytes' ? body.bytes : nothing,
    },
    capture,
  )
  read.release()
  const started = body.kind === 'digest' ? withDigest(read, body) : read
  const who = await identify(context, request, read.claims)
  const policy = policyOf(options, read.claims)
  const claim = who.user === undefined ? {} : { subject_claim: who.user }
  await options.destination.started({ ...startedBody(started, who.identity, policy), ...claim })
  const tap = createResponseTap(started, capture)
  const streamed = body.kind === 'stream' ? body : undefined
  return exchangeOf(context, { started, tap, streamed, who, policy, claim })
}

/** An exchange as it runs. It does not hold the request's body. */
interface Running {
  readonly started: CapturedRequest
  readonly tap: ReturnType<typeof createResponseTap>
  readonly streamed: Extract<RequestBody, { kind: 'stream' }> | undefined
  readonly who: { readonly identity: ResolvedIdentity }
  readonly policy: RecordPolicy
  readonly claim: { readonly subject_claim?: string }
}

function exchangeOf(context: DoorContext, running: Running): Exchange {
  const { started, tap, streamed, who, policy, claim } = running
  const { eventId } = started
  let ended: Promise<void> | undefined

  async function complete(cause: EndCause, errorType?: string): Promise<void> {
    const outcome = tap.end(cause, errorType === undefined ? {} : { errorType })
    const whole = streamed === undefined ? started : withStream(started, streamed)
    const done = completedBody(whole, who.identity, policy, outcome, context.clock.nowMicros())
    try {
      await context.options.destination.completed({ ...done, ...claim })
    } catch (error) {
      report(context, { kind: 'unrecorded_outcome', eventId, error })
      if (context.options.mode !== 'fail_open') throw withheld(error)
      countGap(context, who.identity.applicationId, error)
    }
  }

  return {
    eventId,
    tap,
    end: (cause, errorType) => (ended ??= complete(cause, errorType)),
  }
}

async function watch(
  context: DoorContext,
  exchange: Exchange,
  request: DoorRequest,
  response: Response,
): Promise<Response> {
  const { options, timers, clock } = context
  const { tap, eventId } = exchange
  tap.head(response.status, [...response.headers].flat())
  const observed = await observeResponse(
    response,
    {
      chunk: (bytes) => tap.chunk(bytes),
      get terminalSeen() {
        return tap.terminalSeen
      },
      get framing() {
        return tap.framing
      },
      end: (cause) => exchange.end(cause),
    },
    {
      delivery: options.delivery ?? 'strict',
      signal: request.signal,
      timers,
      monotonicMs: () => clock.monotonicMs(),
      idleMsMax: options.idleMsMax ?? idleMsDefault,
    },
  )
  eventIds.set(observed, eventId)
  return observed
}

/** The request got no answer. Its own error matters more to the caller than that of its record. */
async function endWithout(exchange: Exchange, request: DoorRequest, error: unknown): Promise<void> {
  const isAbort =
    request.signal?.aborted === true || (error instanceof Error && error.name === 'AbortError')
  const ended = isAbort
    ? exchange.end('client_abort')
    : exchange.end('upstream_error', 'connection_error')
  await ended.catch(() => undefined)
}

async function identify(
  { options }: DoorContext,
  request: DoorRequest,
  claims: IdentityClaims,
): Promise<{ user: string | undefined; identity: ResolvedIdentity }> {
  const { method, url, headers } = request
  const said = await options.identity?.({ method, url, headers, options: request.options, claims })
  const user = claimOf(said?.user) ?? claimOf(claims.userId)
  const sessionId = claimOf(said?.session) ?? claimOf(claims.sessionId) ?? null
  const applicationId =
    claimOf(said?.application) ?? claimOf(claims.applicationId) ?? claimOf(options.application)
  const trust = (value: unknown) =>
    value === undefined || value === null ? 'none' : 'client-asserted'
  const identityTrust: IdentityTrust = {
    application: trust(applicationId),
    session: trust(sessionId),
    user: trust(user),
  }
  return {
    user,
    identity: {
      userId: null,
      sessionId,
      applicationId: applicationId ?? 'unknown',
      trust: identityTrust,
    },
  }
}

/** A claim that says something, in a length that every gateway takes. */
function claimOf(value: string | null | undefined): string | undefined {
  if (value === null || value === undefined || value === '') return undefined
  return value.length <= claimCharsMax ? value : `sha256:${sha256Hex(value)}`
}

function policyOf(options: AuditOptions, claims: IdentityClaims): RecordPolicy {
  const own = options.classification ?? 'INTERNAL'
  const claimed = claims.classification
  const isRaised = claimed !== null && levels.indexOf(claimed) > levels.indexOf(own)
  return {
    retentionClass: options.retentionClass ?? 'standard',
    classification: isRaised ? claimed : own,
    classificationSource: isRaised ? 'client' : 'default',
    policyVersion: 'sdk',
    policyFlags: [],
  }
}

function withDigest(
  captured: CapturedRequest,
  { digest, parts }: Extract<RequestBody, { kind: 'digest' }>,
): CapturedRequest {
  return {
    ...captured,
    bodyBytes: digest.bytes,
    wireSha256: digest.sha256,
    parsed: 'opaque',
    encoding: parts ? 'form-parts' : captured.encoding,
    decodedSha256: null,
    // The record of the body as it was known before must not be taken again.
    recordMemo: null,
  }
}

function withStream(
  captured: CapturedRequest,
  body: Extract<RequestBody, { kind: 'stream' }>,
): CapturedRequest {
  return withDigest(captured, { kind: 'digest', digest: body.digest(), parts: false })
}

function passUnrecorded(context: DoorContext, error: unknown): void {
  report(context, { kind: 'unrecorded_request', error })
  countGap(context, context.options.application ?? 'unknown', error)
}

function countGap({ gaps, options }: DoorContext, applicationId: string, error: unknown): void {
  gaps.count({ applicationId, retentionClass: options.retentionClass ?? 'standard', error })
}

function report({ options }: DoorContext, event: DoorEvent): void {
  if (options.report !== undefined) return options.report(event)
  const code = isAuditError(event.error) ? event.error.code : 'destination_failed'
  const text =
    event.kind === 'unrecorded_request'
      ? 'a request to Claude passes unrecorded, as fail_open allows'
      : 'the outcome of a request to Claude could not be recorded'
  process.emitWarning(`${text} (${code})`, 'AffidavitWarning')
}

const langchainRetryable = Symbol.for('langchain.errors.retryable')
// The SDKs take an error whose text says so for a lost connection, and send the request again.
const looksRetryable = /timed? ?out|FetchRequestCanceledException/i

/** The error of a request that was not sent. No client may take it for a failure of the network. */
function refusal(cause: unknown): AuditError {
  return finalError(cause, 'the request was not sent: its audit record could not be made')
}

/** The error of an answer that may not be handed on. */
function withheld(cause: unknown): AuditError {
  return finalError(cause, 'the end of the answer is withheld: its outcome could not be recorded')
}

function finalError(cause: unknown, what: string): AuditError {
  const isOurs = isAuditError(cause)
  const why = isOurs && !looksRetryable.test(cause.message) ? `. ${cause.message}` : ''
  const error = new AuditError(isOurs ? cause.code : 'ERR_AUDIT_UNAVAILABLE', `${what}${why}`, {
    // SDKs walk the chain of causes for aborts and connection errors and retry on one; an aggregate
    // keeps the original for a person and ends the chain.
    cause: new AggregateError([cause], 'the audit destination failed'),
  })
  Object.defineProperty(error, langchainRetryable, { value: false })
  return error
}
