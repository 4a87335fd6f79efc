/**
 * JSON as it was sent: a tree of spans over the body, from which canonical text is cut. A string that
 * is long costs its bytes once, in the digest; it is neither decoded nor escaped again.
 *
 * Texts here are *binary*: one character per byte of UTF-8, so that positions are byte offsets and
 * cutting is free. Canonical form is RFC 8785 (JCS), made total, because capture may not refuse a
 * request: a lone surrogate, which RFC 8785 cannot express, is written as its `\u` escape in lower case,
 * and a number beyond the range of a double as `Infinity` or `-Infinity`. No JSON text has these forms.
 *
 * Invariants:
 * - A tree is only made of text that `JSON.parse` accepts.
 * - Wherever `canonicalize` of `@affidavit/format` answers, the canonical text is the same.
 * - A tree holds the whole body in memory; nothing cut from it may outlive the request (`decode` and
 *   `stringAt` return fresh copies).
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { nestingMax } from './limits.ts'

/** Raised inside of capture only, and caught there: a body nests deeper than `nestingMax`. */
export class NestingError extends Error {}

export type RawKind = 'object' | 'array' | 'string' | 'number' | 'literal'

/** One value: where it stands in `source`, and its members or items. */
export class RawNode {
  readonly source: string
  readonly kind: RawKind
  readonly start: number
  end: number
  /** The span is canonical as it is. */
  isCanonical: boolean
  /** Names of the members, decoded, each once; empty unless an object. */
  keys: readonly string[]
  /** Members by `keys`, or items. */
  values: readonly RawNode[]
  /** Some name stands more than once; the last one counts. */
  hasDuplicates: boolean
  /** No name needs an escape. */
  hasPlainKeys: boolean

  constructor(source: string, kind: RawKind, start: number) {
    this.source = source
    this.kind = kind
    this.start = start
    this.end = start
    this.isCanonical = true
    this.keys = none
    this.values = none
    this.hasDuplicates = false
    this.hasPlainKeys = true
  }
}

const none: readonly never[] = []

/** Bytes that are UTF-8 as binary text. Bytes that are not are replaced first, as `JSON.parse` sees them. */
export function binaryText(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (isUtf8(buffer)) return buffer.toString('latin1')
  return toBinary(buffer.toString('utf8'))
}

