/**
 * Frames of the write-ahead log: one batch of entries, written by one write.
 *
 * ```
 *   0  "CAWF"
 *   4  u8  version, 1
 *   5  u8  flags, 0
 *   6  u16 header length, 64
 *   8  u32 payload length
 *  12  u64 first index: number of the first entry, over all logs of the instance
 *  20  u32 count of entries, at least 1
 *  24  u64 time of the batch, microseconds since the epoch
 *  32  32  frame hash of the previous frame; zeros before the first
 *  64  payload: count times u16 length, entry (as in an entry bundle)
 *   …  32  frame hash: SHA-256("caw-frame-v1\0" ‖ everything before)
 * ```
 *
 * Integers are big-endian. The chain of hashes shows a frame that was reordered, spliced in or taken
 * out; docs/spec/wal.md says what recovery concludes from each fault.
 *
 * @module
 */
import { assert, equalBytes, hashBytes, sha256, utf8Encode, walkBundle } from '@affidavit/format'

export const frameHeaderBytes = 64
export const frameTrailerBytes = hashBytes
/** A reader takes a longer frame for damage. Writers stay far below. */
export const frameBytesMax = 1 << 20

/** What the frame hash covers before the header, so that it is the hash of nothing else. */
export const frameHashPrefix = utf8Encode('caw-frame-v1\0')
export const frameMagic = utf8Encode('CAWF')
/** The previous frame hash of the very first frame. */
export const firstFrameHash = new Uint8Array(hashBytes)

const version = 1
const flags = 0
const payloadBytesMax = frameBytesMax - frameHeaderBytes - frameTrailerBytes
const twoTo32 = 2 ** 32

/** What a header says. */
export interface FrameHeader {
  readonly payloadBytes: number
  readonly firstIndex: number
  readonly count: number
  readonly timeMicros: number
  readonly previousHash: Uint8Array
}

/** A frame that was read, as views of the bytes it was read from. */
export interface Frame extends FrameHeader {
  /** Header, payload and trailer. */
  readonly bytes: Buffer
  readonly hash: Uint8Array
}

/**
 * Completes a frame in place: `buffer` holds the hash prefix, room for the header, and the payload;
 * the header and, after the payload, the hash are written here. There must be room for both.
 *
 * @param payloadEnd where the payload ends in `buffer`; it begins after prefix and header.
 * @returns the frame's bytes, a view of `buffer`, and its hash.
 */
export function sealFrame(
  buffer: Uint8Array,
  payloadEnd: number,
  header: Omit<FrameHeader, 'payloadBytes'>,
): { bytes: Uint8Array; hash: Uint8Array } {
  const start = frameHashPrefix.length
  const payloadBytes = payloadEnd - start - frameHeaderBytes
  assert(payloadBytes > 0 && payloadBytes <= payloadBytesMax, 'a frame has a payload within bounds')
  assert(header.count > 0, 'a frame has an entry')
  buffer.set(frameHashPrefix, 0)
  const view = new DataView(buffer.buffer, buffer.byteOffset + start, frameHeaderBytes)
  buffer.set(frameMagic, start)
  view.setUint8(4, version)
  view.setUint8(5, flags)
  view.setUint16(6, frameHeaderBytes)
  view.setUint32(8, payloadBytes)
  setUint53(view, 12, header.firstIndex)
  view.setUint32(20, header.count)
  setUint53(view, 24, header.timeMicros)
  buffer.set(header.previousHash, start + 32)
  const hash = sha256(buffer.subarray(0, payloadEnd))
  buffer.set(hash, payloadEnd)
  return { bytes: buffer.subarray(start, payloadEnd + frameTrailerBytes), hash }
}

/**
 * Reads the frame at `offset`, if there is one that is whole and right in itself. Whether it follows
 * the frame before it is the caller's question.
 */
export function readFrame(bytes: Uint8Array, offset: number): Frame | undefined {
  const header = readHeader(bytes, offset)
  if (header === undefined) return undefined
  const payloadStart = offset + frameHeaderBytes
  const payloadEnd = payloadStart + header.payloadBytes
  const end = payloadEnd + frameTrailerBytes
  if (header.payloadBytes > payloadBytesMax || end > bytes.length) return undefined
  const hash = bytes.subarray(payloadEnd, end)
  if (!equalBytes(hash, frameHashOf(bytes.subarray(offset, payloadEnd)))) return undefined
  if (!isSplit(bytes.subarray(payloadStart, payloadEnd), header.count)) return undefined
  const { buffer, byteOffset } = bytes
  return { ...header, bytes: Buffer.from(buffer, byteOffset + offset, end - offset), hash }
}

/** Calls `visit` with the bounds of each entry in the frame's bytes, in order. */
export function walkFrame(frame: Frame, visit: (start: number, end: number) => void): void {
  const payload = frame.bytes.subarray(frameHeaderBytes, -frameTrailerBytes)
  walkBundle(payload, frame.count, (start, end) => {
    visit(frameHeaderBytes + start, frameHeaderBytes + end)
  })
}

/** The entries of a frame, as views of its bytes. */
export function entriesOf(frame: Frame): Buffer[] {
  const entries: Buffer[] = []
  walkFrame(frame, (start, end) => entries.push(frame.bytes.subarray(start, end)))
  return entries
}

/** Reads a header whose fixed fields are right; the rest may be anything. */
export function readHeader(bytes: Uint8Array, offset: number): FrameHeader | undefined {
  if (offset + frameHeaderBytes > bytes.length) return undefined
  const magic = bytes.subarray(offset, offset + frameMagic.length)
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, frameHeaderBytes)
  if (!equalBytes(magic, frameMagic) || view.getUint8(4) !== version) return undefined
  if (view.getUint8(5) !== flags || view.getUint16(6) !== frameHeaderBytes) return undefined
  const firstIndex = getUint53(view, 12)
  const timeMicros = getUint53(view, 24)
  if (firstIndex === undefined || timeMicros === undefined) return undefined
  return {
    payloadBytes: view.getUint32(8),
    firstIndex,
    count: view.getUint32(20),
    timeMicros,
    previousHash: bytes.subarray(offset + 32, offset + frameHeaderBytes),
  }
}

/** The hash of a frame, from its header and payload. */
export function frameHashOf(headerAndPayload: Uint8Array): Uint8Array {
  const covered = new Uint8Array(frameHashPrefix.length + headerAndPayload.length)
  covered.set(frameHashPrefix)
  covered.set(headerAndPayload, frameHashPrefix.length)
  return sha256(covered)
}

/** Whether a payload is `count` entries, each of at least a byte. */
function isSplit(payload: Uint8Array, count: number): boolean {
  let shortest = Number.POSITIVE_INFINITY
  try {
    walkBundle(payload, count, (start, end) => {
      shortest = Math.min(shortest, end - start)
    })
  } catch {
    return false
  }
  return count > 0 && shortest > 0
}

function setUint53(view: DataView, offset: number, value: number): void {
  assert(
    Number.isSafeInteger(value) && value >= 0,
    'a 64-bit field holds an integer up to 2^53 - 1',
  )
  view.setUint32(offset, Math.floor(value / twoTo32))
  view.setUint32(offset + 4, value % twoTo32)
}

function getUint53(view: DataView, offset: number): number | undefined {
  const value = view.getUint32(offset) * twoTo32 + view.getUint32(offset + 4)
  return Number.isSafeInteger(value) ? value : undefined
}
