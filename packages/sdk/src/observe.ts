/**
 * The pull-through wrapper around a response: the caller reads our stream, our stream reads the
 * original one chunk for one chunk. No `tee`, no `clone`, no read-ahead (`highWaterMark` 0), so that
 * back-pressure, `break`, abort and errors reach upstream exactly as they would without us.
 *
 * Invariants:
 * - Chunks are handed on in order and unchanged; at most one is split, where its last event begins.
 * - `strict`: the last event of a stream, the last piece of a JSON body, and the end of any other
 *   body are handed on only when the record of the exchange is durable.
 * - However the response ends, `observation.end` is called once, with what really happened. A
 *   response that nobody reads is noticed when it is collected, or after `idleMsMax`.
 * - Nothing here keeps the caller's stream alive: only so can its loss be noticed.
 *
 * @module
 */
import { AuditError } from '@affidavit/format'
import { streamOf } from './body.ts'
import type { EndCause } from './capture/exchange.ts'
import type { Timers } from './timers.ts'

/** What watches the response: the tap, and the record that is made of it. */
export interface Observation {
  /** See `ResponseTap.chunk`. */
  chunk(bytes: Uint8Array): number
  readonly terminalSeen: boolean
  readonly framing: 'sse' | 'body'
  /**
   * Makes the record durable; later calls return the first call's promise. Rejects only if the
   * answer must not be released.
   */
  end(cause: EndCause): Promise<void>
}

export interface ObserveOptions {
  readonly delivery: 'strict' | 'standard'
  /** The request's signal: tells the caller's abort from a failure. */
  readonly signal: AbortSignal | null | undefined
  readonly timers: Timers
  readonly monotonicMs: () => number
  /** A response on which nothing was read for so long counts as abandoned. */
  readonly idleMsMax: number
}

/** Wait for the end of the connection after the last event of a stream. */
const trailingMsMax = 1_000
/** An error answer that the caller throws away (to retry) is read on so far, to know what it was. */
const drainBytesMax = 64 * 1024
const drainMsMax = 2_000

const lost = new FinalizationRegistry<() => void>((abandon) => abandon())

/** Returns a response that gives the caller what `response` gives, and shows it to `observation`. */
export async function observeResponse(
  response: Response,
  observation: Observation,
  options: ObserveOptions,
): Promise<Response> {
  const { body } = response
  if (body === null) {
    await observation.end('end')
    return response
  }
  const isJson = /^[^;]*[/+]json\b/i.test(response.headers.get('content-type') ?? '')
  const pump = new Pump(readerOf(body), observation, {
    ...options,
    holdsLast: isJson || response.headers.has('content-length'),
    drains: isJson && !response.ok,
  })
  // Callers do not read a body that is announced as empty: its end would never be seen.
  if (response.headers.get('content-length') === '0') await pump.prefetch()
  const stream = new ReadableStream<Uint8Array>(
    { pull: (controller) => pump.pull(controller), cancel: (reason) => pump.cancel(reason) },
    { highWaterMark: 0 },
  )
  lost.register(stream, () => pump.abandon())
  return presentAs(response, new Response(stream, initOf(response)))
}

function initOf({ status, statusText, headers }: Response): ResponseInit {
  return { status, statusText, headers }
}

/** Gives a response the properties of the original that its constructor cannot set. */
function presentAs(original: Response, copy: Response): Response {
  for (const name of ['url', 'redirected', 'type'] as const) {
    Object.defineProperty(copy, name, { value: original[name], configurable: true })
  }
  const clone = copy.clone.bind(copy)
  Object.defineProperty(copy, 'clone', {
    value: () => presentAs(original, clone()),
    configurable: true,
  })
  return copy
}

/** Some `fetch` implementations give Node streams. */
function readerOf(body: ReadableStream<Uint8Array>): ReadableStreamDefaultReader<Uint8Array> {
  if (typeof body.getReader === 'function') return body.getReader()
  const source: AsyncIterable<Uint8Array> = body
  return streamOf(source).getReader()
}

interface PumpOptions extends ObserveOptions {
  readonly holdsLast: boolean
  readonly drains: boolean
}

type ReadResult = ReadableStreamReadResult<Uint8Array>

/** Moves chunks from the original stream to ours. It must not refer to our stream or its controller. */
class Pump {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #observation: Observation
  readonly #options: PumpOptions
  readonly #isStrict: boolean
  /** Released, waiting to be pulled. */
  readonly #ready: Uint8Array[] = []
  /** Waiting for the record. */
  readonly #held: Uint8Array[] = []
  #reading: Promise<ReadResult> | undefined
  #over: { readonly error?: unknown } | undefined
  #isRecorded = false
  #trailingUntilMs: number | undefined
  #lastUseMs: number
  #stopWatch: () => void

