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
  const pump = createPump(readerOf(body), observation, {
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
  lost.register(stream, pump.abandon)
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

interface Pump {
  pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void>
  cancel(reason: unknown): Promise<void>
  prefetch(): Promise<void>
  readonly abandon: () => void
}

interface PumpOptions extends ObserveOptions {
  readonly holdsLast: boolean
  readonly drains: boolean
}

type ReadResult = ReadableStreamReadResult<Uint8Array>

function createPump(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  observation: Observation,
  options: PumpOptions,
): Pump {
  const { timers, signal } = options
  const isStrict = options.delivery === 'strict'
  /** Released, waiting to be pulled. */
  const ready: Uint8Array[] = []
  /** Waiting for the record. */
  const held: Uint8Array[] = []
  let reading: Promise<ReadResult> | undefined
  let over: { readonly error?: unknown } | undefined
  let isRecorded = false
  let lastUseMs = options.monotonicMs()
  let stopWatch = timers.after(options.idleMsMax, onIdle)

  // An abort is seen here even if the caller never reads again.
  reader.closed.catch((error: unknown) => void record(causeOf(error)).catch(ignore))

  function read(): Promise<ReadResult> {
    return (reading ??= reader.read().finally(() => {
      reading = undefined
    }))
  }

  async function record(cause: EndCause): Promise<void> {
    isRecorded = true
    stopWatch()
    await observation.end(cause)
  }

  function causeOf(error: unknown): EndCause {
    const isAbort =
      signal?.aborted === true || (error instanceof Error && error.name === 'AbortError')
    return isAbort ? 'client_abort' : 'upstream_cut'
  }

  async function pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    lastUseMs = options.monotonicMs()
    while (ready.length === 0 && over === undefined) await advance()
    const chunk = ready.shift()
    if (chunk !== undefined) return controller.enqueue(chunk)
    if (over !== undefined && 'error' in over) return controller.error(over.error)
    controller.close()
  }

  /** Reads one chunk and decides what of it may go. */
  async function advance(): Promise<void> {
    let result: ReadResult
    try {
      const isLate = isStrict && observation.terminalSeen && !isRecorded
      const next = isLate ? await withinTrailing(read()) : await read()
      if (next === undefined) return await releaseHeld()
      result = next
    } catch (error) {
      return fail(error)
    }
    if (over !== undefined) return
    if (result.done) {
      await releaseHeld()
      over ??= {}
      return
    }
    take(result.value)
  }

  function take(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const free = isRecorded ? bytes.length : observation.chunk(bytes)
    if (!isStrict || isRecorded) {
      ready.push(bytes)
    } else if (observation.framing === 'sse') {
      if (free > 0) ready.push(bytes.subarray(0, free))
      if (free < bytes.length) held.push(bytes.subarray(free))
    } else if (options.holdsLast) {
      ready.push(...held.splice(0))
      held.push(bytes)
    } else {
      ready.push(bytes)
    }
  }

  /** The answer is whole: its record first, then the rest of it. */
  async function releaseHeld(): Promise<void> {
    const recorded = isRecorded ? Promise.resolve() : record('end')
    if (!isStrict) {
      recorded.catch(ignore)
      return
    }
    try {
      await recorded
      ready.push(...held.splice(0))
    } catch (error) {
      held.length = 0
      over = { error }
      reader.cancel(error).catch(ignore)
    }
  }

  async function fail(error: unknown): Promise<void> {
    const cause = causeOf(error)
    const recorded = record(cause).catch(ignore)
    // Who aborts hears of it at once; of a failure the caller learns when it is on record.
    if (isStrict && cause !== 'client_abort') await recorded
    ready.push(...held.splice(0))
    over ??= { error }
  }

  async function withinTrailing(next: Promise<ReadResult>): Promise<ReadResult | undefined> {
    const waiting = new AbortController()
    const late = timers.delay(trailingMsMax, { signal: waiting.signal }).then(() => undefined)
    try {
      return await Promise.race([next, late])
    } finally {
      waiting.abort()
      next.catch(ignore)
    }
  }

  async function cancel(reason: unknown): Promise<void> {
    const wasOver = over !== undefined
    over ??= {}
    if (wasOver) return
    if (options.drains && !isRecorded) return void drain().catch(ignore)
    record('client_abort').catch(ignore)
    await reader.cancel(reason)
  }

  /** Reads the rest of a small error body that the caller does not want. */
  async function drain(): Promise<void> {
    const cancelLater = timers.after(drainMsMax, () => void reader.cancel().catch(ignore))
    try {
      for (let bytes = 0; bytes <= drainBytesMax;) {
        const { value, done } = await read()
        if (done) return await record('end')
        observation.chunk(value)
        bytes += value.length
      }
      record('client_abort').catch(ignore)
      await reader.cancel()
    } catch (error) {
      await record(causeOf(error))
    } finally {
      cancelLater()
    }
  }

  function onIdle(): void {
    const restMs = lastUseMs + options.idleMsMax - options.monotonicMs()
    if (restMs > 0) {
      stopWatch = timers.after(restMs, onIdle)
      return
    }
    abandon()
  }

  function abandon(): void {
    if (over !== undefined || isRecorded) return
    const error = abandonedError(options.idleMsMax)
    over = { error }
    record('abandoned').catch(ignore)
    reader.cancel(error).catch(ignore)
  }

  async function prefetch(): Promise<void> {
    while (over === undefined && ready.length === 0) await advance()
  }

  return { pull, cancel, prefetch, abandon }
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
