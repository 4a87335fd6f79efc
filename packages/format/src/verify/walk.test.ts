/**
 * How a verification uses its storage: each file once, a few at a time, in whatever order they come.
 *
 * @module
 */
import { describe, expect, it } from 'vitest'
import { verifyLog, type LogFiles } from '../index.ts'
import { createTestLog, testEntries, withChanges, type TestLog } from '../testing.ts'
import { createFindings, evidenceMax, findingsMax, isNotice, type FindingKind } from './finding.ts'
import { readAheadRows } from './walk.ts'

const log = createTestLog({ entries: testEntries(20 * 256 + 9) })

/** The log behind a storage that counts what it is asked for. */
function counted(inner: TestLog) {
  const reads = new Map<string, number>()
  let openCount = 0
  let openCountMax = 0
  const files: LogFiles = {
    async read(path) {
      reads.set(path, (reads.get(path) ?? 0) + 1)
      openCount += 1
      openCountMax = Math.max(openCountMax, openCount)
      // Answers come back after other work has had its turn, the later ones sooner.
      for (let turn = 0; turn < 12 - (reads.size % 10); turn++) await Promise.resolve()
      openCount -= 1
      return inner.files.get(path)
    },
    list: () => inner.files.keys(),
  }
  return { files, reads, openCountMax: () => openCountMax }
}

describe('reading', () => {
  it('takes each file of the tree once', async () => {
    const { files, reads } = counted(log)
    expect((await verifyLog(files, log.vkey)).intact).toBe(true)
    const twice = [...reads].filter(([path, count]) => count > 1 && path.startsWith('tile/'))
    expect(twice).toEqual([])
    const tiles = [...log.files.keys()].filter((path) => path.startsWith('tile/'))
    expect(tiles.filter((path) => !reads.has(path))).toEqual([])
  })

  it('has at most a few rows under way', async () => {
    const { files, openCountMax } = counted(log)
    await verifyLog(files, log.vkey)
    expect(openCountMax()).toBeGreaterThan(2)
    expect(openCountMax()).toBeLessThanOrEqual(2 * readAheadRows + 1)
  })

  it('shows entries in order whatever order the files come in', async () => {
    const { files } = counted(log)
    let next = 0
    await verifyLog(files, log.vkey, {
      visitEntry(_, leafIndex) {
        expect(leafIndex).toBe(next)
        next += 1
      },
    })
    expect(next).toBe(log.entries.length)
  })

  it('ends with the failure of the storage, none left unhandled', async () => {
    const failing: LogFiles = {
      read: async (path) => {
        if (/^tile\/entries\/00[2-9]/.test(path)) throw new Error(`cannot read ${path}`)
        return log.files.get(path)
      },
    }
    await expect(verifyLog(failing, log.vkey)).rejects.toThrow('cannot read tile/entries/002')
  })

  it('ends with the failure of the visitor', async () => {
    const visitEntry = () => {
      throw new Error('stop here')
    }
    await expect(verifyLog(log, log.vkey, { visitEntry })).rejects.toThrow('stop here')
  })

  it('goes on after a row that is gone, with the tiles above', async () => {
    const gone = withChanges(log, { 'tile/entries/003': undefined, 'tile/0/003': undefined })
    const { files, reads } = counted(gone)
    const report = await verifyLog(files, log.vkey)
    expect(report.findings.map(({ kind, where }) => `${kind} ${where}`)).toEqual([
      'missing tile/entries/003',
      'missing tile/0/003',
    ])
    expect(report.entriesHashed).toBe(log.entries.length - 256)
    expect(reads.get('tile/entries/004')).toBe(1)
  })

  it('tells progress every sixteen rows and at the end', async () => {
    const told: number[] = []
    await verifyLog(log, log.vkey, { onProgress: ({ entriesDone }) => told.push(entriesDone) })
    expect(told).toEqual([4_096, 5_129])
  })
})

describe('findings', () => {
  const kinds: FindingKind[] = ['behind', 'ahead', 'unexpected']

  it('of three kinds are notices', () => {
    for (const kind of kinds) expect(isNotice({ kind, where: 'x' })).toBe(true)
    for (const kind of ['missing', 'fork', 'root'] as const) {
      expect(isNotice({ kind, where: 'x' })).toBe(false)
    }
  })

  it('beyond the limit are counted, each sort for itself', () => {
    const findings = createFindings()
    for (let at = 0; at < findingsMax + 5; at++) findings.add({ kind: 'ahead', where: `${at}` })
    for (let at = 0; at < findingsMax + 7; at++) findings.add({ kind: 'missing', where: `${at}` })
    expect(findings.kept).toHaveLength(2 * findingsMax)
    expect(findings.noticeCount).toBe(findingsMax + 5)
    expect(findings.brokenCount).toBe(findingsMax + 7)
  })

  it('with evidence are few, so that a ruined log costs no more than an intact one', () => {
    expect(evidenceMax).toBeLessThan(100)
  })
})
