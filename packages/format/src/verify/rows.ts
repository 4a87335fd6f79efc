/**
 * One row of a log: a bundle of entries and the tile of their leaf hashes. Reads both, compares them,
 * and where they differ finds out which of the two the signed tree holds.
 *
 * @module
 */
import { equalBytes, toHex } from '../bytes.ts'
import { isAuditError } from '../errors.ts'
import { leafHash } from '../hash.ts'
import { parseTile, tilePath, tileWidth, walkBundle, type TileId } from '../tlog/tile.ts'
import {
  inclusionEvidence,
  proveRow,
  readTileOrFind,
  type SignedTree,
  type Verification,
} from './context.ts'
import { evidenceMax, type Evidence, type FindingKind } from './finding.ts'

/**
 * Sees an entry. `entry` is a view that is valid during the call only; `leafHash` may be kept. Called
 * in order of the index; entries that a finding is about are among them.
 */
export type VisitEntry = (entry: Uint8Array, leafIndex: number, leafHash: Uint8Array) => void

/** The files of one row, as they were read. */
export interface StoredRow {
  readonly index: number
  readonly width: number
  readonly bundle: Uint8Array | undefined
  readonly tile: Uint8Array | undefined
}

/** Reads the files of the row at `index` in a tree of `treeSize` leaves. */
export async function readRow(
  verification: Verification,
  { index, treeSize }: { index: number; treeSize: number },
): Promise<StoredRow> {
  const width = Math.min(tileWidth, treeSize - index * tileWidth)
  const [bundle, tile] = await Promise.all([
    readTileOrFind(verification, { level: 'entries', index, width }),
    readTileOrFind(verification, { level: 0, index, width }),
  ])
  return { index, width, bundle, tile }
}

/**
 * The leaf hashes of a row: those that the signed tree holds if that can be told, and else what there
 * is. `undefined` when there is nothing.
 */
export async function checkRow(
  verification: Verification,
  tree: SignedTree,
  { row, visitEntry }: { row: StoredRow; visitEntry: VisitEntry | undefined },
): Promise<readonly Uint8Array[] | undefined> {
  const { index, width } = row
  const computed = hashEntries(verification, row, visitEntry)
  const stored = readHashes(verification, row)
  // What lies wholly before the minimum index may be gone (c2sp.org/tlog-tiles, Pruning).
  const mayBeGone = width === tileWidth && (index + 1) * tileWidth <= verification.minimumIndex
  if (row.bundle === undefined && !mayBeGone) {
    verification.findings.add({ kind: 'missing', where: pathOf(row, 'entries') })
  }
  if (row.tile === undefined && !mayBeGone) {
    verification.findings.add({ kind: 'missing', where: pathOf(row, 0) })
  }
  if (computed === undefined || stored === undefined) return computed ?? stored
  const differing: number[] = []
  for (let at = 0; at < width; at++) {
    if (!isSame(computed[at], stored[at])) differing.push(at)
  }
  if (differing.length === 0) return computed
  return await attribute(verification, tree, { row, computed, stored, differing })
}

interface Difference {
  readonly row: StoredRow
  readonly computed: readonly Uint8Array[]
  readonly stored: readonly Uint8Array[]
  /** Positions in the row. */
  readonly differing: readonly number[]
}

/** Finds out whether the entries or the tile are what was signed, and returns those hashes. */
async function attribute(
  verification: Verification,
  tree: SignedTree,
  { row, computed, stored, differing }: Difference,
): Promise<readonly Uint8Array[]> {
  const { index } = row
  const leafIndex = index * tileWidth + (differing[0] ?? 0)
  const prove = (hashes: readonly Uint8Array[]) =>
    proveRow(verification, tree, { row: { index, hashes }, leafIndex })
  const isTileRight = (await prove(stored)) !== undefined
  const isEntryRight = !isTileRight && (await prove(computed)) !== undefined
  const kind = isTileRight ? 'entry-altered' : isEntryRight ? 'tile-altered' : 'mismatch'
  const committed = isTileRight ? stored : computed
  const found = isTileRight ? computed : stored
  for (const at of differing) {
    const [expected, actual] = [hexAt(committed, at), hexAt(found, at)]
    const where = pathOf(row, isTileRight ? 'entries' : 0)
    const finding = { kind, where, leafIndex: index * tileWidth + at, expected, actual } as const
    const evidence = await evidenceFor(verification, tree, { index, kind, committed, at })
    verification.findings.add(evidence === undefined ? finding : { ...finding, evidence })
  }
  return committed
}

async function evidenceFor(
  verification: Verification,
  tree: SignedTree,
  about: { index: number; kind: FindingKind; committed: readonly Uint8Array[]; at: number },
): Promise<Evidence | undefined> {
  if (about.kind === 'mismatch' || verification.evidenceCount >= evidenceMax) return undefined
  verification.evidenceCount += 1
  const leafIndex = about.index * tileWidth + about.at
  const row = { index: about.index, hashes: about.committed }
  const hashes = await proveRow(verification, tree, { row, leafIndex })
  const committed = hexAt(about.committed, about.at)
  return hashes && inclusionEvidence(tree, { index: leafIndex, leafHash: committed, hashes })
}

function hashEntries(
  { findings }: Verification,
  row: StoredRow,
  visitEntry: VisitEntry | undefined,
): readonly Uint8Array[] | undefined {
  const { bundle, index, width } = row
  if (bundle === undefined) return undefined
  const first = index * tileWidth
  const hashes: Uint8Array[] = []
  try {
    walkBundle(bundle, width, (start, end, position) => {
      const entry = bundle.subarray(start, end)
      const hash = leafHash(entry)
      hashes.push(hash)
      visitEntry?.(entry, first + position, hash)
    })
  } catch (error) {
    if (!isAuditError(error, 'ERR_BUNDLE_MALFORMED')) throw error
    const where = pathOf(row, 'entries')
    findings.add({
      kind: 'malformed',
      where,
      leafIndex: first + hashes.length,
      actual: error.message,
    })
    return undefined
  }
  return hashes
}

function readHashes({ findings }: Verification, row: StoredRow): Uint8Array[] | undefined {
  if (row.tile === undefined) return undefined
  try {
    return parseTile(row.tile, row.width)
  } catch (error) {
    if (!isAuditError(error)) throw error
    findings.add({ kind: 'malformed', where: pathOf(row, 0), actual: error.message })
    return undefined
  }
}

function pathOf({ index, width }: StoredRow, level: TileId['level']): string {
  return tilePath({ level, index, width })
}

function isSame(left: Uint8Array | undefined, right: Uint8Array | undefined): boolean {
  return left !== undefined && right !== undefined && equalBytes(left, right)
}

function hexAt(hashes: readonly Uint8Array[], at: number): string {
  return toHex(hashes[at] ?? new Uint8Array(0))
}
