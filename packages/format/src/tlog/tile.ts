/**
 * Tiles and entry bundles (c2sp.org/tlog-tiles): the files in which a log keeps its tree.
 *
 * ```
 * tile/<L>/<N>[.p/<W>]         W (or 256) hashes of level 8·L, 32 bytes each
 * tile/entries/<N>[.p/<W>]     W (or 256) times: u16 length, big-endian; entry
 *   L  0 to 63   N  groups of three digits, all but the last after an x: 1234067 is x001/x234/067
 * ```
 *
 * Paths and files are canonical: format(parse(x)) === x. A partial tile is named by its width, so a
 * file never changes once it is there. Hash `i` of tile `n` at level `l` is the root of the leaves
 * from `(256·n + i)·256^l`, `256^l` of them, always complete.
 *
 * @module
 */
import { assert } from '../assert.ts'
import { AuditError } from '../errors.ts'
import { hashBytes } from '../hash.ts'
import { entryBytesMax } from '../record.ts'
import { rootOf, type ReadHash } from './merkle.ts'

/** Hashes of a full tile, entries of a full bundle. */
export const tileWidth = 256
/** Levels of the tree that one tile covers. */
export const tileHeight = 8
const tileLevelMax = 63
// 256 tiles of 8 KiB: what one proof touches stays in memory, and no more.
const cachedTilesMax = 256

/** One file of a log. */
export interface TileId {
  /** Tile level, or the bundles of entries, which have the numbers of level 0. */
  readonly level: number | 'entries'
  readonly index: number
  /** Hashes or entries in it, 1 to 256; 256 is a full tile. */
  readonly width: number
}

const pathPattern =
  /^tile\/(entries|[0-9]|[1-5][0-9]|6[0-3])\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/

/**
 * Path of a tile inside its log's directory. The index may be a bigint, because the path syntax goes
 * beyond the sizes that this package handles.
 */
export function tilePath(tile: Omit<TileId, 'index'> & { index: number | bigint }): string {
  const { level, index, width } = tile
  assert(level === 'entries' || (isCount(level) && level <= tileLevelMax), 'a level is 0 to 63')
  assert(typeof index === 'bigint' || isCount(index), 'an index is a non-negative integer')
  assert(isCount(width) && width >= 1 && width <= tileWidth, 'a tile has 1 to 256 hashes')
  const decimal = String(index)
  const padded = decimal.padStart(Math.ceil(decimal.length / 3) * 3, '0')
  const groups = padded.match(/.{3}/g) ?? []
  const number = groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join('/')
  return `tile/${level}/${number}${width === tileWidth ? '' : `.p/${width}`}`
}

/**
 * Reads the path of a tile or bundle.
 *
 * @throws AuditError `ERR_TILE_MALFORMED` unless it is what `tilePath` makes, with an index up to
 *   2^53 - 1.
 */
export function parseTilePath(path: string): TileId {
  const [, level, number, partial] = pathPattern.exec(path) ?? []
  if (level === undefined || number === undefined) throw malformedPath()
  const index = Number(number.replaceAll(/[x/]/g, ''))
  const width = partial === undefined ? tileWidth : Number(partial)
  if (!Number.isSafeInteger(index) || (partial !== undefined && width >= tileWidth)) {
    throw malformedPath()
  }
  const tile: TileId = { level: level === 'entries' ? level : Number(level), index, width }
  // A number with a needless leading group (`x000/001`) would be a second path of the same tile.
  if (tilePath(tile) !== path) throw malformedPath()
  return tile
}

/**
 * Hash tiles that a log writes when it grows from `oldSize` to `newSize`: every tile that has new
 * hashes, at the width that it then has, lowest level first, left to right. Bundles have the same
 * numbers and widths as the tiles of level 0.
 */
export function* tilesBetween(
  oldSize: number,
  newSize: number,
): Generator<TileId & { level: number }> {
  assert(oldSize <= newSize && isCount(oldSize) && isCount(newSize), 'a log only grows')
  for (let level = 0; ; level++) {
    const oldHashes = Math.floor(oldSize / tileWidth ** level)
    const newHashes = Math.floor(newSize / tileWidth ** level)
    if (newHashes === oldHashes) return
    for (let index = Math.floor(oldHashes / tileWidth); index * tileWidth < newHashes; index++) {
      yield { level, index, width: Math.min(tileWidth, newHashes - index * tileWidth) }
    }
  }
}

/** Hash tiles of a log of `size` entries, lowest level first, left to right. */
export function tilesForSize(size: number): Generator<TileId & { level: number }> {
  return tilesBetween(0, size)
}

/** Content of a hash tile. */
export function encodeTile(hashes: readonly Uint8Array[]): Uint8Array {
  assert(hashes.length >= 1 && hashes.length <= tileWidth, 'a tile has 1 to 256 hashes')
  const bytes = new Uint8Array(hashes.length * hashBytes)
  for (const [at, hash] of hashes.entries()) {
    assert(hash.length === hashBytes, 'a tile holds 32-byte hashes')
    bytes.set(hash, at * hashBytes)
  }
  return bytes
}

/**
 * Hashes of a tile, as views of `bytes`.
 *
 * @throws AuditError `ERR_TILE_MALFORMED` unless it has exactly `expectedWidth` hashes.
 */
