/**
 * How far each spool has been taken: the (epoch, seq) of its last record that is in the ledger. What is
 * at or before the mark has been taken and is acknowledged again without being written again.
 *
 * On disk: `<dataDir>/<instance>/keyring/ingest.jsonl`, a line
 * `{"epoch":7,"key":"<gateway key id>","seq":41,"writer":"<spool id>"}` after each request; the last line
 * of a spool counts.
 *
 * Invariants:
 * - A mark is written after the entries that it speaks of are sequenced and before the spool is told. A
 *   crash between the two leaves a mark that is too old; opening advances it from the ledger's newest
 *   entries, which carry the same four values.
 * - Marks are per gateway key, so that no application can move another's.
 *
 * @module
 */
import { canonicalize, utf8Decode, utf8Encode } from '@affidavit/format'

/** Spools remembered at most; the one unused longest is forgotten. */
export const spoolsMax = 100_000
// Lines after which the file is written anew with one line per spool.
const linesMax = 100_000

/** A position in a spool. */
export interface Mark {
  readonly epoch: number
  readonly seq: number
}

/** Names a spool. */
export interface SpoolName {
  readonly key: string
  readonly writer: string
}

/** The file of marks. Calls do not overlap. */
export interface MarksFile {
  readAll(): Promise<Uint8Array>
  /** Appends; durable when it resolves. */
  append(bytes: Uint8Array): Promise<void>
  /** Replaces everything; durable when it resolves. */
  replace(bytes: Uint8Array): Promise<void>
  close(): Promise<void>
}

export interface Marks {
  of(spool: SpoolName): Mark | undefined
  /** Moves the mark on; durable when it resolves. Calls may overlap. */
  advance(spool: SpoolName, mark: Mark): Promise<void>
  close(): Promise<void>
}

/**
 * Opens the marks.
 *
 * @param recent the ledger's newest entries, at least those that were sequenced after the last mark.
 */
export async function openMarks(
  file: MarksFile,
  recent: AsyncIterable<Uint8Array>,
): Promise<Marks> {
  const marks = new Map<string, Mark>()
  for (const line of (await readText(file)).split('\n')) setNewer(marks, parseMark(line))
  for await (const entry of recent) setNewer(marks, stampOf(entry))
  await file.replace(formatAll(marks))
  return createMarks(file, marks)
}

/** Whether `mark` is at or before `last`. */
export function isTaken(mark: Mark, last: Mark | undefined): boolean {
  if (last === undefined) return false
  return mark.epoch < last.epoch || (mark.epoch === last.epoch && mark.seq <= last.seq)
}

function createMarks(file: MarksFile, marks: Map<string, Mark>): Marks {
  let lines = marks.size
  let writing: Promise<void> = Promise.resolve()

  async function write(spool: SpoolName, mark: Mark): Promise<void> {
    const name = nameOf(spool)
    setNewer(marks, { name, mark })
    if (lines >= linesMax) {
      lines = marks.size
      await file.replace(formatAll(marks))
    } else {
      lines++
      await file.append(utf8Encode(lineOf(name, mark)))
    }
  }

  return {
    of: (spool) => marks.get(nameOf(spool)),
    advance(spool, mark) {
      // One at a time; a failure is the caller's, and does not stop those behind it.
      const result = writing.then(() => write(spool, mark))
      writing = result.catch(() => undefined)
      return result
    },
    async close() {
      await writing
      await file.close()
    },
  }
}

interface NamedMark {
  readonly name: string
  readonly mark: Mark
}

function setNewer(marks: Map<string, Mark>, named: NamedMark | undefined): void {
  if (named === undefined || isTaken(named.mark, marks.get(named.name))) return
  // Set anew, it is the youngest of the map.
  marks.delete(named.name)
  marks.set(named.name, named.mark)
  if (marks.size <= spoolsMax) return
  const oldest = marks.keys().next()
  if (!oldest.done) marks.delete(oldest.value)
}

async function readText(file: MarksFile): Promise<string> {
  const bytes = await file.readAll()
  // A torn last line was never acknowledged; it does not parse and is dropped with the rewrite.
  return Buffer.from(bytes).toString('utf8')
}

function formatAll(marks: ReadonlyMap<string, Mark>): Uint8Array {
  let text = ''
  for (const [name, mark] of marks) text += lineOf(name, mark)
  return utf8Encode(text)
}

function lineOf(name: string, { epoch, seq }: Mark): string {
  const [key = '', writer = ''] = name.split('\n')
  return `${canonicalize({ epoch, key, seq, writer })}\n`
}

function nameOf({ key, writer }: SpoolName): string {
  return `${key}\n${writer}`
}

function parseMark(line: string): NamedMark | undefined {
  try {
    return markFrom(JSON.parse(line), 'writer')
  } catch {
    return undefined
  }
}

const stampStart = Buffer.from('"ingest":{')

/** The stamp of an entry that came through here; most entries did not, and are not parsed. */
function stampOf(entry: Uint8Array): NamedMark | undefined {
  const bytes = Buffer.from(entry.buffer, entry.byteOffset, entry.length)
  if (!bytes.includes(stampStart)) return undefined
  try {
    const { ingest } = JSON.parse(utf8Decode(entry)) as { ingest?: unknown }
    return markFrom(ingest, 'id')
  } catch {
    return undefined
  }
}

function markFrom(value: unknown, writerField: 'writer' | 'id'): NamedMark | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const row = value as Record<string, unknown>
  const { epoch, seq, key, [writerField]: writer } = row
  if (typeof key !== 'string' || typeof writer !== 'string') return undefined
  if (!Number.isSafeInteger(epoch) || !Number.isSafeInteger(seq)) return undefined
  return { name: nameOf({ key, writer }), mark: { epoch: Number(epoch), seq: Number(seq) } }
}
