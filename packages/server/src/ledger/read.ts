/**
 * Reading a ledger from outside: no lock, no key, nothing written; beside the process that writes it,
 * or in a copy of its directory.
 *
 * What is read here is what the files say. It is not verified against signatures or trees: that is
 * `verifyLog`'s work in `@affidavit/format`. Frames of the write-ahead log are checked by their chain.
 *
 * @module
 */
import {
  eventIdMillis,
  parseBundle,
  parseCheckpoint,
  parseNote,
  readTile,
  tilePath,
  tileWidth,
  utf8Decode,
} from '@affidavit/format'
import { join } from 'node:path'
import type { LedgerFs } from '../store/ledger-fs.ts'
import { posixFs } from '../store/posix-fs.ts'
import { corruptFailure } from './failure.ts'
import { walkFrame } from './frame.ts'
import { parseHead, type Head } from './head.ts'
import { ledgerPaths, pathsBelow, type LedgerPaths } from './layout.ts'
import { peekEntry, phaseOf, readStamp } from './peek.ts'
import { quarterAt } from './quarter.ts'
import { scanWal } from './wal-scan.ts'

/** A log, as the head and its directory describe it. */
export interface LogInfo {
  /** `<class>/<quarter>`. */
  readonly path: string
  readonly retentionClass: string
  readonly quarter: string
  readonly origin: string
  readonly directory: string
  /** Entries under its last checkpoint. */
  readonly size: number
  /** Verifier key as the log's directory has it: take it from elsewhere to trust it. */
  readonly vkey: string | undefined
  /** The signed checkpoint of that size. */
  readonly checkpoint: string
}

/** An entry and its place. */
export interface PlacedEntry {
  /** `<class>/<quarter>`. */
  readonly log: string
  readonly leafIndex: number
  readonly entry: Uint8Array
  /** Whether a checkpoint covers it already; if not, it is in the write-ahead log. */
  readonly integrated: boolean
}

/** Calls may overlap. Each sees the ledger as it is when it is made. */
export interface LedgerReader {
  /** Logs by quarter, then class. */
  logs(): Promise<readonly LogInfo[]>
  /**
   * Entries of a log from index `from` up to, not including, `to` (default: its size), in order.
   *
   * @throws AuditError `ERR_LEDGER_CORRUPT` when a bundle is missing or malformed.
   */
  readEntries(log: LogInfo, from?: number, to?: number): AsyncIterable<PlacedEntry>
  /**
   * Entries that are durable and not under a checkpoint yet, in the order in which they were written.
   * Nothing if there is no head.
   *
   * @throws AuditError `ERR_LEDGER_CORRUPT` or `ERR_ROLLBACK_SUSPECTED` as a recovery would.
   */
  readUnintegrated(): AsyncIterable<PlacedEntry>
  /**
   * Every entry about an interaction, or the one entry with that id, oldest first. Fast for what is
   * near the time in the id; reads everything before it says that there is none.
   *
   * @throws AuditError `ERR_ENTRY_MALFORMED` when `eventId` is not a UUIDv7.
   */
  findByEventId(eventId: string): Promise<readonly PlacedEntry[]>
}

// A reader beside a writer can meet a segment that is being removed or a frame that is being written.
const attemptsMax = 5
// Entries are in the order of sequencing; clocks of several hosts, and a clock that was set back, are
// not exact.
const clockSlackMs = 5 * 60_000

/**
 * Opens the ledger in an instance's directory, or in a copy of its `ledger` folder.
 */
export async function openLedgerReader(
  directory: string,
  options: { fs?: LedgerFs; headDirectory?: string } = {},
): Promise<LedgerReader> {
  const { fs = posixFs, headDirectory } = options
  const isInstance = (await fs.list(join(directory, 'ledger'))) !== undefined
  const paths = (isInstance ? ledgerPaths : pathsBelow)(directory, headDirectory)
  const source = { fs, paths }
  return {
    logs: () => listLogs(source),
    readEntries: (log, from = 0, to = log.size) => readEntries(source, log, { from, to }),
    readUnintegrated: () => readUnintegrated(source),
    findByEventId: (eventId) => findByEventId(source, eventId),
  }
}

