/**
 * The instance's signing key: 32 bytes from which every log of the instance signs, each under its own
 * origin. In Go's text form, so that foreign tools read it.
 *
 * Invariant: a key is made once, when there is no ledger yet, and is durable before anything is signed
 * with it. A ledger whose key is gone is not given a new one.
 *
 * @module
 */
import {
  AuditError,
  ed25519PublicKey,
  ed25519Sign,
  formatPrivateKey,
  formatVerifierKey,
  keyId,
  parsePrivateKey,
  signatureType,
  utf8Decode,
  utf8Encode,
  type Signer,
} from '@affidavit/format'
import { writeWhole } from '../store/durable.ts'
import type { LedgerFs } from '../store/ledger-fs.ts'

/**
 * Reads the key in `path`, which must be named `name`; `undefined` when there is none.
 *
 * @throws AuditError `ERR_KEY_MALFORMED`
 */
export async function loadKey(
  fs: LedgerFs,
  { path, name }: { path: string; name: string },
): Promise<Uint8Array | undefined> {
  const bytes = await fs.readFile(path)
  if (bytes === undefined) return undefined
  const key = parsePrivateKey(utf8Decode(bytes).trimEnd())
  if (key.name === name) return key.seed
  throw new AuditError(
    'ERR_KEY_MALFORMED',
    `The signing key of this ledger belongs to ${key.name}, not to ${name}. Nothing was changed. ` +
      'Correct the deployment or instance name in the configuration, or point to another directory.',
  )
}

/** Writes a new key; durable when it resolves. */
export async function storeKey(
  fs: LedgerFs,
  { path, staged, name, seed }: { path: string; staged: string; name: string; seed: Uint8Array },
): Promise<void> {
  await writeWhole(fs, { path, staged, bytes: utf8Encode(`${formatPrivateKey({ name, seed })}\n`) })
}

/** Both halves of the instance's key. */
export interface InstanceKey {
  readonly seed: Uint8Array
  readonly publicKey: Uint8Array
}

/** The key of a seed. */
export function instanceKeyOf(seed: Uint8Array): InstanceKey {
  return { seed, publicKey: ed25519PublicKey(seed) }
}

/** Signer of one log. The public half is not computed again for each: it costs ten signatures. */
export function signerOf({ seed, publicKey }: InstanceKey, name: string): Signer {
  const type = signatureType.ed25519
  return {
    name,
    keyId: keyId(name, type, publicKey),
    publicKey,
    vkey: formatVerifierKey({ name, type, publicKey }),
    sign: (text) => ed25519Sign(seed, utf8Encode(text)),
  }
}

/** There is a ledger, but no key to go on with. */
export function keyMissing(path: string): AuditError {
  return new AuditError(
    'ERR_KEY_MALFORMED',
    `The signing key of this ledger is missing (${path}). Nothing was changed; existing logs still ` +
      'verify. Restore the file from a copy: a new key would be another identity.',
  )
}
