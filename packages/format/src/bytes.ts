/**
 * Bytes to text and back, without a platform. Decoders are canonical: one byte string has exactly one
 * text, so a text that was decoded and encoded again is the same text.
 *
 * @module
 */
import { AuditError } from './errors.ts'

const hexDigits = '0123456789abcdef'
const hexPairs = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const base64Digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const hexValues = valuesOf(hexDigits)
const base64Values = valuesOf(base64Digits)
const notADigit = 255

const encoder = new TextEncoder()
// Without `ignoreBOM` the decoder would drop a leading U+FEFF, and two byte strings would be one text.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Lower-case hexadecimal, two digits a byte. */
export function toHex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += hexPairs[byte]
  return text
}

/**
 * Decodes lower-case hexadecimal.
 *
 * @throws AuditError `ERR_BYTES_MALFORMED` for an odd length or any other character.
 */
export function fromHex(text: string): Uint8Array {
  if (text.length % 2 !== 0) throw malformed('hexadecimal', 'its length is odd')
  const bytes = new Uint8Array(text.length / 2)
  for (let at = 0; at < bytes.length; at++) {
    const high = valueAt(hexValues, text, at * 2)
    const low = valueAt(hexValues, text, at * 2 + 1)
    if (high === notADigit || low === notADigit) {
      throw malformed('hexadecimal', 'it has a character outside 0-9a-f')
    }
    bytes[at] = (high << 4) | low
  }
  return bytes
}

/** Standard base64 with padding (RFC 4648 section 4). */
export function toBase64(bytes: Uint8Array): string {
  let text = ''
  let at = 0
  for (; at + 2 < bytes.length; at += 3) {
    const group = (byteAt(bytes, at) << 16) | (byteAt(bytes, at + 1) << 8) | byteAt(bytes, at + 2)
    text += digit(group >> 18) + digit(group >> 12) + digit(group >> 6) + digit(group)
  }
  const rest = bytes.length - at
  if (rest === 1) {
    const group = byteAt(bytes, at)
    text += `${digit(group >> 2)}${digit(group << 4)}==`
  } else if (rest === 2) {
    const group = (byteAt(bytes, at) << 8) | byteAt(bytes, at + 1)
    text += `${digit(group >> 10)}${digit(group >> 4)}${digit(group << 2)}=`
  }
  return text
}

/**
 * Decodes standard base64 in its one canonical form: padded, no line breaks, unused bits zero
 * (RFC 4648 section 3.5).
 *
 * @throws AuditError `ERR_BYTES_MALFORMED` for anything else.
 */
export function fromBase64(text: string): Uint8Array {
  if (text.length % 4 !== 0) throw malformed('base64', 'its length is not a multiple of four')
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const digits = text.length - padding
  const bytes = new Uint8Array((text.length / 4) * 3 - padding)
  let bits = 0
  let bitCount = 0
  let at = 0
  for (let index = 0; index < digits; index++) {
    const value = valueAt(base64Values, text, index)
    if (value === notADigit) throw malformed('base64', 'it has a character outside the alphabet')
    bits = ((bits << 6) | value) & 0xffff
    bitCount += 6
    if (bitCount >= 8) {
      bitCount -= 8
      bytes[at++] = (bits >> bitCount) & 0xff
    }
  }
  if ((bits & ((1 << bitCount) - 1)) !== 0)
    throw malformed('base64', 'its unused bits are not zero')
  return bytes
}

/** UTF-8 of a well-formed string; a lone surrogate becomes U+FFFD, so check first where it matters. */
export function utf8Encode(text: string): Uint8Array {
  return encoder.encode(text)
}

/**
 * Decodes UTF-8, keeping a byte-order mark as the character that it is.
 *
 * @throws AuditError `ERR_BYTES_MALFORMED` when the bytes are not UTF-8.
 */
export function utf8Decode(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new AuditError('ERR_BYTES_MALFORMED', 'bytes are not valid UTF-8', { cause })
  }
}

/** One new array that holds all `parts` in order. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const whole = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Whether both hold the same bytes. Not constant-time: for digests and public facts, not for secrets. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false
  for (let at = 0; at < left.length; at++) {
    if (left[at] !== right[at]) return false
  }
  return true
}

function valuesOf(digits: string): Uint8Array {
  const values = new Uint8Array(128).fill(255)
  for (let value = 0; value < digits.length; value++) values[digits.charCodeAt(value)] = value
  return values
}

function valueAt(values: Uint8Array, text: string, index: number): number {
  return values[text.charCodeAt(index)] ?? notADigit
}

function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0
}

function digit(value: number): string {
  return base64Digits.charAt(value & 63)
}

function malformed(encoding: string, why: string): AuditError {
  return new AuditError('ERR_BYTES_MALFORMED', `text is not canonical ${encoding}: ${why}`)
}
