/**
 * What somebody may do to a log's files, and what verification says of it.
 *
 * @module
 */
import { describe, expect, it } from 'vitest'
import * as format from '../index.ts'
import { createTestLog, testEntries, withChanges, withFlippedByte } from '../testing.ts'

const kindsOf = (report: format.LogReport) => report.findings.map(({ kind }) => kind)
const hasCode = (code: string) => expect.objectContaining({ code })

const big = createTestLog({ entries: testEntries(700), publishedAt: [0, 1, 255, 256, 300, 512] })
const empty = new Uint8Array(0)
const readBig = async (path: string) => big.files.get(path)

describe('a single flipped bit', () => {
  const log = createTestLog({ entries: testEntries(20), publishedAt: [3, 11] })

  it.each([...log.files.keys()])('in %s is found, whichever byte it is in', async (path) => {
    const length = log.files.get(path)?.length ?? 0
    for (let at = 0; at < length; at++) {
      const report = await format.verifyLog(withFlippedByte(log, path, at), log.vkey)
      expect({ at, intact: report.intact }).toEqual({ at, intact: false })
    }
  })

  it.each([...big.files.keys()])('in %s of a larger log is found', async (path) => {
    const length = big.files.get(path)?.length ?? 0
    for (const at of [0, 1, 31, Math.floor(length / 2), length - 1].filter(
      (byte) => byte < length,
    )) {
      const report = await format.verifyLog(withFlippedByte(big, path, at), big.vkey)
      expect({ at, intact: report.intact }).toEqual({ at, intact: false })
    }
  })

  it.each([...big.files.keys()].filter((path) => path !== 'vkey'))(
    'lost with all of %s, or cut off its end, is found if the log needs the file',
    async (path) => {
      const isNeeded = !/^cp|\.p/.test(path) || /p\/(?:188|2)$|\/700$/.test(path)
      const gone = await format.verifyLog(withChanges(big, { [path]: undefined }), big.vkey)
      expect(gone.intact).toBe(!isNeeded)
      const bytes = big.files.get(path) ?? empty
      for (const cut of [bytes.subarray(0, -1), format.concatBytes(bytes, Uint8Array.of(0))]) {
        const report = await format.verifyLog(withChanges(big, { [path]: cut }), big.vkey)
        expect(report.intact).toBe(false)
      }
    },
  )
})

describe('an altered entry', () => {
  const at = 5
  const bundle = big.entries.slice(0, 256)
  bundle[at] = format.utf8Encode('another')
  const log = withChanges(big, { 'tile/entries/000': format.encodeBundle(bundle) })

  it('is named, and nothing else is', async () => {
    const report = await format.verifyLog(log, big.vkey)
    const expected = format.toHex(format.leafHash(big.entries[at] ?? empty))
    const actual = format.toHex(format.leafHash(bundle[at] ?? empty))
    // The partial bundles that it once was differ from it now.
    const [finding, ...leftovers] = report.findings
    expect(finding).toMatchObject({
      kind: 'entry-altered',
      where: 'tile/entries/000',
      leafIndex: at,
      expected,
      actual,
    })
    expect(leftovers.map(({ kind, where }) => `${kind} ${where}`)).toEqual([
      'leftover-altered tile/entries/000.p/255',
    ])
  })

  it('comes with a receipt for the hash that was signed, which anyone can verify', async () => {
    const [finding] = (await format.verifyLog(log, big.vkey)).findings
    const evidence = finding?.evidence
    if (evidence?.kind !== 'inclusion') throw new Error('the finding has a receipt')
    const policy = format.policyForLogs(big.vkey)
    const leafHash = format.fromHex(evidence.leafHash)
    expect(evidence.leafHash).toBe(finding?.expected)
    expect(format.verifyProof(evidence.receipt, { leafHash, policy }).leafIndex).toBe(at)
    expect(() => format.verifyReceipt(bundle[at] ?? empty, evidence.receipt, policy)).toThrow(
      hasCode('ERR_PROOF_INVALID'),
    )
  })

  it('is shown to the visitor as it is there', async () => {
    const seen: string[] = []
    await format.verifyLog(log, big.vkey, {
      visitEntry: (entry, leafIndex) => {
        if (leafIndex === at) seen.push(format.utf8Decode(entry))
      },
    })
    expect(seen).toEqual(['another'])
  })

  it('in the last, partial bundle is named too', async () => {
    const entries = big.entries.slice(512)
    entries[7] = format.utf8Encode('x')
    const partial = withChanges(big, { 'tile/entries/002.p/188': format.encodeBundle(entries) })
    expect((await format.verifyLog(partial, big.vkey)).findings).toMatchObject([
      { kind: 'entry-altered', where: 'tile/entries/002.p/188', leafIndex: 519 },
    ])
  })

  it('of many has a finding each, and evidence for the first of them', async () => {
    const all = bundle.map((_, index) => format.utf8Encode(`forged ${index}`))
    const forged = withChanges(big, { 'tile/entries/000': format.encodeBundle(all) })
    const { findings } = await format.verifyLog(forged, big.vkey)
    const altered = findings.filter(({ kind }) => kind === 'entry-altered')
    expect(altered.map(({ leafIndex }) => leafIndex)).toEqual([...all.keys()])
    expect(altered.filter(({ evidence }) => evidence !== undefined)).toHaveLength(
      format.evidenceMax,
    )
  })
})

