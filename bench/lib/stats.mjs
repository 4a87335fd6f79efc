/**
 * Small statistics of the bench: medians of interleaved rounds.
 *
 * @module
 */

/** The median of some numbers; NaN for none. */
export function median(values) {
  const sorted = values.filter(Number.isFinite).toSorted((a, b) => a - b)
  if (sorted.length === 0) return Number.NaN
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** The smallest of some numbers; NaN for none. */
export const least = (values) => Math.min(...values.filter(Number.isFinite), Infinity)

/** The median of each named figure over the rounds: `[{a, b}, {a, b}]` becomes `{a, b}`. */
export function medians(rounds) {
  const names = new Set(rounds.flatMap((round) => Object.keys(round)))
  return Object.fromEntries(
    [...names].map((name) => [name, median(rounds.map((round) => round[name]))]),
  )
}
