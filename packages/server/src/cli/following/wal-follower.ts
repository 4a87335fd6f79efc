/**
 * Reads frames of a write-ahead log as another process writes them. A poll costs one small read, and a
 * list of a directory with few names: it never reads a segment that it has read before.
 *
 * @module
 */
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import {
  entriesOf,
  frameBytesMax,
  frameHeaderBytes,
  frameTrailerBytes,
  readFrame,
  readHeader,
} from '../../ledger/frame.ts'
import { listSegments } from '../../ledger/wal-scan.ts'
import { parseSegmentName, type WalPosition } from '../../ledger/wal.ts'
import { posixFs } from '../../store/posix-fs.ts'

/** Frames taken in one poll; a reader that is behind takes the rest in the next. */
const framesPerPollMax = 256

/** What a poll gives: entries in the order of writing, or that the place was lost. */
export type Poll = { readonly entries: readonly Uint8Array[] } | { readonly lost: true }

/** Follows a write-ahead log from a place in it. */
export interface WalFollower {
  /**
   * Entries since the last poll. `lost` when the log has gone on elsewhere (a new epoch, a segment that
   * is gone): the reader then begins anew from the logs.
   */
  poll(): Promise<Poll>
  close(): Promise<void>
}

/** Starts following at `start`, which the head names. */
export function followWal(directory: string, start: WalPosition): WalFollower {
  let { segment, offset, index } = start
  let file: FileHandle | undefined
  const openSegment = async () => {
    file ??= await open(join(directory, segment), 'r').catch(() => undefined)
    return file
  }
  const close = async () => {
    await file?.close()
    file = undefined
  }
  return {
    close,
    async poll() {
      const entries: Uint8Array[] = []
      for (let frames = 0; frames < framesPerPollMax; frames += 1) {
        const handle = await openSegment()
        if (handle === undefined) return { lost: true }
        const frame = await frameAt(handle, offset)
        if (frame !== undefined && frame.firstIndex === index) {
          entries.push(...entriesOf(frame))
          offset += frame.bytes.length
          index += frame.count
          continue
        }
        const next = await nextSegment(directory, { segment, index })
        if (next === 'none') break
        if (next === 'lost') return entries.length > 0 ? { entries } : { lost: true }
        await close()
        ;[segment, offset] = [next.name, 0]
      }
      return { entries }
    },
  }
}

async function frameAt(file: FileHandle, offset: number) {
  const head = await readBytes(file, offset, frameHeaderBytes)
  const header = readHeader(head, 0)
  if (header === undefined) return undefined
  const length = frameHeaderBytes + header.payloadBytes + frameTrailerBytes
  // A frame that is being written at this moment is whole at the next poll.
  return length > frameBytesMax ? undefined : readFrame(await readBytes(file, offset, length), 0)
}

async function readBytes(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset)
  return buffer.subarray(0, bytesRead)
}

/** Where a log goes on: in a segment, nowhere yet, or in a place that is not reached from here. */
type NextSegment = { readonly name: string } | 'none' | 'lost'

/** The segment that goes on where this one ends, if there is one. */
async function nextSegment(
  directory: string,
  at: { segment: string; index: number },
): Promise<NextSegment> {
  const current = parseSegmentName(at.segment)
  const segments = await listSegments(posixFs, directory)
  if (current === undefined || segments.length === 0) return 'lost'
  if (segments.some(({ epoch }) => epoch > current.epoch)) return 'lost'
  const later = segments.filter(({ firstIndex }) => firstIndex > current.firstIndex)
  if (later.length === 0) return 'none'
  return later.find(({ firstIndex }) => firstIndex === at.index) ?? 'lost'
}