describe('an altered tile', () => {
  it('of level 0 is named when the entries are right', async () => {
    const tile = big.files.get('tile/0/001') ?? empty
    const log = withChanges(big, { 'tile/0/001': tile.with(32, (tile[32] ?? 0) ^ 0xff) })
    const { findings } = await format.verifyLog(log, big.vkey)
    expect(findings[0]).toMatchObject({
      kind: 'tile-altered',
      where: 'tile/0/001',
      leafIndex: 257,
      expected: format.toHex(format.leafHash(big.entries[257] ?? empty)),
    })
    expect(findings.slice(1).map(({ kind }) => kind)).toEqual(['leftover-altered'])
  })

  it('of level 1 is named', async () => {
    const tile = big.files.get('tile/1/000.p/2') ?? empty
    const log = withChanges(big, { 'tile/1/000.p/2': tile.with(40, (tile[40] ?? 0) ^ 1) })
    const { findings } = await format.verifyLog(log, big.vkey)
    expect(findings).toMatchObject([{ kind: 'tile-altered', where: 'tile/1/000.p/2' }])
    expect(findings[0]?.expected).toBe(
      format.toHex(format.rootOf(big.entries.slice(256, 512).map(format.leafHash))),
    )
  })

  it('together with its entry contradicts the signed root', async () => {
    const entries = big.entries.slice(0, 256)
    entries[3] = format.utf8Encode('forged')
    const log = withChanges(big, {
      'tile/entries/000': format.encodeBundle(entries),
      'tile/0/000': format.encodeTile(entries.map(format.leafHash)),
    })
    const { findings } = await format.verifyLog(log, big.vkey)
    expect(findings.map(({ kind }) => kind)).toContain('root')
    expect(findings.map(({ kind }) => kind)).not.toContain('entry-altered')
    expect(findings).toContainEqual(
      expect.objectContaining({ kind: 'mismatch', where: 'tile/1/000.p/2' }),
    )
  })

  it('and another entry of the same row leave it open which was altered', async () => {
    const entries = big.entries.slice(0, 256)
    entries[3] = format.utf8Encode('forged')
    const tile = big.files.get('tile/0/000') ?? empty
    const log = withChanges(big, {
      'tile/entries/000': format.encodeBundle(entries),
      'tile/0/000': tile.with(32 * 200, (tile[32 * 200] ?? 0) ^ 1),
    })
    const { findings, intact } = await format.verifyLog(log, big.vkey)
    expect(intact).toBe(false)
    expect(
      findings.filter(({ kind }) => kind === 'mismatch').map(({ leafIndex }) => leafIndex),
    ).toEqual(expect.arrayContaining([3, 200]))
  })
})

