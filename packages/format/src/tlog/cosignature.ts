/**
 * Cosignatures of type Ed25519 (c2sp.org/tlog-cosignature): a witness states that at a time the
 * largest consistent tree it had seen of a log had this root.
 *
 * ```
 * signed bytes     cosignature/v1\n  time <seconds, decimal>\n  <text of the checkpoint>
 * signature field  seconds since the epoch, u64 big-endian; Ed25519 signature, 64 bytes
 * ```
 *
 * Invariant: the signed text does not hold the witness's name, so one key serves one name.
 *
 * @module
 */
import { assert } from '../assert.ts'
import { concatBytes, utf8Encode } from '../bytes.ts'
import { AuditError } from '../errors.ts'
import { ed25519PublicKey, ed25519Sign, ed25519Verify, signatureBytes } from '../hash.ts'
import {
  createVerifier,
  formatVerifierKey,
  keyId,
  parseVerifierKey,
  signatureType,
  type NoteSignature,
  type Verifier,
  type VerifierKey,
} from './note.ts'

const timestampBytes = 8

/** Makes the cosignatures of one witness. */
export interface Cosigner {
  readonly name: string
  readonly keyId: number
  readonly publicKey: Uint8Array
  /** The verifier key to hand out, of type cosignature/v1. */
  readonly vkey: string
  /** Cosigns the text of a checkpoint at `timeSeconds` since the epoch. */
  cosign(text: string, timeSeconds: number): NoteSignature
}

/** Cosigner with the Ed25519 key of `seed`, which must serve no other name. */
export function createCosigner({ name, seed }: { name: string; seed: Uint8Array }): Cosigner {
  const publicKey = ed25519PublicKey(seed)
  const type = signatureType.cosignature
  const id = keyId(name, type, publicKey)
  return {
    name,
    keyId: id,
    publicKey,
    vkey: formatVerifierKey({ name, type, publicKey }),
    cosign(text, timeSeconds) {
      assert(Number.isSafeInteger(timeSeconds) && timeSeconds > 0, 'a cosignature has a time')
      const timestamp = new Uint8Array(timestampBytes)
      new DataView(timestamp.buffer).setBigUint64(0, BigInt(timeSeconds))
      const signature = ed25519Sign(seed, signedBytes(text, timeSeconds))
      return { name, keyId: id, signature: concatBytes(timestamp, signature) }
    },
  }
}

/**
 * Verifier of a key of type cosignature/v1.
 *
 * @throws AuditError `ERR_KEY_MALFORMED` as `parseVerifierKey` does, and for another type.
 */
export function createCosignatureVerifier(key: string | VerifierKey): Verifier {
  const { name, keyId: id, type, publicKey } = typeof key === 'string' ? parseVerifierKey(key) : key
  if (type !== signatureType.cosignature) {
    throw new AuditError('ERR_KEY_MALFORMED', 'key is not of type cosignature/v1')
  }
  return {
    name,
    keyId: id,
    verify(text, field) {
      const time = readTime(field)
      if (time === undefined) return false
      return ed25519Verify(publicKey, signedBytes(text, time), field.subarray(timestampBytes))
    },
  }
}

/**
 * Verifier of a key of either type, for those who are handed a key and not told what it is.
 *
 * @throws AuditError `ERR_KEY_MALFORMED` as `parseVerifierKey` does.
 */
export function createAnyVerifier(key: string | VerifierKey): Verifier {
  const parsed = typeof key === 'string' ? parseVerifierKey(key) : key
  const isCosignature = parsed.type === signatureType.cosignature
  return isCosignature ? createCosignatureVerifier(parsed) : createVerifier(parsed)
}

/**
 * Time in a cosignature, seconds since the epoch. It is only a claim until the cosignature is
 * verified.
 *
 * @throws AuditError `ERR_COSIGNATURE_MALFORMED` unless the field has 72 bytes and a time up to
 *   2^53 - 1.
 */
export function cosignatureTime(field: Uint8Array): number {
  const time = readTime(field)
  if (time === undefined) {
    throw new AuditError('ERR_COSIGNATURE_MALFORMED', 'cosignature has no time and signature')
  }
  return time
}

function readTime(field: Uint8Array): number | undefined {
  if (field.length !== timestampBytes + signatureBytes) return undefined
  const time = Number(new DataView(field.buffer, field.byteOffset).getBigUint64(0))
  return Number.isSafeInteger(time) ? time : undefined
}

function signedBytes(text: string, timeSeconds: number): Uint8Array {
  return utf8Encode(`cosignature/v1\ntime ${timeSeconds}\n${text}`)
}
