/**
 * Reads the write-ahead log from a known position, and judges how it ends. This is the one place that
 * decides between *nobody was promised this* and *something acknowledged is damaged*.
 *
 * Invariants:
 * - A frame is taken only if it is right in itself and continues the one before: number and hash.
 * - Nothing on disk is changed.
 * - What is cut as torn can be the result of one unfinished write; everything else is refused. A disk
 *   writes a sector whole or not at all, and segments are zeros before they are written: so a torn
 *   frame misses at least one sector, and a frame of which every sector is there was written, was
 *   acknowledged, and has been changed since.
 *
 * docs/spec/wal.md has the table.
 *
 * @module
 */
import { equalBytes } from '@affidavit/format'
import { join } from 'node:path'
import type { LedgerFs } from '../store/ledger-fs.ts'
import { corruptFailure, rollbackFailure } from './failure.ts'
import {
  frameBytesMax,
  frameHeaderBytes,
  frameMagic,
  frameTrailerBytes,
  readFrame,
  walkFrame,
  type Frame,
} from './frame.ts'
import { readStamp } from './peek.ts'
import { parseSegmentName, type WalPosition } from './wal.ts'

/** How a write-ahead log ends. */
export interface WalEnd {
  /** Where the next frame would go. */
  readonly position: WalPosition
  /** Bytes after it that an unfinished write left; they were never acknowledged. */
  readonly tornBytes: number
}

type Segment = NonNullable<ReturnType<typeof parseSegmentName>>

/** A segment from byte `base` on, which begins a sector. */
interface SegmentPart {
  readonly bytes: Uint8Array
  readonly base: number
}

// The unit that every disk writes whole or not at all.
const sectorBytes = 512
const chunk = new Uint8Array(64 * 1024)

/** Segments in a directory, oldest first. */
export async function listSegments(fs: LedgerFs, directory: string): Promise<readonly Segment[]> {
  const segments: Segment[] = []
  for (const name of (await fs.list(directory)) ?? []) {
    const segment = parseSegmentName(name)
    if (segment !== undefined) segments.push(segment)
  }
  return segments
}

/**
 * Calls `visit` for each frame after `from`, in order, over as many segments as there are.
 *
 * @throws AuditError `ERR_LEDGER_CORRUPT` or `ERR_ROLLBACK_SUSPECTED`; frames before the fault have
 *   been visited by then.
 */
export async function scanWal(
  fs: LedgerFs,
  directory: string,
  from: WalPosition,
  visit: (frame: Frame, end: WalPosition) => void,
): Promise<WalEnd> {
  const segments = await listSegments(fs, directory)
  let position = from
  for (;;) {
    const part = await readPart(fs, directory, position)
    if (position === from) checkStart(part, from)
    position = scanSegment(part, position, visit)
    const at = position.offset - part.base
    const tornBytes = lastNonZero(part.bytes, at) + 1 - at
    const following = segmentsAfter(segments, position)
    if (tornBytes > 0) judgeTail(part, position, following.length > 0)
    const [next] = following
    if (next === undefined) {
      await refuseLaterEpochs(fs, directory, segments, position)
      return { position, tornBytes }
    }
    if (next.firstIndex !== position.index) {
      throw corruptFailure(
        `the write-ahead log ends at entry ${position.index} in ${position.segment}, ` +
          `but goes on at entry ${next.firstIndex} in ${next.name}`,
      )
    }
    position = { ...position, segment: next.name, offset: 0 }
  }
}

/** Reads a segment from the sector on in which the frame before `offset` ends. */
async function readPart(
  fs: LedgerFs,
  directory: string,
  { segment, offset }: WalPosition,
): Promise<SegmentPart> {
  const before = Math.max(0, offset - frameTrailerBytes)
  const base = before - (before % sectorBytes)
  const bytes = await fs.readFile(join(directory, segment), base)
  if (bytes !== undefined) return { bytes, base }
  throw rollbackFailure(`the write-ahead log has no segment ${segment}, where it ended`)
}

/** Takes the frames of one segment as far as they continue each other. */
function scanSegment(
  { bytes, base }: SegmentPart,
  start: WalPosition,
  visit: (frame: Frame, end: WalPosition) => void,
): WalPosition {
  let position = start
  for (;;) {
    const frame = readFrame(bytes, position.offset - base)
    if (frame === undefined || !continues(frame, position)) return position
    position = {
      segment: position.segment,
      offset: position.offset + frame.bytes.length,
      index: position.index + frame.count,
      frameHash: frame.hash,
    }
    visit(frame, position)
  }
}

function continues(frame: Frame, position: WalPosition): boolean {
  return frame.firstIndex === position.index && equalBytes(frame.previousHash, position.frameHash)
}

/** The frame that ended where the scan starts must still be there: the head remembers its hash. */
function checkStart(part: SegmentPart, { offset, frameHash, segment }: WalPosition): void {
  if (offset === 0) return
  const end = offset - part.base
  const trailer = part.bytes.subarray(end - frameTrailerBytes, end)
  if (equalBytes(trailer, frameHash)) return
  if (trailer.every((byte) => byte === 0)) {
    throw rollbackFailure(`${segment} ends before byte ${offset}, which the head says was written`)
  }
  throw corruptFailure(
    `the frame before byte ${offset} of ${segment} is not the one the head knows`,
  )
}

