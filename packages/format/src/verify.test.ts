/**
 * Verification of whole logs: what is intact passes, and every single flipped bit is found and named.
 *
 * @module
 */
import { describe, expect, it } from 'vitest'
import * as format from './index.ts'
import { createTestLog, testEntries, withFlippedByte } from './testing.ts'

describe('an intact log', () => {
  it.each([0, 1, 2, 255, 256, 257, 511, 512, 700])('of %i entries verifies', async (size) => {
    const log = createTestLog({ entries: testEntries(size) })
    const report = await format.verifyLog(log, log.vkey)
    expect(report.findings).toEqual([])
    expect(report).toMatchObject({ intact: true, treeSize: size, entriesHashed: size })
    expect(report.checkpointsCompared).toBe(1)
  })
})

describe('a single flipped bit', () => {
  const log = createTestLog({ entries: testEntries(20), publishedAt: [3, 11] })

  it.each([...log.files.keys()])('in %s is found, whichever byte it is in', async (path) => {
    const { length } = log.files.get(path) ?? []
    for (let at = 0; at < (length ?? 0); at++) {
      const report = await format.verifyLog(withFlippedByte(log, path, at), log.vkey)
      expect({ at, intact: report.intact }).toEqual({ at, intact: false })
    }
  })
})
