/**
 * The caller's side of an answer: what was sent, what is held back, how it ends.
 *
 * Invariants:
 * - Bytes leave in the order in which they came, unchanged.
 * - An answer that broke off, or that may not be released, never ends cleanly: the connection is
 *   closed without the end of the message (chunked or by length), or reset where the message has no
 *   frame of its own (HTTP/1.0).
 *
 * @module
 */
import type { ServerResponse } from 'node:http'
import { createHash, hash, type Hash } from 'node:crypto'

const http10Minor = 0
const breakOffMsMax = 5_000

/** One answer on its way to the caller. */
export class Delivery {
  readonly #response: ServerResponse
  #head: { status: number; reason: string; headers: string[] } | undefined
  #headSent = false
  #held: Buffer[] = []
  #heldBytes = 0
  #sentBytes = 0
  #sent: Hash | undefined

  constructor(response: ServerResponse) {
    this.#response = response
  }

  get headSent(): boolean {
    return this.#headSent
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  /** Sets the head; it leaves with `sendHead`, or with the first bytes. */
  setHead(status: number, reason: string, headers: string[]): void {
    this.#head = { status, reason, headers }
  }

  /** Sends the head now. */
  sendHead(flush: boolean): void {
    const head = this.#head
    if (head === undefined || this.#headSent) return
    this.#headSent = true
    this.#response.sendDate = false
    this.#response.writeHead(head.status, wireReason(head.reason), head.headers)
    if (flush) this.#response.flushHeaders()
  }

  /** Sends bytes; `false` asks for a pause until the caller has taken what was sent. */
  send(bytes: Buffer): boolean {
    this.sendHead(false)
    this.#sentBytes += bytes.length
    this.#sent ??= createHash('sha256')
    this.#sent.update(bytes)
    return this.#response.write(bytes)
  }

  /** Keeps bytes back. */
  hold(bytes: Buffer): void {
    this.#held.push(bytes)
    this.#heldBytes += bytes.length
  }

  /** Sends all that is held but the last piece. */
  sendAllButLast(): boolean {
    const last = this.#held.pop()
    let taken = true
    for (const bytes of this.#held) taken = this.send(bytes)
    this.#held = last === undefined ? [] : [last]
    this.#heldBytes = last?.length ?? 0
    return taken
  }

  /** Ends the answer cleanly with all that is held. */
  finish(): void {
    this.sendHead(false)
    const [first, ...rest] = this.#held
    this.#held = []
    if (first === undefined) this.#response.end()
    else this.#response.end(rest.length === 0 ? first : Buffer.concat([first, ...rest]))
  }

  /** Breaks off; with `sendHeld` the caller first gets what upstream had sent. */
  breakOff(sendHeld: boolean): void {
    const response = this.#response
    const { socket } = response
    if (socket === null || socket.destroyed) {
      // A pipelined request whose turn has not come: its connection breaks when it does.
      response.destroy()
      return
    }
    if (sendHeld) {
      this.sendHead(false)
      for (const bytes of this.#held) response.write(bytes)
    }
    this.#held = []
    // Without a frame the end of the connection would be the end of the message.
    const isFramed = response.req.httpVersionMinor !== http10Minor
    if (!isFramed || !this.#headSent) {
      socket.resetAndDestroy()
      return
    }
    // What was written still goes out, to a caller that takes it.
    socket.setTimeout(breakOffMsMax, () => socket.destroy())
    socket.destroySoon()
  }

  /** What the caller was sent, when that is less than what upstream sent. */
  sentIfLess(): { bytes: number; sha256: Uint8Array } | undefined {
    if (this.#heldBytes === 0) return undefined
    const sha256 = this.#sent?.copy().digest() ?? hash('sha256', '', 'buffer')
    return { bytes: this.#sentBytes, sha256 }
  }
}

// What Node refuses to write in a status line.
const unwritable = /[^\t\x20-\x7e\x80-\xff]/

/**
 * Node writes text as Latin-1; undici reads the reason as UTF-8. The same bytes go out again, except
 * control characters, which no status line may hold: such a reason is left out.
 */
function wireReason(reason: string): string {
  if (reason === 'OK') return reason
  const text = Buffer.from(reason, 'utf8').toString('latin1')
  return unwritable.test(text) ? '' : text
}