interface Source {
  readonly fs: LedgerFs
  readonly paths: LedgerPaths
}

async function loadHead({ fs, paths }: Source): Promise<Head | undefined> {
  const bytes = await fs.readFile(join(paths.head, 'head.json'))
  return bytes === undefined ? undefined : parseHead(bytes)
}

async function listLogs(source: Source): Promise<LogInfo[]> {
  const { fs, paths } = source
  const head = await loadHead(source)
  const logs: LogInfo[] = []
  for (const retentionClass of (await fs.list(paths.logs)) ?? []) {
    for (const quarter of (await fs.list(join(paths.logs, retentionClass))) ?? []) {
      const path = `${retentionClass}/${quarter}`
      const directory = join(paths.logs, path)
      const published = await readText(fs, join(directory, 'checkpoint'))
      // The head knows the newest; a copy without it, and a log of a past quarter, have the file.
      const checkpoint = head?.logs.get(path)?.note ?? published
      // Made by an integration that has not been agreed on yet.
      if (checkpoint === undefined) continue
      const { origin, treeSize: size } = parseCheckpoint(parseNote(checkpoint).text)
      const vkey = (await readText(fs, join(directory, 'vkey')))?.trimEnd()
      logs.push({ path, retentionClass, quarter, origin, directory, size, vkey, checkpoint })
    }
  }
  return logs.sort((a, b) => compareTexts(a.quarter + a.path, b.quarter + b.path))
}

async function readText(fs: LedgerFs, path: string): Promise<string | undefined> {
  const bytes = await fs.readFile(path)
  return bytes && utf8Decode(bytes)
}

async function* readEntries(
  { fs }: Source,
  { path, directory, size }: LogInfo,
  { from, to }: { from: number; to: number },
): AsyncGenerator<PlacedEntry> {
  const end = Math.min(to, size)
  for (let index = Math.floor(from / tileWidth); index * tileWidth < end; index++) {
    const first = index * tileWidth
    const { bytes, width } = await readBundle(fs, { directory, size, index })
    const entries = parseBundle(bytes, width)
    for (let at = Math.max(0, from - first); at < Math.min(width, end - first); at++) {
      const entry = entries[at]
      if (entry !== undefined) yield { log: path, leafIndex: first + at, entry, integrated: true }
    }
  }
}

async function readBundle(
  fs: LedgerFs,
  { directory, size, index }: { directory: string; size: number; index: number },
): Promise<{ bytes: Uint8Array; width: number }> {
  const width = Math.min(tileWidth, size - index * tileWidth)
  const tile = { level: 'entries', index, width } as const
  const bytes = await readTile((file) => fs.readFile(join(directory, file)), tile)
  if (bytes === undefined) throw corruptFailure(`${directory} has no ${tilePath(tile)}`)
  return { bytes, width }
}

async function* readUnintegrated(source: Source): AsyncGenerator<PlacedEntry> {
  for (let attempt = 1; ; attempt++) {
    const head = await loadHead(source)
    if (head === undefined) return
    const entries: PlacedEntry[] = []
    const sizes = new Map([...head.logs].map(([path, { size }]) => [path, size]))
    try {
      await scanWal(source.fs, source.paths.wal, head.wal, (frame) => {
        walkFrame(frame, (start, end) => {
          const entry = frame.bytes.subarray(start, end)
          const { log } = readStamp(entry) ?? { log: '' }
          const leafIndex = sizes.get(log) ?? 0
          sizes.set(log, leafIndex + 1)
          entries.push({ log, leafIndex, entry, integrated: false })
        })
      })
    } catch (error) {
      // What is wrong and stays wrong is reported; what a writer was in the middle of is read again.
      if (attempt === attemptsMax) throw error
      continue
    }
    yield* entries
    return
  }
}

