/**
 * What the package offers: an interface that others build on. A name may be added here; none goes.
 *
 * @module
 */
import { describe, expect, it } from 'vitest'
import * as format from './index.ts'

const functions = [
  'assert',
  'canonicalize',
  'canonicalizeIntegers',
  'checkPublicKey',
  'concatBytes',
  'consistencyProof',
  'cosignatureTime',
  'createAnyVerifier',
  'createCosignatureVerifier',
  'createCosigner',
  'createSigner',
  'createTree',
  'createVerifier',
  'ed25519PublicKey',
  'ed25519Sign',
  'ed25519Verify',
  'encodeBody',
  'encodeBundle',
  'encodeEntry',
  'encodeTile',
  'equalBytes',
  'evaluatePolicy',
  'eventIdMillis',
  'formatCheckpoint',
  'formatNote',
  'formatPolicy',
  'formatPrivateKey',
  'formatProof',
  'formatSignatureLine',
  'formatVerifierKey',
  'fromBase64',
  'fromHex',
  'hashReader',
  'hmacSha256',
  'inclusionProof',
  'isAuditError',
  'isNotice',
  'joinRange',
  'keyId',
  'leafHash',
  'newEventId',
  'nodeHash',
  'openCheckpoint',
  'openNote',
  'parseBundle',
  'parseCheckpoint',
  'parseEntry',
  'parseNote',
  'parsePolicy',
  'parsePrivateKey',
  'parseProof',
  'parseStoredCheckpointPath',
  'parseTile',
  'parseTilePath',
  'parseVerifierKey',
  'policyForLogs',
  'rangeOf',
  'reachesQuorum',
  'readRoot',
  'readTile',
  'rootFromInclusion',
  'rootOf',
  'sha256',
  'sha256Hex',
  'signCheckpoint',
  'signNote',
  'stampEntry',
  'storedCheckpointPath',
  'tilePath',
  'tilesBetween',
  'tilesForSize',
  'toBase64',
  'toHex',
  'traitsOf',
  'utf8Decode',
  'utf8Encode',
  'verifyConsistency',
  'verifyInclusion',
  'verifyLog',
  'verifyProof',
  'verifyRange',
  'verifyReceipt',
  'verifySignatures',
  'walkBundle',
  'writerIdOf',
]

/** Limits that have a name, so that nobody writes the number again. */
const limits = {
  canonicalDepthMax: 1_000,
  entryBytesMax: 65_535,
  evidenceMax: 16,
  findingsMax: 1_000,
  hashBytes: 32,
  noteLengthMax: 1_000_000,
  noteSignaturesMax: 100,
  policyLinesMax: 4_096,
  proofHashesMax: 64,
  signatureBytes: 64,
  tileHeight: 8,
  tileWidth: 256,
}

describe('the package', () => {
  it.each(functions)('offers %s', (name) => {
    expect(typeof Reflect.get(format, name)).toBe('function')
  })

  it('offers no function that is not listed here', () => {
    const offered = Object.entries(format).filter(([, value]) => typeof value === 'function')
    expect(offered.map(([name]) => name).toSorted()).toEqual(
      [...functions, 'AuditError'].toSorted(),
    )
  })

  it.each(Object.entries(limits))('names the limit %s', (name, value) => {
    expect(Reflect.get(format, name)).toBe(value)
  })

  it('a bundle of the largest entries is what a reader must be ready for', () => {
    const entries = Array.from({ length: 2 }, () => new Uint8Array(format.entryBytesMax))
    expect(format.encodeBundle(entries)).toHaveLength(2 * (2 + format.entryBytesMax))
  })
})
