/**
 * The identity key, and how the name behind a handle is sealed to it: HPKE (RFC 9180) in base mode,
 * DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The gateway seals with the public half; only
 * the holder of the private half (console, command line) opens.
 *
 * Files, one line each, in `<dataDir>/keys/`:
 *
 *     identity.pub   affidavit-identity-v1 <base64 of the 32-byte public key>
 *     identity.key   affidavit-identity-key-v1 <base64 of the 32-byte private key>      (0600)
 *
 * Sealed: base64 of `encapsulated key (32) ‖ ciphertext ‖ tag (16)`; info is `affidavit identity v1`;
 * the additional data are `kind ‖ LF ‖ handle ‖ LF ‖ month`, so a sealed name cannot be moved to another
 * handle. The plaintext is `u16be length ‖ UTF-8 ‖ zeros` up to a multiple of 64 bytes: the length of a
 * name does not show.
 *
 * @module
 */
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto'
import { join } from 'node:path'
import {
  AuditError,
  concatBytes,
  fromBase64,
  toBase64,
  utf8Decode,
  utf8Encode,
} from '@affidavit/format'
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core'
import { createFileOnce, publicMode, readFileIfPresent, secretMode } from '../base/durable-file.ts'

const publicPrefix = 'affidavit-identity-v1 '
const privatePrefix = 'affidavit-identity-key-v1 '
const keyBytes = 32
const encapsulatedBytes = 32
const paddingBytes = 64
const lengthBytes = 2
/** Longest name that is sealed, in UTF-8 bytes. */
export const sealedNameBytesMax = 4096

// RFC 8410 section 7: the DER that goes before the 32 raw bytes of an X25519 private key.
const pkcs8Prefix = Buffer.from('302e020100300506032b656e04220420', 'hex')
const info = utf8Encode('affidavit identity v1')
const suite = new CipherSuite({
  kem: new DhkemX25519HkdfSha256(),
  kdf: new HkdfSha256(),
  aead: new Aes256Gcm(),
})

/** What a sealed name belongs to. */
export interface SealedFor {
  readonly kind: 'user' | 'session' | 'application'
  readonly handle: string
  /** UTC month, `2026-11`. */
  readonly month: string
}

/** Seals names to one public key. */
export interface IdentitySealer {
  /** First 16 hex digits of SHA-256 of the public key. */
  readonly keyId: string
  seal(name: string, to: SealedFor): Promise<string>
}

/** Opens names with the private key. */
export interface IdentityOpener {
  readonly keyId: string
  /** @throws AuditError `ERR_IDENTITY_UNSEALABLE` when the key, the row or a byte does not fit. */
  open(sealed: string, to: SealedFor): Promise<string>
}

/**
 * Makes an identity key pair in `<dataDir>/keys/` unless a public key is there. The private half is
 * written first: a crash between the two leaves a key that nothing was sealed to, and the next start
 * completes the pair.
 */
export async function ensureIdentityKeys(dataDir: string): Promise<void> {
  if (readFileIfPresent(join(dataDir, 'keys', 'identity.pub')) !== undefined) return
  const pair = await suite.kem.generateKeyPair()
  const secret = toBase64(new Uint8Array(await suite.kem.serializePrivateKey(pair.privateKey)))
  const path = join(dataDir, 'keys', 'identity.key')
  const kept = createFileOnce(path, () => `${privatePrefix}${secret}\n`, secretMode)
  const publicKey = publicKeyOf(parseKey(kept, privatePrefix, path))
  const text = `${publicPrefix}${toBase64(publicKey)}\n`
  createFileOnce(join(dataDir, 'keys', 'identity.pub'), () => text, publicMode)
}

/**
 * Reads `<dataDir>/keys/identity.pub`.
 *
 * @throws AuditError `ERR_IDENTITY_KEY_MISSING`, `ERR_KEY_MALFORMED`
 */
export async function openIdentitySealer(dataDir: string): Promise<IdentitySealer> {
  const raw = readKey(join(dataDir, 'keys', 'identity.pub'), publicPrefix)
  const recipientPublicKey = await suite.kem.deserializePublicKey(raw)
  return {
    keyId: keyIdOf(raw),
    async seal(name, to) {
      const sealed = await suite.seal({ recipientPublicKey, info }, padded(name), aadOf(to))
      return toBase64(concatBytes(new Uint8Array(sealed.enc), new Uint8Array(sealed.ct)))
    },
  }
}

/**
 * Reads `<dataDir>/keys/identity.key`.
 *
 * @throws AuditError `ERR_IDENTITY_KEY_MISSING`, `ERR_KEY_MALFORMED`
 */
export async function openIdentityOpener(dataDir: string): Promise<IdentityOpener> {
  const raw = readKey(join(dataDir, 'keys', 'identity.key'), privatePrefix)
  const recipientKey = await suite.kem.deserializePrivateKey(raw)
  return {
    keyId: keyIdOf(publicKeyOf(raw)),
    async open(sealed, to) {
      try {
        const bytes = fromBase64(sealed)
        const enc = bytes.subarray(0, encapsulatedBytes)
        const ciphertext = bytes.subarray(encapsulatedBytes)
        return unpadded(await suite.open({ recipientKey, enc, info }, ciphertext, aadOf(to)))
      } catch (cause) {
        throw new AuditError(
          'ERR_IDENTITY_UNSEALABLE',
          'This row of the key ring was not sealed to this identity key, or was changed. ' +
            'The ledger is not affected. Use the identity key of the time, or a copy of the key ring.',
          { cause },
        )
      }
    },
  }
}

function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([pkcs8Prefix, privateKey])
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }))
  return new Uint8Array(key.export({ format: 'der', type: 'spki' }).subarray(-keyBytes))
}

function readKey(path: string, prefix: string): Uint8Array {
  const text = readFileIfPresent(path)?.toString('utf8')
  if (text !== undefined) return parseKey(text, prefix, path)
  throw new AuditError(
    'ERR_IDENTITY_KEY_MISSING',
    `${path} is missing. Records stay readable, handles cannot be resolved without it.`,
  )
}

function parseKey(text: string, prefix: string, path: string): Uint8Array {
  const line = text.trimEnd()
  try {
    const raw = fromBase64(line.startsWith(prefix) ? line.slice(prefix.length) : '')
    if (raw.length === keyBytes) return raw
  } catch {
    // Told below, without the text, which may be a private key.
  }
  throw new AuditError('ERR_KEY_MALFORMED', `${path} is not a line "${prefix}<base64>".`)
}

function keyIdOf(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 16)
}

function aadOf(to: SealedFor): Uint8Array {
  return utf8Encode(`${to.kind}\n${to.handle}\n${to.month}`)
}

function padded(name: string): Uint8Array {
  const text = utf8Encode(name)
  if (text.length > sealedNameBytesMax) {
    throw new AuditError('ERR_ENTRY_TOO_LARGE', `A name has more than ${sealedNameBytesMax} bytes.`)
  }
  const size = Math.ceil((lengthBytes + text.length) / paddingBytes) * paddingBytes
  const bytes = new Uint8Array(size)
  new DataView(bytes.buffer).setUint16(0, text.length)
  bytes.set(text, lengthBytes)
  return bytes
}

function unpadded(plaintext: ArrayBuffer): string {
  const length = new DataView(plaintext).getUint16(0)
  return utf8Decode(new Uint8Array(plaintext, lengthBytes, length))
}