export function parseTile(bytes: Uint8Array, expectedWidth: number): Uint8Array[] {
  if (bytes.length !== expectedWidth * hashBytes) {
    throw new AuditError(
      'ERR_TILE_MALFORMED',
      `a tile of ${expectedWidth} hashes has ${bytes.length} bytes`,
    )
  }
  const hashes: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += hashBytes) {
    hashes.push(bytes.subarray(at, at + hashBytes))
  }
  return hashes
}

/**
 * Content of an entry bundle.
 *
 * @throws AuditError `ERR_ENTRY_TOO_LARGE` for an entry beyond 65,535 bytes.
 */
export function encodeBundle(entries: readonly Uint8Array[]): Uint8Array {
  assert(entries.length >= 1 && entries.length <= tileWidth, 'a bundle has 1 to 256 entries')
  let length = 0
  for (const entry of entries) length += 2 + entry.length
  const bytes = new Uint8Array(length)
  let at = 0
  for (const entry of entries) {
    if (entry.length > entryBytesMax) {
      throw new AuditError('ERR_ENTRY_TOO_LARGE', `an entry exceeds ${entryBytesMax} bytes`)
    }
    bytes[at] = entry.length >> 8
    bytes[at + 1] = entry.length & 0xff
    bytes.set(entry, at + 2)
    at += 2 + entry.length
  }
  return bytes
}

/**
 * Entries of a bundle, as views of `bytes`.
 *
 * @throws AuditError `ERR_BUNDLE_MALFORMED` unless it has exactly `expectedWidth` whole entries.
 */
export function parseBundle(bytes: Uint8Array, expectedWidth: number): Uint8Array[] {
  const entries: Uint8Array[] = []
  walkBundle(bytes, expectedWidth, (start, end) => entries.push(bytes.subarray(start, end)))
  return entries
}

/**
 * Calls `visit` with the bounds of each entry, in order: `parseBundle` without allocation.
 *
 * @throws AuditError `ERR_BUNDLE_MALFORMED` as `parseBundle` does; entries before the fault have been
 *   visited by then.
 */
export function walkBundle(
  bytes: Uint8Array,
  expectedWidth: number,
  visit: (start: number, end: number, position: number) => void,
): void {
  let at = 0
  for (let position = 0; position < expectedWidth; position++) {
    const high = bytes[at]
    const low = bytes[at + 1]
    if (high === undefined || low === undefined) throw malformedBundle('it ends inside a length')
    const start = at + 2
    at = start + high * 256 + low
    if (at > bytes.length) throw malformedBundle('it ends inside an entry')
    visit(start, at, position)
  }
  if (at !== bytes.length) throw malformedBundle(`it goes on after ${expectedWidth} entries`)
}

/**
 * Reads a tile or bundle of a tree for which a checkpoint is known. Where the partial file has been
 * dropped in favour of the full one, as c2sp.org/tlog-tiles allows, the full one is cut to the width.
 *
 * Returns `undefined` when neither is there. Content is not checked beyond what the cut needs.
 *
 * @throws AuditError `ERR_TILE_MALFORMED` or `ERR_BUNDLE_MALFORMED` when a full file is needed and
 *   has not 256 hashes or entries.
 */
export async function readTile(
  read: (path: string) => Promise<Uint8Array | undefined>,
  tile: TileId,
): Promise<Uint8Array | undefined> {
  const exact = await read(tilePath(tile))
  if (exact !== undefined || tile.width === tileWidth) return exact
  const full = await read(tilePath({ ...tile, width: tileWidth }))
  if (full === undefined) return undefined
  if (tile.level !== 'entries') {
    parseTile(full, tileWidth)
    return full.subarray(0, tile.width * hashBytes)
  }
  let length = 0
  walkBundle(full, tileWidth, (_, end, position) => {
    if (position < tile.width) length = end
  })
  return full.subarray(0, length)
}

/**
 * Reads node hashes of a tree of `treeSize` leaves out of its tiles, for making proofs. Tiles are not
 * authenticated here: verify the proof that comes out against a signed root.
 *
 * @throws AuditError (from the reader) `ERR_TILE_MALFORMED` when a tile has a wrong length.
 */
export function hashReader(
  treeSize: number,
  readTileBytes: (tile: TileId & { level: number }) => Promise<Uint8Array> | Uint8Array,
): ReadHash {
  const cache = new Map<string, Uint8Array>()
  return async (level, index) => {
    const tileLevel = Math.floor(level / tileHeight)
    const hashCount = 2 ** (level % tileHeight)
    const first = index * hashCount
    const rowHashes = Math.floor(treeSize / tileWidth ** tileLevel)
    assert(first + hashCount <= rowHashes, 'only nodes that are complete have a hash')
    const tileIndex = Math.floor(first / tileWidth)
    const width = Math.min(tileWidth, rowHashes - tileIndex * tileWidth)
    const tile = { level: tileLevel, index: tileIndex, width }
    const path = tilePath(tile)
    let bytes = cache.get(path)
    if (bytes === undefined) {
      bytes = await readTileBytes(tile)
      if (cache.size >= cachedTilesMax) cache.clear()
      cache.set(path, bytes)
    }
    const offset = first - tileIndex * tileWidth
    return rootOf(parseTile(bytes, width).slice(offset, offset + hashCount))
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function malformedPath(): AuditError {
  return new AuditError('ERR_TILE_MALFORMED', 'path names no tile')
}

function malformedBundle(why: string): AuditError {
  return new AuditError('ERR_BUNDLE_MALFORMED', `entry bundle is malformed: ${why}`)
}
