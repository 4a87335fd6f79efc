/**
 * Decides, in one pass over the bytes and without building anything, whether a text is an entry in its
 * one canonical form (RFC 8785, integers only), and marks where its members of interest are. A
 * whole-log verification does this for every entry, where `JSON.parse` alone would cost more than all
 * hashing; hence one flat loop, an explicit stack, and four bytes at a time inside strings.
 *
 * It understands ASCII without escapes. For anything else it says that it is unsure: `parseEntry` of
 * `@affidavit/format` is then asked.
 *
 * @module
 */

/** Where the values of the members of interest begin; 0 for a member that is not there. */
export interface Marks {
  v: number
  kind: number
  eventId: number
  timestamp: number
  writer: number
  ingest: number
}

const quote = 0x22
const comma = 0x2c
const zero = 0x30
const nine = 0x39
const colon = 0x3a
const openBracket = 0x5b
const openBrace = 0x7b
const closeBrace = 0x7d

/** Deeper nesting takes the slow way, which has the format's own limit. */
const depthMax = 64

// 1 for the bytes that stand for themselves inside a canonical ASCII string.
const plain = new Uint8Array(256)
for (let byte = 0x20; byte < 0x80; byte += 1) plain[byte] = 1
plain[quote] = 0
plain[0x5c] = 0

// What is open: where the name before this one stands, and whether it is an object or an array. Never
// in use beyond one call.
const nameAts = new Int32Array(depthMax)
const nameEnds = new Int32Array(depthMax)
const closers = new Uint8Array(depthMax)

/**
 * Skips the canonical object that begins at `from`.
 *
 * @param view the same bytes as `bytes`
 * @returns where the object ends, or -1 for unsure. `marks` mean something only for a whole object.
 */
export function skipEntry(bytes: Uint8Array, view: DataView, from: number, marks: Marks): number {
  marks.v = marks.kind = marks.eventId = marks.timestamp = marks.writer = marks.ingest = 0
  if (bytes[from] !== openBrace) return -1
  let at = from + 1
  let depth = 0
  let closer = closeBrace
  let nameAt = 0
  let nameEnd = 0
  for (;;) {
    if (closer === closeBrace) {
      const start = at + 1
      const end = skipPlain(bytes, view, start)
      if (bytes[at] !== quote || bytes[end] !== quote || bytes[end + 1] !== colon) return -1
      if (nameEnd !== 0 && !isAfter(bytes, start, end, nameAt, nameEnd)) return -1
      nameAt = start
      nameEnd = end
      at = end + 2
      if (depth === 0) mark(bytes, start, end, marks)
    }
    const first = bytes[at]
    if (first === quote) {
      at = skipPlain(bytes, view, at + 1)
      if (bytes[at] !== quote) return -1
      at += 1
    } else if (first === openBrace || first === openBracket) {
      // In ASCII each closes by the second character after itself.
      if (depth === depthMax) return -1
      nameAts[depth] = nameAt
      nameEnds[depth] = nameEnd
      closers[depth] = closer
      depth += 1
      closer = first + 2
      nameAt = 0
      nameEnd = 0
      at += 1
      if (bytes[at] !== closer) continue
    } else at = skipScalar(bytes, at)
    if (at < 0) return -1
    while (bytes[at] === closer) {
      at += 1
      if (depth === 0) return at
      depth -= 1
      nameAt = nameAts[depth] ?? 0
      nameEnd = nameEnds[depth] ?? 0
      closer = closers[depth] ?? 0
    }
    if (bytes[at] !== comma) return -1
    at += 1
  }
}

/** Returns the position of the first byte from `at` that does not stand for itself in a string. */
function skipPlain(bytes: Uint8Array, view: DataView, at: number): number {
  const last = view.byteLength - 4
  let position = at
  while (position <= last) {
    // High bits show a byte below 0x20, above 0x7f, a quote or a backslash; a borrow may show one too
    // many, never one too few, and the loop below looks again.
    const word = view.getInt32(position, true)
    const quotes = (word ^ 0x22222222) - 0x01010101
    const slashes = (word ^ 0x5c5c5c5c) - 0x01010101
    if (((word | (word - 0x20202020) | quotes | slashes) & 0x80808080) !== 0) break
    position += 4
  }
  while (plain[bytes[position] ?? 0] === 1) position += 1
  return position
}

// ASCII names order by UTF-16 code units as by bytes (RFC 8785 section 3.2.3).
function isAfter(
  bytes: Uint8Array,
  from: number,
  to: number,
  previousFrom: number,
  previousTo: number,
): boolean {
  let now = from
  let before = previousFrom
  while (now < to && before < previousTo && bytes[now] === bytes[before]) {
    now += 1
    before += 1
  }
  if (before === previousTo) return now < to
  return now < to && (bytes[now] ?? 0) > (bytes[before] ?? 0)
}

function mark(bytes: Uint8Array, from: number, to: number, marks: Marks): void {
  const valueAt = to + 2
  switch (to - from) {
    case 1:
      if (bytes[from] === 0x76) marks.v = valueAt
      break
    case 4:
      if (isText(bytes, from, 'kind')) marks.kind = valueAt
      break
    case 6:
      if (isText(bytes, from, 'writer')) marks.writer = valueAt
      else if (isText(bytes, from, 'ingest')) marks.ingest = valueAt
      break
    case 8:
      if (isText(bytes, from, 'event_id')) marks.eventId = valueAt
      break
    case 9:
      if (isText(bytes, from, 'timestamp')) marks.timestamp = valueAt
      break
    default:
  }
}

/** Returns the position after a number or a literal, or -1. */
function skipScalar(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0
  if (first === 0x6e) return isText(bytes, at, 'null') ? at + 4 : -1
  if (first === 0x74) return isText(bytes, at, 'true') ? at + 4 : -1
  if (first === 0x66) return isText(bytes, at, 'false') ? at + 5 : -1
  const digitsAt = first === 0x2d ? at + 1 : at
  let position = digitsAt
  while (isDigit(bytes[position] ?? 0)) position += 1
  const digits = position - digitsAt
  // 16 digits may be above 2^53 - 1: the slow way decides. `-0` and `01` are not canonical.
  if (digits === 0 || digits > 15) return -1
  if (bytes[digitsAt] === zero && (digits > 1 || digitsAt !== at)) return -1
  return position
}

/** Tells whether `byte` is a decimal digit. */
export function isDigit(byte: number): boolean {
  return byte >= zero && byte <= nine
}

/** Tells whether the ASCII `text` stands at `from`. */
export function isText(bytes: Uint8Array, from: number, text: string): boolean {
  for (let index = 0; index < text.length; index += 1) {
    if (bytes[from + index] !== text.charCodeAt(index)) return false
  }
  return true
}
