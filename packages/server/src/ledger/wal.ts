/**
 * Write-ahead log: the files in which entries become durable, a frame at a time.
 *
 * ```
 * wal/<number of its first entry, 20 digits>-<epoch, 10 digits>.wal
 * ```
 *
 * A segment is filled with zeros before it is used, so that a frame is an overwrite that changes no
 * metadata: the file system has no journal to commit. Frames follow each other without a gap; what
 * comes after the last one is zeros. A frame that does not fit starts the next segment.
 *
 * Invariants:
 * - A segment has its final name, durably, before its first frame is written.
 * - One write at a time, at a position that the writer keeps: never appended, never written again.
 * - The next segment is made ready in the background; that this fails is not a fault until it is
 *   needed, and then it is tried once more, with a new file.
 *
 * @module
 */
import { assert } from '@affidavit/format'
import { join } from 'node:path'
import type { LedgerFile, LedgerFs } from '../store/ledger-fs.ts'

/** Where a frame begins, or will begin. */
export interface WalPosition {
  /** File name of the segment. */
  readonly segment: string
  readonly offset: number
  /** Number of the first entry in it, over all logs of the instance. */
  readonly index: number
  /** Hash of the frame before. */
  readonly frameHash: Uint8Array
}

/** The end of the write-ahead log, where frames are added. */
export interface WalWriter {
  readonly position: WalPosition
  /**
   * Writes a sealed frame; durable when it resolves. Calls must not overlap. After a rejection the
   * writer must not be used again: what is on disk is then known to a recovery only.
   */
  write(frame: { bytes: Uint8Array; count: number; hash: Uint8Array }): Promise<void>
  close(): Promise<void>
}

export interface WalOptions {
  readonly directory: string
  /** Where the next segment is prepared; on the same volume. */
  readonly staging: string
  readonly epoch: number
  readonly segmentBytes: number
  readonly start: { readonly index: number; readonly frameHash: Uint8Array }
  /** For writing frames. */
  readonly fs: LedgerFs
  /** For everything that is not urgent. */
  readonly backgroundFs: LedgerFs
  /** Told when the next segment could not be prepared. */
  readonly onPrepareFailed?: (error: unknown) => void
}

const zerosBytes = 1 << 20
const zeros = new Uint8Array(zerosBytes)
const namePattern = /^(\d{20})-(\d{10})\.wal$/

/** Name of the segment whose first entry has number `firstIndex`. */
export function segmentName({ firstIndex, epoch }: { firstIndex: number; epoch: number }): string {
  return `${String(firstIndex).padStart(20, '0')}-${String(epoch).padStart(10, '0')}.wal`
}

/** Reads a segment's name; `undefined` for any other file. */
export function parseSegmentName(
  name: string,
): { firstIndex: number; epoch: number; name: string } | undefined {
  const [, index, epoch] = namePattern.exec(name) ?? []
  if (index === undefined || epoch === undefined) return undefined
  const firstIndex = Number(index)
  return Number.isSafeInteger(firstIndex) ? { firstIndex, epoch: Number(epoch), name } : undefined
}

/** Starts a first segment at `start` and resolves when frames can be written. */
export async function openWalWriter(options: WalOptions): Promise<WalWriter> {
  const { directory, epoch, segmentBytes, start } = options
  let preparedCount = 0
  let current: { file: LedgerFile; bytes: number } | undefined
  let position: WalPosition = { segment: '', offset: 0, ...start }
  let next = prepare(segmentBytes)

  function prepare(bytes: number): Promise<PreparedSegment | undefined> {
    const path = join(options.staging, `segment-${preparedCount++}`)
    return prepareSegment(options.backgroundFs, path, bytes).catch((error: unknown) => {
      options.onPrepareFailed?.(error)
      return undefined
    })
  }

  /** Moves on to a segment that has room for `frameBytes`. */
  async function rotate(frameBytes: number): Promise<void> {
    let ready = await next
    if (ready !== undefined && ready.bytes < frameBytes) {
      await ready.discard()
      ready = undefined
    }
    // No reason to stop yet if the background could not do it: space may have been freed since.
    ready ??= await prepareSegment(
      options.fs,
      join(options.staging, `segment-${preparedCount++}`),
      Math.max(segmentBytes, frameBytes),
    )
    const segment = segmentName({ firstIndex: position.index, epoch })
    await options.fs.rename(ready.path, join(directory, segment))
    // A crash before this is durable leaves no segment, and nothing acknowledged that it would hold.
    await options.fs.syncDirectory(directory)
    await current?.file.close()
    current = ready
    position = { ...position, segment, offset: 0 }
    next = prepare(segmentBytes)
  }

  await rotate(0)
  return {
    get position() {
      return position
    },
    async write({ bytes, count, hash }) {
      assert(current !== undefined, 'a writer has a segment')
      if (position.offset + bytes.length > current.bytes) await rotate(bytes.length)
      await current.file.write(bytes, position.offset)
      position = {
        segment: position.segment,
        offset: position.offset + bytes.length,
        index: position.index + count,
        frameHash: hash,
      }
    },
    async close() {
      const unused = await next
      // What cannot be removed now is removed when the ledger is opened again.
      await unused?.discard().catch(() => undefined)
      await current?.file.close()
    },
  }
}

interface PreparedSegment {
  readonly path: string
  readonly file: LedgerFile
  readonly bytes: number
  discard(): Promise<void>
}

async function prepareSegment(fs: LedgerFs, path: string, bytes: number): Promise<PreparedSegment> {
  const file = await fs.create(path)
  const discard = async () => {
    await file.close()
    await fs.unlink(path)
  }
  try {
    // In pieces, each durable, so that a frame never waits behind 64 MiB of zeros.
    for (let at = 0; at < bytes; at += zerosBytes) {
      await file.write(zeros.subarray(0, Math.min(zerosBytes, bytes - at)), at)
    }
  } catch (error) {
    // Give the space back: what failed may be a full disk.
    await discard().catch(() => undefined)
    throw error
  }
  return { path, file, bytes, discard }
}
