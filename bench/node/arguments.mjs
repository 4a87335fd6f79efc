/**
 * `key=value` arguments and percentiles, as the native instruments have them.
 *
 * @module
 */
const given = Object.fromEntries(
  process.argv.slice(2).map((argument) => {
    const at = argument.indexOf('=')
    return [argument.slice(0, at), argument.slice(at + 1)]
  }),
)

/** The value of a `key=value` argument of this process, or `otherwise`. */
export const text = (key, otherwise) => given[key] ?? otherwise

/** The same as a number. */
export const number = (key, otherwise) => Number(given[key] ?? otherwise)

/** Percentiles of durations in microseconds, in the shape that the native instruments print. */
export function percentiles(micros) {
  const sorted = Float64Array.from(micros).sort()
  const at = (quantile) => sorted[Math.min(sorted.length - 1, Math.floor(quantile * sorted.length))]
  const known = sorted.length > 0
  return {
    count: sorted.length,
    p50: known ? at(0.5) : 0,
    p90: known ? at(0.9) : 0,
    p99: known ? at(0.99) : 0,
    p999: known ? at(0.999) : 0,
    max: known ? at(1) : 0,
  }
}
