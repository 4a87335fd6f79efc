/**
 * Reads from an entry what its place in the chain needs, and finds fault with one that is not in its
 * form: what `parseEntry` would find, at a fraction of its cost. A property test holds that both agree.
 *
 * @module
 */
import { type Entry, fromHex, isAuditError, parseEntry, utf8Encode } from '@affidavit/format'
import { isDigit, isText, type Marks, skipEntry } from './canonical-text.ts'
import {
  createFactsBatch,
  type EntryRole,
  entryRoles,
  type FactsBatch,
  hashBytes,
  idBytes,
} from './facts.ts'

/** Reads entries. Says about the last one what has no column. */
export interface EntryScanner {
  /**
   * Reads the entry at `from` … `to` of `bytes` into the columns of `facts` at `index`.
   *
   * @returns undefined, or why the entry is malformed, in words that quote nothing of it
   */
  scan(
    bytes: Uint8Array,
    from: number,
    to: number,
    facts: FactsBatch,
    index: number,
  ): string | undefined
  /** Whether `writer.log` of the last entry is `log`. */
  isInLog(log: string): boolean
  /** Whether `writer.id` of the last entry is `id`. */
  isByWriter(id: string): boolean
  /** `writer.log` of the last entry. */
  log(): string
}

/** Where the two texts of the writer's stamp are that have no column. */
interface Stamp {
  bytes: Uint8Array
  logAt: number
  logEnd: number
  idAt: number
}

const idLength = 16

/** Makes a scanner. Its calls must not overlap. */
export function createEntryScanner(): EntryScanner {
  const marks: Marks = { v: 0, kind: 0, eventId: 0, timestamp: 0, writer: 0, ingest: 0 }
  const stamp: Stamp = { bytes: new Uint8Array(0), logAt: 0, logEnd: 0, idAt: 0 }
  let view: DataView = new DataView(new ArrayBuffer(0))
  return {
    scan(bytes, from, to, facts, index) {
      if (view.buffer !== bytes.buffer || view.byteOffset !== bytes.byteOffset) {
        view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
      }
      const isRead =
        skipEntry(bytes, view, from, marks) === to &&
        readBody(bytes, marks, facts, index) &&
        readWriter(bytes, marks.writer, facts, index, stamp)
      return isRead ? undefined : readSlowly(bytes.subarray(from, to), facts, index, stamp)
    },
    isInLog: (log) =>
      stamp.logEnd - stamp.logAt === log.length && isText(stamp.bytes, stamp.logAt, log),
    isByWriter: (id) => id.length === idLength && isText(stamp.bytes, stamp.idAt, id),
    log: () => Buffer.from(stamp.bytes.subarray(stamp.logAt, stamp.logEnd)).toString('utf8'),
  }
}

/** Facts of one entry; undefined when it is malformed. */
export function factsOfOne(entry: Uint8Array): FactsBatch | undefined {
  const facts = createFactsBatch(1)
  const fault = createEntryScanner().scan(entry, 0, entry.length, facts, 0)
  return fault === undefined ? facts : undefined
}

// Value of a lowercase hex digit, 255 for any other byte.
const hexValue = new Uint8Array(256).fill(255)
for (let value = 0; value < 16; value += 1) hexValue[value.toString(16).charCodeAt(0)] = value

const quote = 0x22
const dash = 0x2d

/** Reads the members before the writer's stamp. The text is canonical. */
function readBody(bytes: Uint8Array, marks: Marks, facts: FactsBatch, index: number): boolean {
  const { v, kind, eventId, timestamp } = marks
  if (v === 0 || kind === 0 || eventId === 0 || timestamp === 0) return false
  // `1` and nothing after it: what follows a value is a comma or a brace.
  if (bytes[v] !== 0x31 || isDigit(bytes[v + 1] ?? 0)) return false
  if (!isKind(bytes, kind) || !isTimestamp(bytes, timestamp)) return false
  facts.roles[index] = roleOf(roleAt(bytes, kind + 1), marks.ingest !== 0)
  return readUuid(bytes, eventId, facts.eventIds, index * idBytes)
}

/** Reads `{"epoch":…,"id":"…","log":"…","prev":"…","seq":…}` without other members. */
function readWriter(
  bytes: Uint8Array,
  at: number,
  facts: FactsBatch,
  index: number,
  stamp: Stamp,
): boolean {
  if (at === 0 || !isText(bytes, at, '{"epoch":')) return false
  const epochAt = at + 9
  const epochEnd = skipDigits(bytes, epochAt)
  if (!isText(bytes, epochEnd, ',"id":"')) return false
  const idAt = epochEnd + 7
  const idEnd = idAt + idLength
  for (let position = idAt; position < idEnd; position += 1) {
    if ((hexValue[bytes[position] ?? 0] ?? 255) > 15) return false
  }
  if (!isText(bytes, idEnd, '","log":"')) return false
  const logAt = idEnd + 9
  const logEnd = skipLogName(bytes, logAt)
  if (logEnd < 0 || !isText(bytes, logEnd, '","prev":"')) return false
  const prevAt = logEnd + 10
  if (!readHex(bytes, prevAt, facts.prevs, index * hashBytes)) return false
  if (!isText(bytes, prevAt + 2 * hashBytes, '","seq":')) return false
  const seqAt = prevAt + 2 * hashBytes + 8
  const seqEnd = skipDigits(bytes, seqAt)
  if (bytes[seqEnd] !== 0x7d) return false
  facts.epochs[index] = readInteger(bytes, epochAt, epochEnd)
  facts.seqs[index] = readInteger(bytes, seqAt, seqEnd)
  stamp.bytes = bytes
  stamp.logAt = logAt
  stamp.logEnd = logEnd
  stamp.idAt = idAt
  return true
}

