/**
 * Verification and a second opinion: a log that another implementation wrote, and a plain verifier
 * that shares nothing with ours but SHA-256 and Ed25519 of the platform.
 *
 * @module
 */
import * as fc from 'fast-check'
import { createHash, createPublicKey, verify as verifySignature } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as format from '../index.ts'
import { createTestLog, testEntries, withFiles, type TestLog } from '../testing.ts'

interface Tessera {
  vkey: string
  leaves: string[]
  checkpoints: string[]
  bundle15_hex: string
  tile15_hex: string
}

const { tessera }: { tessera: Tessera } = JSON.parse(
  readFileSync(new URL('../../../../test/fixtures/tlog-vectors.json', import.meta.url), 'utf8'),
)

/** The published log at a size, as files, with its checkpoints up to then. */
function tesseraLog(size: number): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>()
  for (let past = 0; past <= size; past++) {
    const signed = format.utf8Encode(tessera.checkpoints[past] ?? '')
    files.set(format.storedCheckpointPath(past), signed)
    files.set('checkpoint', signed)
    if (past === 0) continue
    const entries = tessera.leaves.slice(0, past).map(format.utf8Encode)
    files.set(`tile/entries/000.p/${past}`, format.encodeBundle(entries))
    files.set(`tile/0/000.p/${past}`, format.fromHex(tessera.tile15_hex.slice(0, past * 64)))
  }
  return files
}

const filesOf = (files: Map<string, Uint8Array>): format.LogFiles => ({
  read: async (path) => files.get(path),
  list: () => files.keys(),
})

describe('the log of tessera', () => {
  it.each(tessera.checkpoints.map((_, size) => size))(
    'verifies at size %i with every checkpoint before it',
    async (size) => {
      const report = await format.verifyLog(filesOf(tesseraLog(size)), tessera.vkey)
      expect(report).toMatchObject({
        intact: true,
        findings: [],
        origin: 'example.com/log/testdata',
        entriesHashed: size,
        checkpointsCompared: size + 1,
      })
    },
  )

  it('has at size 15 the bundle that tessera wrote', () => {
    const bundle = tesseraLog(15).get('tile/entries/000.p/15') ?? new Uint8Array(0)
    expect(format.toHex(bundle)).toBe(tessera.bundle15_hex)
  })

  it('gives a receipt for each entry at each size, which verifies at that size only', async () => {
    const policy = format.policyForLogs(tessera.vkey)
    const leaves = tessera.leaves.map((text) => format.leafHash(format.utf8Encode(text)))
    const readHash = format.hashReader(15, () => format.fromHex(tessera.tile15_hex))
    for (let treeSize = 1; treeSize <= 15; treeSize++) {
      const checkpoint = tessera.checkpoints[treeSize] ?? ''
      const other = tessera.checkpoints[treeSize === 15 ? 14 : treeSize + 1] ?? ''
      for (let index = 0; index < treeSize; index++) {
        const hashes = await format.inclusionProof(readHash, { leafIndex: index, treeSize })
        const leafHash = leaves[index] ?? format.emptyRoot
        const receipt = format.formatProof({ index, hashes, checkpoint })
        expect(format.verifyProof(receipt, { leafHash, policy }).leafIndex).toBe(index)
        const moved = format.formatProof({ index, hashes, checkpoint: other })
        expect(() => format.verifyProof(moved, { leafHash, policy })).toThrow(
          expect.objectContaining({ code: 'ERR_PROOF_INVALID' }),
        )
      }
    }
  })

  it('is consistent between every two of its checkpoints', async () => {
    const readHash = format.hashReader(15, () => format.fromHex(tessera.tile15_hex))
    const verifiers = [format.createVerifier(tessera.vkey)]
    const heads = tessera.checkpoints.map((signed) => format.openCheckpoint(signed, verifiers))
    for (const { treeSize: newSize, rootHash: newRoot } of heads) {
      for (const { treeSize: oldSize, rootHash: oldRoot } of heads.slice(0, newSize + 1)) {
        const proof = await format.consistencyProof(readHash, { oldSize, newSize })
        const claim = { oldSize, newSize, oldRoot, newRoot, proof }
        expect(() => format.verifyConsistency(claim)).not.toThrow()
      }
    }
  })
})

/**
 * A verifier as an auditor would write it in an afternoon: reads the checkpoint, all bundles and all
 * tiles of the size, and says whether they agree. About forty lines, and none of ours.
 */
