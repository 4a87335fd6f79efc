/**
 * Time as a parameter. Production code receives a `Clock`; tests hand in one that they move.
 *
 * @module
 */

export interface Clock {
  /** Wall clock, microseconds since the epoch, integer. */
  nowMicros(): number
  /** Monotonic milliseconds with a fraction; only differences mean anything. */
  monotonicMs(): number
}

// A jump of the wall clock larger than this is followed; smaller ones are the two clocks' own jitter.
const driftMsMax = 50
let offsetMs = performance.timeOrigin

/** The machine's clocks. The wall clock has microseconds and follows adjustments of the system's. */
export const systemClock: Clock = {
  nowMicros() {
    const monotonic = performance.now()
    const drift = Date.now() - (offsetMs + monotonic)
    if (drift > driftMsMax || drift < -driftMsMax) offsetMs += drift
    return Math.round((offsetMs + monotonic) * 1000)
  },
  monotonicMs: () => performance.now(),
}

// Two records a request ask for the same second again and again.
let lastSecond = Number.NaN
let lastSecondText = ''

/** RFC 3339 UTC with six decimals, e.g. `2026-11-23T14:00:00.123456Z`. */
export function formatMicros(micros: number): string {
  const second = Math.floor(micros / 1e6)
  if (second !== lastSecond) {
    lastSecondText = new Date(second * 1000).toISOString().slice(0, -4)
    lastSecond = second
  }
  return `${lastSecondText}${String(micros - second * 1e6).padStart(6, '0')}Z`
}
