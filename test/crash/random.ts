/**
 * A seeded generator, so that a failing run can be replayed: the seed is printed with the failure.
 *
 * @module
 */

/** Pseudo-random numbers of one seed. */
export interface Random {
  readonly seed: number
  /** An integer from 0 to `limit - 1`. */
  below(limit: number): number
  /** One of `choices`. */
  pick<T>(choices: readonly [T, ...T[]]): T
}

/** mulberry32: 32 bits of state, good enough to choose moments and shapes. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  const below = (limit: number) => next() % limit
  return { seed, below, pick: (choices) => choices[below(choices.length)] ?? choices[0] }
}
