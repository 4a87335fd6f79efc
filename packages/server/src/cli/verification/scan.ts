/**
 * Reads from an entry what its place in the chain needs, and decides whether the text is canonical
 * (RFC 8785, integers only), in one pass over the bytes and without building objects: a whole-log
 * verification does this for every entry, where `JSON.parse` alone would cost more than all hashing.
 *
 * The scan understands ASCII. An entry with any other byte, or with an escape in a name, takes the slow
 * way through `parseEntry`; a property test holds that both ways agree.
 *
 * @module
 */
import { type Entry, fromHex, isAuditError, parseEntry, utf8Encode } from '@affidavit/format'

/** What an entry does to the pairing of starts and ends. */
export const entryRoles = { other: 0, start: 1, end: 2, opened: 3 } as const
export type EntryRole = (typeof entryRoles)[keyof typeof entryRoles]

/** What was read from one entry. One object is reused for many entries: copy what must last. */
export interface ScannedEntry {
  role: EntryRole
  epoch: number
  seq: number
  /** 16 bytes of `event_id`. */
  readonly eventId: Uint8Array
  /** 32 bytes of `writer.prev`. */
  readonly prev: Uint8Array
  /** `writer.log` and `writer.id` are compared, never kept: see `isText`. */
  bytes: Uint8Array
  logAt: number
  logEnd: number
  idAt: number
  idEnd: number
}

/** Makes the object that `scanEntry` fills. */
export function createScannedEntry(): ScannedEntry {
  return {
    role: entryRoles.other,
    epoch: 0,
    seq: 0,
    eventId: new Uint8Array(16),
    prev: new Uint8Array(32),
    bytes: new Uint8Array(0),
    logAt: 0,
    logEnd: 0,
    idAt: 0,
    idEnd: 0,
  }
}

/**
 * Reads `entry` into `into`.
 *
 * @returns undefined, or why the entry is malformed, in words that quote nothing of it
 */
export function scanEntry(entry: Uint8Array, into: ScannedEntry): string | undefined {
  const outcome = scanText(entry, into)
  if (outcome === scanned) return undefined
  return parseSlowly(entry, into)
}

/** Tells whether the ASCII `text` stands at `from` … `to` of `bytes`. */
export function isText(bytes: Uint8Array, from: number, to: number, text: string): boolean {
  if (to - from !== text.length) return false
  for (let index = 0; index < text.length; index += 1) {
    if (bytes[from + index] !== text.charCodeAt(index)) return false
  }
  return true
}

const scanned = 0
const unsure = -1

const quote = 0x22
const comma = 0x2c
const minus = 0x2d
const zero = 0x30
const nine = 0x39
const colon = 0x3a
const openBracket = 0x5b
const backslash = 0x5c
const closeBracket = 0x5d
const openBrace = 0x7b
const closeBrace = 0x7d

/** Deeper nesting takes the slow way, which has the format's own limit. */
const depthMax = 64

// 1 for the bytes that stand for themselves inside a canonical ASCII string.
const plain = new Uint8Array(256)
for (let byte = 0x20; byte < 0x80; byte += 1) plain[byte] = 1
plain[quote] = 0
plain[backslash] = 0

// Value of a lowercase hex digit, 255 for any other byte.
const hexValue = new Uint8Array(256).fill(255)
for (const [value, digit] of [...'0123456789abcdef'].entries()) {
  hexValue[digit.charCodeAt(0)] = value
}

// What must have been found in an entry, and in its writer's stamp.
const found = { v: 1, eventId: 2, kind: 4, timestamp: 8, writer: 16, all: 31 } as const
const foundInWriter = { epoch: 1, id: 2, log: 4, prev: 8, seq: 16, all: 31 } as const

/** Scans a whole entry. */
function scanText(bytes: Uint8Array, into: ScannedEntry): number {
  const end = bytes.length
  if (bytes[0] !== openBrace) return unsure
  let position = 1
  let [previousAt, previousEnd, seen] = [0, 0, 0]
  for (;;) {
    const keyAt = position + 1
    const keyEnd = skipPlainKey(bytes, position, end)
    if (keyEnd < 0 || bytes[keyEnd + 1] !== colon) return unsure
    if (!isAfter(bytes, keyAt, keyEnd, previousAt, previousEnd)) return unsure
    ;[previousAt, previousEnd] = [keyAt, keyEnd]
    const valueAt = keyEnd + 2
    if (isText(bytes, keyAt, keyEnd, 'writer')) {
      position = scanWriter(bytes, valueAt, end, into)
      seen |= found.writer
    } else {
      position = skipValue(bytes, valueAt, end, 1)
      if (position < 0) return unsure
      const bit = takeMember(bytes, keyAt, keyEnd, valueAt, position, into)
      if (bit < 0) return unsure
      seen |= bit
    }
    if (position < 0) return unsure
    if (bytes[position] === closeBrace) break
    if (bytes[position] !== comma) return unsure
    position += 1
  }
  into.bytes = bytes
  return seen === found.all && position === end - 1 ? scanned : unsure
}

