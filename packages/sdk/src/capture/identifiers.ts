/**
 * Which names may stand in a record as they are. Entries cannot be deleted, so a name that could be a
 * person's (an address, several words) is replaced by a keyed hash wherever it turns up: session ids,
 * application ids, model names, tool names.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { HashKeys } from './exchange.ts'
import { identifierCharsMax } from './limits.ts'

const hashedDigits = 32

/**
 * Tells whether `value` is an opaque id: 1 to 128 printable ASCII characters without space, quote,
 * backslash or `@` (also percent-encoded), and not an IPv4 address. Anything else could name a person,
 * and is longer in JSON than it looks.
 */
export function isOpaqueId(value: string): boolean {
  if (value.length === 0 || value.length > identifierCharsMax) return false
  let dots = 0
  let others = 0
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at)
    if (code <= 0x20 || code >= 0x7f) return false
    if (code === 0x22 || code === 0x40 || code === 0x5c) return false
    if (code === 0x25 && isEncodedAt(value, at)) return false
    if (code === 0x2e) dots++
    else if (code < 0x30 || code > 0x39) others++
  }
  return !(dots === 3 && others === 0)
}

/** `value` itself if it is opaque, else `hash:` and 32 digits of its keyed digest. */
export function safeIdentifier(value: string, keys: HashKeys, subject: string | null): string {
  if (isOpaqueId(value)) return value
  const digest = keys.digest(hash('sha256', value, 'hex'), subject)
  return `hash:${digest.slice(0, hashedDigits)}`
}

function isEncodedAt(value: string, at: number): boolean {
  return value.charCodeAt(at + 1) === 0x34 && value.charCodeAt(at + 2) === 0x30
}
