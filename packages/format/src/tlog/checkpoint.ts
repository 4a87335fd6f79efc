/**
 * Checkpoints: the text a log signs to commit to its first `treeSize` entries
 * (c2sp.org/tlog-checkpoint).
 *
 * ```
 * <origin>
 * <tree size, decimal>
 * <root hash, base64>
 * <extension line>…            optional; none in our own logs
 * ```
 *
 * Invariant: parsing is canonical, so equal checkpoints are equal bytes.
 *
 * @module
 */
import { assert } from '../assert.ts'
import { fromBase64, toBase64 } from '../bytes.ts'
import { AuditError } from '../errors.ts'
import { hashBytes } from '../hash.ts'
import { openNote, signNote, type OpenedNote, type Signer, type Verifier } from './note.ts'

/** What a log commits to. */
export interface Checkpoint {
  readonly origin: string
  readonly treeSize: number
  readonly rootHash: Uint8Array
  /** Opaque further lines of foreign logs, without newlines. */
  readonly extensions?: readonly string[]
}

const linePattern = /^[^\n]+$/
// BigInt() and Number() accept '', ' 12 ' and '0x1f'; a log that did would have two texts for one
// head. The pattern admits canonical decimals only.
const sizePattern = /^(?:0|[1-9][0-9]{0,15})$/
const rootPattern = /^[A-Za-z0-9+/]{43}=$/

/** Text of a checkpoint. */
export function formatCheckpoint(checkpoint: Checkpoint): string {
  const { origin, treeSize, rootHash, extensions = [] } = checkpoint
  assert(linePattern.test(origin), 'an origin is one line')
  assert(Number.isSafeInteger(treeSize) && treeSize >= 0, 'a tree size is a non-negative integer')
  assert(rootHash.length === hashBytes, 'a root hash has 32 bytes')
  assert(
    extensions.every((line) => linePattern.test(line)),
    'extensions are not empty',
  )
  const lines = [origin, String(treeSize), toBase64(rootHash), ...extensions]
  return lines.map((line) => `${line}\n`).join('')
}

/**
 * Parses the text of a checkpoint.
 *
 * @throws AuditError `ERR_CHECKPOINT_MALFORMED` unless `text` is in its one canonical form with a
 *   tree size up to 2^53 - 1.
 */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = text.split('\n')
  const [origin = '', size = '', root = '', ...rest] = lines
  const extensions = rest.slice(0, -1)
  const isWhole = lines.length >= 4 && lines.at(-1) === '' && !extensions.includes('')
  if (!isWhole || origin === '' || !sizePattern.test(size) || !rootPattern.test(root)) {
    throw malformed()
  }
  const treeSize = Number(size)
  if (!Number.isSafeInteger(treeSize)) throw malformed()
  const checkpoint = { origin, treeSize, rootHash: decodeRoot(root) }
  return extensions.length === 0 ? checkpoint : { ...checkpoint, extensions }
}

/** Signed note of a checkpoint. The first signer's name is the origin (c2sp.org/tlog-checkpoint). */
export function signCheckpoint(checkpoint: Checkpoint, ...signers: readonly Signer[]): string {
  return signNote(formatCheckpoint(checkpoint), ...signers)
}

/** A checkpoint of which the log's own signature has been verified. */
export interface OpenedCheckpoint extends Checkpoint {
  readonly note: OpenedNote
}

/**
 * Verifies a signed checkpoint. One of the verified keys must be the log's own: named like the
 * origin, so that a trusted log cannot speak for another. For a foreign log whose key has another
 * name, say which `origin` is expected.
 *
 * @throws AuditError as `openNote` and `parseCheckpoint` do; `ERR_NOTE_UNVERIFIED` when no verified
 *   key belongs to the origin.
 */
export function openCheckpoint(
  signed: string | Uint8Array,
  verifiers: readonly Verifier[],
  expected: { origin?: string } = {},
): OpenedCheckpoint {
  const note = openNote(signed, verifiers)
  const checkpoint = parseCheckpoint(note.text)
  const isOwn =
    expected.origin === undefined
      ? note.verified.some(({ name }) => name === checkpoint.origin)
      : checkpoint.origin === expected.origin
  if (!isOwn) {
    throw new AuditError('ERR_NOTE_UNVERIFIED', 'the checkpoint is not signed by the log it names')
  }
  return { ...checkpoint, note }
}

function decodeRoot(root: string): Uint8Array {
  try {
    return fromBase64(root)
  } catch {
    throw malformed()
  }
}

function malformed(): AuditError {
  return new AuditError('ERR_CHECKPOINT_MALFORMED', 'checkpoint is not in canonical form')
}