/** Binary text of a string. */
export function toBinary(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

/** The string that a binary text stands for. */
export function fromBinary(text: string): string {
  return Buffer.from(text, 'latin1').toString('utf8')
}

/**
 * Reads binary JSON text; `null` if it is none.
 *
 * @param depth how deep in its body this text stands.
 * @throws NestingError
 */
export function parseRaw(text: string, depth = 0): RawNode | null {
  try {
    JSON.parse(text)
  } catch {
    return null
  }
  return new Scanner(text, depth).read()
}

/**
 * Reads bytes of JSON in UTF-8, as `parseRaw(binaryText(bytes))` does.
 *
 * @throws NestingError
 */
export function parseRawBytes(bytes: Uint8Array): RawNode | null {
  const text = binaryText(bytes)
  if (hasControls(bytes)) return parseRaw(text)
  // In a text without control characters the scanner sees everything that is wrong; what it refuses,
  // `JSON.parse` judges.
  try {
    return new Scanner(text, 0).read()
  } catch {
    return parseRaw(text)
  }
}

/**
 * Reads binary text that `JSON.parse` has accepted, in this form or as the string that it stands for.
 *
 * @throws NestingError
 */
export function readRaw(text: string): RawNode {
  return new Scanner(text, 0).read()
}

/**
 * The tree of a value that `JSON.parse` returned.
 *
 * @throws NestingError
 */
export function rawOf(value: unknown): RawNode {
  return readRaw(toBinary(JSON.stringify(value)))
}

/** The member `key` of an object; `undefined` if there is none. */
export function memberOf(node: RawNode | undefined, key: string): RawNode | undefined {
  if (node === undefined || node.kind !== 'object') return undefined
  const at = node.keys.indexOf(key)
  return at < 0 ? undefined : node.values[at]
}

/** The items of an array; none for anything else. */
export function itemsOf(node: RawNode | undefined): readonly RawNode[] {
  return node?.kind === 'array' ? node.values : none
}

/** The string at `node`, decoded; `null` for anything else. */
export function stringAt(node: RawNode | undefined): string | null {
  if (node?.kind !== 'string') return null
  const decoded: unknown = decode(node)
  return typeof decoded === 'string' ? decoded : null
}

export function isNull(node: RawNode): boolean {
  return node.kind === 'literal' && node.end - node.start === 4 && node.source[node.start] === 'n'
}

/** What `JSON.parse` returns for this value. */
export function decode(node: RawNode): unknown {
  if (node.kind === 'literal') {
    const first = node.source.charCodeAt(node.start)
    return first === letterN ? null : first === letterT
  }
  if (node.kind === 'string' && node.end - node.start <= shortSpanMax && isPlainSpan(node)) {
    return node.source.slice(node.start + 1, node.end - 1)
  }
  const span = node.source.slice(node.start, node.end)
  if (node.kind === 'number') return Number(span)
  return JSON.parse(isAscii(span) ? span : fromBinary(span))
}

/** Canonical binary text of a value. */
export function canonicalText(node: RawNode): string {
  if (node.isCanonical) return node.source.slice(node.start, node.end)
  switch (node.kind) {
    case 'object':
      return canonicalObject(node, memberAsItIs)
    case 'array':
      return `[${node.values.map(canonicalText).join(',')}]`
    case 'string':
      return toBinary(JSON.stringify(decode(node)))
    case 'number':
      return `${Number(node.source.slice(node.start, node.end))}`
    default:
      return node.source.slice(node.start, node.end)
  }
}

/**
 * Canonical binary text of an object, member by member: `fragment` returns the text of a member, or
 * `null` to leave it out. `added` are members beside those of `node`, which they replace.
 */
export function canonicalObject(
  node: RawNode,
  fragment: (key: string, member: RawNode) => string | null,
  added: Readonly<Record<string, string>> = nothingAdded,
): string {
  const keys: string[] = []
  const texts: string[] = []
  for (let at = 0; at < node.keys.length; at++) {
    const key = node.keys[at]
    const member = node.values[at]
    if (key === undefined || member === undefined) continue
    if (added !== nothingAdded && Object.hasOwn(added, key)) continue
    const text = fragment(key, member)
    if (text !== null) addSorted(keys, texts, key, text)
  }
  if (added !== nothingAdded) {
    for (const key in added) addSorted(keys, texts, key, added[key] ?? '')
  }
  if (keys.length > sortedKeysMax) return joinMembers(...sortMembers(keys, texts), node)
  return joinMembers(keys, texts, node)
}

function joinMembers(
  keys: readonly string[],
  texts: readonly string[],
  { hasPlainKeys }: RawNode,
): string {
  let text = '{'
  for (let at = 0; at < keys.length; at++) {
    if (at > 0) text += ','
    const key = keys[at] ?? ''
    text += hasPlainKeys ? `"${key}":` : `${quotedKey(key, false)}:`
    text += texts[at] ?? ''
  }
  return `${text}}`
}

/** A name as JSON text. */
export function quotedKey(key: string, isPlain: boolean): string {
  return isPlain ? `"${key}"` : toBinary(JSON.stringify(key))
}

// V8 copies a slice of up to twelve characters; a longer one holds on to the body.
const shortSpanMax = 14

/** Whether a string is its own decoded form: ASCII without escapes. */
function isPlainSpan({ source, start, end }: RawNode): boolean {
  for (let at = start; at < end; at++) {
    const code = source.charCodeAt(at)
    if (code > 0x7e || code === backslash) return false
  }
  return true
}

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) > 0x7e) return false
  return true
}

const nothingAdded: Readonly<Record<string, string>> = {}