describe('a log rewritten with its own key', () => {
  // Whoever holds the key can sign another history, but not make the old checkpoints agree with it.
  const forgedEntries = [...big.entries]
  forgedEntries[100] = format.utf8Encode('forged')
  const forged = createTestLog({ entries: forgedEntries })

  it('is intact to who has nothing else', async () => {
    expect((await format.verifyLog(forged, big.vkey)).intact).toBe(true)
  })

  it('forks from the checkpoints that it forgot to rewrite', async () => {
    const path = format.storedCheckpointPath(300)
    const log = withChanges(forged, { [path]: big.files.get(path) })
    const { findings } = await format.verifyLog(log, big.vkey)
    expect(findings).toMatchObject([{ kind: 'fork', where: path }])
  })

  it('forks from a checkpoint that somebody else holds', async () => {
    const heldCheckpoints = [big.checkpointAt(50), big.checkpointAt(300), big.checkpointAt(700)]
    const { findings, brokenCount } = await format.verifyLog(forged, big.vkey, { heldCheckpoints })
    expect(brokenCount).toBe(2)
    expect(findings).toMatchObject([
      { kind: 'fork', where: 'held checkpoint 2' },
      { kind: 'fork', where: 'held checkpoint 3' },
    ])
  })

  it('gives evidence that the two signed trees exclude each other', async () => {
    const heldCheckpoints = [big.checkpointAt(300)]
    const [finding] = (await format.verifyLog(forged, big.vkey, { heldCheckpoints })).findings
    const evidence = finding?.evidence
    if (evidence?.kind !== 'fork') throw new Error('the finding has evidence of the fork')
    const verifier = format.createVerifier(big.vkey)
    const older = format.openCheckpoint(evidence.older, [verifier])
    const newer = format.openCheckpoint(evidence.newer, [verifier])
    const claim = {
      oldSize: older.treeSize,
      newSize: newer.treeSize,
      newRoot: newer.rootHash,
      proof: evidence.proof.map(format.fromHex),
    }
    const prefixRoot = format.fromHex(evidence.prefixRoot)
    expect(() => format.verifyConsistency({ ...claim, oldRoot: prefixRoot })).not.toThrow()
    expect(() => format.verifyConsistency({ ...claim, oldRoot: older.rootHash })).toThrow(
      hasCode('ERR_PROOF_INVALID'),
    )
  })
})

describe('a log cut off at its end', () => {
  const short = createTestLog({ entries: big.entries.slice(0, 512) })

  it('with an older checkpoint put back is missing what a stored one signed', async () => {
    const path = format.storedCheckpointPath(700)
    const log = withChanges(short, { [path]: big.files.get(path) })
    const report = await format.verifyLog(log, big.vkey)
    expect(report).toMatchObject({ intact: false, treeSize: 700 })
    expect(kindsOf(report)).toEqual(expect.arrayContaining(['behind', 'missing', 'root']))
    expect(report.findings).toContainEqual(
      expect.objectContaining({ kind: 'missing', where: 'tile/entries/002.p/188' }),
    )
  })

  it('is found by whoever holds a newer checkpoint', async () => {
    const heldCheckpoints = [big.checkpointAt(700)]
    const { findings } = await format.verifyLog(short, big.vkey, { heldCheckpoints })
    expect(findings).toMatchObject([
      { kind: 'rolled-back', expected: 'tree size 700', actual: 'tree size 512' },
    ])
  })

  it('to nothing is found too', async () => {
    const nothing = createTestLog({ entries: [] })
    const heldCheckpoints = [big.checkpointAt(1)]
    expect(kindsOf(await format.verifyLog(nothing, big.vkey, { heldCheckpoints }))).toEqual([
      'rolled-back',
    ])
  })

  it('is the larger tree when its files are there and only the checkpoint is behind', async () => {
    const log = withChanges(big, { checkpoint: big.checkpointAt(512) })
    const report = await format.verifyLog(log, big.vkey)
    expect(report).toMatchObject({ intact: true, treeSize: 700, noticeCount: 1 })
    expect(report.findings).toMatchObject([
      { kind: 'behind', where: 'checkpoint', expected: '700', actual: '512' },
    ])
  })
})

