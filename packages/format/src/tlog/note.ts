/**
 * Signed notes (c2sp.org/signed-note): text that ends in a newline, an empty line, and signatures.
 *
 * ```
 * <text, one or more lines>
 *
 * — <key name> <base64 of: key id, 4 bytes; signature>
 * ```
 *
 * A key is named by (name, id), id being the first four bytes of SHA-256 of name, newline, type and
 * public key. Verifier keys are `<name>+<id, hex>+<base64 of type, public key>`, private keys
 * `PRIVATE+KEY+<name>+<id, hex>+<base64 of type, seed>` (golang.org/x/mod/sumdb/note).
 *
 * Invariant: parsing is canonical, `formatNote(parseNote(x)) === x`.
 *
 * @module
 */
import { assert } from '../assert.ts'
import {
  concatBytes,
  fromBase64,
  fromHex,
  toBase64,
  toHex,
  utf8Decode,
  utf8Encode,
} from '../bytes.ts'
import { AuditError } from '../errors.ts'
import {
  checkPublicKey,
  ed25519PublicKey,
  ed25519Sign,
  ed25519Verify,
  hashBytes,
  sha256,
} from '../hash.ts'

/** Signature types that this package verifies; others are unknown keys to it. */
export const signatureType = { ed25519: 0x01, cosignature: 0x04 } as const
export type SignatureType = (typeof signatureType)[keyof typeof signatureType]

/** Signatures in a note; verifiers must accept at least 16. */
export const noteSignaturesMax = 100
/** UTF-16 units of a note, so that a hostile file is refused before work is done on it. */
export const noteLengthMax = 1_000_000

const keyIdBytes = 4
const privatePrefix = 'PRIVATE+KEY+'
// Unicode's White_Space, which is what Go's unicode.IsSpace tests; \s is a different set.
const excludedFromNames = /[\p{White_Space}\p{Surrogate}+]/u
// eslint-disable-next-line no-control-regex
const excludedFromNotes = /[\0-\t\v-\x1f]|\p{Surrogate}/u
const signatureLine = /^\u2014 ([^ ]+) ([A-Za-z0-9+/]+={0,2})$/u
const verifierKeyPattern = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/

/** A signature as it stands in a note, not verified. */
export interface NoteSignature {
  readonly name: string
  readonly keyId: number
  /** Bytes after the key id; what they are depends on the key's type. */
  readonly signature: Uint8Array
}

