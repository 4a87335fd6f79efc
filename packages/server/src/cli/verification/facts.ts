/**
 * What the chain needs to know of many entries, packed so that a thread hands it to another without
 * copying: 105 bytes an entry, whatever the entries' size.
 *
 * @module
 */
import type { EntryRole } from './scan.ts'

/** Entries in a full batch. */
export const batchEntries = 4096

const doubleBytes = 8
const hashBytes = 32
const idBytes = 16
const entryFactBytes = 2 * doubleBytes + 2 * hashBytes + idBytes + 1

/** Facts of `count` successive entries of one log, from `firstLeafIndex`. */
export interface FactsBatch {
  readonly firstLeafIndex: number
  readonly count: number
  readonly epochs: Float64Array
  readonly seqs: Float64Array
  /** 32 bytes each: `writer.prev`. */
  readonly prevs: Uint8Array
  /** 32 bytes each: the entry's own leaf hash. */
  readonly leaves: Uint8Array
  /** 16 bytes each. */
  readonly eventIds: Uint8Array
  readonly roles: Uint8Array
  readonly buffer: ArrayBuffer
}

/** Lays a batch over `buffer`, or over a new one. */
export function factsBatch(options: {
  firstLeafIndex: number
  count: number
  buffer?: ArrayBuffer
}): FactsBatch {
  const { firstLeafIndex, count } = options
  const buffer = options.buffer ?? new ArrayBuffer(batchEntries * entryFactBytes)
  let offset = 0
  const bytes = (length: number) => {
    const view = new Uint8Array(buffer, offset, length)
    offset += length
    return view
  }
  const doubles = () => {
    const view = new Float64Array(buffer, offset, batchEntries)
    offset += batchEntries * doubleBytes
    return view
  }
  return {
    firstLeafIndex,
    count,
    epochs: doubles(),
    seqs: doubles(),
    prevs: bytes(batchEntries * hashBytes),
    leaves: bytes(batchEntries * hashBytes),
    eventIds: bytes(batchEntries * idBytes),
    roles: bytes(batchEntries),
    buffer,
  }
}

/** Puts the facts of one entry at `index` of `batch`. */
export function putFacts(
  batch: FactsBatch,
  index: number,
  facts: {
    epoch: number
    seq: number
    prev: Uint8Array
    leafHash: Uint8Array
    eventId: Uint8Array
    role: EntryRole
  },
): void {
  batch.epochs[index] = facts.epoch
  batch.seqs[index] = facts.seq
  batch.prevs.set(facts.prev, index * hashBytes)
  batch.leaves.set(facts.leafHash, index * hashBytes)
  batch.eventIds.set(facts.eventId, index * idBytes)
  batch.roles[index] = facts.role
}

/** A log as the chain sees it: batches in leaf order. */
export interface FactsSource {
  /** Origin of the log, for findings. */
  readonly origin: string
  /** The next batch, or undefined at the log's end. */
  next(): Promise<FactsBatch | undefined>
}

/** `event_id` in its usual form from the 16 bytes at `index`. */
export function eventIdAt(batch: FactsBatch, index: number): string {
  return formatUuid(batch.eventIds.subarray(index * idBytes, (index + 1) * idBytes))
}

/** The usual form of a UUID. */
export function formatUuid(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)]
  return `${parts.join('-')}-${hex.slice(20)}`
}
