/**
 * Verification of receipts, ranges and whole logs: what is intact passes, and what is not is named.
 *
 * @module
 */
import { describe, expect, it } from 'vitest'
import * as format from './index.ts'
import {
  createTestLog,
  testEntries,
  withChanges,
  withFiles,
  withFlippedByte,
  type TestLog,
} from './testing.ts'

const kindsOf = (report: format.LogReport) => report.findings.map(({ kind }) => kind)
const hasCode = (code: string) => expect.objectContaining({ code })

const big = createTestLog({ entries: testEntries(700), publishedAt: [0, 1, 255, 256, 300, 512] })
const empty = new Uint8Array(0)
const readBig = async (path: string) => big.files.get(path)

describe('an intact log', () => {
  it.each([0, 1, 2, 255, 256, 257, 511, 512, 700])('of %i entries verifies', async (size) => {
    const log = createTestLog({ entries: testEntries(size) })
    const report = await format.verifyLog(log, log.vkey)
    expect(report).toEqual({
      intact: true,
      origin: log.signer.name,
      treeSize: size,
      rootHash: format.rootOf(log.entries.map(format.leafHash)),
      checkpoint: log.checkpointAt(size),
      entriesHashed: size,
      checkpointsCompared: 1,
      listed: true,
      findings: [],
      brokenCount: 0,
      noticeCount: 0,
    })
  })

  it('with a history of sizes verifies, each of its checkpoints compared', async () => {
    const report = await format.verifyLog(big, big.vkey)
    expect(report).toMatchObject({ intact: true, findings: [], checkpointsCompared: 7 })
  })

  it('of three levels of tiles verifies', { timeout: 20_000 }, async () => {
    const log = createTestLog({ entries: testEntries(65_536 + 300), publishedAt: [65_536] })
    const report = await format.verifyLog(log, log.vkey)
    expect(report).toMatchObject({ intact: true, findings: [], entriesHashed: 65_836 })
    const upper = log.files.get('tile/1/000') ?? empty
    const altered = withChanges(log, { 'tile/1/000': upper.with(777, 1) })
    expect((await format.verifyLog(altered, log.vkey)).findings).toMatchObject([
      { kind: 'tile-altered', where: 'tile/1/000' },
    ])
    const missing = withChanges(log, { 'tile/2/000.p/1': undefined })
    expect((await format.verifyLog(missing, log.vkey)).findings).toMatchObject([
      { kind: 'missing', where: 'tile/2/000.p/1' },
    ])
  })

  it('verifies from its full tiles when the partial ones are gone', async () => {
    const whole = createTestLog({ entries: testEntries(512) })
    const leaves = whole.entries.map(format.leafHash)
    const older = withChanges(whole, {
      checkpoint: whole.checkpointAt(300),
      'cp/00000000000000000512': undefined,
      // No full tile of level 1 can stand in for it: 256 rows are not there.
      'tile/1/000.p/1': format.encodeTile([format.rootOf(leaves.slice(0, 256))]),
    })
    const report = await format.verifyLog(older, whole.vkey)
    expect(report).toMatchObject({ intact: true, treeSize: 300, entriesHashed: 300 })
    expect(new Set(kindsOf(report))).toEqual(new Set(['ahead']))
  })

  it('shows each entry once, in order, with its hash', async () => {
    const seen: string[] = []
    await format.verifyLog(big, big.vkey, {
      visitEntry(entry, leafIndex, leafHash) {
        expect(leafIndex).toBe(seen.length)
        expect(leafHash).toEqual(format.leafHash(entry))
        seen.push(format.utf8Decode(entry))
      },
    })
    expect(seen).toEqual(big.entries.map(format.utf8Decode))
  })

  it('tells how far it has come, up to the end', async () => {
    const told: format.Progress[] = []
    await format.verifyLog(big, big.vkey, { onProgress: (progress) => told.push(progress) })
    expect(told.at(-1)).toEqual({ entriesDone: 700, entriesTotal: 700 })
  })

  it('verifies without being listed, and says so', async () => {
    const report = await format.verifyLog({ read: readBig }, big.vkey)
    expect(report).toMatchObject({ intact: true, listed: false, checkpointsCompared: 0 })
  })

  it('reads no file beyond what it may hold', async () => {
    const limits = new Map<string, number>()
    const read = async (path: string, bytesMax: number) => {
      limits.set(path, bytesMax)
      return await big.read(path, bytesMax)
    }
    await format.verifyLog({ ...big, read }, big.vkey)
    expect(limits.get('checkpoint')).toBe(1_000_000)
    expect(limits.get('tile/0/000')).toBe(8_192)
    expect(limits.get('tile/entries/000')).toBe(256 * 65_537)
  })

  it('passes on what its storage throws', async () => {
    for (const broken of ['tile/entries/002.p/188', 'tile/1/000.p/2', 'checkpoint', 'vkey']) {
      const read = async (path: string, bytesMax: number) => {
        if (path === broken) throw new Error('EIO')
        return await big.read(path, bytesMax)
      }
      await expect(format.verifyLog({ ...big, read }, big.vkey)).rejects.toThrow('EIO')
    }
  })

  it('verifies under an old and a new key', async () => {
    const seed = new Uint8Array(32).fill(8)
    const renewed = format.createSigner({ name: big.signer.name, seed })
    const rootHash = format.rootOf(big.entries.map(format.leafHash))
    const head = { origin: big.signer.name, treeSize: 700, rootHash }
    const log = withChanges(big, {
      checkpoint: format.signCheckpoint(head, renewed),
      vkey: `${renewed.vkey}\n`,
    })
    const report = await format.verifyLog(log, [big.vkey, renewed.vkey])
    expect(report).toMatchObject({ intact: true, findings: [] })
    expect((await format.verifyLog(log, renewed.vkey)).intact).toBe(false)
  })
})

