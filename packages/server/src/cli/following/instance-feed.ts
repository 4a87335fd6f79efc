/**
 * Everything that one instance has written, in the order of writing, from a point in the past into the
 * present: first out of the logs, then out of the write-ahead log as it grows. An entry is given once,
 * whichever of the two has it when it is looked for, because the writer has numbered it.
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Entry, parseEntry, tileWidth } from '@affidavit/format'
import { parseHead } from '../../ledger/head.ts'
import { ledgerPaths } from '../../ledger/layout.ts'
import { type LedgerReader, type LogInfo, openLedgerReader } from '../../ledger/read.ts'
import type { InstancePlace } from '../settings.ts'
import { writtenMs } from './selection.ts'
import { followWal, type WalFollower } from './wal-follower.ts'

/** Polls of the write-ahead log in one round. */
const pollsMax = 256

/** An entry as bytes and parsed. */
export interface FedEntry {
  readonly bytes: Uint8Array
  readonly entry: Entry
}

/** Where to begin. */
export type FeedStart =
  | { readonly kind: 'since'; readonly timeMs: number }
  | { readonly kind: 'last'; readonly entriesPerLog: number }

/** Feeds the entries of one instance. */
export interface InstanceFeed {
  /** Everything from the start up to now, and each time after that what is new. Ends when there is none. */
  next(): AsyncIterable<FedEntry>
  close(): Promise<void>
}

/** Opens a feed; nothing is read yet. */
export async function openFeed(place: InstancePlace, start: FeedStart): Promise<InstanceFeed> {
  const reader = await openLedgerReader(place.directory)
  const feed: Feed = {
    place,
    reader,
    start,
    follower: undefined,
    last: undefined,
    froms: new Map(),
  }
  return {
    next: () => read(feed),
    close: async () => feed.follower?.close(),
  }
}

interface Feed {
  readonly place: InstancePlace
  readonly reader: LedgerReader
  readonly start: FeedStart
  /** Undefined before the logs have been read, and after the place in the log was lost. */
  follower: WalFollower | undefined
  last: { readonly epoch: number; readonly seq: number } | undefined
  /** By log: the first index that has not been read. */
  readonly froms: Map<string, number>
}

async function* read(feed: Feed): AsyncGenerator<FedEntry> {
  // A writer that never pauses must not keep a reader that wants to end.
  for (let polls = 0; polls < pollsMax; polls += 1) {
    if (feed.follower === undefined) yield* catchUp(feed)
    const poll = await feed.follower?.poll()
    if (poll === undefined) return
    if ('lost' in poll) {
      await feed.follower?.close()
      feed.follower = undefined
      continue
    }
    if (poll.entries.length === 0) return
    for (const bytes of poll.entries) {
      const fed = { bytes, entry: parseEntry(bytes) }
      if (takeIfNew(feed, fed)) yield fed
    }
  }
}

/** Reads the logs from where reading stopped, then puts the follower where they end. */
async function* catchUp(feed: Feed): AsyncGenerator<FedEntry> {
  const { place, reader } = feed
  const paths = ledgerPaths(place.directory)
  // The head first: what is integrated after this is in the frames that follow its place.
  const head = await readFile(join(paths.head, 'head.json')).then(parseHead, () => undefined)
  const logs = await reader.logs()
  const parts: AsyncIterator<FedEntry>[] = []
  for (const log of logs) {
    const from = feed.froms.get(log.path) ?? (await firstIndex(feed, log))
    parts.push(parsed(reader, log, from))
    feed.froms.set(log.path, log.size)
  }
  for await (const fed of inOrder(parts)) if (takeIfNew(feed, fed)) yield fed
  if (head !== undefined) feed.follower = followWal(paths.wal, head.wal)
}

async function firstIndex({ reader, start }: Feed, log: LogInfo): Promise<number> {
  if (start.kind === 'last') return Math.max(0, log.size - start.entriesPerLog)
  let [low, high] = [0, Math.ceil(log.size / tileWidth)]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const first = await parsed(reader, log, middle * tileWidth, middle * tileWidth + 1).next()
    if (first.done !== true && writtenMs(first.value.entry) < start.timeMs) low = middle + 1
    else high = middle
  }
  return Math.max(0, low - 1) * tileWidth
}

async function* parsed(
  reader: LedgerReader,
  log: LogInfo,
  from: number,
  to?: number,
): AsyncGenerator<FedEntry, void> {
  for await (const { entry } of reader.readEntries(log, from, to)) {
    yield { bytes: entry, entry: parseEntry(entry) }
  }
}

/** Merges logs into the writer's order. */
async function* inOrder(parts: readonly AsyncIterator<FedEntry>[]): AsyncGenerator<FedEntry> {
  const heads = await Promise.all(parts.map((part) => part.next()))
  for (;;) {
    let least: number | undefined
    for (const [index, head] of heads.entries()) {
      if (head.done === true) continue
      const other = least === undefined ? undefined : heads[least]
      if (other === undefined || other.done === true) least = index
      else if (isBefore(head.value.entry.writer, other.value.entry.writer)) least = index
    }
    const [head, part] = least === undefined ? [] : [heads[least], parts[least]]
    if (least === undefined || part === undefined || head === undefined || head.done === true)
      return
    yield head.value
    heads[least] = await part.next()
  }
}

function takeIfNew(feed: Feed, { entry }: FedEntry): boolean {
  const { epoch, seq, log } = entry.writer
  if (feed.last !== undefined && !isBefore(feed.last, { epoch, seq })) return false
  feed.last = { epoch, seq }
  if (!feed.froms.has(log)) feed.froms.set(log, 0)
  return true
}

function isBefore(
  left: { readonly epoch: number; readonly seq: number },
  right: { readonly epoch: number; readonly seq: number },
): boolean {
  return left.epoch < right.epoch || (left.epoch === right.epoch && left.seq < right.seq)
}
