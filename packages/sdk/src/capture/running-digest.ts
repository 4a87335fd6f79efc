/**
 * SHA-256 of a text that arrives in pieces, in constant memory. Pieces are gathered until a hash
 * update is worth its call; a text that stays short costs one one-shot hash and no hash object.
 *
 * @module
 */
import { createHash, hash, type Hash } from 'node:crypto'

const pendingCharsMax = 4096

/** Digest of text in UTF-8. Pieces must not split a surrogate pair. */
export class RunningDigest {
  #pending: string
  #running: Hash | null = null

  /** @param head text before the first piece. */
  constructor(head = '') {
    this.#pending = head
  }

  add(text: string): void {
    this.#pending += text
    if (this.#pending.length < pendingCharsMax) return
    this.#running ??= createHash('sha256')
    this.#running.update(this.#pending)
    this.#pending = ''
  }

  /** Hex SHA-256 of everything added, followed by `tail`. Ends this digest. */
  end(tail = ''): string {
    const last = this.#pending + tail
    if (this.#running === null) return hash('sha256', last, 'hex')
    return this.#running.update(last).digest('hex')
  }
}

/**
 * Escapes a text that arrives in pieces as the inside of one JSON string. A surrogate pair that two
 * pieces share is put together before it is escaped.
 */
export class RunningEscape {
  #pending = ''

  /** Returns escaped text that is ready; empty while little has come. */
  add(piece: string): string {
    this.#pending += piece
    const { length } = this.#pending
    if (length < pendingCharsMax) return ''
    const isSplit = (this.#pending.charCodeAt(length - 1) & 0xfc00) === 0xd800
    const ready = isSplit ? this.#pending.slice(0, -1) : this.#pending
    this.#pending = isSplit ? this.#pending.slice(-1) : ''
    return escaped(ready)
  }

  /** Returns the rest, escaped. */
  end(): string {
    return escaped(this.#pending)
  }
}

function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1)
}
