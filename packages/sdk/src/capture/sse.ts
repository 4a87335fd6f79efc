/**
 * An incremental parser of server-sent events (WHATWG HTML §9.2.6), on bytes. Lines are cut before
 * they are decoded, so a character split over chunks is never seen in halves.
 *
 * Invariants:
 * - Any chunking of the same bytes gives the same events.
 * - A chunk is never kept: what is incomplete is copied, and at most `eventBytesMax` of it.
 * - Nothing throws.
 *
 * @module
 */

/** One dispatched event. `data` is `null` if the event was larger than the limit. */
export type EventListener = (event: string, data: string | null, frameStart: number) => void

export interface EventParser {
  /** Feeds bytes. The listener learns where in `bytes` its frame began, 0 if it began earlier. */
  push(bytes: Uint8Array): void
}

const lineFeed = 0x0a
const carriageReturn = 0x0d
const colon = 0x3a
const space = 0x20
const carryBytesMin = 256

/** Makes a parser that tells `listener` each event as its blank line arrives. */
export function createEventParser(bytesMax: number, listener: EventListener): EventParser {
  let carry: Buffer | null = null
  let carried = 0
  let isOverflow = false
  let event = ''
  let data: string | null = null
  let dataChars = 0
  let skipLineFeed = false
  let isFirstLine = true
  let frameStart = 0

  return {
    push(bytes) {
      const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      frameStart = 0
      let from = 0
      if (skipLineFeed && chunk.length > 0) {
        skipLineFeed = false
        if (chunk[0] === lineFeed) from = 1
        frameStart = from
      }
      const hasReturn = chunk.includes(carriageReturn)
      while (from < chunk.length) {
        const end = hasReturn ? nextEnd(chunk, from) : chunk.indexOf(lineFeed, from)
        if (end < 0) {
          keep(chunk, from, chunk.length)
          return
        }
        const next = afterEnd(chunk, end)
        takeLine(chunk, from, end, next)
        from = next
      }
    },
  }

  /** Index of the first byte after the line end at `end`; a CR may have its LF in the next chunk. */
  function afterEnd(chunk: Buffer, end: number): number {
    if (chunk[end] === lineFeed) return end + 1
    if (end + 1 === chunk.length) skipLineFeed = true
    return chunk[end + 1] === lineFeed ? end + 2 : end + 1
  }

  function takeLine(chunk: Buffer, from: number, end: number, next: number): void {
    if (carried === 0 && !isOverflow) {
      if (from === end) dispatch(next)
      else if (end - from > bytesMax) isOverflow = true
      else readLine(chunk, from, end)
      if (isOverflow) endOverflow()
      return
    }
    keep(chunk, from, end)
    if (isOverflow) endOverflow()
    else if (carry !== null) readLine(carry, 0, carried)
    carried = 0
    // A long line's memory goes back at once; a short one's serves the next line.
    if (carry !== null && carry.length > 64 * carryBytesMin) carry = null
  }

  function endOverflow(): void {
    isOverflow = false
    data = null
    dataChars = Number.POSITIVE_INFINITY
    isFirstLine = false
  }

  function keep(chunk: Buffer, from: number, to: number): void {
    const needed = carried + to - from
    if (isOverflow || needed > bytesMax) {
      isOverflow = true
      carried = 0
      carry = null
      return
    }
    if (carry === null || carry.length < needed) {
      const grown = Buffer.allocUnsafe(Math.max(carryBytesMin, needed * 2))
      if (carry !== null) carry.copy(grown, 0, 0, carried)
      carry = grown
    }
    chunk.copy(carry, carried, from, to)
    carried = needed
  }

  function readLine(bytes: Buffer, from: number, to: number): void {
    let start = from
    if (isFirstLine) {
      isFirstLine = false
      if (bytes[from] === 0xef && bytes[from + 1] === 0xbb && bytes[from + 2] === 0xbf) start += 3
    }
    const colonAt = colonIndex(bytes, start, to)
    let valueAt = colonAt + 1
    if (bytes[valueAt] === space && valueAt < to) valueAt++
    const length = colonAt - start
    if (length === 4 && bytes[start] === 0x64) {
      if (bytes.toString('latin1', start, colonAt) === 'data')
        addData(bytes.toString('utf8', Math.min(valueAt, to), to))
    } else if (length === 5 && bytes[start] === 0x65) {
      if (bytes.toString('latin1', start, colonAt) === 'event')
        event = bytes.toString('utf8', Math.min(valueAt, to), to)
    }
  }

  function addData(text: string): void {
    dataChars += text.length + 1
    if (dataChars > bytesMax) {
      data = null
      dataChars = Number.POSITIVE_INFINITY
    } else {
      data = data === null ? text : `${data}\n${text}`
    }
  }

  function dispatch(next: number): void {
    isFirstLine = false
    if (dataChars > 0) listener(event, data, frameStart)
    event = ''
    data = null
    dataChars = 0
    frameStart = next
  }
}

function nextEnd(chunk: Buffer, from: number): number {
  for (let at = from; at < chunk.length; at++) {
    const byte = chunk[at]
    if (byte === lineFeed || byte === carriageReturn) return at
  }
  return -1
}

/** Where the field name ends: at the colon, or at the end of the line. */
function colonIndex(bytes: Buffer, from: number, to: number): number {
  for (let at = from; at < to; at++) if (bytes[at] === colon) return at
  return to
}
