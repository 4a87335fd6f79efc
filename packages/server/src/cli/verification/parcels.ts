/**
 * Entries on their way from the thread that hashes them to the thread that follows the writer's chain:
 * copied once into a buffer that is handed over, never copied again.
 *
 * ```
 * parcel = 4096 × leaf hash, 32 bytes | entry | entry | …
 * ```
 *
 * The leaf hashes stand where the chain's columns want them; where each entry ends is beside.
 *
 * @module
 */

/** Entries of a full parcel, whatever their size. */
export const parcelEntriesMax = 4096
/** Bytes of a full parcel. The longest entry fits many times. */
export const parcelBytes = 1 << 20
/** Parcels of one log that wait to be followed; then the hashing thread waits. */
export const parcelsWaitingMax = 8

const hashBytes = 32
const entriesAt = parcelEntriesMax * hashBytes

/** Successive entries of one log. */
export interface Parcel {
  readonly firstLeafIndex: number
  readonly count: number
  readonly buffer: ArrayBuffer
  /** Where each entry ends in the buffer; it begins where the one before ends. */
  readonly ends: Uint32Array<ArrayBuffer>
}

/** Collects entries and sends them off in parcels. */
export interface ParcelWriter {
  add(entry: Uint8Array, leafIndex: number, leafHash: Uint8Array): void
  /** Sends what has been collected. */
  flush(): void
}

/** Makes a writer whose full parcels go to `send`. */
export function createParcelWriter(send: (parcel: Parcel) => void): ParcelWriter {
  let bytes = new Uint8Array(new ArrayBuffer(parcelBytes))
  let ends = new Uint32Array(parcelEntriesMax)
  let [firstLeafIndex, count, used] = [0, 0, entriesAt]
  const flush = () => {
    if (count === 0) return
    send({ firstLeafIndex, count, buffer: bytes.buffer, ends })
    bytes = new Uint8Array(new ArrayBuffer(parcelBytes))
    ends = new Uint32Array(parcelEntriesMax)
    ;[count, used] = [0, entriesAt]
  }
  return {
    flush,
    add(entry, leafIndex, leafHash) {
      const isFull = used + entry.length > parcelBytes || count === parcelEntriesMax
      // A bundle that is missing leaves a hole; a parcel has none.
      if (isFull || leafIndex !== firstLeafIndex + count) flush()
      if (count === 0) firstLeafIndex = leafIndex
      bytes.set(leafHash, count * hashBytes)
      bytes.set(entry, used)
      used += entry.length
      ends[count] = used
      count += 1
    },
  }
}

/** The leaf hashes of a parcel's entries, one after another. */
export function leavesOf({ buffer, count }: Parcel): Uint8Array {
  return new Uint8Array(buffer, 0, count * hashBytes)
}

/** Calls `visit` with the bounds of each entry in `bytes`, a view of the whole parcel. */
export function walkParcel(
  { count, ends }: Parcel,
  visit: (index: number, from: number, to: number) => void,
): void {
  let from = entriesAt
  for (let index = 0; index < count; index += 1) {
    const to = ends[index] ?? from
    visit(index, from, to)
    from = to
  }
}