function skipDigits(bytes: Uint8Array, at: number): number {
  let position = at
  while (isDigit(bytes[position] ?? 0)) position += 1
  return position
}

function readInteger(bytes: Uint8Array, from: number, to: number): number {
  let value = 0
  for (let position = from; position < to; position += 1) {
    value = value * 10 + ((bytes[position] ?? 0) - 0x30)
  }
  return value
}

/** Reads 64 hex digits. */
function readHex(bytes: Uint8Array, at: number, into: Uint8Array, offset: number): boolean {
  for (let index = 0; index < hashBytes; index += 1) {
    const high = hexValue[bytes[at + index * 2] ?? 0] ?? 255
    const low = hexValue[bytes[at + index * 2 + 1] ?? 0] ?? 255
    if ((high | low) > 15) return false
    into[offset + index] = high * 16 + low
  }
  return true
}

/** Reads `"xxxxxxxx-xxxx-7xxx-[89ab]xxx-xxxxxxxxxxxx"`. */
function readUuid(bytes: Uint8Array, at: number, into: Uint8Array, offset: number): boolean {
  if (bytes[at] !== quote || bytes[at + 37] !== quote) return false
  let position = at + 1
  for (let index = 0; index < idBytes; index += 1) {
    if (index === 4 || index === 6 || index === 8 || index === 10) {
      if (bytes[position] !== dash) return false
      position += 1
    }
    const high = hexValue[bytes[position] ?? 0] ?? 255
    const low = hexValue[bytes[position + 1] ?? 0] ?? 255
    if ((high | low) > 15) return false
    into[offset + index] = high * 16 + low
    position += 2
  }
  return (into[offset + 6] ?? 0) >> 4 === 7 && (into[offset + 8] ?? 0) >> 6 === 2
}

/** `"2026-11-23T14:00:00.123456Z"`: 0 in the shape stands for any digit. */
const timestampShape = '"0000-00-00T00:00:00.000000Z"'

function isTimestamp(bytes: Uint8Array, at: number): boolean {
  for (let index = 0; index < timestampShape.length; index += 1) {
    const wanted = timestampShape.charCodeAt(index)
    const byte = bytes[at + index] ?? 0
    if (wanted === 0x30 ? !isDigit(byte) : byte !== wanted) return false
  }
  return true
}

/** Words of `a` … `z` and `_`, two or more, with dots between: as `parseEntry` has it. */
function isKind(bytes: Uint8Array, at: number): boolean {
  if (bytes[at] !== quote) return false
  let words = 1
  let letters = 0
  for (let position = at + 1; ; position += 1) {
    const byte = bytes[position] ?? 0
    if (byte === quote) return words > 1 && letters > 0
    if ((byte >= 0x61 && byte <= 0x7a) || byte === 0x5f) letters += 1
    else if (byte === 0x2e && letters > 0) {
      words += 1
      letters = 0
    } else return false
  }
}

/** Position after `<class>/<yyyy>q<1-4>`, or -1. */
function skipLogName(bytes: Uint8Array, at: number): number {
  let position = at
  // Space, slash, quote and backslash end the class; what else ASCII has was admitted before.
  while ((bytes[position] ?? 0) > 0x20 && bytes[position] !== 0x2f && bytes[position] !== quote) {
    position += 1
  }
  if (position === at || bytes[position] !== 0x2f) return -1
  for (let digit = 1; digit <= 4; digit += 1) {
    if (!isDigit(bytes[position + digit] ?? 0)) return -1
  }
  const quarter = bytes[position + 6] ?? 0
  if (bytes[position + 5] !== 0x71 || quarter < 0x31 || quarter > 0x34) return -1
  return position + 7
}

function roleAt(bytes: Uint8Array, at: number): EntryRole {
  if (isText(bytes, at, 'interaction.started"')) return entryRoles.start
  if (isText(bytes, at, 'interaction.completed"')) return entryRoles.end
  if (isText(bytes, at, 'interaction.interrupted"')) return entryRoles.end
  if (isText(bytes, at, 'ledger.opened"')) return entryRoles.opened
  return entryRoles.other
}

function roleOf(role: EntryRole, isIngested: boolean): EntryRole {
  return isIngested && role === entryRoles.start ? entryRoles.ingestedStart : role
}

function readSlowly(
  entry: Uint8Array,
  facts: FactsBatch,
  index: number,
  stamp: Stamp,
): string | undefined {
  let parsed: Entry
  try {
    parsed = parseEntry(entry)
  } catch (error) {
    if (isAuditError(error)) return error.message
    throw error
  }
  const { writer } = parsed
  facts.eventIds.set(fromHex(parsed.event_id.replaceAll('-', '')), index * idBytes)
  facts.prevs.set(fromHex(writer.prev), index * hashBytes)
  facts.epochs[index] = writer.epoch
  facts.seqs[index] = writer.seq
  facts.roles[index] = roleOf(roleAt(utf8Encode(`${parsed.kind}"`), 0), 'ingest' in parsed)
  const log = utf8Encode(writer.log)
  stamp.bytes = new Uint8Array([...log, ...utf8Encode(writer.id)])
  stamp.logAt = 0
  stamp.logEnd = stamp.idAt = log.length
  return undefined
}
