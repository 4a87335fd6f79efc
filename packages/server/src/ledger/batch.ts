/**
 * Batches: entries that will be one frame, encoded once, into the memory from which the frame is
 * written and from which bundles are made later.
 *
 * Invariants:
 * - An entry is encoded and its leaf hash computed when it is added, in the order of the calls.
 * - A frame's bytes are contiguous: one write. Frames are carved from slabs one after another.
 * - A slab is used again when every entry in it is integrated, and not before. Whoever then still asks
 *   for the bytes of an entry is refused them, and never sees those of another.
 *
 * @module
 */
import { AuditError, assert, entryBytesMax, sha256Hex } from '@affidavit/format'
import { frameHashPrefix, frameHeaderBytes, frameTrailerBytes, sealFrame } from './frame.ts'
import type { WriterState } from './head.ts'
import type { Log } from './logs.ts'
import type { WalPosition } from './wal.ts'

/** What became of an appended entry: its place in a log, for good. Copying it by spreading loses parts. */
export interface Sequenced {
  readonly origin: string
  readonly leafIndex: number
  readonly leafHash: Uint8Array
  /**
   * The entry's bytes as they stand in the log: a view of memory that is used again once the entry is
   * integrated. Take or copy it when `append` resolves; asked for later, it may throw.
   */
  readonly entry: Uint8Array
}

/** Memory in which frames are built. */
export interface Slab {
  readonly bytes: Buffer
  /** Rises whenever the slab is used again. */
  generation: number
  /** Batches in it that are not integrated. */
  batches: number
}

interface EntryPlace {
  readonly log: Log
  readonly leafIndex: number
  /** Holds the entry, from `start` up to `end`. */
  readonly slab: Slab
  readonly start: number
  readonly end: number
  /** Leaf hash in hexadecimal. */
  readonly hash: string
  readonly opens: string | undefined
  readonly closes: string | undefined
}

/**
 * An entry on its way into the tree. A class, because its bytes and its hash become arrays only when
 * they are asked for: callers hardly ever do, and a hundred thousand entries a second that live until
 * the next integration are work for the garbage collector.
 */
export class SequencedEntry implements Sequenced, EntryPlace {
  readonly log: Log
  readonly origin: string
  readonly leafIndex: number
  readonly slab: Slab
  readonly start: number
  readonly end: number
  readonly hash: string
  readonly opens: string | undefined
  readonly closes: string | undefined
  readonly #generation: number
  /** The caller that waits for it; nobody any more once it is settled. */
  waiter: Waiter | undefined = undefined

  constructor({ log, leafIndex, slab, start, end, hash, opens, closes }: EntryPlace) {
    this.log = log
    this.origin = log.origin
    this.leafIndex = leafIndex
    this.slab = slab
    this.start = start
    this.end = end
    this.hash = hash
    this.opens = opens
    this.closes = closes
    this.#generation = slab.generation
  }

