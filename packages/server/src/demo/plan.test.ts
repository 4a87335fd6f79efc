import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openLibrary } from '../simulate/library.ts'
import { planTraffic } from './plan.ts'

const { conversations } = openLibrary()
const options = { seed: 'test', runId: 'run1', conversations, count: 50, users: 10 }

describe('a plan', () => {
  test('is the same for the same seed, another for another', () => {
    expect(planTraffic(options)).toEqual(planTraffic(options))
    expect(planTraffic({ ...options, seed: 'other' })).not.toEqual(planTraffic(options))
  })

  test('has opaque users, and sessions of this run', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 40 }), (seed, users) => {
        for (const planned of planTraffic({ ...options, seed, users, count: 12 })) {
          expect(planned.user).toMatch(/^user-\d{3}$/)
          expect(Number(planned.user.slice(5))).toBeLessThanOrEqual(users)
          expect(planned.session).toMatch(/^run1-[1-9A-Za-z]{8}$/)
        }
      }),
      { numRuns: 30 },
    )
  })

  test('asks only what a user said, with what was said before', () => {
    for (const { turns } of planTraffic(options)) {
      for (const { messages } of turns) {
        expect(messages.at(-1)?.role).toBe('user')
        expect(messages[0]?.role).toBe('user')
      }
    }
  })

  test('every hundred turns have errors, cuts, callers that leave, and mostly neither', () => {
    const turns = planTraffic({ ...options, count: 200 }).flatMap((planned) => planned.turns)
    const real = turns.filter(({ form }) => form !== 'count_tokens').slice(0, 100)
    const count = (pattern: RegExp) =>
      real.filter(({ form, mode }) => pattern.test(`${form} ${mode}`)).length
    expect(count(/^abort/)).toBe(6)
    expect(count(/error/)).toBe(7)
    expect(count(/cut/)).toBe(3)
    expect(count(/^stream ok/)).toBeGreaterThan(30)
  })

  test('nothing to say is no plan', () => {
    expect(planTraffic({ ...options, conversations: [] })).toEqual([])
  })
})