/** Reads one member of the entry; returns what was found, 0 for a name of no interest here, or -1. */
function takeMember(
  bytes: Uint8Array,
  keyAt: number,
  keyEnd: number,
  at: number,
  to: number,
  into: ScannedEntry,
): number {
  switch (keyEnd - keyAt) {
    case 1:
      if (bytes[keyAt] !== 0x76) return 0
      return isText(bytes, at, to, '1') ? found.v : unsure
    case 4:
      if (!isText(bytes, keyAt, keyEnd, 'kind')) return 0
      into.role = roleAt(bytes, at + 1, to - 1)
      return isKind(bytes, at, to) ? found.kind : unsure
    case 8:
      if (!isText(bytes, keyAt, keyEnd, 'event_id')) return 0
      return readUuid(bytes, at, to, into.eventId) ? found.eventId : unsure
    case 9:
      if (!isText(bytes, keyAt, keyEnd, 'timestamp')) return 0
      return isShaped(bytes, at, to, timestampShape) ? found.timestamp : unsure
    default:
      return 0
  }
}

/** Scans `{"epoch":…,"id":…,"log":…,"prev":…,"seq":…}`; returns the position after it or -1. */
function scanWriter(bytes: Uint8Array, at: number, end: number, into: ScannedEntry): number {
  if (bytes[at] !== openBrace) return unsure
  let position = at + 1
  let [previousAt, previousEnd, seen] = [0, 0, 0]
  for (;;) {
    const keyAt = position + 1
    const keyEnd = skipPlainKey(bytes, position, end)
    if (keyEnd < 0 || bytes[keyEnd + 1] !== colon) return unsure
    if (!isAfter(bytes, keyAt, keyEnd, previousAt, previousEnd)) return unsure
    ;[previousAt, previousEnd] = [keyAt, keyEnd]
    const valueAt = keyEnd + 2
    position = skipValue(bytes, valueAt, end, 2)
    if (position < 0) return unsure
    const bit = takeStamp(bytes, keyAt, keyEnd, valueAt, position, into)
    if (bit < 0) return unsure
    seen |= bit
    if (bytes[position] === closeBrace) break
    if (bytes[position] !== comma) return unsure
    position += 1
  }
  return seen === foundInWriter.all ? position + 1 : unsure
}

function takeStamp(
  bytes: Uint8Array,
  keyAt: number,
  keyEnd: number,
  at: number,
  to: number,
  into: ScannedEntry,
): number {
  if (isText(bytes, keyAt, keyEnd, 'epoch')) {
    into.epoch = readInteger(bytes, at, to)
    return into.epoch < 0 ? unsure : foundInWriter.epoch
  }
  if (isText(bytes, keyAt, keyEnd, 'seq')) {
    into.seq = readInteger(bytes, at, to)
    return into.seq < 0 ? unsure : foundInWriter.seq
  }
  if (isText(bytes, keyAt, keyEnd, 'id')) {
    into.idAt = at + 1
    into.idEnd = to - 1
    return isShaped(bytes, at, to, writerIdShape) ? foundInWriter.id : unsure
  }
  if (isText(bytes, keyAt, keyEnd, 'log')) {
    into.logAt = at + 1
    into.logEnd = to - 1
    return isLogName(bytes, at, to) ? foundInWriter.log : unsure
  }
  if (isText(bytes, keyAt, keyEnd, 'prev')) {
    return readHex(bytes, at, to, into.prev) ? foundInWriter.prev : unsure
  }
  return 0
}

/** Returns the position after the canonical value at `at`, or -1. */
function skipValue(bytes: Uint8Array, at: number, end: number, depth: number): number {
  const first = bytes[at]
  if (first === quote) return skipString(bytes, at, end)
  if (first === openBrace) return depth < depthMax ? skipObject(bytes, at, end, depth) : unsure
  if (first === openBracket) return depth < depthMax ? skipArray(bytes, at, end, depth) : unsure
  if (first === 0x74) return isText(bytes, at, at + 4, 'true') ? at + 4 : unsure
  if (first === 0x66) return isText(bytes, at, at + 5, 'false') ? at + 5 : unsure
  if (first === 0x6e) return isText(bytes, at, at + 4, 'null') ? at + 4 : unsure
  return skipInteger(bytes, at, end)
}

