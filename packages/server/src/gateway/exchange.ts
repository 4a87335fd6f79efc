/**
 * One exchange, from the first byte of the request to the last of the answer; read top to bottom it is
 * the life of a record. Each step says what a crash there leaves.
 *
 *     receiving → identifying → starting → forwarding → answering → completing → over
 *
 * Invariants:
 * - Upstream sees nothing of a request before its `interaction.started` is sequenced.
 * - In strict delivery the caller sees the end of an answer only when its `interaction.completed` is
 *   sequenced; if that fails it sees a broken connection, or 503 where no head was sent.
 * - Every start is completed once, with the first cause that ended it; what cannot be completed here is
 *   closed by the next recovery as `interaction.interrupted`.
 * - Bytes pass unchanged and in order, both ways. Observing them never holds them up, except as
 *   delivery says.
 *
 * This is a class, with undici's handler interface on it, because it is made for every request: methods
 * on a prototype cost no closures.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import { isAuditError, newEventId, type AuditErrorCode } from '@affidavit/format'
import {
  captureRequest,
  completedText,
  createResponseTap,
  safeIdentifier,
  startedText,
  type CapturedRequest,
  type EndCause,
  type EndFacts,
  type RecordPolicy,
  type ResolvedIdentity,
  type ResponseTap,
} from '@affidavit/sdk/capture'
import { errorFields } from '../base/log.ts'
import { withClaim, type ApplicationPolicy } from '../control/policies.ts'
import { identify, withIdentityFlags, type Caller } from './callers.ts'
import type { GatewayContext } from './context.ts'
import { Delivery } from './delivery.ts'
import { headerText, headerValue, requestHeadersFor, responseHeadersFor } from './headers.ts'
import { auditUnavailable, refusals, sendRefusal, type Refusal } from './refusals.ts'
import { failureOf, SingleUseBody } from './upstream.ts'

type Phase =
  | 'receiving'
  | 'identifying'
  | 'starting'
  | 'forwarding'
  | 'answering'
  | 'completing'
  | 'over'

/** How the caller's side ends once the record is made. */
type Ending = 'clean' | 'broken' | Refusal

/** What rules one exchange. */
export interface ExchangeRules {
  readonly caller: Caller
  readonly policy: ApplicationPolicy
  /** Policy forbids the request: it is recorded, and answered with this instead of being forwarded. */
  readonly denial: Refusal | undefined
}

const eventIdRandomBytes = 10
// A body above this is handed to undici as one that is not kept; below, the detour costs more.
const keptBodyBytesMax = 16 * 1024
const endedHere = new Error('the exchange ended on our side')

export class Exchange implements Dispatcher.DispatchHandler {
  readonly #gateway: GatewayContext
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #caller: Caller
  readonly #policy: ApplicationPolicy
  readonly #denial: Refusal | undefined
  readonly #delivery: Delivery
  readonly #startedAtMicros: number
  readonly #startedMs: number
  #phase: Phase = 'receiving'
  #chunks: Buffer[] = []
  #bodyBytes = 0
  #body: Buffer | null = null
  #captured: CapturedRequest | undefined
  #identity: ResolvedIdentity | undefined
  #record: RecordPolicy
  /** `undefined` while the exchange is not recorded (`fail_open`). */
  #tap: ResponseTap | undefined
  #abortUpstream: ((error?: Error) => void) | undefined
  #resumeUpstream: (() => void) | undefined
  #isPaused = false
  #wasSent = false
  #clientGone = false
  #passing: 'free' | 'stream' | 'hold' = 'hold'
  #stopLinger: (() => void) | undefined
  #stopStall: (() => void) | undefined

