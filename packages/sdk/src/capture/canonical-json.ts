/**
 * Canonical JSON of parsed bodies: RFC 8785 (JCS), made total. Capture may not refuse a request, so
 * the two values that `JSON.parse` can return and RFC 8785 cannot express have a form of their own,
 * which no JSON text has: a lone surrogate is written as its `\u` escape in lower case, and a number
 * beyond the range of a double as `Infinity` or `-Infinity`.
 *
 * Invariant: wherever `canonicalize` of `@affidavit/format` answers, the text is the same.
 *
 * @module
 */
import { isObject, type JsonObject } from './json.ts'
import { nestingMax } from './limits.ts'

/** Raised inside of capture only, and caught there: a body nests deeper than `nestingMax`. */
export class NestingError extends Error {}

/** Canonical text of a value that `JSON.parse` returned. */
export function canonicalText(value: unknown): string {
  return write(value, 0)
}

/**
 * Canonical text of an object, member by member: `fragment` returns the canonical text of a member,
 * or `null` to leave it out. Members that it takes as they are go through `canonicalText`.
 */
export function canonicalObject(
  value: JsonObject,
  fragment: (key: string, member: unknown) => string | null,
): string {
  const keys = Object.keys(value)
  if (!isSorted(keys)) keys.sort()
  let text = ''
  for (const key of keys) {
    const member = fragment(key, value[key])
    if (member !== null) text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${member}`
  }
  return `{${text}}`
}

function write(value: unknown, depth: number): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'number') return `${value}`
  if (typeof value !== 'object' || value === null) return String(value)
  if (depth > nestingMax) throw new NestingError('JSON nests too deep for a canonical form')
  if (Array.isArray(value)) return writeArray(value, depth)
  return isObject(value) ? canonicalObject(value, (_, member) => write(member, depth + 1)) : 'null'
}

function writeArray(values: readonly unknown[], depth: number): string {
  let text = '['
  for (let at = 0; at < values.length; at++) {
    if (at > 0) text += ','
    text += write(values[at], depth + 1)
  }
  return `${text}]`
}

function isSorted(keys: readonly string[]): boolean {
  for (let at = 1; at < keys.length; at++) {
    if ((keys[at - 1] ?? '') > (keys[at] ?? '')) return false
  }
  return true
}
