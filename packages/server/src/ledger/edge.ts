/**
 * The right edge of a log: what has to be in memory to add entries to its tree and to write the files
 * that a checkpoint of it needs (c2sp.org/tlog-tiles).
 *
 * Invariants:
 * - Every hash is computed once: leaf hashes come from sequencing, the root of a full tile falls out of
 *   the range on the way up.
 * - A full tile or bundle leaves memory when it is handed out. The entries of the last, partial bundle
 *   are copied together, so that they do not keep the buffers alive that they arrived in.
 *
 * @module
 */
import {
  assert,
  encodeTile,
  equalBytes,
  joinRange,
  leafHash,
  nodeHash,
  parseBundle,
  parseTile,
  rootOf,
  tileHeight,
  tilePath,
  tileWidth,
  type TileId,
} from '@affidavit/format'
import { corruptFailure } from './failure.ts'

/** A file of a log, named relative to the log's directory. */
export interface LogFile {
  readonly path: string
  readonly bytes: Uint8Array
}

/** A tree that grows, and its files. */
export interface Edge {
  readonly size: number
  /** Adds an entry. Returns the files that became full by it, mostly none. */
  append(entry: Uint8Array, hash: Uint8Array): readonly LogFile[]
  /** The partial files that a checkpoint of the present size needs. */
  partials(): readonly LogFile[]
  root(): Uint8Array
}

interface EdgeState {
  size: number
  /** Complete subtrees, largest first. */
  readonly range: Uint8Array[]
  /** Hashes of the partial tile of each level. */
  readonly tiles: Uint8Array[][]
  /** The partial bundle: encoded so far, and entries not yet in it. */
  bundle: Uint8Array
  fresh: Uint8Array[]
}

/** The edge of an empty log. */
export function createEdge(): Edge {
  return edgeOf({ size: 0, range: [], tiles: [], bundle: new Uint8Array(0), fresh: [] })
}

/**
 * Reads back the edge of a log of `size` entries and verifies it: its tiles against `root`, the last
 * bundle against its tile.
 *
 * @param readTile reads a tile or bundle of exactly that width; `undefined` if it is missing.
 * @throws AuditError `ERR_LEDGER_CORRUPT` when a file is missing, malformed or not under `root`.
 */
export async function loadEdge(
  { size, root, where }: { size: number; root: Uint8Array; where: string },
  readTile: (tile: TileId) => Promise<Uint8Array | undefined>,
): Promise<Edge> {
  const read = async (tile: TileId) => {
    const bytes = await readTile(tile)
    if (bytes === undefined) throw corruptFailure(`${where} has no ${tilePath(tile)}`)
    return bytes
  }
  const readHashes = async (tile: TileId) =>
    orCorrupt(`${tilePath(tile)} of ${where}`, await read(tile), (bytes) =>
      parseTile(bytes, tile.width),
    )
  const tiles: Uint8Array[][] = []
  const range: Uint8Array[] = []
  for (let level = 0, hashes = size; hashes > 0; level++, hashes = Math.floor(hashes / tileWidth)) {
    const width = hashes % tileWidth
    const index = Math.floor(hashes / tileWidth)
    const row = width === 0 ? [] : await readHashes({ level, index, width })
    tiles.push(row.map((hash) => new Uint8Array(hash)))
    range.unshift(...subtreesOf(row))
  }
  if (!equalBytes(joinRange(range), root)) {
    throw corruptFailure(`the tiles at the end of ${where} are not under its signed root`)
  }
  const bundle = await loadLastBundle(size, where, read, readHashes)
  const state = { size, range: range.map((hash) => new Uint8Array(hash)), tiles, bundle, fresh: [] }
  return edgeOf(state)
}

function edgeOf(state: EdgeState): Edge {
  return {
    get size() {
      return state.size
    },
    append: (entry, hash) => appendTo(state, entry, hash),
    partials: () => partialsOf(state),
    root: () => joinRange(state.range),
  }
}