  get entry(): Buffer {
    assert(this.slab.generation === this.#generation, 'an entry is read before it is integrated')
    return this.slab.bytes.subarray(this.start, this.end)
  }

  get leafHash(): Buffer {
    return Buffer.from(this.hash, 'hex')
  }
}

interface Waiter {
  resolve(sequenced: Sequenced): void
  reject(error: AuditError): void
}

/** Entries of one frame that is durable, waiting to be integrated. */
export interface WrittenBatch {
  readonly entries: readonly SequencedEntry[]
  readonly bytes: number
  /** Where the next frame begins. */
  readonly end: WalPosition
  /** The writer's chain after the last entry. */
  readonly writer: WriterState
  /** What it was built in; nothing if it was read from disk. */
  readonly slab: Slab | undefined
}

/** A frame that is being filled, or waits to be written. */
export interface Batch {
  readonly entries: SequencedEntry[]
  /** Called when the batch is durable, or when it never will be. */
  readonly written: (() => void)[]
  readonly space: FrameSpace
}

/** Part of a slab in which one frame is built: hash prefix, header, payload, trailer. */
interface FrameSpace {
  readonly slab: Slab
  readonly start: number
  payloadEnd: number
}

const slabBytes = 512 * 1024
// What a slab must have left to begin a batch in: the next frame should not be cut short by its end.
const roomBytesMin = 128 * 1024
// Slabs kept for use: 16 MiB, what a second at full speed needs.
const freeSlabsMax = 32
const overheadBytes = frameHashPrefix.length + frameHeaderBytes + frameTrailerBytes
const lengthBytes = 2
// A UTF-16 code unit takes at most three bytes in UTF-8.
const bytesPerUnitMax = 3

/** Where the next batch begins, and slabs to go on in. */
export interface BatchMemory {
  slab: Slab
  used: number
  readonly free: Slab[]
}

/** Memory for batches. */
export function createBatchMemory(): BatchMemory {
  return { slab: createSlab(Buffer.allocUnsafeSlow(slabBytes)), used: 0, free: [] }
}

/** A slab around memory. */
export function createSlab(bytes: Buffer): Slab {
  return { bytes, generation: 0, batches: 0 }
}

/** Starts a batch that has room for an entry of `units` UTF-16 code units at least. */
export function openBatch(memory: BatchMemory, units: number): Batch {
  const needed = overheadBytes + lengthBytes + Math.min(entryBytesMax, units * bytesPerUnitMax)
  if (memory.used + Math.max(needed, roomBytesMin) > memory.slab.bytes.length) {
    const full = memory.slab
    memory.slab = memory.free.pop() ?? createSlab(Buffer.allocUnsafeSlow(slabBytes))
    memory.used = 0
    recycle(memory, full)
  }
  const { slab, used: start } = memory
  slab.batches += 1
  const payloadEnd = start + frameHashPrefix.length + frameHeaderBytes
  return { entries: [], written: [], space: { slab, start, payloadEnd } }
}

/** Says that everything in a batch is integrated: nobody needs its memory any more. */
export function releaseBatch(memory: BatchMemory, slab: Slab): void {
  slab.batches -= 1
  recycle(memory, slab)
}

function recycle(memory: BatchMemory, slab: Slab): void {
  if (slab.batches > 0 || slab === memory.slab) return
  slab.generation += 1
  if (memory.free.length < freeSlabsMax) memory.free.push(slab)
}

/**
 * Encodes an entry at the end of the batch: a body, and what replaces its last brace. The two are not
 * joined as text first, because flattening a joined string costs more than encoding both.
 *
 * @returns where the entry starts in the batch's slab, up to `payloadEnd`; `undefined` when it does not
 *   fit any more.
 * @throws AuditError `ERR_ENTRY_TOO_LARGE`; the batch is as before.
 */
export function addEntry({ space }: Batch, body: string, stamp: string): number | undefined {
  const slab = space.slab.bytes
  const start = space.payloadEnd + lengthBytes
  const room = slab.length - frameTrailerBytes - start
  if ((body.length + stamp.length) * bytesPerUnitMax > Math.min(room, entryBytesMax)) {
    const exact = Buffer.byteLength(body) - 1 + stamp.length
    if (exact > entryBytesMax) throw tooLarge(exact)
    if (exact > room) return undefined
  }
  const brace = start + slab.write(body, start, 'utf8') - 1
  const end = brace + slab.write(stamp, brace, 'latin1')
  slab.writeUInt16BE(end - start, space.payloadEnd)
  space.payloadEnd = end
  return start
}

/**
 * Leaf hash, in hexadecimal, of the entry from `start` up to `end` of a buffer in which its length
 * stands before it.
 */
export function hashInPlace(slab: Buffer, start: number, end: number): string {
  // A leaf is hashed with a zero byte before it (RFC 6962 section 2.1). The second byte of the length
  // is that byte for a moment, which saves a copy of every entry.
  const kept = slab[start - 1] ?? 0
  slab[start - 1] = 0
  const hash = sha256Hex(slab.subarray(start - 1, end))
  slab[start - 1] = kept
  return hash
}

/** Ends a batch: nothing can be added to it, and the next one begins after it. */
export function closeBatch(memory: BatchMemory, { space }: Batch): void {
  assert(space.slab === memory.slab, 'one batch is open at a time')
  memory.used = space.payloadEnd + frameTrailerBytes
}

/** Makes the frame of a closed batch. */
export function sealBatch(
  { entries, space }: Batch,
  after: WalPosition,
  timeMicros: number,
): { bytes: Uint8Array; hash: Uint8Array; count: number } {
  const frame = sealFrame(space.slab.bytes.subarray(space.start), space.payloadEnd - space.start, {
    firstIndex: after.index,
    count: entries.length,
    timeMicros,
    previousHash: after.frameHash,
  })
  return { ...frame, count: entries.length }
}

function tooLarge(bytes: number): AuditError {
  return new AuditError(
    'ERR_ENTRY_TOO_LARGE',
    `An entry of ${bytes} bytes exceeds the ${entryBytesMax} that a log can hold.`,
  )
}