function plainlyVerifies(files: ReadonlyMap<string, Uint8Array>, vkey: string): boolean {
  const sha256 = (...parts: Uint8Array[]) => {
    const hash = createHash('sha256')
    for (const part of parts) hash.update(part)
    return hash.digest()
  }
  const root = (hashes: readonly Uint8Array[]): Uint8Array => {
    const [first] = hashes
    if (first === undefined) return sha256()
    if (hashes.length === 1) return first
    let split = 1
    while (split * 2 < hashes.length) split *= 2
    return sha256(Uint8Array.of(1), root(hashes.slice(0, split)), root(hashes.slice(split)))
  }
  const checkpoint = Buffer.from(files.get('checkpoint') ?? []).toString()
  const [text = '', line = ''] = checkpoint.split(/(?<=\n)\n/)
  const [, size = '', rootBase64 = ''] = text.split('\n')
  const signature = Buffer.from(line.split(' ')[2] ?? '', 'base64').subarray(4)
  const raw = Buffer.from(vkey.split('+').at(-1) ?? '', 'base64').subarray(1)
  const prefix = Buffer.from('302a300506032b6570032100', 'hex')
  const key = createPublicKey({ key: Buffer.concat([prefix, raw]), format: 'der', type: 'spki' })
  if (signature.length !== 64) return false
  if (!verifySignature(null, Buffer.from(text), key, signature)) return false

  const number = (index: number, width: number) =>
    `${String(index).padStart(3, '0')}${width === 256 ? '' : `.p/${width}`}`
  let hashes: Uint8Array[] = []
  for (let index = 0; index * 256 < Number(size); index++) {
    const width = Math.min(256, Number(size) - index * 256)
    const bundle = Buffer.from(files.get(`tile/entries/${number(index, width)}`) ?? [])
    let at = 0
    for (let position = 0; position < width; position++) {
      if (at + 2 > bundle.length) return false
      const end = at + 2 + bundle.readUInt16BE(at)
      if (end > bundle.length) return false
      hashes.push(sha256(Uint8Array.of(0), bundle.subarray(at + 2, end)))
      at = end
    }
    if (at !== bundle.length) return false
  }
  if (Buffer.from(root(hashes)).toString('base64') !== rootBase64) return false
  for (let level = 0; hashes.length > 0; level++) {
    const above: Uint8Array[] = []
    for (let index = 0; index * 256 < hashes.length; index++) {
      const row = hashes.slice(index * 256, index * 256 + 256)
      const tile = Buffer.from(files.get(`tile/${level}/${number(index, row.length)}`) ?? [])
      if (!tile.equals(Buffer.concat(row))) return false
      if (row.length === 256) above.push(root(row))
    }
    hashes = above
  }
  return true
}

/** What somebody with access to the files may do to one of them. */
const tamperings: Record<string, (bytes: Uint8Array, at: number, other: Uint8Array) => Uint8Array> =
  {
    'flip a bit': (bytes, at) => bytes.with(at % bytes.length, (bytes[at % bytes.length] ?? 0) ^ 4),
    'cut the end off': (bytes, at) => bytes.subarray(0, at % bytes.length),
    'add a byte': (bytes, at) => format.concatBytes(bytes, Uint8Array.of(at % 256)),
    'put another file in its place': (_, __, other) => other,
    'double it': (bytes) => format.concatBytes(bytes, bytes),
    'lose a byte inside': (bytes, at) => {
      const index = at % bytes.length
      return format.concatBytes(bytes.subarray(0, index), bytes.subarray(index + 1))
    },
    'swap two bytes': (bytes, at) => {
      const [first, second] = [at % bytes.length, (at * 7 + 1) % bytes.length]
      return bytes.with(first, bytes[second] ?? 0).with(second, bytes[first] ?? 0)
    },
    'empty it': () => new Uint8Array(0),
  }

describe('ours and the plain verifier', () => {
  const logs = [0, 1, 5, 256, 300, 513].map((size) => createTestLog({ entries: testEntries(size) }))
  const agree = async (log: TestLog) => {
    const ours = (await format.verifyLog({ read: log.read.bind(log) }, log.vkey)).intact
    return { ours, plain: plainlyVerifies(log.files, log.vkey) }
  }

  it('both verify what is intact', async () => {
    for (const log of logs) expect(await agree(log)).toEqual({ ours: true, plain: true })
  })

  it('agree about any file tampered with in any way', { timeout: 30_000 }, async () => {
    const cases = fc.record({
      which: fc.integer({ min: 1, max: logs.length - 1 }),
      file: fc.nat(),
      other: fc.nat(),
      at: fc.nat(100_000),
      how: fc.constantFrom(...Object.keys(tamperings)),
    })
    let refused = 0
    await fc.assert(
      fc.asyncProperty(cases, async ({ which, file, other, at, how }) => {
        const log = logs[which] ?? createTestLog({ entries: [] })
        const paths = [...log.files.keys()].filter((path) => /^(?:checkpoint|tile)/.test(path))
        const path = paths[file % paths.length] ?? ''
        const content = log.files.get(paths[other % paths.length] ?? '') ?? new Uint8Array(0)
        const bytes = log.files.get(path) ?? new Uint8Array(0)
        const files = new Map(log.files).set(path, tamperings[how]?.(bytes, at, content) ?? bytes)
        const { ours, plain } = await agree(withFiles(log, files))
        // The plain one takes checkpoints that are not in canonical form; ours must never be laxer.
        const expected = path === 'checkpoint' ? ours && plain : plain
        expect({ path, how, ours }).toEqual({ path, how, ours: expected })
        if (!ours) refused += 1
      }),
      { numRuns: 300 },
    )
    expect(refused).toBeGreaterThan(200)
  })

  it('agree about a missing file', async () => {
    for (const log of logs) {
      for (const path of log.files.keys()) {
        if (path.startsWith('cp/') || path === 'vkey') continue
        const files = new Map(log.files)
        files.delete(path)
        expect({ path, ...(await agree(withFiles(log, files))) }).toEqual({
          path,
          ours: false,
          plain: false,
        })
      }
    }
  })
})