/** Bytes that do not continue the log: throws unless one unfinished write explains them. */
function judgeTail(part: SegmentPart, position: WalPosition, hasLaterSegment: boolean): void {
  const where = `byte ${position.offset} of ${position.segment}, entry ${position.index}`
  if (hasLaterSegment) {
    // The next segment was started when every frame of this one had been acknowledged.
    throw corruptFailure(`the frame at ${where}, is damaged, and a later segment exists`)
  }
  const later = findLaterFrame(part, position)
  if (later !== undefined) {
    throw corruptFailure(
      `the frame at ${where}, is damaged, and a whole frame with entry ${later} follows it`,
    )
  }
  if (wasWrittenWhole(part.bytes, position.offset - part.base)) {
    throw corruptFailure(`the frame at ${where}, was written whole and has been changed since`)
  }
}

function findLaterFrame({ bytes, base }: SegmentPart, position: WalPosition): number | undefined {
  const haystack = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = haystack.indexOf(frameMagic, position.offset - base + 1)
  while (at !== -1) {
    const frame = readFrame(bytes, at)
    if (frame !== undefined && frame.firstIndex > position.index) return frame.firstIndex
    at = haystack.indexOf(frameMagic, at + 1)
  }
  return undefined
}

/**
 * Whether every sector of the frame at `offset` is there. Its length is taken twice, from the header
 * and from walking its entries, so that one wrong byte cannot spoil both.
 */
function wasWrittenWhole(bytes: Uint8Array, offset: number): boolean {
  return [lengthByHeader(bytes, offset), lengthByWalk(bytes, offset)].some(
    (length) => length !== undefined && hasEverySector(bytes, offset, offset + length),
  )
}

function lengthByHeader(bytes: Uint8Array, offset: number): number | undefined {
  const payloadBytes = uint32At(bytes, offset + 8)
  const length = frameHeaderBytes + payloadBytes + frameTrailerBytes
  const fits = length <= frameBytesMax && offset + length <= bytes.length
  return payloadBytes > 0 && fits ? length : undefined
}

function lengthByWalk(bytes: Uint8Array, offset: number): number | undefined {
  const count = uint32At(bytes, offset + 20)
  const limit = Math.min(bytes.length, offset + frameBytesMax) - frameTrailerBytes
  let at = offset + frameHeaderBytes
  for (let entry = 0; entry < count; entry++) {
    const length = (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0)
    at += 2 + length
    if (length === 0 || at > limit) return undefined
  }
  return count > 0 ? at + frameTrailerBytes - offset : undefined
}

function hasEverySector(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start
  while (at < end) {
    const sectorEnd = Math.min(end, at - (at % sectorBytes) + sectorBytes)
    if (bytes.subarray(at, sectorEnd).every((byte) => byte === 0)) return false
    at = sectorEnd
  }
  return true
}

/**
 * A later epoch begins with copies of frames of this one and the ones before. An entry of its own is
 * written only when the head knows of it: if there is one, the head itself was rolled back. Copies may
 * go further than this epoch does now: a frame whose write had failed was in the page cache when it was
 * copied, and is gone from where it came from. Nobody was promised it.
 */
async function refuseLaterEpochs(
  fs: LedgerFs,
  directory: string,
  segments: readonly Segment[],
  end: WalPosition,
): Promise<void> {
  const { epoch } = epochOf(end)
  for (const { name, epoch: other } of segments) {
    if (other <= epoch) continue
    const bytes = (await fs.readFile(join(directory, name))) ?? chunk.subarray(0, 0)
    for (let at = 0; ;) {
      const frame = readFrame(bytes, at)
      if (frame === undefined) break
      if (writerEpochOf(frame) > epoch) {
        throw rollbackFailure(
          `${name} has entry ${frame.firstIndex}, but the head knows epoch ${epoch} only`,
        )
      }
      at += frame.bytes.length
    }
  }
}

/** The epoch in which a frame was written first: that of its entries. */
function writerEpochOf(frame: Frame): number {
  let epoch = 0
  walkFrame(frame, (start, end) => {
    epoch = Math.max(epoch, readStamp(frame.bytes.subarray(start, end))?.epoch ?? 0)
  })
  return epoch
}

function segmentsAfter(segments: readonly Segment[], position: WalPosition): readonly Segment[] {
  const { epoch, firstIndex } = epochOf(position)
  return segments.filter((other) => other.epoch === epoch && other.firstIndex > firstIndex)
}

function epochOf({ segment }: WalPosition): { epoch: number; firstIndex: number } {
  const parsed = parseSegmentName(segment)
  if (parsed === undefined) throw corruptFailure('the head names a segment that cannot be')
  return parsed
}

/** Position of the last byte that is not zero at or after `from`; `from - 1` if all are. */
function lastNonZero(bytes: Uint8Array, from: number): number {
  let end = bytes.length
  while (end > from) {
    const start = Math.max(from, end - chunk.length)
    if (Buffer.compare(bytes.subarray(start, end), chunk.subarray(0, end - start)) !== 0) break
    end = start
  }
  while (end > from && bytes[end - 1] === 0) end -= 1
  return end - 1
}

function uint32At(bytes: Uint8Array, at: number): number {
  if (at + 4 > bytes.length) return 0
  return new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0)
}