function memberAsItIs(_: string, member: RawNode): string {
  return canonicalText(member)
}

/** Whether some byte is a control character of ASCII. Looks at four bytes at once. */
function hasControls(bytes: Uint8Array): boolean {
  const { length } = bytes
  const wordsAt = Math.min(length, -bytes.byteOffset & 3)
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + wordsAt, (length - wordsAt) >> 2)
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? 0
    // The high bit of some byte is set if that byte is less than 0x20, and none otherwise.
    if (((word - 0x20202020) & ~word & 0x80808080) !== 0) return true
  }
  const restAt = wordsAt + words.length * 4
  for (let at = 0; at < wordsAt; at++) if ((bytes[at] ?? 0) < 0x20) return true
  for (let at = restAt; at < length; at++) if ((bytes[at] ?? 0) < 0x20) return true
  return false
}

// Longer lists are sorted at their end: inserting one by one would be quadratic.
const sortedKeysMax = 32

/** Adds a member where it belongs by UTF-16 code units, as RFC 8785 §3.2.3 says. */
function addSorted(keys: string[], texts: string[], key: string, text: string): void {
  let at = keys.length
  if (at < sortedKeysMax) while (at > 0 && (keys[at - 1] ?? '') > key) at--
  for (let from = keys.length; from > at; from--) {
    keys[from] = keys[from - 1] ?? ''
    texts[from] = texts[from - 1] ?? ''
  }
  keys[at] = key
  texts[at] = text
}

function sortMembers(keys: readonly string[], texts: readonly string[]): [string[], string[]] {
  const order = [...keys.keys()].sort((a, b) => ((keys[a] ?? '') < (keys[b] ?? '') ? -1 : 1))
  return [order.map((at) => keys[at] ?? ''), order.map((at) => texts[at] ?? '')]
}

const tab = 0x09
const quote = 0x22
const comma = 0x2c
const minus = 0x2d
const slash = 0x2f
const zero = 0x30
const nine = 0x39
const colon = 0x3a
const leftBracket = 0x5b
const backslash = 0x5c
const rightBracket = 0x5d
const letterN = 0x6e
const letterT = 0x74
const letterU = 0x75
const leftBrace = 0x7b
const rightBrace = 0x7d

// Integers of so many digits are doubles exactly, and are written as they stand.
const exactDigitsMax = 15

/** Raised and caught in here: the text is no JSON. */
class MalformedError extends Error {}

// One for all: where it was raised says nothing, and a trace costs more than the scan.
const malformed = new MalformedError('no JSON')

const numberGrammar = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/
const hexDigits = /^[0-9a-fA-F]{4}$/

/**
 * Builds the tree. Refuses what is no JSON, except for control characters that stand in strings or
 * between values: a text that has any was accepted by `JSON.parse` before.
 */
class Scanner {
  readonly #text: string
  #at = 0
  #depth: number
  /** The next backslash at or after `#at`: looking for it again for every string would be quadratic. */
  #backslashAt: number
  // Lists are gathered in arrays that have room, and kept in arrays that fit.
  readonly #spareKeys: string[][] = []
  readonly #spareNodes: RawNode[][] = []

  constructor(text: string, depth: number) {
    this.#text = text
    this.#depth = depth
    this.#backslashAt = this.#find('\\', 0)
  }

