/**
 * SHA-256 of texts, in hex. `hash` of Node 20 is fastest on bytes with a hex answer, so short binary
 * texts go through one buffer; it is reused, because a call does not yield.
 *
 * @module
 */
import { createHash, hash } from 'node:crypto'
import type { RawNode } from './raw-json.ts'

const scratch = Buffer.allocUnsafeSlow(16 * 1024)

/** Hex SHA-256 of a string in UTF-8. */
export function sha256OfText(text: string): string {
  return hash('sha256', text, 'hex')
}

/** Hex SHA-256 of a binary text (one character per byte). */
export function sha256OfBinary(text: string): string {
  if (text.length > scratch.length) return hash('sha256', Buffer.from(text, 'latin1'), 'hex')
  const { length } = text
  scratch.write(text, 0, length, 'latin1')
  return hash('sha256', scratch.subarray(0, length), 'hex')
}

/** Hex SHA-256 of `head`, the span of `node`, and `tail`, without putting them together. */
export function sha256OfSpan(head: string, node: RawNode, tail: string): string {
  const span = node.source.slice(node.start, node.end)
  return createHash('sha256').update(head).update(span, 'latin1').update(tail).digest('hex')
}
