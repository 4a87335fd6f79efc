/**
 * The response tap: watches an answer on its way, and judges how it ended. It sees a copy; bytes are
 * never held or changed here, the door releases them as `chunk` says.
 *
 * Invariants:
 * - Any chunking of the same bytes gives the same outcome.
 * - Memory does not grow with a stream's length.
 * - Nothing throws. Only a `message_stop`, or a whole JSON body, proves a complete message.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { Clock } from './clock.ts'
import { decodeBody } from './encoding.ts'
import type {
  CapturedRequest,
  CaptureOptions,
  EndCause,
  EndFacts,
  ResponseOutcome,
  ResponseTap,
} from './exchange.ts'
import { MessageReader } from './message.ts'
import { parseRawBytes } from './raw-json.ts'
import { EventParser } from './sse.ts'
import { upstreamHeaders, type UpstreamHeaders } from './upstream.ts'
import { judge } from './verdict.ts'
import { WireDigest } from './wire-digest.ts'

/** Makes the tap for the answer to `captured`. */
export function createResponseTap(captured: CapturedRequest, options: CaptureOptions): ResponseTap {
  return new Tap(captured, options.clock)
}

class Tap implements ResponseTap {
  readonly #captured: CapturedRequest
  readonly #clock: Clock
  readonly #message: MessageReader
  #head: UpstreamHeaders | null = null
  #parser: EventParser | null = null
  /** Digest of bytes that are not in `#copy`. */
  #wire: WireDigest | null = null
  #copy: Buffer[] | null = null
  #copiedBytes = 0
  #terminalStart = -1
  #terminalSeen = false
  #firstByteMs: number | null = null
  #firstTokenMs: number | null = null
  #outcome: ResponseOutcome | null = null

  constructor(captured: CapturedRequest, clock: Clock) {
    this.#captured = captured
    this.#clock = clock
    this.#message = new MessageReader(captured.limits)
  }

  get terminalSeen(): boolean {
    return this.#terminalSeen
  }

  get framing(): 'sse' | 'body' {
    return this.#head?.isStream === true && this.#head.encoding === null ? 'sse' : 'body'
  }