describe('checkpoints', () => {
  const path = format.storedCheckpointPath(300)

  it('a log without any is not intact', async () => {
    const bare = { read: async () => undefined, list: () => [] }
    const report = await format.verifyLog(bare, big.vkey)
    expect(report).toMatchObject({ intact: false, entriesHashed: 0 })
    expect(report.findings).toMatchObject([{ kind: 'missing', where: 'checkpoint' }])
    expect(report.treeSize).toBeUndefined()
  })

  it('a missing one is replaced by the newest stored one, and still missing', async () => {
    const report = await format.verifyLog(withChanges(big, { checkpoint: undefined }), big.vkey)
    expect(report).toMatchObject({ intact: false, treeSize: 700, entriesHashed: 700 })
    expect(report.findings).toMatchObject([{ kind: 'missing', where: 'checkpoint' }])
  })

  it('signed by another key are not of this log', async () => {
    const stranger = format.createSigner({
      name: big.signer.name,
      seed: new Uint8Array(32).fill(9),
    })
    const head = { origin: big.signer.name, treeSize: 700, rootHash: format.emptyRoot }
    const log = withChanges(big, { checkpoint: format.signCheckpoint(head, stranger) })
    const { findings } = await format.verifyLog(log, big.vkey)
    expect(findings).toMatchObject([{ kind: 'unsigned', where: 'checkpoint' }])
  })

  it('of another log with the same key are not of this log', async () => {
    const seed = new Uint8Array(32).fill(7)
    const sister = format.createSigner({ name: 'audit.example/gw-1/long/2026q4', seed })
    const head = { origin: sister.name, treeSize: 300, rootHash: format.emptyRoot }
    const log = withChanges(big, { [path]: format.signCheckpoint(head, sister) })
    const { findings } = await format.verifyLog(log, [big.vkey, sister.vkey])
    expect(findings).toMatchObject([{ kind: 'unsigned', where: path }])
    const held = await format.verifyLog(big, [big.vkey, sister.vkey], {
      heldCheckpoints: [format.signCheckpoint(head, sister)],
    })
    expect(held.findings).toMatchObject([{ kind: 'unsigned', where: 'held checkpoint 1' }])
  })

  it('stored under another size are malformed', async () => {
    const log = withChanges(big, { [path]: big.checkpointAt(299) })
    const { findings } = await format.verifyLog(log, big.vkey)
    expect(findings).toMatchObject([
      { kind: 'malformed', where: path, expected: 'tree size 300', actual: 'tree size 299' },
    ])
  })

  it('stored beyond the tree without a signature are no tree', async () => {
    const log = withChanges(big, { [format.storedCheckpointPath(900)]: 'nonsense' })
    const report = await format.verifyLog(log, big.vkey)
    expect(report).toMatchObject({ intact: false, treeSize: 700 })
    expect(report.findings).toMatchObject([
      { kind: 'malformed', where: format.storedCheckpointPath(900) },
    ])
  })

  it('held ones that are garbage are named', async () => {
    const { findings } = await format.verifyLog(big, big.vkey, { heldCheckpoints: ['x'] })
    expect(findings).toMatchObject([{ kind: 'malformed', where: 'held checkpoint 1' }])
  })

  it('of an empty tree with a root are a fork', async () => {
    const head = { origin: big.signer.name, treeSize: 0, rootHash: new Uint8Array(32) }
    const held = format.signCheckpoint(head, big.signer)
    const { findings } = await format.verifyLog(big, big.vkey, { heldCheckpoints: [held] })
    expect(findings).toMatchObject([{ kind: 'fork', where: 'held checkpoint 1' }])
  })

  it('with a false root make the whole log not the signed one', async () => {
    const head = { origin: big.signer.name, treeSize: 700, rootHash: new Uint8Array(32) }
    const log = withChanges(big, { checkpoint: format.signCheckpoint(head, big.signer) })
    const { findings } = await format.verifyLog(log, big.vkey)
    expect(findings.map(({ kind }) => kind)).toContain('root')
  })

  it('have paths of twenty digits', () => {
    expect(format.storedCheckpointPath(700)).toBe('cp/00000000000000000700')
    expect(format.parseStoredCheckpointPath('cp/00000000000000000700')).toBe(700)
    for (const other of [
      'cp/700',
      'cp/000000000000000000700',
      'cp/99999999999999999999',
      'checkpoint',
    ]) {
      expect(format.parseStoredCheckpointPath(other)).toBeUndefined()
    }
  })
})

