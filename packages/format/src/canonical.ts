/**
 * The JSON Canonicalization Scheme (RFC 8785): one text for one value, so that two parties who hash
 * the same value hash the same bytes. Numbers and strings are written as ECMAScript writes them
 * (sections 3.2.2.2 and 3.2.2.3), property names are sorted by UTF-16 code units (section 3.2.3).
 *
 * Invariant: `canonicalize(JSON.parse(canonicalize(x))) === canonicalize(x)`.
 *
 * @module
 */
import { AuditError } from './errors.ts'

/** Levels of nesting. Deeper values are refused before they can exhaust the stack. */
export const canonicalDepthMax = 1_000

// ECMAScript 2024: in Node 20 and in browsers since 2023, not in our `lib`, not in older browsers.
const hasWellFormed = 'isWellFormed' in String.prototype
const loneSurrogate = /\p{Surrogate}/u
const isPlainText = /^[ !#-[\]-~]*$/
// Above this length JSON.stringify, which scans in native code, beats the pattern.
const plainTextLengthMax = 64

// Objects of one kind have their names in one order, call after call: sorting costs as much as all
// the rest of writing a record, comparing with the last order seen next to nothing.
const orderSlots = 256
const orderNamesMax = 64

/** A name, and how its property begins. */
interface Property {
  readonly name: string
  readonly beginning: string
}

interface Order {
  readonly names: readonly string[]
  readonly sorted: readonly Property[]
}

const orders: (Order | undefined)[] = Array.from({ length: orderSlots })

/**
 * RFC 8785 text of `value`.
 *
 * @throws AuditError `ERR_CANONICAL_UNSUPPORTED` for what JSON cannot hold: NaN, infinities,
 *   `undefined` (also as a property), bigints, functions, symbols, lone surrogates, objects that are
 *   neither plain nor arrays, and nesting beyond `canonicalDepthMax`.
 */
export function canonicalize(value: unknown): string {
  return write(value, 0, Number.isFinite)
}

/**
 * As `canonicalize`, for values that hold no numbers but integers between -(2^53 - 1) and 2^53 - 1,
 * which every JSON library reads alike.
 *
 * @throws AuditError `ERR_CANONICAL_UNSUPPORTED` as `canonicalize` does, and for any other number.
 */
export function canonicalizeIntegers(value: unknown): string {
  return write(value, 0, Number.isSafeInteger)
}

type IsNumber = (value: unknown) => boolean

function write(value: unknown, depth: number, isNumber: IsNumber): string {
  switch (typeof value) {
    case 'string':
      return writeString(value)
    case 'number':
      if (!isNumber(value)) throw unsupported('a number that is not finite, or here no integer')
      // `-0` gives `0`, as section 3.2.2.3 asks.
      return `${value}`
    case 'boolean':
      return value ? 'true' : 'false'
    case 'object':
      if (value === null) return 'null'
      if (depth >= canonicalDepthMax) {
        throw unsupported(`nesting deeper than ${canonicalDepthMax} levels`)
      }
      if (Array.isArray(value)) return writeArray(value, depth + 1, isNumber)
      return writeObject(value, depth + 1, isNumber)
    default:
      throw unsupported(`a value of type ${typeof value}`)
  }
}

function writeArray(values: readonly unknown[], depth: number, isNumber: IsNumber): string {
  let text = '['
  for (let at = 0; at < values.length; at++) {
    if (at > 0) text += ','
    text += write(values[at], depth, isNumber)
  }
  return `${text}]`
}

function writeObject(object: object, depth: number, isNumber: IsNumber): string {
  if (!isPlain(object)) throw unsupported('an object that is neither plain nor an array')
  let text = '{'
  let separator = ''
  for (const { name, beginning } of orderOf(Object.keys(object))) {
    text += separator + beginning + write(object[name], depth, isNumber)
    separator = ','
  }
  return `${text}}`
}

/** The names by UTF-16 code units, which is how `sort` compares strings. */
function orderOf(names: readonly string[]): readonly Property[] {
  const { length } = names
  if (length > orderNamesMax) return sortNames(names)
  const slot = (length * 31 + lengthAt(names, 0) * 7 + lengthAt(names, length - 1)) % orderSlots
  const known = orders[slot]
  if (known !== undefined && isSameList(known.names, names)) return known.sorted
  const sorted = sortNames(names)
  orders[slot] = { names, sorted }
  return sorted
}

function sortNames(names: readonly string[]): Property[] {
  return names.toSorted().map((name) => ({ name, beginning: `${writeString(name)}:` }))
}

function isSameList(left: readonly string[], right: readonly string[]): boolean {
  if (left.length !== right.length) return false
  for (let at = 0; at < left.length; at++) {
    if (left[at] !== right[at]) return false
  }
  return true
}

function lengthAt(names: readonly string[], index: number): number {
  return names[index]?.length ?? 0
}

function writeString(text: string): string {
  if (text.length <= plainTextLengthMax && isPlainText.test(text)) return `"${text}"`
  if (!isWellFormed(text)) throw unsupported('a string with a lone surrogate')
  return JSON.stringify(text)
}

function isWellFormed(text: string): boolean {
  return knowsWellFormed(text) ? text.isWellFormed() : !loneSurrogate.test(text)
}

function knowsWellFormed(_text: string): _text is string & { isWellFormed(): boolean } {
  return hasWellFormed
}

function isPlain(object: object): object is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(object)
  if (prototype === Object.prototype || prototype === null) return true
  // A plain object of another realm (an iframe, a worker's vm context) has a prototype without one.
  return typeof prototype === 'object' && Object.getPrototypeOf(prototype) === null
}

function unsupported(what: string): AuditError {
  return new AuditError('ERR_CANONICAL_UNSUPPORTED', `RFC 8785 has no form for ${what}`)
}