function skipObject(bytes: Uint8Array, at: number, end: number, depth: number): number {
  if (bytes[at + 1] === closeBrace) return at + 2
  let position = at + 1
  let [previousAt, previousEnd] = [0, 0]
  for (;;) {
    const keyAt = position + 1
    const keyEnd = skipPlainKey(bytes, position, end)
    if (keyEnd < 0 || bytes[keyEnd + 1] !== colon) return unsure
    if (!isAfter(bytes, keyAt, keyEnd, previousAt, previousEnd)) return unsure
    ;[previousAt, previousEnd] = [keyAt, keyEnd]
    position = skipValue(bytes, keyEnd + 2, end, depth + 1)
    if (position < 0) return unsure
    if (bytes[position] === closeBrace) return position + 1
    if (bytes[position] !== comma) return unsure
    position += 1
  }
}

function skipArray(bytes: Uint8Array, at: number, end: number, depth: number): number {
  if (bytes[at + 1] === closeBracket) return at + 2
  let position = at + 1
  for (;;) {
    position = skipValue(bytes, position, end, depth + 1)
    if (position < 0) return unsure
    if (bytes[position] === closeBracket) return position + 1
    if (bytes[position] !== comma) return unsure
    position += 1
  }
}

/** Returns the position after a string in the one form that RFC 8785 §3.2.2.2 gives it, or -1. */
function skipString(bytes: Uint8Array, at: number, end: number): number {
  let position = at + 1
  while (position < end) {
    const byte = bytes[position] ?? 0
    if (plain[byte] === 1) position += 1
    else if (byte === quote) return position + 1
    else if (byte === backslash) {
      position = skipEscape(bytes, position)
      if (position < 0) return unsure
    } else return unsure
  }
  return unsure
}

function skipEscape(bytes: Uint8Array, at: number): number {
  // \" \\ \b \f \n \r \t
  const letter = bytes[at + 1]
  if (letter === quote || letter === backslash) return at + 2
  if (letter === 0x62 || letter === 0x66 || letter === 0x6e) return at + 2
  if (letter === 0x72 || letter === 0x74) return at + 2
  if (letter !== 0x75 || bytes[at + 2] !== zero || bytes[at + 3] !== zero) return unsure
  const high = hexValue[bytes[at + 4] ?? 0] ?? 255
  const low = hexValue[bytes[at + 5] ?? 0] ?? 255
  if (high > 1 || low > 15) return unsure
  // \b \t \n \f \r have a short form, which is then the only one.
  const short = high === 0 && (low === 8 || low === 9 || low === 10 || low === 12 || low === 13)
  return short ? unsure : at + 6
}

/** Returns the position of the closing quote of a name without escapes, or -1. */
function skipPlainKey(bytes: Uint8Array, at: number, end: number): number {
  if (bytes[at] !== quote) return unsure
  let position = at + 1
  while (position < end && plain[bytes[position] ?? 0] === 1) position += 1
  return bytes[position] === quote ? position : unsure
}

// ASCII names order by UTF-16 code units as by bytes (RFC 8785 §3.2.3). `previousEnd` 0: the first.
function isAfter(
  bytes: Uint8Array,
  from: number,
  to: number,
  previousFrom: number,
  previousTo: number,
): boolean {
  if (previousTo === 0) return true
  const shared = Math.min(to - from, previousTo - previousFrom)
  for (let index = 0; index < shared; index += 1) {
    const [now, before] = [bytes[from + index] ?? 0, bytes[previousFrom + index] ?? 0]
    if (now !== before) return now > before
  }
  return to - from > previousTo - previousFrom
}

function skipInteger(bytes: Uint8Array, at: number, end: number): number {
  const digitsAt = bytes[at] === minus ? at + 1 : at
  let position = digitsAt
  while (position < end) {
    const byte = bytes[position] ?? 0
    if (byte < zero || byte > nine) break
    position += 1
  }
  const digits = position - digitsAt
  // 16 digits may be above 2^53 - 1: the slow way decides.
  if (digits === 0 || digits > 15) return unsure
  if (bytes[digitsAt] === zero && (digits > 1 || digitsAt !== at)) return unsure
  return position
}

function readInteger(bytes: Uint8Array, from: number, to: number): number {
  let value = 0
  for (let position = from; position < to; position += 1) {
    const byte = bytes[position] ?? 0
    if (byte < zero || byte > nine) return unsure
    value = value * 10 + (byte - zero)
  }
  return value
}