  constructor(
    gateway: GatewayContext,
    ends: { readonly request: IncomingMessage; readonly response: ServerResponse },
    rules: ExchangeRules,
  ) {
    this.#gateway = gateway
    this.#request = ends.request
    this.#response = ends.response
    this.#caller = rules.caller
    this.#policy = rules.policy
    this.#denial = rules.denial
    this.#record = rules.policy.record
    this.#delivery = new Delivery(ends.response)
    this.#startedAtMicros = gateway.clock.nowMicros()
    this.#startedMs = gateway.clock.monotonicMs()
  }

  // 1. The request is read whole: its digests must be on disk before any of it is forwarded. A crash
  //    here leaves nothing, and nothing was forwarded.

  begin(): void {
    this.#gateway.live.add(this)
    this.#request.on('data', (chunk: Buffer) => this.#receive(chunk))
    this.#request.on('end', () => this.#received())
    this.#response.on('close', () => this.#connectionClosed())
  }

  #receive(chunk: Buffer): void {
    if (this.#phase !== 'receiving') return
    const { limits, bodies } = this.#gateway
    this.#bodyBytes += chunk.length
    bodies.bytes += chunk.length
    if (this.#bodyBytes > limits.requestBodyBytes) this.#refuse(refusals.bodyTooLarge)
    else if (bodies.bytes > limits.requestBodiesBytes) this.#refuse(refusals.overloaded)
    else this.#chunks.push(chunk)
  }

  #received(): void {
    if (this.#phase !== 'receiving') return
    const [first, ...rest] = this.#chunks
    this.#body =
      first === undefined
        ? Buffer.alloc(0)
        : rest.length === 0
          ? first
          : Buffer.concat(this.#chunks)
    this.#chunks = []
    this.#phase = 'identifying'
    try {
      this.#identify(this.#capture(this.#body))
    } catch (error) {
      this.#startFailed(error)
    }
  }

  // 2. Capture and identity. A new name is durable in the key ring before its handle is used; a crash
  //    here may leave a row that no entry refers to.

  #capture(body: Buffer): CapturedRequest {
    const { clock, random, clientAddress } = this.#gateway
    const { method = '', url = '', rawHeaders, socket } = this.#request
    const address = clientAddress(socket.remoteAddress, rawHeaders)
    const captured = captureRequest(
      {
        eventId: newEventId(Math.floor(clock.nowMicros() / 1000), random(eventIdRandomBytes)),
        startedAtMicros: this.#startedAtMicros,
        startedMonotonicMs: this.#startedMs,
        captureSource: 'gateway',
        method,
        url,
        rawHeaders,
        body,
        ...(address === undefined ? {} : { remoteAddress: address }),
      },
      this.#gateway.capture,
    )
    this.#captured = captured
    this.#record = withClaim(
      withIdentityFlags(this.#record, captured, this.#caller),
      captured.claims.classification,
    )
    return captured
  }

  #identify(captured: CapturedRequest): void {
    const { store, defaultApplication } = this.#gateway
    const identity = identify(captured, this.#caller, store, defaultApplication)
    if (!(identity instanceof Promise)) return this.#start(captured, identity)
    identity.then(
      (resolved) => this.#start(captured, resolved),
      (error: unknown) => this.#startFailed(error),
    )
  }

  // 3. `started` is made durable. A crash before the write leaves nothing; after it, a start that
  //    recovery closes as interrupted, though nothing was forwarded: the record errs towards more.

  #start(captured: CapturedRequest, identity: ResolvedIdentity): void {
    this.#phase = 'starting'
    this.#identity = identity
    const { store, clock } = this.#gateway
    const before = clock.monotonicMs()
    const { retentionClass } = this.#record
    let body: string
    try {
      body = startedText(captured, identity, this.#record)
    } catch (error) {
      this.#startFailed(error)
      return
    }
    store.append({ retentionClass, body, opens: captured.eventId }).then(
      () => this.#started(captured, before),
      (error: unknown) => this.#startFailed(error),
    )
  }

  #started(captured: CapturedRequest, before: number): void {
    this.#gateway.metrics.startedMs.observe(this.#gateway.clock.monotonicMs() - before)
    this.#tap = createResponseTap(captured, this.#gateway.capture)
    this.#forward()
  }

