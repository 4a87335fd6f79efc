/**
 * Entries as bytes: encoding, stamping and reading them, and the ids in them. The schema itself is in
 * record.ts.
 *
 * Invariant: `encodeEntry` of what `parseEntry` gave is the same bytes, whatever fields it has.
 *
 * @module
 */
import { assert } from './assert.ts'
import { toHex, utf8Decode, utf8Encode } from './bytes.ts'
import { canonicalizeIntegers } from './canonical.ts'
import { AuditError } from './errors.ts'
import { sha256Hex } from './hash.ts'
import { entryBytesMax, type Entry, type EntryBody, type WriterStamp } from './record.ts'

const eventIdPattern = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const timestampPattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/
const kindPattern = /^[a-z_]+(?:\.[a-z_]+)+$/
const writerLogPattern = /^[^/\s]+\/\d{4}q[1-4]$/
const eventIdMillisMax = 2 ** 48 - 1

/**
 * Canonical text of a body that is about to be sequenced: RFC 8785, integers only, no name that
 * sorts after `writer`.
 *
 * @throws AuditError `ERR_CANONICAL_UNSUPPORTED` for a value that JSON or the integer rule excludes;
 *   `ERR_ENTRY_MALFORMED` for a name that sorts after `writer`.
 */
export function encodeBody(body: EntryBody): string {
  for (const name of Object.keys(body)) {
    if (name >= 'writer') {
      throw new AuditError('ERR_ENTRY_MALFORMED', 'an entry field sorts after `writer`')
    }
  }
  return canonicalizeIntegers(body)
}

/**
 * Puts `writer` into an already canonical body in place of its last brace, without parsing it:
 * `stampEntry(canonicalize(body), writer) === canonicalize({ ...body, writer })`, because `writer`
 * sorts after every other name.
 */
export function stampEntry(canonicalBody: string, writer: WriterStamp): string {
  assert(canonicalBody.startsWith('{"') && canonicalBody.endsWith('}'), 'a body is a JSON object')
  const { epoch, id, log, prev, seq } = writer
  assert(Number.isSafeInteger(epoch) && Number.isSafeInteger(seq), 'epoch and seq are integers')
  const strings = `"id":${JSON.stringify(id)},"log":${JSON.stringify(log)},"prev":"${prev}"`
  return `${canonicalBody.slice(0, -1)},"writer":{"epoch":${epoch},${strings},"seq":${seq}}}`
}

/**
 * Bytes of an entry, as they stand in a log: the reference encoder.
 *
 * @throws AuditError as `encodeBody` does, and `ERR_ENTRY_TOO_LARGE` beyond `entryBytesMax`.
 */
export function encodeEntry(body: EntryBody, writer: WriterStamp): Uint8Array {
  const bytes = utf8Encode(stampEntry(encodeBody(body), writer))
  if (bytes.length > entryBytesMax) {
    throw new AuditError(
      'ERR_ENTRY_TOO_LARGE',
      `an entry of ${bytes.length} bytes exceeds the ${entryBytesMax} that a log can hold`,
    )
  }
  return bytes
}

/**
 * Reads an entry of a log. Fields that this version does not know are kept.
 *
 * @throws AuditError `ERR_ENTRY_MALFORMED` unless the bytes are canonical JSON of schema version 1
 *   with `kind`, `event_id`, `timestamp` and `writer` in their forms.
 */
export function parseEntry(bytes: Uint8Array): Entry {
  if (bytes.length > entryBytesMax) throw malformed(`it is longer than ${entryBytesMax} bytes`)
  const value = readCanonical(bytes)
  if (!isObject(value)) throw malformed('it is not a JSON object')
  const fault = faultOf(value)
  if (fault !== undefined) throw malformed(fault)
  assert(isEntry(value), 'what has no fault is an entry')
  return value
}

/**
 * A UUIDv7 (RFC 9562 section 5.7) from milliseconds since the epoch and ten random bytes, of which
 * six bits give way to version and variant.
 */
export function newEventId(nowMs: number, random: Uint8Array): string {
  assert(Number.isInteger(nowMs) && nowMs >= 0 && nowMs <= eventIdMillisMax, 'time fits 48 bits')
  assert(random.length === 10, 'an event id takes ten random bytes')
  const time = nowMs.toString(16).padStart(12, '0')
  const rest = new Uint8Array(random)
  rest[0] = ((rest[0] ?? 0) & 0x0f) | 0x70
  rest[2] = ((rest[2] ?? 0) & 0x3f) | 0x80
  const tail = toHex(rest)
  const head = `${time.slice(0, 8)}-${time.slice(8)}`
  return `${head}-${tail.slice(0, 4)}-${tail.slice(4, 8)}-${tail.slice(8)}`
}

/**
 * Milliseconds since the epoch in a UUIDv7.
 *
 * @throws AuditError `ERR_ENTRY_MALFORMED` when `eventId` is not a UUIDv7 in lower case.
 */
export function eventIdMillis(eventId: string): number {
  const [, high, low] = eventIdPattern.exec(eventId) ?? []
  if (high === undefined || low === undefined) {
    throw new AuditError('ERR_ENTRY_MALFORMED', 'an event id is not a UUIDv7 in lower case')
  }
  return Number.parseInt(high + low, 16)
}

/** Id of a writer: the first 16 hex digits of SHA-256 of its Ed25519 public key. */
export function writerIdOf(publicKey: Uint8Array): string {
  return sha256Hex(publicKey).slice(0, 16)
}

function readCanonical(bytes: Uint8Array): unknown {
  let text: string
  let value: unknown
  let canonical: string
  try {
    text = utf8Decode(bytes)
    value = JSON.parse(text)
  } catch {
    // No cause: the runtime's message quotes the text.
    throw malformed('it is not JSON in UTF-8')
  }
  try {
    canonical = canonicalizeIntegers(value)
  } catch (cause) {
    throw malformed('it holds a value that entries cannot hold, such as a fraction', cause)
  }
  if (canonical !== text) throw malformed('it is not in its one canonical form (RFC 8785)')
  return value
}

function faultOf(entry: Readonly<Record<string, unknown>>): string | undefined {
  if (entry.v !== 1) return 'its schema version `v` is not 1'
  if (!matches(entry.kind, kindPattern)) return '`kind` is missing or malformed'
  if (!matches(entry.event_id, eventIdPattern)) return '`event_id` is not a UUIDv7'
  if (!matches(entry.timestamp, timestampPattern)) {
    return '`timestamp` is not RFC 3339 UTC with microseconds'
  }
  if (!isObject(entry.writer) || !isWriterStamp(entry.writer)) {
    return '`writer` is missing or malformed'
  }
  return undefined
}

/** What every entry has is checked; the rest of the schema is optional to a reader. */
function isEntry(value: object): value is Entry {
  return 'kind' in value && 'writer' in value
}

function isWriterStamp(writer: Readonly<Record<string, unknown>>): boolean {
  return (
    isCount(writer.epoch) &&
    isCount(writer.seq) &&
    matches(writer.id, /^[0-9a-f]{16}$/) &&
    matches(writer.prev, /^[0-9a-f]{64}$/) &&
    matches(writer.log, writerLogPattern)
  )
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function matches(value: unknown, pattern: RegExp): boolean {
  return typeof value === 'string' && pattern.test(value)
}

function malformed(why: string, cause?: unknown): AuditError {
  return new AuditError('ERR_ENTRY_MALFORMED', `an entry is malformed: ${why}`, { cause })
}
