/**
 * SHA-256, HMAC-SHA-256, the two hashes of a Merkle tree (RFC 6962 section 2.1), and Ed25519
 * (RFC 8032). Everything is synchronous. Node's own `node:crypto` does the work where there is one,
 * reached without an import, so that this file also loads in a browser; there `@noble` does it. Both
 * give the same bytes (hash.test.ts runs both).
 *
 * Invariant: bytes handed in are neither kept nor changed, bytes handed out are the caller's own.
 *
 * @module
 */
import { ed25519 } from '@noble/curves/ed25519.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 as nobleSha256, sha512 } from '@noble/hashes/sha2.js'
import { assert } from './assert.ts'
import { concatBytes, equalBytes, fromHex, toHex, utf8Encode } from './bytes.ts'
import { AuditError } from './errors.ts'
import { nodeCrypto, type NodeKey } from './node-crypto.ts'

/** Length of a SHA-256 digest, an Ed25519 seed and an Ed25519 public key. */
export const hashBytes = 32
/** Length of an Ed25519 signature. */
export const signatureBytes = 64

// A process signs with a handful of keys and verifies with a few dozen.
const cachedKeysMax = 256
// Bytes hashed without a new buffer: the largest entry and its prefix byte.
const scratchBytes = 1 + 65_535

// RFC 8410 section 7: the DER that goes before the 32 raw bytes.
const privateKeyPrefix = fromHex('302e020100300506032b657004220420')
const publicKeyPrefix = fromHex('302a300506032b6570032100')

const node = nodeCrypto()
const leafScratch = new Uint8Array(scratchBytes)
const nodeScratch = new Uint8Array(1 + 2 * hashBytes)
const privateKeys = new Map<string, NodeKey>()
const publicKeys = new Map<string, NodeKey>()
// Checking a key takes a millisecond, and the same few are read from every policy and note.
const safeKeys = new Set<string>()

/** SHA-256 of `data`. */
export function sha256(data: Uint8Array): Uint8Array {
  if (node === undefined) return nobleSha256(data)
  // Twice as fast as asking for a Buffer: a short one-byte string costs less than a typed array.
  return bytesOfLatin1(node.hash('sha256', data, 'latin1'))
}

/** SHA-256 of `data` (text is taken as UTF-8) in lower-case hexadecimal. */
export function sha256Hex(data: Uint8Array | string): string {
  if (node !== undefined) return node.hash('sha256', data, 'hex')
  return toHex(nobleSha256(typeof data === 'string' ? utf8Encode(data) : data))
}

/** HMAC-SHA-256 (RFC 2104). */
export function hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array {
  if (node === undefined) return hmac(nobleSha256, key, data)
  return bytesOfLatin1(node.createHmac('sha256', key).update(data).digest('latin1'))
}

/** Hash of the tree with no entries: SHA-256 of nothing. */
export const emptyRoot: Uint8Array = sha256(new Uint8Array(0))

/** Hash of a leaf: SHA-256 of 0x00 and the entry. */
export function leafHash(entry: Uint8Array): Uint8Array {
  const length = 1 + entry.length
  const buffer = length <= scratchBytes ? leafScratch : new Uint8Array(length)
  buffer.set(entry, 1)
  return sha256(buffer.subarray(0, length))
}

/** Hash of an inner node: SHA-256 of 0x01, the left and the right hash. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  assert(left.length === hashBytes && right.length === hashBytes, 'a node joins two 32-byte hashes')
  nodeScratch[0] = 0x01
  nodeScratch.set(left, 1)
  nodeScratch.set(right, 1 + hashBytes)
  return sha256(nodeScratch)
}

/** Ed25519 public key of a 32-byte seed. */
export function ed25519PublicKey(seed: Uint8Array): Uint8Array {
  assert(seed.length === hashBytes, 'an Ed25519 seed has 32 bytes')
  return ed25519.getPublicKey(seed)
}

/** Ed25519 signature of `message`: deterministic, 64 bytes. */
export function ed25519Sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
  assert(seed.length === hashBytes, 'an Ed25519 seed has 32 bytes')
  if (node === undefined) return ed25519.sign(message, seed)
  const key = cachedKey(privateKeys, seed, () =>
    node.createPrivateKey({ key: der(privateKeyPrefix, seed), format: 'der', type: 'pkcs8' }),
  )
  return new Uint8Array(node.sign(null, message, key))
}

/**
 * Whether `signature` is the key's signature of `message`. Anything of a wrong length is simply not a
 * signature. Keys are assumed checked by `checkPublicKey`: for hostile keys the two implementations
 * may disagree.
 */
export function ed25519Verify(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (publicKey.length !== hashBytes || signature.length !== signatureBytes) return false
  if (node === undefined) return nobleVerify(publicKey, message, signature)
  const key = cachedKey(publicKeys, publicKey, () =>
    node.createPublicKey({ key: der(publicKeyPrefix, publicKey), format: 'der', type: 'spki' }),
  )
  return node.verify(null, message, key, signature)
}

/**
 * Refuses a public key for which honest verifiers can disagree: not a canonical point encoding
 * (RFC 8032 section 5.1.3), of low order, or outside the prime-order group. No honest key is one.
 *
 * @throws AuditError `ERR_KEY_MALFORMED`
 */
export function checkPublicKey(publicKey: Uint8Array): void {
  const name = toHex(publicKey)
  if (safeKeys.has(name)) return
  let safe = false
  try {
    const point = ed25519.Point.fromBytes(publicKey, false)
    safe = !point.isSmallOrder() && point.isTorsionFree()
  } catch (cause) {
    throw new AuditError('ERR_KEY_MALFORMED', 'Ed25519 public key is not a point', { cause })
  }
  if (!safe) throw new AuditError('ERR_KEY_MALFORMED', 'Ed25519 public key is of low order')
  if (safeKeys.size >= cachedKeysMax) safeKeys.clear()
  safeKeys.add(name)
}

/**
 * RFC 8032 section 5.1.7 without the factor of eight, comparing encodings of R: the way of Go and
 * OpenSSL. The library's own `verify` multiplies by eight in either of its modes, and would accept
 * signatures of a hostile signer that no verifier elsewhere does.
 */
function nobleVerify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const { Point } = ed25519
  const encodedR = signature.subarray(0, hashBytes)
  const scalar = littleEndian(signature.subarray(hashBytes))
  if (scalar >= Point.Fn.ORDER) return false
  const digest = sha512(concatBytes(encodedR, publicKey, message))
  const challenge = littleEndian(digest) % Point.Fn.ORDER
  try {
    const key = Point.fromBytes(publicKey, false)
    const sum = Point.BASE.multiplyUnsafe(scalar).subtract(key.multiplyUnsafe(challenge))
    return equalBytes(sum.toBytes(), encodedR)
  } catch {
    // Not a point; what `checkPublicKey` would have refused.
    return false
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes.toReversed())}`)
}

function cachedKey(cache: Map<string, NodeKey>, raw: Uint8Array, make: () => NodeKey): NodeKey {
  const name = toHex(raw)
  const known = cache.get(name)
  if (known !== undefined) return known
  if (cache.size >= cachedKeysMax) cache.clear()
  const key = make()
  cache.set(name, key)
  return key
}

function der(prefix: Uint8Array, raw: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(prefix.length + raw.length)
  bytes.set(prefix)
  bytes.set(raw, prefix.length)
  return bytes
}

function bytesOfLatin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let at = 0; at < bytes.length; at++) bytes[at] = text.charCodeAt(at)
  return bytes
}