describe('files that the tree does not need', () => {
  const reportWith = async (changes: Record<string, Uint8Array | string>) =>
    await format.verifyLog(withChanges(big, changes), big.vkey)

  it.each([
    'notes.txt',
    'tile/0/000.tmp',
    'tile/00/000',
    'tile/entries/000.p/256',
    'cp/700',
    'checkpoint.old',
    '.checkpoint.swp',
  ])('%s is reported as no part of a log', async (path) => {
    const report = await reportWith({ [path]: 'x' })
    expect(report).toMatchObject({ intact: true, noticeCount: 1 })
    expect(report.findings).toEqual([{ kind: 'unexpected', where: path }])
  })

  it.each(['tile/0/003.p/1', 'tile/entries/003', 'tile/5/000.p/1', 'tile/1/001.p/7'])(
    '%s is ahead of the checkpoint',
    async (path) => {
      const report = await reportWith({ [path]: 'x' })
      expect(report.findings).toEqual([{ kind: 'ahead', where: path }])
    },
  )

  it('a tile ahead must still begin with what the tree has', async () => {
    const row = big.entries.slice(512)
    const longer = [...row, format.utf8Encode('next')]
    const right = await reportWith({
      'tile/entries/002.p/189': format.encodeBundle(longer),
      'tile/0/002.p/189': format.encodeTile(longer.map(format.leafHash)),
    })
    expect(right.intact).toBe(true)
    const wrong = await reportWith({
      'tile/entries/002.p/189': format.encodeBundle(longer.toReversed()),
    })
    expect(kindsOf(wrong)).toEqual(['ahead', 'leftover-altered'])
  })

  it('an earlier partial tile must be the beginning of the later one', async () => {
    const older = await reportWith({
      'tile/entries/002.p/3': format.encodeBundle(big.entries.slice(512, 515)),
      'tile/0/002.p/3': format.encodeTile(big.entries.slice(512, 515).map(format.leafHash)),
    })
    expect(older.findings).toEqual([])
    const altered = await reportWith({ 'tile/0/002.p/3': new Uint8Array(96) })
    expect(altered.findings).toEqual([
      {
        kind: 'leftover-altered',
        where: 'tile/0/002.p/3',
        expected: 'the beginning of tile/0/002.p/188',
      },
    ])
    for (const broken of [
      new Uint8Array(95),
      new Uint8Array(0),
      format.utf8Encode('\u0000\u0001'),
    ]) {
      expect(kindsOf(await reportWith({ 'tile/entries/002.p/3': broken }))).toEqual([
        'leftover-altered',
      ])
    }
  })

  it('a leftover that vanishes between listing and reading is altered', async () => {
    const list = () => [...big.files.keys(), 'tile/0/002.p/3']
    expect(kindsOf(await format.verifyLog({ ...big, list }, big.vkey))).toEqual([
      'leftover-altered',
    ])
  })

  it('a key file must hold the trusted key', async () => {
    const stranger = format.createSigner({ name: 'x', seed: new Uint8Array(32) })
    for (const content of [`${stranger.vkey}\n`, big.vkey, '', `${big.vkey}\n\n`]) {
      expect(kindsOf(await reportWith({ vkey: content }))).toEqual(['vkey'])
    }
    const without = await format.verifyLog(withChanges(big, { vkey: undefined }), big.vkey)
    expect(without.findings).toEqual([])
  })

  it('are listed by an asynchronous reader as well', async () => {
    async function* list() {
      yield* [...big.files.keys(), 'notes.txt']
    }
    const report = await format.verifyLog({ read: readBig, list }, big.vkey)
    expect(report.findings).toEqual([{ kind: 'unexpected', where: 'notes.txt' }])
  })

  it('by the thousand are counted, and do not hide what is broken', async () => {
    const extra = Object.fromEntries(Array.from({ length: 1_500 }, (_, at) => [`junk/${at}`, 'x']))
    const { findings, noticeCount, brokenCount } = await reportWith({
      ...extra,
      'tile/0/002.p/3': 'x',
    })
    expect([noticeCount, brokenCount]).toEqual([1_500, 1])
    expect(findings).toHaveLength(format.findingsMax + 1)
  })
})