function appendTo(state: EdgeState, entry: Uint8Array, leaf: Uint8Array): readonly LogFile[] {
  let full: LogFile[] | undefined
  const pushHash = (level: number, hash: Uint8Array) => {
    const row = (state.tiles[level] ??= [])
    row.push(hash)
    if (row.length < tileWidth) return
    const index = Math.floor(state.size / tileWidth ** (level + 1))
    const path = tilePath({ level, index, width: tileWidth })
    ;(full ??= []).push({ path, bytes: encodeTile(row) })
    state.tiles[level] = []
  }

  state.fresh.push(entry)
  pushHash(0, leaf)
  if (full !== undefined) {
    const index = Math.floor(state.size / tileWidth)
    const path = tilePath({ level: 'entries', index, width: tileWidth })
    full.unshift({ path, bytes: takeBundle(state) })
    state.bundle = new Uint8Array(0)
  }
  // Every trailing one bit of the size is a complete left sibling that the new leaf closes; each
  // eighth closed one is the root of a full tile, which is a hash of the level above.
  let hash = leaf
  let height = 0
  for (let rest = state.size; rest % 2 === 1; rest = (rest - 1) / 2) {
    const left = state.range.pop()
    assert(left !== undefined, 'the range has a hash for each set bit of the size')
    hash = nodeHash(left, hash)
    height += 1
    if (height % tileHeight === 0) pushHash(height / tileHeight, hash)
  }
  state.range.push(hash)
  state.size += 1
  return full ?? noFiles
}

const noFiles: readonly LogFile[] = []

function partialsOf(state: EdgeState): readonly LogFile[] {
  const files: LogFile[] = []
  const index = Math.floor(state.size / tileWidth)
  const width = state.size % tileWidth
  if (width > 0) {
    state.bundle = takeBundle(state)
    files.push({ path: tilePath({ level: 'entries', index, width }), bytes: state.bundle })
  }
  for (const [level, row] of state.tiles.entries()) {
    if (row.length === 0) continue
    const tile = { level, index: Math.floor(state.size / tileWidth ** (level + 1)) }
    files.push({ path: tilePath({ ...tile, width: row.length }), bytes: encodeTile(row) })
  }
  return files
}

/** The bundle so far, with the fresh entries encoded into it. */
function takeBundle(state: EdgeState): Uint8Array {
  let length = state.bundle.length
  for (const entry of state.fresh) length += 2 + entry.length
  const bundle = Buffer.allocUnsafeSlow(length)
  bundle.set(state.bundle)
  let at = state.bundle.length
  for (const entry of state.fresh) {
    at = bundle.writeUInt16BE(entry.length, at)
    bundle.set(entry, at)
    at += entry.length
  }
  state.fresh = []
  return bundle
}

/** Roots of the complete subtrees in a partial tile, largest first. */
function subtreesOf(row: readonly Uint8Array[]): Uint8Array[] {
  const roots: Uint8Array[] = []
  let at = 0
  for (let bit = tileWidth / 2; bit >= 1; bit /= 2) {
    if ((row.length & bit) === 0) continue
    roots.push(rootOf(row.slice(at, at + bit)))
    at += bit
  }
  return roots
}

async function loadLastBundle(
  size: number,
  where: string,
  read: (tile: TileId) => Promise<Uint8Array>,
  readHashes: (tile: TileId) => Promise<readonly Uint8Array[]>,
): Promise<Uint8Array> {
  if (size === 0) return new Uint8Array(0)
  const width = ((size - 1) % tileWidth) + 1
  const index = Math.floor((size - 1) / tileWidth)
  const tile: TileId = { level: 'entries', index, width }
  const bytes = await read(tile)
  const name = `${tilePath(tile)} of ${where}`
  const entries = orCorrupt(name, bytes, () => parseBundle(bytes, width))
  const hashes = await readHashes({ level: 0, index, width })
  for (const [at, entry] of entries.entries()) {
    const expected = hashes[at]
    if (expected === undefined || !equalBytes(leafHash(entry), expected)) {
      throw corruptFailure(`entry ${index * tileWidth + at} of ${where} is not the one in the tree`)
    }
  }
  // A full last tile is not part of the range; its root is the last hash of the level above.
  if (width === tileWidth) {
    const [parent] = (await readHashes(parentTile(index))).slice(-1)
    if (parent === undefined || !equalBytes(rootOf(hashes), parent)) {
      throw corruptFailure(`the last full tile of ${where} is not under its signed root`)
    }
    return new Uint8Array(0)
  }
  return bytes
}

/** The tile of level 1 that ends with the root of tile `index` of level 0. */
function parentTile(index: number): TileId {
  return { level: 1, index: Math.floor(index / tileWidth), width: (index % tileWidth) + 1 }
}

function orCorrupt<T>(where: string, bytes: Uint8Array, parse: (bytes: Uint8Array) => T): T {
  try {
    return parse(bytes)
  } catch (cause) {
    throw corruptFailure(`${where} is malformed`, cause)
  }
}