describe('a pruned log', () => {
  const entries = testEntries(1_000)
  const log = createTestLog({ entries, publishedAt: [256, 600] })
  const without = (...paths: string[]) =>
    withChanges(log, Object.fromEntries(paths.map((path) => [path, undefined])))
  const bundles = ['tile/entries/000', 'tile/entries/001']
  const tiles = ['tile/0/000', 'tile/0/001']

  it('without entries below the minimum index verifies by its tiles', async () => {
    const report = await format.verifyLog(without(...bundles), log.vkey, { minimumIndex: 512 })
    expect(report).toMatchObject({ intact: true, findings: [], entriesHashed: 488 })
    expect(report.checkpointsCompared).toBe(3)
  })

  it('without tiles below it too verifies by the tiles above', async () => {
    const pruned = without(...bundles, ...tiles, 'tile/0/000.p/88', 'tile/0/001.p/88')
    const report = await format.verifyLog(pruned, log.vkey, { minimumIndex: 512 })
    expect(report.findings.filter(({ where }) => !where.includes('.p/'))).toEqual([])
    expect(report).toMatchObject({ intact: true, entriesHashed: 488 })
  })

  it('is not intact to who expects it whole', async () => {
    const report = await format.verifyLog(without(...bundles), log.vkey)
    expect(report.findings).toMatchObject([
      { kind: 'missing', where: 'tile/entries/000' },
      { kind: 'missing', where: 'tile/entries/001' },
    ])
  })

  it('may lack only what ends at or below the minimum index', async () => {
    const report = await format.verifyLog(without(...bundles), log.vkey, { minimumIndex: 511 })
    expect(report.findings).toMatchObject([{ kind: 'missing', where: 'tile/entries/001' }])
  })

  it('must still agree in what it kept', async () => {
    const tile = log.files.get('tile/0/001') ?? empty
    const altered = withChanges(without(...bundles), {
      'tile/0/001': tile.with(5, (tile[5] ?? 0) ^ 1),
    })
    const report = await format.verifyLog(altered, log.vkey, { minimumIndex: 512 })
    expect(report.intact).toBe(false)
    const upper = log.files.get('tile/1/000.p/3') ?? empty
    const above = withChanges(without(...bundles, ...tiles), {
      'tile/1/000.p/3': upper.with(5, (upper[5] ?? 0) ^ 1),
    })
    expect(kindsOf(await format.verifyLog(above, log.vkey, { minimumIndex: 512 }))).toContain(
      'root',
    )
  })

  it('that lost the tiles above as well cannot be verified', async () => {
    const lost = without(...bundles, ...tiles, 'tile/1/000.p/3')
    const report = await format.verifyLog(lost, log.vkey, { minimumIndex: 512 })
    expect(report.intact).toBe(false)
    expect(kindsOf(report)).toEqual(expect.arrayContaining(['missing', 'root']))
  })

  it('may lose whole tiles of the level above', { timeout: 20_000 }, async () => {
    const large = createTestLog({ entries: testEntries(66_000) })
    const files = new Map(large.files)
    for (const path of files.keys()) {
      const tile = path.startsWith('tile/') ? format.parseTilePath(path) : undefined
      if (tile?.width !== 256) continue
      const level = tile.level === 'entries' ? 0 : tile.level
      if ((tile.index + 1) * 256 ** (level + 1) <= 65_536) files.delete(path)
    }
    const pruned = withFiles(large, files)
    const report = await format.verifyLog(pruned, large.vkey, { minimumIndex: 65_536 })
    expect(report).toMatchObject({ intact: true, findings: [], entriesHashed: 464 })
    expect((await format.verifyLog(pruned, large.vkey)).intact).toBe(false)
  })
})