  #startFailed(error: unknown): void {
    const code = codeOf(error)
    if (code === undefined) this.#gateway.log.error(errorFields(error), 'capture failed')
    const reason = code ?? 'ERR_AUDIT_UNAVAILABLE'
    if (!this.#policy.failOpen) return this.#refuse(auditUnavailable(reason, false))
    const application = this.#caller.key?.application ?? this.#gateway.defaultApplication
    this.#gateway.store.countUnrecorded({
      applicationId: safeIdentifier(application, this.#gateway.capture.hashKeys, null),
      retentionClass: this.#record.retentionClass,
      reason,
    })
    this.#gateway.metrics.unrecorded.add()
    this.#forward()
  }

  // 4. The request goes out. A crash from here on leaves a start that recovery closes as interrupted.

  #forward(): void {
    if (this.#clientGone) {
      this.#finish('client_abort', 'broken')
      return
    }
    if (this.#denial !== undefined) {
      const { status, type, code } = this.#denial
      this.#gateway.metrics.refused(code)
      this.#finish('gateway_terminated', this.#denial, { httpStatus: status, errorType: type })
      return
    }
    this.#phase = 'forwarding'
    const { upstream, providerKey } = this.#gateway
    const { method = 'GET', url = '/', rawHeaders } = this.#request
    const body = this.#body
    this.#body = null
    const injected = this.#caller.key !== null && !this.#caller.bringsProviderKey
    const headers = requestHeadersFor(rawHeaders, injected ? providerKey : null)
    const path = upstream.pathPrefix + url
    if (body === null || body.length <= keptBodyBytesMax) {
      upstream.dispatch({ path, method, headers, body }, this)
      return
    }
    headers.push('content-length', String(body.length))
    const once: Iterable<Buffer> = new SingleUseBody(body)
    // undici takes any iterable; its types name streams only.
    upstream.dispatch({ path, method, headers, body: once as never }, this)
  }

  onConnect(abort: (error?: Error) => void): void {
    if (this.#clientGone || this.#phase !== 'forwarding') abort()
    else this.#abortUpstream = abort
  }

  onRequestSent(): void {
    this.#wasSent = true
    this.#letBodyGo()
  }

  // 5. The answer comes back. It is shown to the tap and passed on as it comes.

  onHeaders(status: number, rawHeaders: Buffer[], resume: () => void, reason: string): boolean {
    if (this.#phase !== 'forwarding') return true
    const headers = headerText(rawHeaders)
    if (status < 200) {
      this.#passInformational(status, reason, headers)
      return true
    }
    this.#phase = 'answering'
    this.#resumeUpstream = resume
    this.#tap?.head(status, headers)
    const isRecorded = this.#tap !== undefined
    const eventId = isRecorded ? (this.#captured?.eventId ?? null) : null
    this.#delivery.setHead(status, reason, responseHeadersFor(headers, eventId))
    const isStream = headerValue(headers, 'content-type')?.startsWith('text/event-stream') ?? false
    this.#passing =
      !isRecorded || this.#policy.delivery !== 'strict' ? 'free' : isStream ? 'stream' : 'hold'
    if (isStream) this.#delivery.sendHead(true)
    // Bytes that came with the head leave with it; a head that came alone leaves alone.
    else if (this.#passing === 'free') process.nextTick(() => this.#sendLoneHead())
    return true
  }

  #sendLoneHead(): void {
    if (this.#phase !== 'answering') return
    try {
      this.#delivery.sendHead(true)
    } catch (error) {
      this.#gateway.log.error(errorFields(error), 'answer not delivered')
      this.#response.destroy()
    }
  }

  onData(chunk: Buffer): boolean {
    if (this.#phase !== 'answering') return true
    this.#gateway.metrics.answerBytes.add(chunk.length)
    const tap = this.#tap
    const releasable = tap === undefined ? chunk.length : tap.chunk(chunk)
    if (this.#passing === 'free') return this.#flowing(this.#delivery.send(chunk))
    if (this.#passing === 'stream') return this.#passStream(chunk, releasable)
    this.#delivery.hold(chunk)
    if (this.#delivery.heldBytes <= this.#gateway.limits.heldAnswerBytes) return true
    return this.#flowing(this.#delivery.sendAllButLast())
  }

  /** Everything passes but the last frame; what comes after that is kept with it, for a short time. */
  #passStream(chunk: Buffer, releasable: number): boolean {
    if (releasable === chunk.length) return this.#flowing(this.#delivery.send(chunk))
    const hasRoom = releasable === 0 || this.#delivery.send(chunk.subarray(0, releasable))
    this.#delivery.hold(chunk.subarray(releasable))
    const { limits, startTimer } = this.#gateway
    if (this.#delivery.heldBytes > limits.heldAnswerBytes) this.#stopLingering()
    else this.#stopLinger ??= startTimer(limits.lingerMs, () => this.#stopLingering())
    return this.#flowing(hasRoom)
  }

  /** The last frame is here and upstream keeps the connection open: what has come is the answer. */
  #stopLingering(): void {
    if (this.#phase === 'answering') this.#finish('end', 'clean')
  }

  onComplete(): void {
    if (this.#phase === 'answering') this.#finish('end', 'clean')
  }

  onError(error: Error): void {
    if (this.#phase === 'answering') return this.#finish('upstream_cut', 'broken')
    if (this.#phase !== 'forwarding') return
    const failure = failureOf(error)
    const refusal = {
      timeout: refusals.upstreamTimeout,
      unreachable: refusals.upstreamUnreachable,
      refused: refusals.malformedRequest,
    }[failure]
    this.#gateway.log.warn({ failure, ...errorFields(error) }, 'upstream failed before an answer')
    // A request that was sent may have been worked on, whatever became of the connection.
    const cause = this.#wasSent && failure === 'unreachable' ? 'upstream_cut' : 'upstream_error'
    this.#finish(cause, refusal, { httpStatus: refusal.status, errorType: refusal.type })
  }

  // 6. `completed` is made durable. In strict delivery a crash before the write leaves a caller without
  //    the end of its answer and an interrupted start; after it, a record whose answer may not have
  //    arrived, which is what a record of a sent answer always means.

  #finish(cause: EndCause, ending: Ending, facts: EndFacts = {}): void {
    if (this.#phase === 'completing' || this.#phase === 'over') return
    this.#phase = 'completing'
    // Nothing happens where the upstream has ended by itself.
    this.#abortUpstream?.(endedHere)
    const completed = this.#complete(cause, facts)
    if (completed === undefined || this.#policy.delivery !== 'strict') this.#release(ending)
    completed?.then(
      () => this.#release(ending),
      (error: unknown) => this.#completionFailed(error, ending),
    )
  }

  /** Writes the outcome; `undefined` when the exchange is not recorded. */
  #complete(cause: EndCause, facts: EndFacts): Promise<unknown> | undefined {
    const captured = this.#captured
    const identity = this.#identity
    if (this.#tap === undefined || captured === undefined || identity === undefined)
      return undefined
    const { store, clock, metrics } = this.#gateway
    try {
      const outcome = this.#tap.end(cause, facts)
      metrics.ended(outcome.endState)
      const loggedAt = clock.nowMicros()
      const body = completedText(captured, identity, this.#record, outcome, loggedAt)
      const { retentionClass } = this.#record
      return store.append({ retentionClass, body, closes: captured.eventId })
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #completionFailed(error: unknown, ending: Ending): void {
    const code = codeOf(error) ?? 'ERR_AUDIT_UNAVAILABLE'
    this.#gateway.metrics.completionsLost.add()
    this.#gateway.log.error({ ...errorFields(error) }, 'completion not recorded')
    if (this.#phase === 'over') return
    // The start is on disk, so recovery tells of the exchange; fail_open lets the answer go.
    if (this.#policy.failOpen) this.#release(ending)
    else if (this.#delivery.headSent) this.#release('broken', false)
    else this.#release(auditUnavailable(code, true), false)
  }

  // 7. The end of the answer is released.

  #release(ending: Ending, sendHeld = true): void {
    if (this.#phase === 'over') return
    this.#over()
    if (this.#clientGone) return
    try {
      if (ending === 'clean') this.#delivery.finish()
      else if (ending === 'broken') this.#delivery.breakOff(sendHeld)
      else sendRefusal(this.#response, ending, this.#tap && this.#captured?.eventId)
    } catch (error) {
      // A head that Node refuses to write.
      this.#gateway.log.error(errorFields(error), 'answer not delivered')
      this.#response.destroy()
    }
  }

  /** Answers without forwarding; nothing is recorded, the refusal is counted. */
  #refuse(refusal: Refusal): void {
    this.#gateway.metrics.refused(refusal.code)
    this.#over()
    if (!this.#clientGone) sendRefusal(this.#response, refusal)
  }

  #over(): void {
    this.#phase = 'over'
    this.#chunks = []
    this.#stopLinger?.()
    this.#stopStall?.()
    this.#letBodyGo()
    this.#gateway.live.delete(this)
    this.#gateway.metrics.exchangeMs.observe(this.#gateway.clock.monotonicMs() - this.#startedMs)
  }

  // What can happen at any time.

  #connectionClosed(): void {
    if (this.#phase === 'over') return
    this.#clientGone = true
    if (this.#phase === 'receiving') this.#over()
    else if (this.#phase === 'forwarding' || this.#phase === 'answering') {
      this.#endEarly('client_abort')
    }
    // While a name or the start is being written, forward() sees that the caller has gone. While the
    // completion is being written the outcome stands.
  }

  /** Ends a running exchange from our side, e.g. at the end of a shutdown's patience. */
  terminate(): void {
    if (this.#phase === 'forwarding' || this.#phase === 'answering') {
      this.#endEarly('gateway_terminated')
    } else if (this.#phase === 'receiving') {
      this.#refuse({ ...auditUnavailable('ERR_LEDGER_STOPPED', false), close: true })
    }
  }

  #endEarly(cause: EndCause): void {
    const delivered = this.#delivery.sentIfLess()
    this.#finish(cause, 'broken', delivered === undefined ? {} : { delivered })
  }

  /** Turns what the socket says about room into what undici is told, and into a limit on waiting. */
  #flowing(hasRoom: boolean): boolean {
    if (hasRoom || this.#isPaused) return hasRoom
    this.#isPaused = true
    const { limits, startTimer } = this.#gateway
    this.#stopStall = startTimer(limits.stalledMs, () => this.#response.destroy())
    this.#response.once('drain', () => {
      this.#stopStall?.()
      this.#isPaused = false
      this.#resumeUpstream?.()
    })
    return false
  }

  #passInformational(status: number, reason: string, headers: readonly string[]): void {
    const { socket } = this.#response
    if (socket === null || status === 100 || status === 101) return
    let text = `HTTP/1.1 ${status} ${reason}\r\n`
    for (let at = 0; at + 1 < headers.length; at += 2)
      text += `${headers[at]}: ${headers[at + 1]}\r\n`
    socket.write(`${text}\r\n`, 'latin1')
  }

  #letBodyGo(): void {
    this.#gateway.bodies.bytes -= this.#bodyBytes
    this.#bodyBytes = 0
    this.#body = null
    this.#captured?.release()
  }
}

function codeOf(error: unknown): AuditErrorCode | undefined {
  return isAuditError(error) ? error.code : undefined
}