  head(status: number, rawHeaders: readonly string[]): void {
    if (this.#head !== null) return
    const { captureSource, content, limits } = this.#captured
    this.#head = upstreamHeaders(status, rawHeaders, captureSource)
    const kind = bodyKind(content, this.#head)
    if (kind === 'copy') this.#copy = []
    else if (kind === 'sse') {
      this.#parser = new EventParser(limits.eventBytesMax, (name, data, frameStart) =>
        this.#takeEvent(name, data, frameStart),
      )
    }
  }

  chunk(bytes: Uint8Array): number {
    if (bytes.length === 0 || this.#outcome !== null) return this.#terminalSeen ? 0 : bytes.length
    this.#firstByteMs ??= this.#sinceStart()
    if (this.#copy !== null) {
      this.#keep(bytes)
      return bytes.length
    }
    this.#wire ??= new WireDigest()
    this.#wire.add(bytes)
    if (this.#terminalSeen) return 0
    if (this.#parser === null) return bytes.length
    this.#parser.push(bytes)
    return this.#terminalSeen ? this.#terminalStart : bytes.length
  }

  end(cause: EndCause, facts: EndFacts = {}): ResponseOutcome {
    this.#outcome ??= this.#judge(cause, facts)
    this.#copy = null
    return this.#outcome
  }

  #takeEvent(name: string, data: string | null, frameStart: number): void {
    // Nothing after the terminal event belongs to the message.
    if (this.#terminalSeen) return
    if (this.#message.takeEvent(name, data)) {
      this.#terminalSeen = true
      this.#terminalStart = frameStart
    } else if (this.#firstTokenMs === null && this.#message.hasContent) {
      this.#firstTokenMs = this.#sinceStart()
    }
  }

  #keep(bytes: Uint8Array): void {
    if (this.#copy === null) return
    this.#copiedBytes += bytes.length
    this.#copy.push(Buffer.from(bytes))
    if (this.#copiedBytes <= this.#captured.limits.parseBytesMax) return
    // Too large to be understood; from here on it is only counted and hashed.
    this.#wire = new WireDigest()
    for (const part of this.#copy) this.#wire.add(part)
    this.#copy = null
  }

  #judge(cause: EndCause, facts: EndFacts): ResponseOutcome {
    const body = this.#copiedBody()
    const bytes = body?.length ?? this.#wire?.size ?? 0
    const wireSha256 =
      body === null ? (this.#wire?.end() ?? emptySha256) : hash('sha256', body, 'hex')
    const read =
      body === null || this.#head === null || bytes === 0
        ? this.#unread()
        : this.#read(body, this.#head, cause)
    return judge({
      captured: this.#captured,
      head: this.#head,
      message: this.#message,
      canonicalSha256: this.#message.end(),
      cause,
      facts,
      parsed: bytes === 0 ? 'none' : read.parsed,
      bodyBytes: bytes,
      wireSha256,
      isBeyondReading: read.isBeyondReading,
      decodedSha256: read.decodedSha256,
      latencyMs: this.#sinceStart(),
      firstByteMs: this.#firstByteMs,
      firstTokenMs: this.#firstTokenMs,
    })
  }

  #read(body: Buffer, head: UpstreamHeaders, cause: EndCause): BodyRead {
    return readBody(body, head, { message: this.#message, limits: this.#captured.limits, cause })
  }

  #unread(): BodyRead {
    const isBeyondReading = this.#copiedBytes > this.#captured.limits.parseBytesMax
    return {
      parsed: this.#parser === null ? 'opaque' : 'sse',
      decodedSha256: null,
      isBeyondReading,
    }
  }

  #copiedBody(): Buffer | null {
    if (this.#copy === null) return null
    const [only] = this.#copy
    return this.#copy.length === 1 && only !== undefined ? only : Buffer.concat(this.#copy)
  }

  #sinceStart(): number {
    const elapsedMs = this.#clock.monotonicMs() - this.#captured.startedMonotonicMs
    return Math.max(0, Math.round(elapsedMs))
  }
}

const emptySha256 = hash('sha256', '', 'hex')

/** `sse`: read event by event. `copy`: kept, and read at the end. `opaque`: counted and hashed. */
function bodyKind(
  content: CapturedRequest['content'],
  head: UpstreamHeaders,
): 'sse' | 'copy' | 'opaque' {
  if (head.isStream) {
    if (content !== 'messages') return 'opaque'
    return head.encoding === null ? 'sse' : 'copy'
  }
  const isJson = head.contentType.includes('json')
  return isJson && (content !== 'opaque' || head.status >= 400) ? 'copy' : 'opaque'
}

interface BodyRead {
  readonly parsed: ResponseOutcome['parsed']
  readonly decodedSha256: string | null
  /** The reason that it is opaque lies with us, not with the body. */
  readonly isBeyondReading: boolean
}

interface BodyContext {
  readonly message: MessageReader
  readonly limits: CapturedRequest['limits']
  readonly cause: EndCause
}

/** Reads a body that was kept: decodes it, then as JSON or, if it is an encoded stream, as SSE. */
function readBody(bytes: Buffer, head: UpstreamHeaders, context: BodyContext): BodyRead {
  if (head.encoding === null) {
    const parsed = readPlain(bytes, head, context)
    return { parsed, decodedSha256: null, isBeyondReading: false }
  }
  const plain = decodeBody(bytes, head.encoding, {
    bytesMax: context.limits.parseBytesMax,
    isCut: context.cause !== 'end',
  })
  if (typeof plain === 'string') {
    return { parsed: 'opaque', decodedSha256: null, isBeyondReading: plain !== 'malformed' }
  }
  const parsed = readPlain(plain, head, context)
  return { parsed, decodedSha256: hash('sha256', plain, 'hex'), isBeyondReading: false }
}

function readPlain(bytes: Buffer, head: UpstreamHeaders, context: BodyContext): BodyRead['parsed'] {
  const { message, limits } = context
  if (head.isStream) {
    let isOver = false
    const parser = new EventParser(limits.eventBytesMax, (name, data) => {
      isOver ||= message.takeEvent(name, data)
    })
    parser.push(bytes)
    return 'sse'
  }
  try {
    const body = parseRawBytes(bytes)
    if (body?.kind !== 'object') return 'opaque'
    message.takeBody(body)
  } catch {
    // It is JSON, and nests too deep to be understood.
    message.isLossy = true
  }
  return 'json'
}