describe('a range', () => {
  const range = async (log: TestLog, from: number, to: number) => {
    const seen: number[] = []
    const visitEntry: format.VisitEntry = (_, leafIndex) => seen.push(leafIndex)
    return { report: await format.verifyRange(log, log.vkey, { from, to, visitEntry }), seen }
  }

  it.each([
    [0, 700],
    [0, 1],
    [255, 257],
    [300, 300],
    [511, 513],
    [600, 700],
  ])('from %i to %i verifies and shows its entries', async (from, to) => {
    const { report, seen } = await range(big, from, to)
    expect(report).toMatchObject({ intact: true, findings: [], entriesHashed: to - from })
    expect(seen).toEqual(Array.from({ length: to - from }, (_, at) => from + at))
  })

  it('reads nothing but its rows and their edges', async () => {
    const paths = new Set<string>()
    const read = async (path: string, bytesMax: number) => {
      paths.add(path)
      return await big.read(path, bytesMax)
    }
    await format.verifyRange({ read }, big.vkey, { from: 10, to: 20 })
    expect([...paths].toSorted()).toEqual([
      'checkpoint',
      'tile/0/000',
      'tile/0/002.p/188',
      'tile/1/000.p/2',
      'tile/entries/000',
    ])
  })

  it('finds an altered entry inside it, and a tile that leads elsewhere', async () => {
    const altered = withFlippedByte(big, 'tile/entries/001', 100)
    expect((await range(altered, 256, 300)).report.findings).toMatchObject([
      { kind: 'entry-altered' },
    ])
    expect((await range(altered, 0, 256)).report.intact).toBe(true)
    const above = withFlippedByte(big, 'tile/1/000.p/2', 40)
    expect(kindsOf((await range(above, 0, 10)).report)).toContain('root')
  })

  it('beyond the end of the log is missing there', async () => {
    const { report, seen } = await range(big, 690, 710)
    expect(kindsOf(report)).toEqual(['missing'])
    expect(seen).toHaveLength(10)
  })

  it('of a log without a checkpoint is not intact', async () => {
    const bare = { read: async () => undefined }
    const report = await format.verifyRange(bare, big.vkey, { from: 0, to: 1 })
    expect(report).toMatchObject({ intact: false, entriesHashed: 0, listed: false })
  })

  it('tells how far it has come', async () => {
    const told: format.Progress[] = []
    const onProgress = (progress: format.Progress) => told.push(progress)
    await format.verifyRange(big, big.vkey, { from: 250, to: 600, onProgress })
    expect(told.at(-1)).toEqual({ entriesDone: 350, entriesTotal: 350 })
  })

  it('whose entries are gone is missing', async () => {
    const log = withChanges(big, { 'tile/entries/001': undefined, 'tile/0/001': undefined })
    const { report } = await range(log, 256, 260)
    expect(kindsOf(report)).toEqual(expect.arrayContaining(['missing']))
    expect(report.intact).toBe(false)
  })
})

describe('a record with its receipt', () => {
  const policy = format.policyForLogs(big.vkey)
  const leaves = big.entries.map(format.leafHash)
  const readHash = (level: number, index: number) =>
    format.rootOf(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level))

  it('verifies, for every record of the log', async () => {
    for (let index = 0; index < big.entries.length; index += 37) {
      const hashes = await format.inclusionProof(readHash, { leafIndex: index, treeSize: 700 })
      const receipt = format.formatProof({ index, hashes, checkpoint: big.checkpointAt(700) })
      const record = big.entries[index] ?? empty
      expect(format.verifyReceipt(record, receipt, policy).leafIndex).toBe(index)
      const other = record.with(0, (record[0] ?? 0) ^ 1)
      expect(() => format.verifyReceipt(other, receipt, policy)).toThrow(
        hasCode('ERR_PROOF_INVALID'),
      )
    }
  })
})
