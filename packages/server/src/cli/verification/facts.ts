/**
 * What the chain needs to know of many entries, packed in columns: an object for each of a million
 * entries would cost more than hashing them.
 *
 * @module
 */
export const hashBytes = 32
export const idBytes = 16

/**
 * What an entry does to the pairing of starts and ends. An ingested start is one that an application
 * delivered: the application ends it, in whatever epoch of this writer.
 */
export const entryRoles = { other: 0, start: 1, end: 2, opened: 3, ingestedStart: 4 } as const
export type EntryRole = (typeof entryRoles)[keyof typeof entryRoles]

/** Place of an entry in its writer's order. */
export interface ChainKey {
  readonly epoch: number
  readonly seq: number
}

/** Facts of successive entries of one log. */
export interface FactsBatch {
  /** Entries that are filled in; columns may be longer. */
  readonly count: number
  readonly leafIndices: Float64Array
  readonly epochs: Float64Array
  readonly seqs: Float64Array
  /** `hashBytes` each: `writer.prev`. */
  readonly prevs: Uint8Array
  /** `hashBytes` each: the entry's own leaf hash. */
  readonly leaves: Uint8Array
  /** `idBytes` each. */
  readonly eventIds: Buffer
  readonly roles: Uint8Array
}

/** Makes columns for `count` entries; `leaves` may be there already. */
export function createFactsBatch(
  count: number,
  leaves: Uint8Array = new Uint8Array(count * hashBytes),
): FactsBatch {
  return {
    count,
    leafIndices: new Float64Array(count),
    epochs: new Float64Array(count),
    seqs: new Float64Array(count),
    prevs: new Uint8Array(count * hashBytes),
    leaves,
    eventIds: Buffer.alloc(count * idBytes),
    roles: new Uint8Array(count),
  }
}

/** A log as the chain sees it: batches in leaf order. */
export interface FactsSource {
  /** How findings name the log. */
  readonly where: string
  /**
   * Where its first entry stands in the writer's order, so that a log that comes later need not be
   * opened before its turn. Undefined when that is not known: then it is opened at once.
   */
  readonly first: ChainKey | undefined
  /** The next batch, or undefined at the log's end. Batches are not empty. */
  next(): Promise<FactsBatch | undefined>
}

/** Place of the entry at `index` in its writer's order. */
export function keyAt(batch: FactsBatch, index: number): ChainKey {
  return { epoch: batch.epochs[index] ?? 0, seq: batch.seqs[index] ?? 0 }
}

/** `event_id` of the entry at `index`, in its usual form. */
export function eventIdAt(batch: FactsBatch, index: number): string {
  return formatUuid(batch.eventIds.toString('hex', index * idBytes, (index + 1) * idBytes))
}

/** The same as a key of a map: 16 characters, one a byte. */
export function eventIdKeyAt(batch: FactsBatch, index: number): string {
  return batch.eventIds.toString('latin1', index * idBytes, (index + 1) * idBytes)
}

/** From a key of a map to the usual form. */
export function eventIdOfKey(key: string): string {
  return formatUuid(Buffer.from(key, 'latin1').toString('hex'))
}

/** The usual form of the 32 hex digits of a UUID. */
export function formatUuid(hex: string): string {
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)]
  return `${parts.join('-')}-${hex.slice(20)}`
}
