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
const fingerprintDomain = 'affidavit credential fingerprint\n'
const fingerprintHexDigits = 32

/** The three key modes. `version` names a tenant key so that it can be replaced. */
export type HashKeyOptions =
  | { readonly mode: 'tenant'; readonly version: string; readonly key: Uint8Array }
  | {
      readonly mode: 'subject'
      readonly key: Uint8Array
      /** The subject's own key, destroyed when the subject is erased. */
      readonly subjectKey: (subject: string) => Uint8Array
    }
  | { readonly mode: 'plain'; readonly key?: Uint8Array }

/**
 * Makes the keys of one tenant. `key` also keys credential fingerprints; without one (`plain`) they
 * are bare SHA-256 with a domain prefix. In `subject` mode, exchanges that name nobody use `key`.
 */
export function createHashKeys(options: HashKeyOptions): HashKeys {
  const own = options.key === undefined ? undefined : createHmac(options.key)
  return {
    mode: options.mode,
    keyId: (subject) => keyIdOf(options, subject),
    digest(sha256, subject) {
      if (options.mode === 'plain') return Buffer.from(sha256).toString('hex')
      if (options.mode === 'subject' && subject !== null) {
        return createHmac(options.subjectKey(subject))(sha256)
      }
      return own === undefined ? '' : own(sha256)
    },
    fingerprint(secret) {
      const text = Buffer.from(fingerprintDomain + secret, 'utf8')
      const digest = own === undefined ? hash('sha256', text, 'hex') : own(text)
      return digest.slice(0, fingerprintHexDigits)
    },
  }
}

function keyIdOf(options: HashKeyOptions, subject: string | null): string {
  if (options.mode === 'plain') return 'plain'
  if (options.mode === 'tenant') return `tenant:${options.version}`
  return `subject:${subject ?? 'none'}`
}

/** HMAC-SHA-256 with the padded keys prepared once: two one-shot hashes a call. */
function createHmac(key: Uint8Array): (message: Uint8Array) => string {
  const padded = Buffer.alloc(blockBytes)
  padded.set(key.length > blockBytes ? hash('sha256', key, 'buffer') : key)
  const inner = Buffer.alloc(blockBytes + hashKeyBytes)
  const outer = Buffer.alloc(blockBytes + hashKeyBytes)
  for (const [at, byte] of padded.entries()) {
    inner[at] = byte ^ 0x36
    outer[at] = byte ^ 0x5c
  }
  return (message) => {
    if (message.length === hashKeyBytes) {
      inner.set(message, blockBytes)
      outer.set(hash('sha256', inner, 'buffer'), blockBytes)
    } else {
      const text = Buffer.concat([inner.subarray(0, blockBytes), message])
      outer.set(hash('sha256', text, 'buffer'), blockBytes)
    }
    return hash('sha256', outer, 'hex')
  }
}
