/**
 * SHA-256 of a text that arrives in pieces, in constant memory. Pieces are gathered until a hash
 * update is worth its call; a text that stays short costs one one-shot hash and no hash object.
 *
 * @module
 */
import { createHash, hash, type Hash } from 'node:crypto'

const pendingCharsMax = 4096

/** Digest of text as it is (UTF-8). */
export interface RunningDigest {
  add(text: string): void
  /** Hex SHA-256 of everything added, followed by `tail`. Ends this digest. */
  end(tail?: string): string
}

/** Starts a digest with `head`. */
export function createRunningDigest(head = ''): RunningDigest {
  let pending = head
  let running: Hash | null = null
  return {
    add(text) {
      pending += text
      if (pending.length < pendingCharsMax) return
      running ??= createHash('sha256')
      running.update(pending)
      pending = ''
    },
    end(tail = '') {
      if (running === null) return hash('sha256', pending + tail, 'hex')
      return running.update(pending + tail).digest('hex')
    },
  }
}

/**
 * Escapes a text that arrives in pieces as the inside of one JSON string. A surrogate pair that two
 * pieces share is put together before it is escaped.
 */
export interface RunningEscape {
  /** Escaped text that is ready; empty while too little has come. */
  add(piece: string): string
  end(): string
}

export function createRunningEscape(): RunningEscape {
  let pending = ''
  return {
    add(piece) {
      pending += piece
      if (pending.length < pendingCharsMax) return ''
      const isSplit = (pending.charCodeAt(pending.length - 1) & 0xfc00) === 0xd800
      const ready = isSplit ? pending.slice(0, -1) : pending
      pending = isSplit ? pending.slice(-1) : ''
      return JSON.stringify(ready).slice(1, -1)
    },
    end: () => JSON.stringify(pending).slice(1, -1),
  }
}
