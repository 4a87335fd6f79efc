import { describe, expect, test } from 'vitest'
import { pause, pooledRandom, startTimer } from './system.ts'

describe('random bytes', () => {
  test('are as many as asked for, and never the same twice', () => {
    const random = pooledRandom()
    const seen = new Set<string>()
    for (let count = 0; count < 2000; count++) {
      const bytes = random(16)
      expect(bytes).toHaveLength(16)
      seen.add(Buffer.from(bytes).toString('hex'))
    }
    expect(seen.size).toBe(2000)
  })

  test('that were handed out do not change when more are asked for', () => {
    const random = pooledRandom()
    const first = random(32)
    const copy = Buffer.from(first)
    for (let count = 0; count < 500; count++) random(32)
    expect(Buffer.from(first).equals(copy)).toBe(true)
  })

  test('in large numbers come from the system directly', () => {
    expect(pooledRandom()(100_000)).toHaveLength(100_000)
  })
})

test('a pause ends early when it is told to', async () => {
  const stopping = new AbortController()
  const pausing = pause(3_600_000, stopping.signal)
  stopping.abort()
  await expect(pausing).resolves.toBeUndefined()
  await expect(pause(0, new AbortController().signal)).resolves.toBeUndefined()
})

test('a timer that was stopped does not run', async () => {
  let ran = false
  startTimer(0, () => {
    ran = true
  })()
  await pause(5, new AbortController().signal)
  expect(ran).toBe(false)
})