async function findByEventId(source: Source, eventId: string): Promise<PlacedEntry[]> {
  const sinceMs = eventIdMillis(eventId) - clockSlackMs
  const firstQuarter = quarterAt(sinceMs * 1000).name
  // Before the logs: what is integrated meanwhile is then found twice, not missed.
  const search: Search = {
    needle: Buffer.from(`"event_id":"${eventId}"`),
    integrated: new Map(),
    waiting: await searchTail(source, eventId),
  }
  const logs = await listLogs(source)
  for (const log of logs) {
    if (log.quarter < firstQuarter) continue
    const from = await firstBundleSince(source, log, sinceMs)
    await searchBundles(source, log, { search, from, to: bundleCount(log) })
  }
  if (foundBy(search).length === 0) {
    // Clocks were wrong by more than the slack, or there is no such entry: look at the rest.
    for (const log of logs) {
      const isOlder = log.quarter < firstQuarter
      const to = isOlder ? bundleCount(log) : await firstBundleSince(source, log, sinceMs)
      await searchBundles(source, log, { search, from: 0, to })
    }
  }
  return foundBy(search)
}

interface Search {
  readonly needle: Buffer
  readonly integrated: Map<string, PlacedEntry>
  readonly waiting: readonly PlacedEntry[]
}

function foundBy({ integrated, waiting }: Search): PlacedEntry[] {
  return [...integrated.values(), ...waiting.filter((placed) => !integrated.has(keyOf(placed)))]
}

function keyOf({ log, leafIndex }: PlacedEntry): string {
  return `${log} ${leafIndex}`
}

function bundleCount({ size }: LogInfo): number {
  return Math.ceil(size / tileWidth)
}

/** First bundle that can hold an entry sequenced at `sinceMs` or later, by bisection. */
async function firstBundleSince(source: Source, log: LogInfo, sinceMs: number): Promise<number> {
  let low = 0
  let high = bundleCount(log)
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const { bytes, width } = await readBundle(source.fs, { ...log, index: middle })
    const [first] = parseBundle(bytes, width)
    if (first !== undefined && peekEntry(first).loggedMs < sinceMs) low = middle + 1
    else high = middle
  }
  // The bundle before begins earlier, and may end later.
  return Math.max(0, low - 1)
}

/** Searches bundles for entries with the id, until nothing more can be found. */
async function searchBundles(
  source: Source,
  log: LogInfo,
  { search, from, to }: { search: Search; from: number; to: number },
): Promise<void> {
  const { needle, integrated } = search
  for (let index = from; index < to && !isComplete(search); index++) {
    const { bytes, width } = await readBundle(source.fs, { ...log, index })
    // Almost every bundle is passed over without being taken apart.
    if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(needle)) continue
    for (const [at, entry] of parseBundle(bytes, width).entries()) {
      if (!Buffer.from(entry.buffer, entry.byteOffset, entry.length).includes(needle)) continue
      const leafIndex = index * tileWidth + at
      const placed = { log: log.path, leafIndex, entry, integrated: true }
      integrated.set(keyOf(placed), placed)
    }
  }
}

async function searchTail(source: Source, eventId: string): Promise<PlacedEntry[]> {
  const found: PlacedEntry[] = []
  for await (const placed of readUnintegrated(source)) {
    if (peekEntry(placed.entry).eventId === eventId) found.push(placed)
  }
  return found
}

/** An interaction has a start and an end, which may be in different logs; anything else one entry. */
function isComplete(search: Search): boolean {
  const phases = foundBy(search).map(({ entry }) => phaseOf(peekEntry(entry)))
  return phases.includes('start') ? phases.includes('end') : phases.includes('other')
}

function compareTexts(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}
