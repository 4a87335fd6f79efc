/**
 * The files of a log's directory that its signed tree does not need: partial tiles of earlier sizes,
 * tiles ahead of the checkpoint, and what does not belong there. A leftover must still agree with the
 * file that took its place; nothing is passed over in silence.
 *
 * @module
 */
import { equalBytes } from '../bytes.ts'
import { isAuditError } from '../errors.ts'
import { hashBytes } from '../hash.ts'
import { parseTilePath, tilePath, tileWidth, walkBundle, type TileId } from '../tlog/tile.ts'
import { parseStoredCheckpointPath } from './checkpoints.ts'
import { readFile, readTileOrFind, type Verification } from './context.ts'

/** Files that a log's directory has beside tiles and stored checkpoints. */
const otherFiles: ReadonlySet<string> = new Set(['checkpoint', 'vkey'])

/** Judges every listed file that the walk of the tree has not read. */
export async function checkLeftovers(verification: Verification, treeSize: number): Promise<void> {
  const { files, findings } = verification
  const reference = createReference(verification)
  for await (const path of files.list?.() ?? []) {
    if (otherFiles.has(path) || parseStoredCheckpointPath(path) !== undefined) continue
    const tile = readPath(path)
    if (tile === undefined) {
      findings.add({ kind: 'unexpected', where: path })
      continue
    }
    const needed = widthAt(tile, treeSize)
    if (tile.width === needed) continue
    if (tile.width > needed) findings.add({ kind: 'ahead', where: path })
    const common = Math.min(tile.width, needed)
    if (common > 0) await compareLeftover(verification, { path, tile, needed, reference })
  }
}

/** Compares what a leftover has in common with the file that the tree needs. */
async function compareLeftover(
  verification: Verification,
  {
    path,
    tile,
    needed,
    reference,
  }: {
    path: string
    tile: TileId
    needed: number
    reference: (tile: TileId) => Promise<Uint8Array | undefined>
  },
): Promise<void> {
  const wanted = await reference({ ...tile, width: needed })
  // What is missing, or pruned, has been judged by the walk.
  if (wanted === undefined) return
  const bytes = await readFile(verification, path)
  const common = Math.min(tile.width, needed)
  const left = bytes && cut(bytes, tile, common)
  const right = cut(wanted, { ...tile, width: needed }, common)
  if (left !== undefined && right !== undefined && equalBytes(left, right)) return
  const expected = `the beginning of ${tilePath({ ...tile, width: needed })}`
  verification.findings.add({ kind: 'leftover-altered', where: path, expected })
}

/** The first `count` hashes or entries of a file; `undefined` when it has not its width of them. */
function cut(bytes: Uint8Array, tile: TileId, count: number): Uint8Array | undefined {
  if (tile.level !== 'entries') {
    return bytes.length === tile.width * hashBytes
      ? bytes.subarray(0, count * hashBytes)
      : undefined
  }
  let length = 0
  try {
    walkBundle(bytes, tile.width, (_, end, position) => {
      if (position < count) length = end
    })
  } catch (error) {
    if (isAuditError(error)) return undefined
    throw error
  }
  return bytes.subarray(0, length)
}

/** Hashes or entries that a tree of `treeSize` has at the place of `tile`. */
function widthAt({ level, index }: TileId, treeSize: number): number {
  const count = level === 'entries' ? treeSize : Math.floor(treeSize / tileWidth ** level)
  return Math.max(0, Math.min(tileWidth, count - index * tileWidth))
}

/** Reads tiles of the tree, remembering the last: leftovers of one tile mostly follow each other. */
function createReference(verification: Verification) {
  let lastPath = ''
  let last: Uint8Array | undefined
  return async (tile: TileId): Promise<Uint8Array | undefined> => {
    const path = tilePath(tile)
    if (path !== lastPath) {
      last = await readTileOrFind(verification, tile)
      lastPath = path
    }
    return last
  }
}

function readPath(path: string): TileId | undefined {
  try {
    return parseTilePath(path)
  } catch (error) {
    if (isAuditError(error)) return undefined
    throw error
  }
}
