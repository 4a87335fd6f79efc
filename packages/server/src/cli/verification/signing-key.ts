/**
 * The instance's private key, if the verifier runs where it may read it: a ledger whose logs have not
 * been published yet has its public half nowhere else, and a damaged key file is better found now than
 * at the next start.
 *
 * @module
 */
import {
  ed25519PublicKey,
  equalBytes,
  isAuditError,
  parsePrivateKey,
  signatureType,
  utf8Decode,
  type VerifierKey,
} from '@affidavit/format'
import type { LedgerPaths } from '../../ledger/layout.ts'
import type { Finding } from './finding.ts'
import { readAtMost } from './log-files.ts'
import { whereOf } from './places.ts'

/** What the key file says. */
export interface SigningKey {
  /** `<deployment>/<instance>` and the public key; undefined when the file cannot be read. */
  readonly key: Pick<VerifierKey, 'name' | 'publicKey'> | undefined
  readonly findings: readonly Finding[]
}

const keyBytesMax = 4096

/** Reads the key file of a ledger. Copies for an auditor have none, which is as it should be. */
export function readSigningKey(paths: LedgerPaths | undefined, root: string): SigningKey {
  const nothing = { key: undefined, findings: [] }
  if (paths === undefined) return nothing
  let bytes: Uint8Array | undefined
  try {
    bytes = readAtMost(paths.key, keyBytesMax)
  } catch {
    // Somebody else's secret: not being allowed to read it is no finding.
    return nothing
  }
  if (bytes === undefined) return nothing
  try {
    const { name, seed } = parsePrivateKey(utf8Decode(bytes).trimEnd())
    return { key: { name, publicKey: ed25519PublicKey(seed) }, findings: [] }
  } catch (error) {
    if (!isAuditError(error)) throw error
    const what = 'the signing key is not in its form; the next start would fail'
    const where = whereOf(root, paths.key)
    return { key: undefined, findings: [{ kind: 'malformed', what, where }] }
  }
}

/** The verifier key that the instance would sign `origin` with; undefined for another instance's log. */
export function verifierKeyFor(
  key: SigningKey['key'],
  origin: string,
): Omit<VerifierKey, 'keyId'> | undefined {
  if (key === undefined || !origin.startsWith(`${key.name}/`)) return undefined
  return { name: origin, type: signatureType.ed25519, publicKey: key.publicKey }
}

/** A finding when the logs are not signed with this key. */
export function contradictKey(
  key: SigningKey['key'],
  published: VerifierKey | undefined,
  where: string,
): Finding[] {
  if (key === undefined || published === undefined) return []
  if (equalBytes(key.publicKey, published.publicKey)) return []
  return [{ kind: 'signature', what: 'the signing key is not the one that the logs show', where }]
}
