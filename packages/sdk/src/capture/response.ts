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
import { createHash, hash, type Hash } from 'node:crypto'
import { decodeBody } from './encoding.ts'
import type {
  CapturedRequest,
  CaptureOptions,
  EndCause,
  EndFacts,
  ResponseOutcome,
  ResponseTap,
} from './exchange.ts'
import { isObject, parseJson } from './json.ts'
import { createMessageReader, type MessageReader } from './message.ts'
import { createEventParser, type EventParser } from './sse.ts'
import { upstreamHeaders, type UpstreamHeaders } from './upstream.ts'
import { judge } from './verdict.ts'

const wireBufferBytes = 4096

/** Makes the tap for the answer to `captured`. */
export function createResponseTap(captured: CapturedRequest, options: CaptureOptions): ResponseTap {
  const { clock } = options
  const { limits } = captured
  const message = createMessageReader(limits)
  let head: UpstreamHeaders | null = null
  const wire = createWireDigest()
  let parser: EventParser | null = null
  let body: BodyCopy | null = null
  let terminalStart = -1
  let terminalSeen = false
  let firstByteMs: number | null = null
  let firstTokenMs: number | null = null
  let outcome: ResponseOutcome | null = null

  function onEvent(name: string, data: string | null, frameStart: number): void {
    if (terminalSeen) return
    if (message.event(name, data)) {
      terminalSeen = true
      terminalStart = frameStart
    } else if (firstTokenMs === null && message.hasContent) {
      firstTokenMs = sinceStart()
    }
  }

  function sinceStart(): number {
    return Math.max(0, Math.round(clock.monotonicMs() - captured.startedMonotonicMs))
  }

  return {
    get terminalSeen() {
      return terminalSeen
    },
    get framing() {
      return parser === null ? 'body' : 'sse'
    },
    head(status, rawHeaders) {
      if (head !== null) return
      head = upstreamHeaders(status, rawHeaders, captured.captureSource)
      const kind = bodyKind(captured, head)
      if (kind === 'sse') parser = createEventParser(limits.eventBytesMax, onEvent)
      else if (kind === 'copy') body = createBodyCopy(limits.parseBytesMax)
    },
    chunk(bytes) {
      if (outcome !== null || bytes.length === 0) return terminalSeen ? 0 : bytes.length
      firstByteMs ??= sinceStart()
      wire.add(bytes)
      body?.add(bytes)
      if (parser === null) return bytes.length
      if (terminalSeen) return 0
      parser.push(bytes)
      return terminalStart >= 0 ? terminalStart : bytes.length
    },
    end(cause, facts = {}) {
      outcome ??= finish(cause, facts)
      body = null
      parser = null
      return outcome
    },
  }

  function finish(cause: EndCause, facts: EndFacts): ResponseOutcome {
    const isSse = parser !== null
    const read = isSse ? null : readBody(body?.bytes() ?? null, { head, message, captured, cause })
    const bodyBytes = wire.bytes()
    return judge({
      captured,
      head,
      message: message.state,
      canonicalSha256: message.end(),
      cause,
      facts,
      parsed: isSse ? 'sse' : (read?.parsed ?? (bodyBytes === 0 ? 'none' : 'opaque')),
      hasWholeBody: read?.parsed === 'json',
      bodyBytes,
      wireSha256: wire.end(),
      decodedSha256: read?.decodedSha256 ?? null,
      latencyMs: sinceStart(),
      firstByteMs,
      firstTokenMs,
    })
  }
}

/** `sse`: read event by event. `copy`: kept, and read at the end. `opaque`: only counted and hashed. */
function bodyKind(captured: CapturedRequest, head: UpstreamHeaders): 'sse' | 'copy' | 'opaque' {
  const isKnown = captured.content !== 'opaque'
  if (head.contentType.startsWith('text/event-stream')) {
    if (captured.content !== 'messages') return 'opaque'
    return head.encoding === null ? 'sse' : 'copy'
  }
  const isJson = head.contentType.includes('json')
  return isJson && (isKnown || head.status >= 400) ? 'copy' : 'opaque'
}

interface BodyRead {
  readonly parsed: 'json' | 'sse' | 'opaque'
  readonly decodedSha256: Uint8Array | null
}

/** Reads a body that was kept: decodes it, then as JSON or, if it is an encoded stream, as SSE. */
function readBody(
  bytes: Buffer | null,
  context: {
    readonly head: UpstreamHeaders | null
    readonly message: MessageReader
    readonly captured: CapturedRequest
    readonly cause: EndCause
  },
): BodyRead | null {
  const { head, message, captured, cause } = context
  if (bytes === null || head === null || bytes.length === 0) return null
  const { limits } = captured
  const plain =
    head.encoding === null
      ? bytes
      : decodeBody(bytes, head.encoding, {
          bytesMax: limits.parseBytesMax,
          isCut: cause !== 'end',
        })
  if (plain === null) return { parsed: 'opaque', decodedSha256: null }
  const decodedSha256 = head.encoding === null ? null : hash('sha256', plain, 'buffer')
  if (head.contentType.startsWith('text/event-stream')) {
    createEventParser(limits.eventBytesMax, (name, data) => message.event(name, data)).push(plain)
    return { parsed: 'sse', decodedSha256 }
  }
  const parsed = parseJson(
    Buffer.from(plain.buffer, plain.byteOffset, plain.length).toString('utf8'),
  )
  if (isObject(parsed)) message.body(parsed)
  return { parsed: parsed === undefined ? 'opaque' : 'json', decodedSha256 }
}

interface BodyCopy {
  add(bytes: Uint8Array): void
  /** The whole body, or `null` if it was larger than the limit. */
  bytes(): Buffer | null
}

function createBodyCopy(bytesMax: number): BodyCopy {
  let parts: Buffer[] | null = []
  let size = 0
  return {
    add(bytes) {
      size += bytes.length
      if (size > bytesMax) parts = null
      else parts?.push(Buffer.from(bytes))
    },
    bytes: () => (parts === null ? null : Buffer.concat(parts)),
  }
}

interface WireDigest {
  add(bytes: Uint8Array): void
  bytes(): number
  end(): Uint8Array
}

/** Gathers small chunks: an update of the hash costs more than copying a delta. */
function createWireDigest(): WireDigest {
  let running: Hash | null = null
  let pending: Buffer | null = null
  let filled = 0
  let total = 0
  return {
    add(bytes) {
      total += bytes.length
      pending ??= Buffer.allocUnsafe(wireBufferBytes)
      if (filled + bytes.length > wireBufferBytes) {
        running ??= createHash('sha256')
        running.update(pending.subarray(0, filled))
        filled = 0
        if (bytes.length > wireBufferBytes) {
          running.update(bytes)
          return
        }
      }
      pending.set(bytes, filled)
      filled += bytes.length
    },
    bytes: () => total,
    end() {
      const rest = pending === null ? new Uint8Array(0) : pending.subarray(0, filled)
      if (running === null) return hash('sha256', rest, 'buffer')
      return running.update(rest).digest()
    },
  }
}
