/**
 * Receipts (c2sp.org/tlog-proof, file extension `.tlog-proof`): everything but the entry that is
 * needed to prove, offline, that a log holds it.
 *
 * ```
 * c2sp.org/tlog-proof@v1
 * extra <base64>               optional, not authenticated
 * index <decimal>
 * <hash, base64>…              inclusion proof, from the leaf's sibling up
 *
 * <signed checkpoint, verbatim>
 * ```
 *
 * Invariant: parsing is canonical, `formatProof(parseProof(x)) === x`.
 *
 * @module
 */
import { assert } from '../assert.ts'
import { fromBase64, toBase64, utf8Decode } from '../bytes.ts'
import { AuditError } from '../errors.ts'
import { hashBytes } from '../hash.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { verifyInclusion } from './merkle.ts'
import { noteLengthMax, parseNote } from './note.ts'
import { evaluatePolicy, type Policy, type TrustedCheckpoint } from './policy.ts'

/** What a receipt says, not verified. */
export interface Proof {
  readonly index: number
  readonly hashes: readonly Uint8Array[]
  /** The signed checkpoint as text. */
  readonly checkpoint: string
  /** Opaque bytes that nobody signed. */
  readonly extra?: Uint8Array
}

const header = 'c2sp.org/tlog-proof@v1'
// A tree of 2^53 leaves is 53 levels deep; the specification's own size bound is 2^63.
const hashesMax = 63
const indexPattern = /^index (0|[1-9][0-9]{0,15})$/
const extraPattern = /^extra ([A-Za-z0-9+/]+={0,2})$/
const hashPattern = /^[A-Za-z0-9+/]{43}=$/

/** Text of a receipt. */
export function formatProof({ index, hashes, checkpoint, extra }: Proof): string {
  assert(Number.isSafeInteger(index) && index >= 0, 'an index is a non-negative integer')
  assert(hashes.length <= hashesMax, 'a proof has at most one hash a level')
  assert(extra === undefined || extra.length > 0, 'extra bytes are left out when there are none')
  assert(
    hashes.every((hash) => hash.length === hashBytes),
    'a proof has 32-byte hashes',
  )
  const lines = [header]
  if (extra !== undefined) lines.push(`extra ${toBase64(extra)}`)
  lines.push(`index ${index}`, ...hashes.map(toBase64), '')
  return `${lines.join('\n')}\n${checkpoint}`
}

/**
 * Reads a receipt. Nothing is verified, but the checkpoint in it is a checkpoint in a note.
 *
 * @throws AuditError `ERR_PROOF_MALFORMED` unless it is in its one canonical form.
 */
export function parseProof(file: string | Uint8Array): Proof {
  try {
    return parseText(typeof file === 'string' ? file : utf8Decode(file))
  } catch (cause) {
    if (cause instanceof AuditError && cause.code === 'ERR_PROOF_MALFORMED') throw cause
    const why = cause instanceof AuditError ? cause.message : 'it cannot be read'
    throw malformed(why, cause)
  }
}

/** A receipt that has been verified. */
export interface VerifiedProof {
  readonly leafIndex: number
  readonly checkpoint: TrustedCheckpoint
}

/**
 * Verifies that a leaf is where its receipt says (c2sp.org/tlog-proof, Verifying a tlog proof).
 *
 * @throws AuditError `ERR_PROOF_MALFORMED`; `ERR_PROOF_INVALID` when the proof does not lead from the
 *   leaf to the checkpoint's root; and as `evaluatePolicy` does for the checkpoint.
 */
export function verifyProof(
  file: string | Uint8Array,
  { leafHash, policy }: { leafHash: Uint8Array; policy: Policy },
): VerifiedProof {
  const proof = parseProof(file)
  const checkpoint = evaluatePolicy(policy, proof.checkpoint)
  verifyInclusion({
    leafIndex: proof.index,
    treeSize: checkpoint.treeSize,
    leafHash,
    proof: proof.hashes,
    root: checkpoint.rootHash,
  })
  return { leafIndex: proof.index, checkpoint }
}

function parseText(text: string): Proof {
  if (text.length > noteLengthMax) throw malformed('it is too long')
  const end = text.indexOf('\n\n')
  if (end === -1) throw malformed('it has no empty line before its checkpoint')
  const [first, ...lines] = text.slice(0, end).split('\n')
  if (first !== header) throw malformed('its first line is not that of a receipt, version 1')
  const [, extra] = extraPattern.exec(lines[0] ?? '') ?? []
  const [indexLine = '', ...hashLines] = extra === undefined ? lines : lines.slice(1)
  const [, index] = indexPattern.exec(indexLine) ?? []
  if (index === undefined || !Number.isSafeInteger(Number(index))) {
    throw malformed('its index is missing or not a canonical decimal')
  }
  if (hashLines.length > hashesMax) throw malformed('it has too many hashes')
  if (!hashLines.every((line) => hashPattern.test(line))) throw malformed('a hash is not 32 bytes')
  const checkpoint = text.slice(end + 2)
  parseCheckpoint(parseNote(checkpoint).text)
  const proof = { index: Number(index), hashes: hashLines.map(fromBase64), checkpoint }
  return extra === undefined ? proof : { ...proof, extra: fromBase64(extra) }
}

function malformed(why: string, cause?: unknown): AuditError {
  return new AuditError('ERR_PROOF_MALFORMED', `receipt is malformed: ${why}`, { cause })
}