  read(): RawNode {
    this.#skipSpace()
    const node = this.#value()
    this.#skipSpace()
    if (this.#at !== this.#text.length) throw malformed
    return node
  }

  #value(): RawNode {
    const code = this.#text.charCodeAt(this.#at)
    if (code === quote) return this.#string()
    if (code === leftBrace || code === leftBracket) {
      if (++this.#depth > nestingMax) throw new NestingError('JSON nests too deep')
      const node = code === leftBrace ? this.#object() : this.#array()
      this.#depth--
      return node
    }
    return code === minus || (code >= zero && code <= nine) ? this.#number() : this.#literal()
  }

  #object(): RawNode {
    const node = new RawNode(this.#text, 'object', this.#at)
    const keys: string[] = this.#spareKeys.pop() ?? []
    const values: RawNode[] = this.#spareNodes.pop() ?? []
    let positions: Map<string, number> | null = null
    let hasSpace = this.#step()
    let largest = ''
    let isOpen = this.#text.charCodeAt(this.#at) !== rightBrace
    while (isOpen) {
      if (this.#text.charCodeAt(this.#at) !== quote) throw malformed
      const name = this.#string()
      const key = this.#plainName(name) ?? this.#escapedName(node, name)
      hasSpace = this.#skipSpace() || hasSpace
      if (this.#text.charCodeAt(this.#at) !== colon) throw malformed
      hasSpace = this.#step() || hasSpace
      const member = this.#value()
      if (!member.isCanonical) node.isCanonical = false
      if (key > largest || keys.length === 0) {
        largest = key
        keys.push(key)
        values.push(member)
      } else {
        node.isCanonical = false
        positions = addMember({ node, keys, values, positions }, key, member)
      }
      hasSpace = this.#skipSpace() || hasSpace
      isOpen = this.#goesOn(rightBrace)
      if (isOpen) hasSpace = this.#step() || hasSpace
    }
    this.#close(node, hasSpace)
    node.keys = keys.slice()
    keys.length = 0
    this.#spareKeys.push(keys)
    node.values = this.#exact(values)
    return node
  }

  #array(): RawNode {
    const node = new RawNode(this.#text, 'array', this.#at)
    const values: RawNode[] = this.#spareNodes.pop() ?? []
    let hasSpace = this.#step()
    let isOpen = this.#text.charCodeAt(this.#at) !== rightBracket
    while (isOpen) {
      const item = this.#value()
      values.push(item)
      if (!item.isCanonical) node.isCanonical = false
      hasSpace = this.#skipSpace() || hasSpace
      isOpen = this.#goesOn(rightBracket)
      if (isOpen) hasSpace = this.#step() || hasSpace
    }
    this.#close(node, hasSpace)
    node.values = this.#exact(values)
    return node
  }

  /** Whether a comma stands here, and not the bracket that closes the list. */
  #goesOn(close: number): boolean {
    const code = this.#text.charCodeAt(this.#at)
    if (code !== comma && code !== close) throw malformed
    return code === comma
  }

  #exact(values: RawNode[]): readonly RawNode[] {
    const exact = values.length === 0 ? none : values.slice()
    values.length = 0
    this.#spareNodes.push(values)
    return exact
  }

  #close(node: RawNode, hasSpace: boolean): void {
    this.#at++
    node.end = this.#at
    if (hasSpace) node.isCanonical = false
  }

