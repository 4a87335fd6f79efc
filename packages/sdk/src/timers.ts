/**
 * Waiting as a parameter, so that tests decide how long it takes.
 *
 * @module
 */
import { setTimeout as wait } from 'node:timers/promises'

export interface Timers {
  /** Resolves after `ms`, or at once when `signal` aborts. Keeps the process alive if `ref` says so. */
  delay(ms: number, options?: { signal?: AbortSignal; ref?: boolean }): Promise<void>
  /** Calls `run` every `ms` without keeping the process alive; the result ends it. */
  every(ms: number, run: () => void): () => void
  /** Calls `run` once after `ms` without keeping the process alive; the result cancels it. */
  after(ms: number, run: () => void): () => void
}

/** The machine's timers. */
export const systemTimers: Timers = {
  async delay(ms, options = {}) {
    const { signal, ref = false } = options
    await wait(ms, undefined, { ref, ...(signal && { signal }) }).catch(() => undefined)
  },
  every(ms, run) {
    const timer = setInterval(run, ms)
    timer.unref()
    return () => clearInterval(timer)
  },
  after(ms, run) {
    const timer = setTimeout(run, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
