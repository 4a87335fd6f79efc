/**
 * SHA-256 over the bytes of a body that passes in chunks. Small chunks are gathered first: an update
 * of the hash costs more than copying a delta.
 *
 * @module
 */
import { createHash, hash, type Hash } from 'node:crypto'

const gatheredBytesMax = 4096

/** Digest and size of what has passed. Chunks are copied, never kept. */
export class WireDigest {
  /** Bytes that have passed. */
  size = 0
  #running: Hash | null = null
  #gathered: Buffer | null = null
  #filled = 0

  add(bytes: Uint8Array): void {
    this.size += bytes.length
    if (this.#filled + bytes.length > gatheredBytesMax) {
      this.#running ??= createHash('sha256')
      this.#running.update(this.#waiting)
      this.#filled = 0
      if (bytes.length > gatheredBytesMax) {
        this.#running.update(bytes)
        return
      }
    }
    this.#gathered ??= Buffer.allocUnsafeSlow(gatheredBytesMax)
    this.#gathered.set(bytes, this.#filled)
    this.#filled += bytes.length
  }

  /** Hex digest of everything; ends it. */
  end(): string {
    if (this.#running === null) return hash('sha256', this.#waiting, 'hex')
    return this.#running.update(this.#waiting).digest('hex')
  }

  get #waiting(): Uint8Array {
    return this.#gathered === null ? noBytes : this.#gathered.subarray(0, this.#filled)
  }
}

const noBytes = new Uint8Array(0)
