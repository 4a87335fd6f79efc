/**
 * Walks a log from its first entry to its last: entries → leaf hashes → tiles of every level → root,
 * and past roots on the way. One pass, each file read once, memory bounded by `readAheadRows` bundles.
 *
 * @module
 */
import { equalBytes, toHex } from '../bytes.ts'
import { isAuditError } from '../errors.ts'
import { hashBytes } from '../hash.ts'
import { createTree, type Tree } from '../tlog/merkle.ts'
import { parseTile, tileHeight, tilePath, tileWidth } from '../tlog/tile.ts'
import { findFork, type Checkpoints } from './checkpoints.ts'
import { readTileOrFind, type SignedTree, type Verification } from './context.ts'
import type { Finding } from './finding.ts'
import { checkRow, readRow, type StoredRow, type VisitEntry } from './rows.ts'

/** Rows that are read while one is hashed. A bundle has at most 16 MiB, 256 KiB as a rule. */
export const readAheadRows = 6
// Progress is told every 16 rows: 4,096 entries.
const rowsPerProgress = 16

/** Told how far a verification has come. */
export interface Progress {
  readonly entriesDone: number
  readonly entriesTotal: number
}

/** What to call on the way. */
export interface WalkOptions {
  readonly visitEntry?: VisitEntry | undefined
  readonly onProgress?: ((progress: Progress) => void) | undefined
}

/** The stored tiles above the row that is being walked, one a level. */
interface UpperTile {
  readonly index: number
  readonly width: number
  /** `undefined` when it is missing or malformed, which is a finding already. */
  readonly bytes: Uint8Array | undefined
}

interface Walk {
  readonly verification: Verification
  readonly target: SignedTree
  readonly tree: Tree
  /** By level; level 0 is not used. */
  readonly upper: UpperTile[]
  /** Hashes of upper tiles that differ; whether they are altered shows when the root is known. */
  readonly differing: Finding[]
  entriesHashed: number
  checkpointsCompared: number
}

/** How far a walk came. */
export interface Walked {
  /** Entries that were read and hashed; fewer than the tree has where bundles are gone. */
  readonly entriesHashed: number
  /** Checkpoints, beside the target, whose root was compared with the tree's at their size. */
  readonly checkpointsCompared: number
}

/** Walks the whole log. */
export async function walkLog(
  verification: Verification,
  checkpoints: Checkpoints,
  { visitEntry, onProgress }: WalkOptions,
): Promise<Walked> {
  const { target } = checkpoints
  const { treeSize } = target
  const walk = startWalk(verification, target)
  const rowCount = Math.ceil(treeSize / tileWidth)
  const rows = createReadAhead(rowCount, (index) => readRow(verification, { index, treeSize }))
  await comparePast(walk, await checkpoints.takeUpTo(0))
  for (let index = 0; index < rowCount;) {
    await loadUpperTiles(walk, index)
    const row = await rows.take(index)
    const hashes = await checkRow(verification, target, { row, visitEntry })
    if (hashes === undefined) {
      const skipped = skipRows(walk, index)
      if (skipped === 0) return endUnreached(walk)
      index += skipped
      // Roots inside of what is gone cannot be computed.
      const past = await checkpoints.takeUpTo(walk.tree.size)
      await comparePast(
        walk,
        past.filter(({ treeSize: size }) => size === walk.tree.size),
      )
      continue
    }
    index += 1
    const entriesDone = Math.min(index * tileWidth, treeSize)
    await appendRow(walk, hashes, await checkpoints.takeUpTo(entriesDone))
    if (row.bundle !== undefined) walk.entriesHashed += hashes.length
    if (index % rowsPerProgress === 0 || index === rowCount) {
      onProgress?.({ entriesDone, entriesTotal: treeSize })
    }
  }
  return endReached(walk)
}

function startWalk(verification: Verification, target: SignedTree): Walk {
  const upper: UpperTile[] = []
  const differing: Finding[] = []
  const tree = createTree({
    onNode(level, index, hash) {
      if (level % tileHeight === 0) compareUpper({ upper, differing }, level, index, hash)
    },
  })
  const counts = { entriesHashed: 0, checkpointsCompared: 0 }
  return { verification, target, tree, upper, differing, ...counts }
}

function compareUpper(
  { upper, differing }: Pick<Walk, 'upper' | 'differing'>,
  level: number,
  index: number,
  hash: Uint8Array,
): void {
  const tileLevel = level / tileHeight
  const tile = upper[tileLevel]
  if (tile?.bytes === undefined) return
  const at = (index % tileWidth) * hashBytes
  const stored = tile.bytes.subarray(at, at + hashBytes)
  if (equalBytes(stored, hash)) return
  const where = tilePath({ level: tileLevel, index: tile.index, width: tile.width })
  const [expected, actual] = [toHex(hash), toHex(stored)]
  differing.push({ kind: 'tile-altered', where, expected, actual })
}