  constructor(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    observation: Observation,
    options: PumpOptions,
  ) {
    this.#reader = reader
    this.#observation = observation
    this.#options = options
    this.#isStrict = options.delivery === 'strict'
    this.#lastUseMs = options.monotonicMs()
    this.#stopWatch = options.timers.after(options.idleMsMax, () => this.#onIdle())
    // An abort is seen here even if the caller never reads again.
    reader.closed.catch((error: unknown) => this.#record(this.#causeOf(error)).catch(ignore))
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    this.#lastUseMs = this.#options.monotonicMs()
    await this.prefetch()
    const chunk = this.#ready.shift()
    if (chunk !== undefined) return controller.enqueue(chunk)
    if (this.#over !== undefined && 'error' in this.#over) {
      return controller.error(this.#over.error)
    }
    controller.close()
  }

  /** Reads until there is something to hand on, or nothing more. */
  async prefetch(): Promise<void> {
    while (this.#ready.length === 0 && this.#over === undefined) await this.#advance()
  }

  async cancel(reason: unknown): Promise<void> {
    if (this.#over !== undefined) return
    this.#over = {}
    if (this.#options.drains && !this.#isRecorded) {
      this.#drain().catch(ignore)
      return
    }
    this.#record('client_abort').catch(ignore)
    await this.#reader.cancel(reason)
  }

  /** Nobody will read this any more. */
  abandon(): void {
    if (this.#over !== undefined || this.#isRecorded) return
    const error = abandonedError(this.#options.idleMsMax)
    this.#over = { error }
    this.#record('abandoned').catch(ignore)
    this.#reader.cancel(error).catch(ignore)
  }

  /** Reads one chunk and decides what of it may go. */
  async #advance(): Promise<void> {
    let result: ReadResult
    try {
      const isTrailing = this.#isStrict && this.#observation.terminalSeen && !this.#isRecorded
      const next = isTrailing ? await this.#withinTrailing(this.#read()) : await this.#read()
      if (next === undefined) return await this.#releaseHeld()
      result = next
    } catch (error) {
      return this.#fail(error)
    }
    if (this.#over !== undefined) return
    if (!result.done) return this.#take(result.value)
    await this.#releaseHeld()
    this.#over ??= {}
  }

  #take(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const free = this.#isRecorded ? bytes.length : this.#observation.chunk(bytes)
    if (!this.#isStrict || this.#isRecorded) {
      this.#ready.push(bytes)
    } else if (this.#observation.framing === 'sse') {
      if (free > 0) this.#ready.push(bytes.subarray(0, free))
      if (free < bytes.length) this.#held.push(bytes.subarray(free))
    } else if (this.#options.holdsLast) {
      this.#ready.push(...this.#held.splice(0))
      this.#held.push(bytes)
    } else {
      this.#ready.push(bytes)
    }
  }

  /** The answer is whole: its record first, then the rest of it. */
  async #releaseHeld(): Promise<void> {
    const recorded = this.#isRecorded ? Promise.resolve() : this.#record('end')
    if (!this.#isStrict) {
      recorded.catch(ignore)
      return
    }
    try {
      await recorded
      this.#ready.push(...this.#held.splice(0))
    } catch (error) {
      this.#held.length = 0
      this.#over = { error }
      this.#reader.cancel(error).catch(ignore)
    }
  }

  async #fail(failure: unknown): Promise<void> {
    const cause = this.#causeOf(failure)
    const recorded = this.#record(cause).catch(ignore)
    // Who aborts hears of it at once; of a failure the caller learns when it is on record.
    if (this.#isStrict && cause !== 'client_abort') await recorded
    this.#ready.push(...this.#held.splice(0))
    this.#over ??= { error: failure }
  }

  /** Reads the rest of a small error body that the caller does not want. */
  async #drain(): Promise<void> {
    const giveUp = () => this.#reader.cancel().catch(ignore)
    const stopTimer = this.#options.timers.after(drainMsMax, () => void giveUp())
    try {
      for (let bytes = 0; bytes <= drainBytesMax;) {
        const { value, done } = await this.#read()
        if (done) return await this.#record('end')
        this.#observation.chunk(value)
        bytes += value.length
      }
      this.#record('client_abort').catch(ignore)
      await giveUp()
    } catch (error) {
      await this.#record(this.#causeOf(error))
    } finally {
      stopTimer()
    }
  }

  #read(): Promise<ReadResult> {
    return (this.#reading ??= this.#reader.read().finally(() => {
      this.#reading = undefined
    }))
  }

  async #withinTrailing(next: Promise<ReadResult>): Promise<ReadResult | undefined> {
    const nowMs = this.#options.monotonicMs()
    this.#trailingUntilMs ??= nowMs + trailingMsMax
    const waiting = new AbortController()
    const late = this.#options.timers.delay(Math.max(0, this.#trailingUntilMs - nowMs), {
      signal: waiting.signal,
    })
    try {
      return (await Promise.race([next, late])) ?? undefined
    } finally {
      waiting.abort()
      // If the wait was too long for it, the next read hears what became of it.
      void Promise.allSettled([next])
    }
  }

  async #record(cause: EndCause): Promise<void> {
    this.#isRecorded = true
    this.#stopWatch()
    await this.#observation.end(cause)
  }

  #causeOf(error: unknown): EndCause {
    const isAborted = this.#options.signal?.aborted === true
    const isAbort = error instanceof Error && error.name === 'AbortError'
    return isAborted || isAbort ? 'client_abort' : 'upstream_cut'
  }

  #onIdle(): void {
    const restMs = this.#lastUseMs + this.#options.idleMsMax - this.#options.monotonicMs()
    if (restMs > 0) this.#stopWatch = this.#options.timers.after(restMs, () => this.#onIdle())
    else this.abandon()
  }
}

function abandonedError(idleMs: number): AuditError {
  return new AuditError(
    'ERR_AUDIT_UNAVAILABLE',
    `this response was not read for ${Math.round(idleMs / 1000)} s; it was recorded as abandoned and closed`,
  )
}

function ignore(): void {
  // What can fail here has been told to the observer, or concerns a connection that is gone.
}