/** A note taken apart, not verified. */
export interface Note {
  /** With its last newline, without the empty line. */
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

/** A public key with its name and type. */
export interface VerifierKey {
  readonly name: string
  readonly keyId: number
  readonly type: SignatureType
  readonly publicKey: Uint8Array
}

/** Checks the signatures of one key. */
export interface Verifier {
  readonly name: string
  readonly keyId: number
  verify(text: string, signature: Uint8Array): boolean
}

/** Makes signatures with one key. */
export interface Signer {
  readonly name: string
  readonly keyId: number
  readonly publicKey: Uint8Array
  /** The verifier key to hand out. */
  readonly vkey: string
  sign(text: string): Uint8Array
}

/** Key id: the first four bytes, big-endian, of SHA-256 of name, newline, type and public key. */
export function keyId(name: string, type: SignatureType, publicKey: Uint8Array): number {
  const digest = sha256(concatBytes(utf8Encode(`${name}\n`), Uint8Array.of(type), publicKey))
  return readKeyId(digest)
}

/**
 * Reads a verifier key of type Ed25519 or cosignature/v1.
 *
 * @throws AuditError `ERR_KEY_MALFORMED` for any other text, a wrong id, another type, or a public
 *   key that `checkPublicKey` refuses.
 */
export function parseVerifierKey(vkey: string): VerifierKey {
  const { name, id, type, key } = parseKey(vkey)
  checkPublicKey(key)
  if (id !== keyId(name, type, key)) throw malformedKey('its id is not that of its name and key')
  return { name, keyId: id, type, publicKey: key }
}

/** Text of a verifier key. */
export function formatVerifierKey(key: Omit<VerifierKey, 'keyId'>): string {
  assert(isKeyName(key.name), 'a key name has no spaces and no plus')
  return formatKey(key.name, keyId(key.name, key.type, key.publicKey), key.type, key.publicKey)
}

/**
 * Reads a private key in Go's form. The message of an error never holds key material.
 *
 * @throws AuditError `ERR_KEY_MALFORMED`
 */
export function parsePrivateKey(text: string): { name: string; seed: Uint8Array } {
  if (!text.startsWith(privatePrefix)) throw malformedKey('it does not begin with PRIVATE+KEY+')
  const { name, id, type, key } = parseKey(text.slice(privatePrefix.length))
  if (type !== signatureType.ed25519) throw malformedKey('it is not of type Ed25519')
  if (id !== keyId(name, type, ed25519PublicKey(key))) {
    throw malformedKey('its id is not that of its name and key')
  }
  return { name, seed: key }
}

/** Text of a private key in Go's form. A secret. */
export function formatPrivateKey({ name, seed }: { name: string; seed: Uint8Array }): string {
  assert(isKeyName(name), 'a key name has no spaces and no plus')
  const id = keyId(name, signatureType.ed25519, ed25519PublicKey(seed))
  return privatePrefix + formatKey(name, id, signatureType.ed25519, seed)
}

/** Signer of type Ed25519 under `name`. One seed may sign under several names. */
export function createSigner({ name, seed }: { name: string; seed: Uint8Array }): Signer {
  assert(isKeyName(name), 'a key name has no spaces and no plus')
  const publicKey = ed25519PublicKey(seed)
  const type = signatureType.ed25519
  return {
    name,
    keyId: keyId(name, type, publicKey),
    publicKey,
    vkey: formatVerifierKey({ name, type, publicKey }),
    sign: (text) => ed25519Sign(seed, utf8Encode(text)),
  }
}

/**
 * Verifier of a key of type Ed25519.
 *
 * @throws AuditError `ERR_KEY_MALFORMED` as `parseVerifierKey` does, and for another type.
 */
export function createVerifier(key: string | VerifierKey): Verifier {
  const { name, keyId: id, type, publicKey } = typeof key === 'string' ? parseVerifierKey(key) : key
  if (type !== signatureType.ed25519) throw malformedKey('it is not of type Ed25519')
  return {
    name,
    keyId: id,
    verify: (text, signature) => ed25519Verify(publicKey, utf8Encode(text), signature),
  }
}

/**
 * Takes a note apart. Nothing is verified.
 *
 * @throws AuditError `ERR_NOTE_MALFORMED` unless the note is in its one canonical form.
 */
export function parseNote(note: string | Uint8Array): Note {
  const whole = typeof note === 'string' ? note : decode(note)
  if (whole.length > noteLengthMax) throw malformed('it is too long')
  if (excludedFromNotes.test(whole)) throw malformed('it has a control character')
  const end = whole.lastIndexOf('\n\n')
  if (end === -1) throw malformed('it has no empty line before its signatures')
  const text = whole.slice(0, end + 1)
  const block = whole.slice(end + 2)
  if (!block.endsWith('\n')) throw malformed('its last signature line has no end')
  const lines = block.slice(0, -1).split('\n')
  if (lines.length > noteSignaturesMax) throw malformed('it has too many signatures')
  return { text, signatures: lines.map(parseSignatureLine) }
}

/** Text of a note. */
export function formatNote({ text, signatures }: Note): string {
  assert(text.endsWith('\n') && !excludedFromNotes.test(text), 'a note text is lines of plain text')
  assert(signatures.length > 0, 'a note has a signature')
  return `${text}\n${signatures.map(formatSignatureLine).join('')}`
}

/** One signature line, with its newline. */
export function formatSignatureLine({ name, keyId: id, signature }: NoteSignature): string {
  assert(isKeyName(name), 'a key name has no spaces and no plus')
  return `\u2014 ${name} ${toBase64(concatBytes(writeKeyId(id), signature))}\n`
}

/** Note of `text` signed by each of `signers`. */
export function signNote(text: string, ...signers: readonly Signer[]): string {
  const signatures = signers.map((signer) => ({
    name: signer.name,
    keyId: signer.keyId,
    signature: signer.sign(text),
  }))
  return formatNote({ text, signatures })
}

/** A note of which at least one signature has been verified. */
export interface OpenedNote extends Note {
  /** Verified signatures, at most one for each verifier, in the order of the note. */
  readonly verified: readonly NoteSignature[]
}

/**
 * Verifies a note (c2sp.org/signed-note, Signatures): signatures of unknown keys are ignored, a
 * signature of a known key must verify, and of several by one key the first counts.
 *
 * @throws AuditError `ERR_NOTE_MALFORMED` as `parseNote` does; `ERR_NOTE_UNVERIFIED` when a known
 *   key's signature is false or no known key signed.
 */
export function openNote(note: string | Uint8Array, verifiers: readonly Verifier[]): OpenedNote {
  const parsed = parseNote(note)
  const verified = verifySignatures(parsed, verifiers)
  if (verified.length === 0) {
    throw new AuditError('ERR_NOTE_UNVERIFIED', 'no signature is by a key that is trusted here')
  }
  return { ...parsed, verified }
}

/**
 * The signatures of a note by keys that `verifiers` know, all verified; none is a possible answer.
 *
 * @throws AuditError `ERR_NOTE_UNVERIFIED` when a known key's signature is false.
 */
export function verifySignatures(note: Note, verifiers: readonly Verifier[]): NoteSignature[] {
  const verified: NoteSignature[] = []
  for (const signature of note.signatures) {
    const isSameKey = (key: { name: string; keyId: number }) =>
      key.name === signature.name && key.keyId === signature.keyId
    const known = verifiers.filter(isSameKey)
    if (known.length === 0 || verified.some(isSameKey)) continue
    // Two different keys under one name and id: whichever was chosen, the other would be ignored.
    if (!known.every((verifier) => verifier.verify(note.text, signature.signature))) {
      throw new AuditError(
        'ERR_NOTE_UNVERIFIED',
        `the signature by ${signature.name} is not that of its key over this text`,
      )
    }
    verified.push(signature)
  }
  return verified
}

function parseSignatureLine(line: string): NoteSignature {
  const [, name, base64] = signatureLine.exec(line) ?? []
  if (name === undefined || base64 === undefined || !isKeyName(name)) {
    throw malformed('a signature line is not in canonical form')
  }
  const bytes = decodeBase64(base64, () => malformed('a signature is not canonical base64'))
  if (bytes.length <= keyIdBytes) throw malformed('a signature is empty')
  return { name, keyId: readKeyId(bytes), signature: bytes.slice(keyIdBytes) }
}

function parseKey(text: string): {
  name: string
  id: number
  type: SignatureType
  key: Uint8Array
} {
  const [, name, hexId, base64] = verifierKeyPattern.exec(text) ?? []
  if (name === undefined || hexId === undefined || base64 === undefined || !isKeyName(name)) {
    throw malformedKey('it is not name, id and key joined by plus signs')
  }
  const bytes = decodeBase64(base64, () => malformedKey('it is not canonical base64'))
  const [type] = bytes
  if (type !== signatureType.ed25519 && type !== signatureType.cosignature) {
    throw malformedKey('its signature type is not supported')
  }
  if (bytes.length !== 1 + hashBytes) throw malformedKey('it is not 32 bytes long')
  return { name, id: readKeyId(fromHex(hexId)), type, key: bytes.slice(1) }
}

function formatKey(name: string, id: number, type: SignatureType, key: Uint8Array): string {
  return `${name}+${toHex(writeKeyId(id))}+${toBase64(concatBytes(Uint8Array.of(type), key))}`
}

function isKeyName(name: string): boolean {
  return name.length > 0 && !excludedFromNames.test(name)
}

function readKeyId(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, keyIdBytes).getUint32(0)
}

function writeKeyId(id: number): Uint8Array {
  const bytes = new Uint8Array(keyIdBytes)
  new DataView(bytes.buffer).setUint32(0, id)
  return bytes
}

function decode(note: Uint8Array): string {
  try {
    return utf8Decode(note)
  } catch (cause) {
    throw malformed('it is not UTF-8', cause)
  }
}

function decodeBase64(text: string, fault: () => AuditError): Uint8Array {
  try {
    return fromBase64(text)
  } catch {
    throw fault()
  }
}

function malformed(why: string, cause?: unknown): AuditError {
  return new AuditError('ERR_NOTE_MALFORMED', `signed note is malformed: ${why}`, { cause })
}

function malformedKey(why: string): AuditError {
  return new AuditError('ERR_KEY_MALFORMED', `key is malformed: ${why}`)
}
