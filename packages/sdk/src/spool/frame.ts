/**
 * The frames of a spool segment: how one record stands on disk while it waits to be shipped.
 *
 * ```text
 * segment := frame*
 * frame   := "AFSF" | version u8 = 1 | kind u8 | zero u16 | payload bytes u32
 *          | writer id 8 bytes | epoch u64 | seq u64 | prev 32 bytes | payload | hash 32 bytes
 * hash    := SHA-256("affidavit-spool-v1\0" || all bytes of the frame before the hash)
 * prev    := hash of the frame before in this segment, zeros in a segment's first frame
 * ```
 * Integers are big-endian. A frame proves itself, so that a reader finds the next good frame behind a
 * bad region; `prev` shows a frame that was taken out or put in.
 *
 * @module
 */
import {
  assert,
  concatBytes,
  equalBytes,
  fromHex,
  sha256,
  toHex,
  utf8Encode,
} from '@affidavit/format'

/** `record` is shipped; `carried` repeats a shipped start whose end has not come yet. */
export type FrameKind = 'record' | 'carried'

/** What identifies a record wherever it is seen: a gateway counts each such triple once. */
export interface RecordIdentity {
  /** 16 hex digits: one spool directory on one machine. */
  readonly writerId: string
  /** Rises by one at every start of the writer. */
  readonly epoch: number
  /** Position within the epoch, from 0; 0 in carried frames. */
  readonly seq: number
}

export interface Frame extends RecordIdentity {
  readonly kind: FrameKind
  readonly payload: Uint8Array
  /** Position of the first byte in the scanned bytes, and of the byte after the last. */
  readonly start: number
  readonly end: number
  readonly prev: Uint8Array
  readonly hash: Uint8Array
}

/** A region that holds no good frame although good ones should be there. */
export interface Damage {
  readonly start: number
  /** Equal to `start` when frames are missing between two good neighbours. */
  readonly end: number
}

export interface ScanResult {
  readonly frames: readonly Frame[]
  readonly damages: readonly Damage[]
  /** Bytes of an unfinished frame at the end: its write never ended, so nobody was told of it. */
  readonly tornBytes: number
}

/** Longest payload: the largest ledger entry, and room for what the gateway replaces. */
export const payloadBytesMax = 68_000

const magic = utf8Encode('AFSF')
const domain = utf8Encode('affidavit-spool-v1\0')
const version = 1
const kinds: readonly FrameKind[] = ['record', 'carried']
const headerBytes = 68
const hashBytes = 32
const prevAt = 36

/** Bytes that a frame adds to its payload. */
export const frameOverheadBytes = headerBytes + hashBytes

/** `prev` of a segment's first frame. */
export const chainStart: Uint8Array = new Uint8Array(hashBytes)

/** Encodes one frame; `hash` is the next frame's `prev`. */
export function encodeFrame(
  frame: RecordIdentity & { kind: FrameKind; payload: Uint8Array; prev: Uint8Array },
): { bytes: Uint8Array; hash: Uint8Array } {
  const { kind, payload, prev } = frame
  assert(payload.length <= payloadBytesMax, 'a spool payload fits its frame')
  assert(prev.length === hashBytes && frame.writerId.length === 16, 'a frame has its fixed widths')
  const bytes = new Uint8Array(headerBytes + payload.length + hashBytes)
  const view = new DataView(bytes.buffer)
  bytes.set(magic)
  view.setUint8(4, version)
  view.setUint8(5, kinds.indexOf(kind))
  view.setUint32(8, payload.length)
  bytes.set(fromHex(frame.writerId), 12)
  view.setBigUint64(20, BigInt(frame.epoch))
  view.setBigUint64(28, BigInt(frame.seq))
  bytes.set(prev, prevAt)
  bytes.set(payload, headerBytes)
  const hash = hashOf(bytes.subarray(0, headerBytes + payload.length))
  bytes.set(hash, headerBytes + payload.length)
  return { bytes, hash }
}

/**
 * Finds every good frame in `bytes`, which begin at a frame's boundary. A bad region with a good
 * frame behind it, or a whole frame with a wrong hash, is damage; an unfinished last frame is torn.
 */
export function scanFrames(bytes: Uint8Array, prev: Uint8Array | undefined): ScanResult {
  const frames: Frame[] = []
  const damages: Damage[] = []
  let expectedPrev = prev
  let at = 0
  while (at < bytes.length) {
    const frame = readFrame(bytes, at)
    if (frame === undefined) {
      const next = findFrame(bytes, at + 1)
      if (next === undefined && isUnfinished(bytes, at)) {
        return { frames, damages, tornBytes: bytes.length - at }
      }
      damages.push({ start: at, end: next ?? bytes.length })
      at = next ?? bytes.length
      expectedPrev = undefined
      continue
    }
    if (expectedPrev !== undefined && !equalBytes(frame.prev, expectedPrev)) {
      damages.push({ start: at, end: at })
    }
    frames.push(frame)
    expectedPrev = frame.hash
    at = frame.end
  }
  return { frames, damages, tornBytes: 0 }
}

function readFrame(bytes: Uint8Array, start: number): Frame | undefined {
  const end = declaredEnd(bytes, start)
  if (end === undefined || end > bytes.length) return undefined
  const hash = bytes.slice(end - hashBytes, end)
  if (!equalBytes(hash, hashOf(bytes.subarray(start, end - hashBytes)))) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, headerBytes)
  const kind = kinds[view.getUint8(5)]
  if (kind === undefined) return undefined
  return {
    kind,
    writerId: toHex(bytes.subarray(start + 12, start + 20)),
    epoch: Number(view.getBigUint64(20)),
    seq: Number(view.getBigUint64(28)),
    prev: bytes.slice(start + prevAt, start + prevAt + hashBytes),
    payload: bytes.slice(start + headerBytes, end - hashBytes),
    hash,
    start,
    end,
  }
}

/** End of the frame that a readable header at `start` declares; `undefined` if there is no header. */
function declaredEnd(bytes: Uint8Array, start: number): number | undefined {
  if (bytes.length - start < headerBytes || !hasMagic(bytes, start)) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, headerBytes)
  const payloadBytes = view.getUint32(8)
  if (view.getUint8(4) !== version || payloadBytes > payloadBytesMax) return undefined
  return start + headerBytes + payloadBytes + hashBytes
}

function findFrame(bytes: Uint8Array, from: number): number | undefined {
  // A payload is JSON text, in which the zero bytes of a header cannot occur: what is found here is
  // a frame that we wrote, never content that looks like one.
  for (let at = from; at <= bytes.length - frameOverheadBytes; at++) {
    if (hasMagic(bytes, at) && readFrame(bytes, at) !== undefined) return at
  }
  return undefined
}

/** Whether the rest is what an interrupted append leaves: short, or not written over zeros yet. */
function isUnfinished(bytes: Uint8Array, start: number): boolean {
  if (bytes.length - start < headerBytes) return true
  const end = declaredEnd(bytes, start)
  if (end === undefined) return isZero(bytes.subarray(start))
  return end > bytes.length || isZero(bytes.subarray(end - hashBytes, end))
}

function hasMagic(bytes: Uint8Array, at: number): boolean {
  return magic.every((byte, index) => bytes[at + index] === byte)
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0)
}

function hashOf(frameBytes: Uint8Array): Uint8Array {
  return sha256(concatBytes(domain, frameBytes))
}
