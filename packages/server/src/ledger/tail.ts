/**
 * The tail: frames that are durable and not integrated. Reading it restores what the process that died
 * had in memory: batches to integrate, the writer's chain, and which interactions are open.
 *
 * @module
 */
import { parseBundle, readTile, tilePath, tileWidth, type WriterStamp } from '@affidavit/format'
import { join } from 'node:path'
import type { LedgerFs } from '../store/ledger-fs.ts'
import { createSlab, hashInPlace, SequencedEntry, type Slab, type WrittenBatch } from './batch.ts'
import { corruptFailure } from './failure.ts'
import { walkFrame, type Frame } from './frame.ts'
import type { Head, WriterState } from './head.ts'
import type { LedgerPaths } from './layout.ts'
import type { LogTable } from './logs.ts'
import { peekEntry, readStamp, transitionOf } from './peek.ts'
import type { WalWriter } from './wal.ts'

/** A start without an end, and where it is. */
export interface OpenStart {
  /** `<class>/<quarter>` */
  readonly log: string
  readonly leafIndex: number
  /** Its bytes, when they are not in a bundle yet. */
  readonly entry?: Uint8Array
}

interface TailReader {
  /** Takes the next frame. @throws AuditError `ERR_LEDGER_CORRUPT` when it breaks the chain. */
  add(frame: Frame): void
  /** Writes the frames to a new write-ahead log; durable there when it resolves. */
  copyTo(wal: WalWriter): Promise<WrittenBatch[]>
  /** Open as of the head. */
  readonly integratedOpen: Map<string, OpenStart>
  /** Open as of the last frame. */
  readonly openStarts: ReadonlyMap<string, OpenStart>
}

interface TailFrame {
  readonly frame: Frame
  readonly entries: readonly SequencedEntry[]
  readonly writer: WriterState
}

/** Starts reading a tail after `head`; looks up the starts that were open then. */
export async function createTailReader({
  fs,
  paths,
  head,
  logs,
}: {
  fs: LedgerFs
  paths: LedgerPaths
  head: Head
  logs: LogTable
}): Promise<TailReader> {
  const integratedOpen = await loadOpenStarts(fs, paths, head)
  const openStarts = new Map(integratedOpen)
  const frames: TailFrame[] = []
  let writer = head.writer

  function take(slab: Slab, start: number, end: number): SequencedEntry {
    const bytes = slab.bytes.subarray(start, end)
    const stamp = readStamp(bytes)
    if (stamp === undefined) throw new Error('it has no stamp')
    const hash = hashInPlace(slab.bytes, start, end)
    writer = follow(writer, stamp, hash)
    const log = logs.open(stamp.log)
    const leafIndex = log.sequenced
    log.sequenced += 1
    const { opens, closes } = transitionOf(bytes)
    if (opens !== undefined) openStarts.set(opens, { log: log.path, leafIndex, entry: bytes })
    if (closes !== undefined) openStarts.delete(closes)
    return new SequencedEntry({ log, leafIndex, slab, start, end, hash, opens, closes })
  }

  return {
    integratedOpen,
    openStarts,
    add(frame) {
      const entries: SequencedEntry[] = []
      const slab = createSlab(frame.bytes)
      try {
        walkFrame(frame, (start, end) => entries.push(take(slab, start, end)))
      } catch (cause) {
        throw corruptFailure(`an entry of the frame at entry ${frame.firstIndex} is wrong`, cause)
      }
      frames.push({ frame, entries, writer })
    },
    async copyTo(wal) {
      const batches: WrittenBatch[] = []
      for (const { frame, entries, writer: after } of frames) {
        await wal.write(frame)
        const { bytes } = frame
        const end = wal.position
        batches.push({ entries, bytes: bytes.length, end, writer: after, slab: undefined })
      }
      return batches
    },
  }
}

/** Reads integrated entries of a log of `size` entries; cheap when they are asked for in order. */
export function createEntryReader(
  fs: LedgerFs,
  { directory, size }: { directory: string; size: number },
): (leafIndex: number) => Promise<Uint8Array> {
  let known: { index: number; entries: readonly Uint8Array[] } | undefined
  return async (leafIndex) => {
    const index = Math.floor(leafIndex / tileWidth)
    if (known?.index !== index) {
      const width = Math.min(tileWidth, size - index * tileWidth)
      if (width <= 0) throw corruptFailure(`its head names entry ${leafIndex} of ${directory}`)
      const tile = { level: 'entries', index, width } as const
      const bytes = await readTile((file) => fs.readFile(join(directory, file)), tile)
      if (bytes === undefined) throw corruptFailure(`${directory} has no ${tilePath(tile)}`)
      known = { index, entries: parseBundle(bytes, width) }
    }
    const entry = known.entries[leafIndex - index * tileWidth]
    if (entry === undefined)
      throw corruptFailure(`its head names entry ${leafIndex} of ${directory}`)
    return entry
  }
}

/** An entry names its predecessor; within an epoch its number is the next one. */
function follow(writer: WriterState, stamp: WriterStamp, hash: string): WriterState {
  const isNext = stamp.epoch === writer.epoch && stamp.seq === writer.seq
  const isFirst = stamp.epoch > writer.epoch && stamp.seq === 0
  if (stamp.id !== writer.id || stamp.prev !== writer.prev || !(isNext || isFirst)) {
    throw new Error(`it breaks the writer's chain at epoch ${stamp.epoch}, ${stamp.seq}`)
  }
  return { id: writer.id, epoch: stamp.epoch, seq: stamp.seq + 1, prev: hash }
}

async function loadOpenStarts(
  fs: LedgerFs,
  paths: LedgerPaths,
  head: Head,
): Promise<Map<string, OpenStart>> {
  const starts = new Map<string, OpenStart>()
  for (const [log, indices] of head.open) {
    const size = (head.logs.get(log) ?? head.sealed.get(log))?.size ?? 0
    const read = createEntryReader(fs, { directory: join(paths.logs, log), size })
    for (const leafIndex of indices) {
      const { eventId } = peekEntry(await read(leafIndex))
      if (eventId !== undefined) starts.set(eventId, { log, leafIndex })
    }
  }
  return starts
}
