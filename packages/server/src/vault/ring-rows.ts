/**
 * Rows of the key ring (`<dataDir>/<instance>/keyring/subjects.jsonl`), one canonical JSON object a
 * line:
 *
 *     {"handle":"sub_…","key":"<16 hex>","kind":"user","lookup":"<64 hex>","month":"2026-11",
 *      "salt":"<base64>","sealed":"<base64>"}
 *
 * `kind` is `user`, `session` or `application`; `handle` is what stands in entries; `lookup` is
 * HMAC-SHA-256 under the instance's lookup key over `kind ‖ LF ‖ month ‖ LF ‖ name`, which finds the row
 * again without opening it; `key` and `sealed` are as identity-keys.ts says; `salt` (users only) makes
 * the subject's own hash key, so deleting the row destroys that key too.
 *
 * Invariant: a line without its line end was never acknowledged (the append that held it failed or was
 * cut by a crash) and may be dropped; anything else that does not parse is damage and is reported.
 *
 * @module
 */
import { canonicalize, fromBase64, utf8Decode, utf8Encode } from '@affidavit/format'
import type { RingFile } from './ring-file.ts'

/** One row. */
export interface RingRow {
  readonly kind: 'user' | 'session' | 'application'
  readonly handle: string
  readonly month: string
  readonly lookup: string
  /** Id of the identity key that `sealed` was made for. */
  readonly key: string
  readonly sealed: string
  readonly salt?: string
}

/** What reading the whole file found. */
export interface RingScan {
  /** Bytes of the file that are whole lines. */
  readonly wholeBytes: number
  /** Bytes after them: a torn row that was never acknowledged. */
  readonly tornBytes: number
  readonly rows: number
  /** Whole lines that are not rows. */
  readonly damagedRows: number
}

const chunkBytes = 1024 * 1024
// A sealed name of the largest size and all other fields fit well within this.
const lineBytesMax = 16 * 1024
const lineEnd = 0x0a

/** The line of a row, with its line end. */
export function formatRow(row: RingRow): Uint8Array {
  return utf8Encode(`${canonicalize(row)}\n`)
}

/** Parses one line without its line end; `undefined` if it is not a row. */
export function parseRow(line: Uint8Array): RingRow | undefined {
  try {
    const value: unknown = JSON.parse(utf8Decode(line))
    return isRow(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Reads every row from the start of the file, in constant memory. */
export async function scanRows(
  file: Pick<RingFile, 'read'>,
  visit: (row: RingRow) => void,
): Promise<RingScan> {
  let position = 0
  let rest: Uint8Array = new Uint8Array(0)
  const counts = { rows: 0, damagedRows: 0 }
  for (;;) {
    const chunk = await file.read(position, chunkBytes)
    if (chunk.length === 0) break
    position += chunk.length
    const text = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    rest = Buffer.from(visitLines(text, visit, counts))
  }
  return { ...counts, wholeBytes: position - rest.length, tornBytes: rest.length }
}

/** Visits the whole lines of `text` and returns what is left behind the last. */
function visitLines(
  text: Uint8Array,
  visit: (row: RingRow) => void,
  counts: { rows: number; damagedRows: number },
): Uint8Array {
  let start = 0
  for (;;) {
    const end = text.indexOf(lineEnd, start)
    if (end < 0) return text.subarray(start)
    const row = end - start > lineBytesMax ? undefined : parseRow(text.subarray(start, end))
    if (row === undefined) counts.damagedRows++
    else {
      counts.rows++
      visit(row)
    }
    start = end + 1
  }
}

function isRow(value: unknown): value is RingRow {
  if (typeof value !== 'object' || value === null) return false
  const row = value as Record<keyof RingRow, unknown>
  return (
    (row.kind === 'user' || row.kind === 'session' || row.kind === 'application') &&
    typeof row.handle === 'string' &&
    typeof row.month === 'string' &&
    /^\d{4}-\d{2}$/.test(row.month) &&
    typeof row.lookup === 'string' &&
    /^[0-9a-f]{64}$/.test(row.lookup) &&
    typeof row.key === 'string' &&
    isBase64(row.sealed) &&
    (row.salt === undefined || isBase64(row.salt))
  )
}

function isBase64(value: unknown): boolean {
  if (typeof value !== 'string') return false
  try {
    return fromBase64(value).length > 0
  } catch {
    return false
  }
}
