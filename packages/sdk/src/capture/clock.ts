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

/** RFC 3339 UTC with six decimals, e.g. `2026-11-23T14:00:00.123456Z`. */
export function formatMicros(micros: number): string {
  const milliseconds = Math.floor(micros / 1000)
  const rest = String(micros - milliseconds * 1000).padStart(3, '0')
  return `${new Date(milliseconds).toISOString().slice(0, -1)}${rest}Z`
}
