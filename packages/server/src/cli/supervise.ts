/**
 * Keeps one child process running: starts it, starts it again when it dies, passes signals on.
 *
 * Rules:
 * - a child that ends before it was ever ready has a fault that a restart does not mend (address in
 *   use, invalid configuration, ledger locked): the supervisor ends with the child's exit code
 * - a child that was ready and dies is started again after a pause that doubles from `pauseMsMin` to
 *   `pauseMsMax`, and is short again once a child has lived for `steadyMs`
 * - after the first stop signal nothing is started any more
 *
 * @module
 */
import type { Clock } from '@affidavit/sdk/capture'

export const pauseMsMin = 250
export const pauseMsMax = 10_000
export const steadyMs = 60_000

/** How a child ended. */
export interface ChildEnd {
  readonly code: number | null
  readonly signal: string | null
}

/** A running child. */
export interface Child {
  /** Resolves when the child says that it does its work. Never rejects; may never resolve. */
  readonly ready: Promise<void>
  readonly ended: Promise<ChildEnd>
  signal(name: StopSignal): void
}

export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

/** What the supervisor tells while it works. */
export interface SuperviseEvents {
  restarting(end: ChildEnd, pauseMs: number): void
}

export interface Supervisor {
  /** Resolves with the exit code once the child has ended and will not be started again. */
  readonly done: Promise<number>
  /** Passes `signal` to the child and starts no other. */
  stop(signal: StopSignal): void
}

/** Starts a child with `launch` and keeps one running until `stop`. */
export function supervise(options: {
  launch: () => Child
  clock: Clock
  /** Resolves after `ms`, or as soon as `cancelled` does. */
  pause: (ms: number, cancelled: Promise<void>) => Promise<void>
  events: SuperviseEvents
}): Supervisor {
  const state: State = { stopping: false, cancel: () => {}, child: undefined }
  const cancelled = new Promise<void>((resolve) => {
    state.cancel = resolve
  })
  return {
    done: keepRunning(state, cancelled, options),
    stop(signal) {
      state.stopping = true
      state.cancel()
      state.child?.signal(signal)
    },
  }
}

interface State {
  stopping: boolean
  cancel: () => void
  child: Child | undefined
}

async function keepRunning(
  state: State,
  cancelled: Promise<void>,
  options: Parameters<typeof supervise>[0],
): Promise<number> {
  const { launch, clock, pause, events } = options
  let pauseMs = pauseMsMin
  let wasReady = false
  const watchReady = async (child: Child) => {
    await child.ready
    wasReady = true
  }
  for (;;) {
    const startedMs = clock.monotonicMs()
    const child = launch()
    state.child = child
    void watchReady(child)
    const end = await child.ended
    if (state.stopping || !wasReady || end.code === 0) return exitCodeOf(end, state.stopping)
    if (clock.monotonicMs() - startedMs >= steadyMs) pauseMs = pauseMsMin
    events.restarting(end, pauseMs)
    await pause(pauseMs, cancelled)
    if (state.stopping) return 0
    pauseMs = Math.min(pauseMsMax, pauseMs * 2)
  }
}

/** A child that was told to stop has done so, whether it ended by itself or by the signal. */
function exitCodeOf(end: ChildEnd, stopping: boolean): number {
  if (end.code !== null) return end.code
  return stopping ? 0 : 1
}