  #string(): RawNode {
    const text = this.#text
    const node = new RawNode(text, 'string', this.#at)
    let from = this.#at + 1
    let end = text.indexOf('"', from)
    if (this.#backslashAt < from) this.#backslashAt = this.#find('\\', from)
    while (this.#backslashAt < end) {
      const escaped = text.charCodeAt(this.#backslashAt + 1)
      if (escaped === letterU) {
        if (!this.#isControlEscape()) node.isCanonical = false
      } else if (escaped === slash) node.isCanonical = false
      else if (!isShortEscape(escaped)) throw malformed
      from = this.#backslashAt + 2
      if (end < from) end = text.indexOf('"', from)
      this.#backslashAt = this.#find('\\', from)
    }
    if (end < 0) throw malformed
    this.#at = end + 1
    node.end = this.#at
    return node
  }

  /** Whether the escape is one that RFC 8785 §3.2.2.2 itself uses: `\u00` and two lower-case digits. */
  #isControlEscape(): boolean {
    const digits = this.#text.slice(this.#backslashAt + 2, this.#backslashAt + 6)
    if (!hexDigits.test(digits)) throw malformed
    return controlEscapes.has(digits)
  }

  #number(): RawNode {
    const text = this.#text
    const node = new RawNode(text, 'number', this.#at)
    let isInteger = true
    if (text.charCodeAt(this.#at) === minus) this.#at++
    const digitsAt = this.#at
    for (;;) {
      const code = text.charCodeAt(this.#at)
      if (code >= zero && code <= nine) this.#at++
      else if (isNumberCode(code)) {
        isInteger = false
        this.#at++
      } else break
    }
    node.end = this.#at
    const digits = node.end - digitsAt
    if (digits === 0) throw malformed
    // Zero itself, negative or not, and digits behind it, which no number has.
    const isZero = text.charCodeAt(digitsAt) === zero && node.end - node.start > 1
    if (!isInteger || digits > exactDigitsMax || isZero) {
      const span = text.slice(node.start, node.end)
      if (!numberGrammar.test(span)) throw malformed
      node.isCanonical = `${Number(span)}` === span
    }
    return node
  }

  #literal(): RawNode {
    const node = new RawNode(this.#text, 'literal', this.#at)
    const text = this.#text
    if (text.startsWith('true', this.#at) || text.startsWith('null', this.#at)) this.#at += 4
    else if (text.startsWith('false', this.#at)) this.#at += 5
    else throw malformed
    node.end = this.#at
    return node
  }

  /** A name that is its own decoded form: ASCII without escapes. */
  #plainName(name: RawNode): string | null {
    for (let at = name.start + 1; at < name.end - 1; at++) {
      const code = this.#text.charCodeAt(at)
      if (code > 0x7e || code === backslash) return null
    }
    return this.#text.slice(name.start + 1, name.end - 1)
  }

  #escapedName(node: RawNode, name: RawNode): string {
    node.hasPlainKeys = false
    if (!name.isCanonical) node.isCanonical = false
    return stringAt(name) ?? ''
  }

  /** Passes one character and the space behind it; tells whether there was space. */
  #step(): boolean {
    this.#at++
    return this.#skipSpace()
  }

  #skipSpace(): boolean {
    const start = this.#at
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code === 0x20 || (code >= tab && code <= 0x0d)) this.#at++
      else return this.#at > start
    }
  }

  #find(what: string, from: number): number {
    const found = this.#text.indexOf(what, from)
    return found < 0 ? Number.POSITIVE_INFINITY : found
  }
}

interface Members {
  readonly node: RawNode
  readonly keys: string[]
  readonly values: RawNode[]
  /** Positions of the first keys, made when there are too many to look through. */
  readonly positions: Map<string, number> | null
}

const searchedKeysMax = 32

/** Adds a member out of order. As with `JSON.parse`, the last of several of one name counts. */
function addMember(members: Members, key: string, member: RawNode): Map<string, number> | null {
  const { keys, values } = members
  let { positions } = members
  if (keys.length > searchedKeysMax) positions ??= new Map()
  for (let at = positions?.size ?? keys.length; at < keys.length; at++) {
    positions?.set(keys[at] ?? '', at)
  }
  const before = positions === null ? keys.indexOf(key) : (positions.get(key) ?? -1)
  if (before >= 0) {
    members.node.hasDuplicates = true
    values[before] = member
    return positions
  }
  keys.push(key)
  values.push(member)
  return positions
}

/** Whether an escape is one of a single letter, the slash aside. */
function isShortEscape(code: number): boolean {
  switch (code) {
    case quote:
    case backslash:
    case 0x62: // b
    case 0x66: // f
    case 0x6e: // n
    case 0x72: // r
    case 0x74: // t
      return true
    default:
      return false
  }
}

function isNumberCode(code: number): boolean {
  return code === 0x2e || code === 0x65 || code === 0x45 || code === 0x2b || code === minus
}

const controlEscapes: ReadonlySet<string> = new Set(
  Array.from({ length: 0x20 }, (_, code) => JSON.stringify(String.fromCharCode(code)))
    .filter((text) => text.length === 8)
    .map((text) => text.slice(3, 7)),
)