/** Loads the tiles of every level above the row, where the row is the first under them. */
async function loadUpperTiles(walk: Walk, row: number): Promise<void> {
  const { verification, target, upper } = walk
  for (let level = 1; target.treeSize >= tileWidth ** level; level++) {
    const index = Math.floor(row / tileWidth ** level)
    if (upper[level]?.index === index) continue
    const rowHashes = Math.floor(target.treeSize / tileWidth ** level)
    const width = Math.min(tileWidth, rowHashes - index * tileWidth)
    // To the right of the last hash of a level there is no tile.
    const bytes = width < 1 ? undefined : await readUpper(verification, { level, index, width })
    upper[level] = { index, width, bytes }
  }
}

async function readUpper(
  verification: Verification,
  tile: { level: number; index: number; width: number },
): Promise<Uint8Array | undefined> {
  const { findings, minimumIndex } = verification
  const where = tilePath(tile)
  const bytes = await readTileOrFind(verification, tile)
  if (bytes === undefined) {
    const end = (tile.index + 1) * tileWidth ** (tile.level + 1)
    if (tile.width < tileWidth || end > minimumIndex) findings.add({ kind: 'missing', where })
    return undefined
  }
  try {
    parseTile(bytes, tile.width)
    return bytes
  } catch (error) {
    if (!isAuditError(error)) throw error
    findings.add({ kind: 'malformed', where, actual: error.message })
    return undefined
  }
}

/**
 * Goes on after a row of which nothing is left, with the root of it, or of a larger subtree that
 * begins here, from the tiles above. Returns the rows skipped, 0 if no tile tells.
 */
function skipRows({ upper, tree }: Walk, row: number): number {
  for (let level = 1; level < upper.length; level++) {
    const rows = tileWidth ** (level - 1)
    if (row % rows !== 0) return 0
    const bytes = upper[level]?.bytes
    if (bytes === undefined) continue
    const at = ((row / rows) % tileWidth) * hashBytes
    if (at >= bytes.length) return 0
    tree.appendNode(level * tileHeight, bytes.slice(at, at + hashBytes))
    return rows
  }
  return 0
}

async function appendRow(
  walk: Walk,
  hashes: readonly Uint8Array[],
  past: readonly SignedTree[],
): Promise<void> {
  const { tree } = walk
  let next = 0
  for (const hash of hashes) {
    tree.append(hash)
    const from = next
    while (past[next]?.treeSize === tree.size) next += 1
    if (next > from) await comparePast(walk, past.slice(from, next))
  }
}

async function comparePast(walk: Walk, past: readonly SignedTree[]): Promise<void> {
  if (past.length === 0) return
  const prefixRoot = walk.tree.root()
  for (const checkpoint of past) {
    walk.checkpointsCompared += 1
    if (equalBytes(checkpoint.rootHash, prefixRoot)) continue
    await findFork(walk.verification, walk.target, { past: checkpoint, prefixRoot })
  }
}

function endReached(walk: Walk): Walked {
  const { verification, target, tree, differing } = walk
  const root = tree.root()
  const isSigned = equalBytes(root, target.rootHash)
  for (const finding of differing) {
    verification.findings.add(isSigned ? finding : { ...finding, kind: 'mismatch' })
  }
  if (!isSigned) {
    const [expected, actual] = [toHex(target.rootHash), toHex(root)]
    verification.findings.add({ kind: 'root', where: target.where, expected, actual })
  }
  return walk
}

function endUnreached(walk: Walk): Walked {
  const { verification, target, tree, differing } = walk
  for (const finding of differing) verification.findings.add({ ...finding, kind: 'mismatch' })
  const expected = `tree size ${target.treeSize}`
  const actual = `nothing to go on with after ${tree.size} leaves`
  verification.findings.add({ kind: 'root', where: target.where, expected, actual })
  return walk
}

interface ReadAhead {
  take(index: number): Promise<StoredRow>
}

/** Starts reading the rows after the one that is taken. Rows are taken in order; some may be left out. */
function createReadAhead(rowCount: number, read: (index: number) => Promise<StoredRow>): ReadAhead {
  const reading = new Map<number, Promise<StoredRow>>()
  return {
    async take(index) {
      for (const started of reading.keys()) if (started < index) reading.delete(started)
      for (let ahead = index; ahead < Math.min(rowCount, index + readAheadRows); ahead++) {
        if (reading.has(ahead)) continue
        const row = read(ahead)
        // Its failure is met when it is taken; until then it must not count as unhandled.
        row.catch(() => undefined)
        reading.set(ahead, row)
      }
      const row = reading.get(index) ?? read(index)
      reading.delete(index)
      return await row
    },
  }
}
