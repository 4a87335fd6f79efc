/**
 * What every step of verifying a log shares: the files, the keys, the signed tree that the files must
 * give, and the findings.
 *
 * @module
 */
import { assert } from '../assert.ts'
import { equalBytes } from '../bytes.ts'
import { AuditError, isAuditError } from '../errors.ts'
import { entryBytesMax } from '../record.ts'
import { openCheckpoint, type OpenedCheckpoint } from '../tlog/checkpoint.ts'
import { inclusionProof, rootFromInclusion } from '../tlog/merkle.ts'
import { formatNote, noteLengthMax, type Verifier } from '../tlog/note.ts'
import { formatProof } from '../tlog/proof.ts'
import { hashReader, readTile, tilePath, tileWidth, type TileId } from '../tlog/tile.ts'
import { hashBytes } from '../hash.ts'
import type { Evidence, Findings } from './finding.ts'

/** The files of one log, wherever they are. */
export interface LogFiles {
  /**
   * Reads a whole file by its path in the log's directory, e.g. `tile/0/000`; `undefined` if there is
   * none. No valid file is longer than `bytesMax`: a reader may return just the first `bytesMax + 1`
   * bytes of one that is. Faults of the storage are thrown, and end the verification.
   */
  read(path: string, bytesMax: number): Promise<Uint8Array | undefined>
  /**
   * Paths of all files in the log's directory, in any order. Without it (over HTTP) stored checkpoints,
   * leftovers and foreign files are not looked for.
   */
  list?(): AsyncIterable<string> | Iterable<string>
}

/** A checkpoint, its text and the file it came from. */
export interface SignedTree extends OpenedCheckpoint {
  readonly signed: string
  readonly where: string
}

/** The state of one verification. */
export interface Verification {
  readonly files: LogFiles
  readonly verifiers: readonly Verifier[]
  /** Origin to expect where the key has another name. */
  readonly origin: string | undefined
  /** Origin of the first checkpoint that was opened: all others must have the same. */
  logOrigin: string | undefined
  readonly minimumIndex: number
  readonly findings: Findings
  evidenceCount: number
}

const bundleBytesMax = tileWidth * (2 + entryBytesMax)

/** Reads a file of the log. */
export async function readFile(
  { files }: Verification,
  path: string,
): Promise<Uint8Array | undefined> {
  const isBundle = path.startsWith('tile/entries/')
  const isTile = path.startsWith('tile/')
  const bytesMax = isBundle ? bundleBytesMax : isTile ? tileWidth * hashBytes : noteLengthMax
  return await files.read(path, bytesMax)
}

/**
 * Reads a tile or bundle at the width that the tree has it, from the full file if need be. A full file
 * that cannot be cut is a finding, and no file.
 */
export async function readTileOrFind(
  verification: Verification,
  tile: TileId,
): Promise<Uint8Array | undefined> {
  try {
    return await readTile((path) => readFile(verification, path), tile)
  } catch (error) {
    if (!isAuditError(error)) throw error
    const where = tilePath({ ...tile, width: tileWidth })
    verification.findings.add({ kind: 'malformed', where, actual: error.message })
    return undefined
  }
}

/** Opens a signed checkpoint of the log. What is wrong with it becomes a finding. */
export function openOrFind(
  verification: Verification,
  where: string,
  bytes: Uint8Array | string,
): SignedTree | undefined {
  const { verifiers, origin, findings } = verification
  try {
    const opened = openCheckpoint(bytes, verifiers, origin === undefined ? {} : { origin })
    verification.logOrigin ??= opened.origin
    if (opened.origin === verification.logOrigin) {
      return { ...opened, signed: formatNote(opened.note), where }
    }
    const [expected, actual] = [verification.logOrigin, opened.origin]
    findings.add({ kind: 'unsigned', where, expected, actual })
  } catch (error) {
    if (!isAuditError(error)) throw error
    const kind = isAuditError(error, 'ERR_NOTE_UNVERIFIED') ? 'unsigned' : 'malformed'
    findings.add({ kind, where, actual: error.message })
  }
  return undefined
}

/** A row of leaf hashes that may stand in tile/0 at `index`. */
export interface Row {
  readonly index: number
  readonly hashes: readonly Uint8Array[]
}

/**
 * Tries to prove that the row belongs to the signed tree: with it in place of its tile, and the other
 * tiles as they are stored, does one of its leaves lead to the signed root? One leaf shows it for all,
 * because the other leaves of the row are in its proof.
 *
 * Returns the inclusion proof of `leafIndex`, or `undefined` when the row leads elsewhere or other
 * tiles do not serve.
 */
export async function proveRow(
  verification: Verification,
  tree: SignedTree,
  { row, leafIndex }: { row: Row; leafIndex: number },
): Promise<readonly Uint8Array[] | undefined> {
  const { treeSize, rootHash } = tree
  const leafHash = row.hashes[leafIndex - row.index * tileWidth]
  assert(leafHash !== undefined, 'the leaf to prove is in the row')
  const read = (path: string) => readFile(verification, path)
  const tileBytes = async (tile: TileId): Promise<Uint8Array> => {
    if (tile.level === 0 && tile.index === row.index) return joinHashes(row.hashes)
    const bytes = await readTile(read, tile)
    if (bytes === undefined) throw new AuditError('ERR_TILE_MALFORMED', 'tile is missing')
    return bytes
  }
  try {
    const proof = await inclusionProof(hashReader(treeSize, tileBytes), { leafIndex, treeSize })
    const root = rootFromInclusion({ leafIndex, treeSize, leafHash, proof })
    return equalBytes(root, rootHash) ? proof : undefined
  } catch (error) {
    if (isAuditError(error)) return undefined
    throw error
  }
}

/** The receipt that shows which leaf the signed tree has at `index`. */
export function inclusionEvidence(
  tree: SignedTree,
  { index, leafHash, hashes }: { index: number; leafHash: string; hashes: readonly Uint8Array[] },
): Evidence {
  const receipt = formatProof({ index, hashes, checkpoint: tree.signed })
  return { kind: 'inclusion', leafHash, receipt }
}

function joinHashes(hashes: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(hashes.length * hashBytes)
  for (const [at, hash] of hashes.entries()) bytes.set(hash, at * hashBytes)
  return bytes
}