/** Reads `"<64 hex digits>"`. */
function readHex(bytes: Uint8Array, from: number, to: number, into: Uint8Array): boolean {
  if (to - from !== into.length * 2 + 2) return false
  for (let index = 0; index < into.length; index += 1) {
    const high = hexValue[bytes[from + 1 + index * 2] ?? 0] ?? 255
    const low = hexValue[bytes[from + 2 + index * 2] ?? 0] ?? 255
    if (high > 15 || low > 15) return false
    into[index] = high * 16 + low
  }
  return true
}

/** Reads `"xxxxxxxx-xxxx-7xxx-[89ab]xxx-xxxxxxxxxxxx"`. */
function readUuid(bytes: Uint8Array, from: number, to: number, into: Uint8Array): boolean {
  if (to - from !== 38) return false
  let position = from + 1
  for (let index = 0; index < 16; index += 1) {
    if (index === 4 || index === 6 || index === 8 || index === 10) {
      if (bytes[position] !== minus) return false
      position += 1
    }
    const high = hexValue[bytes[position] ?? 0] ?? 255
    const low = hexValue[bytes[position + 1] ?? 0] ?? 255
    if (high > 15 || low > 15) return false
    into[index] = high * 16 + low
    position += 2
  }
  return (into[6] ?? 0) >> 4 === 7 && (into[8] ?? 0) >> 6 === 2
}

// In a shape, 0 stands for any digit, x for any lowercase hex digit.
const timestampShape = '"0000-00-00T00:00:00.000000Z"'
const writerIdShape = '"xxxxxxxxxxxxxxxx"'

function isShaped(bytes: Uint8Array, from: number, to: number, shape: string): boolean {
  if (to - from !== shape.length) return false
  for (let index = 0; index < shape.length; index += 1) {
    const byte = bytes[from + index] ?? 0
    const wanted = shape.charCodeAt(index)
    if (wanted === zero) {
      if (byte < zero || byte > nine) return false
    } else if (wanted === 0x78) {
      if ((hexValue[byte] ?? 255) > 15) return false
    } else if (byte !== wanted) return false
  }
  return true
}

/** Words of `a` … `z` and `_`, two or more, with dots between: as `parseEntry` has it. */
function isKind(bytes: Uint8Array, from: number, to: number): boolean {
  let [words, letters] = [1, 0]
  for (let position = from + 1; position < to - 1; position += 1) {
    const byte = bytes[position] ?? 0
    if ((byte >= 0x61 && byte <= 0x7a) || byte === 0x5f) letters += 1
    else if (byte === 0x2e && letters > 0) [words, letters] = [words + 1, 0]
    else return false
  }
  return bytes[from] === quote && words > 1 && letters > 0
}

/** `"<class>/<yyyy>q<1-4>"`. */
function isLogName(bytes: Uint8Array, from: number, to: number): boolean {
  const slash = to - 8
  if (bytes[from] !== quote || slash <= from + 1 || bytes[slash] !== 0x2f) return false
  for (let position = from + 1; position < slash; position += 1) {
    const byte = bytes[position] ?? 0
    // Spaces are refused; escapes are left to the slow way.
    if (byte <= 0x20 || byte === 0x2f || byte === backslash) return false
  }
  const quarter = bytes[to - 2] ?? 0
  if (bytes[to - 3] !== 0x71 || quarter < 0x31 || quarter > 0x34) return false
  for (let position = slash + 1; position < to - 3; position += 1) {
    const byte = bytes[position] ?? 0
    if (byte < zero || byte > nine) return false
  }
  return true
}

function roleAt(bytes: Uint8Array, from: number, to: number): EntryRole {
  if (isText(bytes, from, to, 'interaction.started')) return entryRoles.start
  if (isText(bytes, from, to, 'interaction.completed')) return entryRoles.end
  if (isText(bytes, from, to, 'interaction.interrupted')) return entryRoles.end
  if (isText(bytes, from, to, 'ledger.opened')) return entryRoles.opened
  return entryRoles.other
}

function parseSlowly(bytes: Uint8Array, into: ScannedEntry): string | undefined {
  let entry: Entry
  try {
    entry = parseEntry(bytes)
  } catch (error) {
    if (isAuditError(error)) return error.message
    throw error
  }
  const { writer } = entry
  into.eventId.set(fromHex(entry.event_id.replaceAll('-', '')))
  into.prev.set(fromHex(writer.prev))
  into.epoch = writer.epoch
  into.seq = writer.seq
  const kind = utf8Encode(entry.kind)
  into.role = roleAt(kind, 0, kind.length)
  const [log, id] = [utf8Encode(writer.log), utf8Encode(writer.id)]
  into.bytes = new Uint8Array([...log, ...id])
  into.logAt = 0
  into.logEnd = log.length
  into.idAt = log.length
  into.idEnd = log.length + id.length
  return undefined
}
