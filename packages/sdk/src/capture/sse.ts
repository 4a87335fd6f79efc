/**
 * An incremental parser of server-sent events (WHATWG HTML §9.2.6). Lines are cut on bytes, before they
 * are decoded, so that a character split over chunks is never seen in halves. Chunks that hold whole
 * frames, which is how they mostly come, are decoded at once.
 *
 * Invariants:
 * - Any chunking of the same bytes gives the same events.
 * - A chunk is never kept: what is incomplete is copied, and at most `eventBytesMax` of it.
 * - Nothing throws.
 *
 * @module
 */

/**
 * Takes one event. `data` is `null` if it was larger than the limit. `frameStart` is the offset in the
 * chunk being pushed at which the frame began, 0 if it began earlier.
 */
export type EventListener = (event: string, data: string | null, frameStart: number) => void

const lineFeed = 0x0a
const carriageReturn = 0x0d
const byteOrderMark = 0xfeff
const carryBytesMin = 256
const carryBytesKept = 16 * 1024

/** Parses one stream. */
export class EventParser {
  readonly #bytesMax: number
  readonly #listener: EventListener
  #carry: Buffer | null = null
  #carried = 0
  /** The line being carried is longer than the limit; the rest of it is dropped. */
  #isOverlong = false
  #event = ''
  #data: string | null = null
  #dataChars = 0
  #skipLineFeed = false
  #isFirstLine = true
  #frameStart = 0

  constructor(bytesMax: number, listener: EventListener) {
    this.#bytesMax = bytesMax
    this.#listener = listener
  }

  /** Feeds bytes; tells the listener of each event as its blank line arrives. */
  push(bytes: Uint8Array): void {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#frameStart = 0
    if (this.#isBetweenFrames && endsFrame(chunk) && chunk.length <= this.#bytesMax) {
      const text = chunk.toString('utf8')
      if (!text.includes('\r')) return this.#takeFrames(text, chunk)
    }
    this.#takeLines(chunk)
  }

  get #isBetweenFrames(): boolean {
    return (
      this.#carried === 0 &&
      this.#dataChars === 0 &&
      this.#event === '' &&
      !this.#isOverlong &&
      !this.#skipLineFeed &&
      !this.#isFirstLine
    )
  }

  /** Whole frames with LF line ends, as one text. */
  #takeFrames(text: string, chunk: Buffer): void {
    const isAscii = text.length === chunk.length
    let from = 0
    while (from < text.length) {
      const end = text.indexOf('\n', from)
      if (end === from) {
        const next = isAscii ? end + 1 : Buffer.byteLength(text.slice(0, end + 1))
        this.#dispatch(next)
      } else {
        this.#readLine(text, from, end)
      }
      from = end + 1
    }
  }

  #takeLines(chunk: Buffer): void {
    let from = 0
    if (this.#skipLineFeed && chunk.length > 0) {
      this.#skipLineFeed = false
      if (chunk[0] === lineFeed) {
        from = 1
        if (this.#isBetweenFrames) this.#frameStart = 1
      }
    }
    while (from < chunk.length) {
      const end = lineEnd(chunk, from)
      if (end < 0) return this.#keep(chunk, from, chunk.length)
      const next = this.#afterEnd(chunk, end)
      this.#takeLine(chunk, from, end, next)
      from = next
    }
  }

  /** Index after the line end at `end`. The LF of a CRLF may come with the next chunk. */
  #afterEnd(chunk: Buffer, end: number): number {
    if (chunk[end] === lineFeed) return end + 1
    if (end + 1 === chunk.length) this.#skipLineFeed = true
    return chunk[end + 1] === lineFeed ? end + 2 : end + 1
  }

  #takeLine(chunk: Buffer, from: number, end: number, next: number): void {
    if (this.#carried === 0 && !this.#isOverlong) {
      if (from === end) return this.#dispatch(next)
      if (end - from <= this.#bytesMax) return this.#decodeLine(chunk, from, end)
    }
    this.#keep(chunk, from, end)
    if (this.#isOverlong) this.#dropData()
    else if (this.#carry !== null) this.#decodeLine(this.#carry, 0, this.#carried)
    this.#isOverlong = false
    this.#carried = 0
    // A long line's memory goes back at once; a short one's serves the next line.
    if (this.#carry !== null && this.#carry.length > carryBytesKept) this.#carry = null
  }

  #keep(chunk: Buffer, from: number, to: number): void {
    const needed = this.#carried + to - from
    if (this.#isOverlong || needed > this.#bytesMax) {
      this.#isOverlong = true
      this.#carried = 0
      this.#carry = null
      return
    }
    if (this.#carry === null || this.#carry.length < needed) {
      const grown = Buffer.allocUnsafeSlow(Math.max(carryBytesMin, needed * 2))
      if (this.#carry !== null) this.#carry.copy(grown, 0, 0, this.#carried)
      this.#carry = grown
    }
    chunk.copy(this.#carry, this.#carried, from, to)
    this.#carried = needed
  }

  #decodeLine(bytes: Buffer, from: number, to: number): void {
    const line = bytes.toString('utf8', from, to)
    // A byte order mark counts only at the very start of the stream.
    const hasMark = this.#isFirstLine && line.charCodeAt(0) === byteOrderMark
    this.#isFirstLine = false
    this.#readLine(line, hasMark ? 1 : 0, line.length)
  }

  /** Takes the field in `text[from, to)`. Comments and fields of reconnection say nothing here. */
  #readLine(text: string, from: number, to: number): void {
    if (text.startsWith('data', from)) {
      const value = fieldValue(text, from + 4, to)
      if (value !== null) this.#addData(value)
    } else if (text.startsWith('event', from)) {
      this.#event = fieldValue(text, from + 5, to) ?? this.#event
    }
  }

  #addData(value: string): void {
    this.#dataChars += value.length + 1
    if (this.#dataChars > this.#bytesMax) this.#dropData()
    else this.#data = this.#data === null ? value : `${this.#data}\n${value}`
  }

  /** The event goes on, without data that could be understood. */
  #dropData(): void {
    this.#data = null
    this.#dataChars = Number.POSITIVE_INFINITY
    this.#isFirstLine = false
  }

  #dispatch(next: number): void {
    const event = this.#event
    const data = this.#data
    const hasData = this.#dataChars > 0
    this.#isFirstLine = false
    this.#event = ''
    this.#data = null
    this.#dataChars = 0
    if (hasData) this.#listener(event, data, this.#frameStart)
    this.#frameStart = next
  }
}

function endsFrame(chunk: Buffer): boolean {
  const { length } = chunk
  return length > 1 && chunk[length - 1] === lineFeed && chunk[length - 2] === lineFeed
}

function lineEnd(chunk: Buffer, from: number): number {
  for (let at = from; at < chunk.length; at++) {
    const byte = chunk[at]
    if (byte === lineFeed || byte === carriageReturn) return at
  }
  return -1
}

/** What follows the field name that ends at `at`; `null` if the name goes on. */
function fieldValue(text: string, at: number, to: number): string | null {
  if (at === to) return ''
  if (at > to || text.charCodeAt(at) !== 0x3a) return null
  const start = text.charCodeAt(at + 1) === 0x20 && at + 1 < to ? at + 2 : at + 1
  return text.slice(start, to)
}
