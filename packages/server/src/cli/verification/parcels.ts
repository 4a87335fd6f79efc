/**
 * Entries on their way from the thread that hashes them to the thread that follows the writer's chain:
 * copied once into a buffer that is handed over, never copied again.
 *
 * ```
 * parcel = count × ( u32 length, machine order | leaf hash, 32 bytes | entry | zeros up to 4 bytes )
 * ```
 *
 * @module
 */

/** Bytes of a full parcel. The longest entry fits many times. */
export const parcelBytes = 1 << 20
/** Entries of a full parcel, whatever their size. */
export const parcelEntriesMax = 4096
/** Parcels of one log that wait to be followed; then the hashing thread waits. */
export const parcelsWaitingMax = 8

const lengthBytes = 4
const hashBytes = 32
const headBytes = lengthBytes + hashBytes

/** Successive entries of one log. */
export interface Parcel {
  readonly firstLeafIndex: number
  readonly count: number
  readonly buffer: ArrayBuffer
}

/** Collects entries and sends them off in parcels. */
export interface ParcelWriter {
  add(entry: Uint8Array, leafIndex: number, leafHash: Uint8Array): void
  /** Sends what has been collected. */
  flush(): void
}

/** Makes a writer whose full parcels go to `send`. */
export function createParcelWriter(send: (parcel: Parcel) => void): ParcelWriter {
  let buffer = new ArrayBuffer(parcelBytes)
  let [bytes, view] = [new Uint8Array(buffer), new DataView(buffer)]
  let [firstLeafIndex, count, used] = [0, 0, 0]
  const flush = () => {
    if (count === 0) return
    send({ firstLeafIndex, count, buffer })
    buffer = new ArrayBuffer(parcelBytes)
    ;[bytes, view] = [new Uint8Array(buffer), new DataView(buffer)]
    ;[count, used] = [0, 0]
  }
  return {
    flush,
    add(entry, leafIndex, leafHash) {
      const isFull = used + headBytes + entry.length > parcelBytes || count === parcelEntriesMax
      // A bundle that is missing leaves a hole; a parcel has none.
      if (isFull || leafIndex !== firstLeafIndex + count) flush()
      if (count === 0) firstLeafIndex = leafIndex
      view.setUint32(used, entry.length, true)
      bytes.set(leafHash, used + lengthBytes)
      bytes.set(entry, used + headBytes)
      used += headBytes + paddedLength(entry.length)
      count += 1
    },
  }
}

/** Calls `visit` for each entry. The views are into the parcel. */
export function walkParcel(
  parcel: Parcel,
  visit: (entry: Uint8Array, leafHash: Uint8Array, index: number) => void,
): void {
  const view = new DataView(parcel.buffer)
  let at = 0
  for (let index = 0; index < parcel.count; index += 1) {
    const length = view.getUint32(at, true)
    const leafHash = new Uint8Array(parcel.buffer, at + lengthBytes, hashBytes)
    visit(new Uint8Array(parcel.buffer, at + headBytes, length), leafHash, index)
    at += headBytes + paddedLength(length)
  }
}

function paddedLength(length: number): number {
  return Math.ceil(length / 4) * 4
}
