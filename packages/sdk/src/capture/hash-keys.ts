/**
 * Keyed digests: how a bare SHA-256 becomes the digest that stands in a record
 * (docs/spec/hashes.md §5). A bare digest of a short prompt confirms a guess, so records hold
 * HMAC-SHA-256 (RFC 2104) over it by default.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { HashKeys } from './exchange.ts'

/** Bytes of a tenant or subject key. */
export const hashKeyBytes = 32

const blockBytes = 64
const digestBytes = 32
const innerPad = 0x36
const outerPad = 0x5c
// Longer messages than this are put together anew each time.
const messageBytesKept = 1024
const utf8BytesMax = 3
const fingerprintDomain = 'affidavit credential fingerprint\n'
const fingerprintHexDigits = 32

/** The three key modes. `version` names a tenant key so that it can be replaced. */
export type HashKeyOptions =
  | { readonly mode: 'tenant'; readonly version: string; readonly key: Uint8Array }
  | {
      readonly mode: 'subject'
      /** For exchanges that name nobody, and for fingerprints. */
      readonly key: Uint8Array
      /** The subject's own key, destroyed when the subject is erased. */
      readonly subjectKey: (subject: string) => Uint8Array
    }
  | { readonly mode: 'plain'; readonly key?: Uint8Array }

/**
 * Makes the keys of one tenant. `key` also keys credential fingerprints; without one (`plain`) they
 * are bare SHA-256 with a domain prefix.
 */
export function createHashKeys(options: HashKeyOptions): HashKeys {
  const own = options.key === undefined ? hashText : createHmac(options.key)
  return {
    mode: options.mode,
    keyId: (subject) => keyIdOf(options, subject),
    digest(sha256, subject) {
      const hex = typeof sha256 === 'string' ? sha256 : Buffer.from(sha256).toString('hex')
      if (options.mode === 'plain') return hex
      if (options.mode === 'tenant' || subject === null) return own(hex, 'hex')
      return createHmac(options.subjectKey(subject))(hex, 'hex')
    },
    fingerprint(secret) {
      return own(fingerprintDomain + secret, 'utf8').slice(0, fingerprintHexDigits)
    },
  }
}

function keyIdOf(options: HashKeyOptions, subject: string | null): string {
  if (options.mode === 'plain') return 'plain'
  return options.mode === 'tenant' ? `tenant:${options.version}` : `subject:${subject ?? 'none'}`
}

type HexDigest = (message: string, encoding: 'hex' | 'utf8') => string

const hashText: HexDigest = (message, encoding) =>
  hash('sha256', Buffer.from(message, encoding), 'hex')

/**
 * HMAC-SHA-256 with the padded keys prepared once: two one-shot hashes a call, a quarter of the cost of
 * `createHmac` of Node. The buffers are shared between calls, which is safe because a call does not yield.
 */
function createHmac(key: Uint8Array): HexDigest {
  const inner = Buffer.alloc(blockBytes + messageBytesKept)
  const outer = Buffer.alloc(blockBytes + digestBytes)
  inner.set(key.length > blockBytes ? hash('sha256', key, 'buffer') : key)
  for (let at = 0; at < blockBytes; at++) {
    const byte = inner[at] ?? 0
    inner[at] = byte ^ innerPad
    outer[at] = byte ^ outerPad
  }
  const innerDigest = inner.subarray(0, blockBytes + digestBytes)
  return (message, encoding) => {
    let text: Uint8Array = innerDigest
    if (encoding === 'hex' && message.length === 2 * digestBytes) {
      inner.write(message, blockBytes, 'hex')
    } else if (message.length * utf8BytesMax <= messageBytesKept) {
      const length = inner.write(message, blockBytes, encoding)
      text = inner.subarray(0, blockBytes + length)
    } else {
      text = Buffer.concat([inner.subarray(0, blockBytes), Buffer.from(message, encoding)])
    }
    outer.write(hash('sha256', text, 'binary'), blockBytes, 'latin1')
    return hash('sha256', outer, 'hex')
  }
}
