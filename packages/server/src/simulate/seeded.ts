/**
 * Randomness from text: the same seed text gives the same values on every machine, so that the
 * simulator answers the same request with the same bytes.
 *
 * @module
 */
import { hash } from 'node:crypto'

const base58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

/** A stream of values that depends on its seed text only. */
export interface Seeded {
  /** Integer in `[0, limit)`; `limit` is from 1 to 2^32. */
  below(limit: number): number
  /** One of `choices`, which is not empty. */
  pick<T>(choices: readonly [T, ...T[]]): T
  /** `length` base-58 characters, as Claude's ids have them. */
  id(length: number): string
  /** `length` bytes. */
  bytes(length: number): Buffer
  /** A version 4 UUID. */
  uuid(): string
}

/** Makes a stream of values from `seedText`: Chris Doty-Humphrey's sfc32 over a SHA-256 of it. */
export function createSeeded(seedText: string): Seeded {
  const state = hash('sha256', seedText, 'buffer')
  let a = state.readUInt32LE(0)
  let b = state.readUInt32LE(4)
  let c = state.readUInt32LE(8)
  let counter = state.readUInt32LE(12)
  const next = () => {
    const sum = (a + b + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + sum
    return sum >>> 0
  }
  const below = (limit: number) => Math.floor((next() / 0x1_0000_0000) * limit)
  const bytes = (length: number) => {
    const made = Buffer.allocUnsafe(length)
    for (let index = 0; index < length; index += 1) made[index] = next() >>> 24
    return made
  }
  return {
    below,
    pick: (choices) => choices[below(choices.length)] ?? choices[0],
    id(length) {
      let id = ''
      for (let index = 0; index < length; index += 1) id += base58[below(58)] ?? ''
      return id
    },
    bytes,
    uuid() {
      const hex = bytes(16).toString('hex')
      return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, '$1-$2-4$3-8$4-$5')
    },
  }
}
