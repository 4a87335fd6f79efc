import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatMicros, systemClock } from './clock.ts'

describe('time', () => {
  test('is written with microseconds, whatever was written before', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 4_000_000_000_000_000 })), (moments) => {
        for (const micros of moments) {
          const iso = new Date(Math.floor(micros / 1000)).toISOString().slice(0, -1)
          expect(formatMicros(micros)).toBe(`${iso}${String(micros % 1000).padStart(3, '0')}Z`)
        }
      }),
    )
  })

  test('of the machine is whole microseconds that agree with its other clock', () => {
    const before = Date.now()
    const micros = systemClock.nowMicros()
    expect(Number.isInteger(micros)).toBe(true)
    expect(Math.abs(micros / 1000 - before)).toBeLessThan(1000)
  })
})
