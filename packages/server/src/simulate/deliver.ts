/**
 * Sends a planned reply over a real response: pieces, pauses, back-pressure, and the endings that
 * HTTP does not know.
 *
 * Invariant: what `deliver` reports as sent was handed to the socket, in order, and nothing else was.
 *
 * @module
 */
import { type ServerResponse } from 'node:http'
import { type Chunking } from './modes.ts'
import { createSeeded } from './seeded.ts'
import { type Transport } from './transport.ts'

/** Pauses of a model that thinks and then speaks. */
export interface Cadence {
  /** Before the first byte. */
  readonly firstByteMs: number
  /** Between two parts; each pause is drawn from half to one and a half of it. */
  readonly partMs: number
}

/** How one reply is sent. */
export interface Delivery {
  readonly chunking: Chunking
  readonly cadence: Cadence
  /** Delay of `slow_first_byte`. */
  readonly slowMs: number
  /** Delay before every part of `slow_drip`. */
  readonly dripMs: number
  /** Resolves after `ms`, or when `gone` does. */
  wait(ms: number, gone: Promise<void>): Promise<void>
}

/** What became of a reply. */
export interface Delivered {
  /** Body bytes handed to the socket, before any transfer coding. */
  readonly bytes: number
  /**
   * `complete`: the whole reply as planned, its framing included. `cut`: ended early, as planned.
   * `client_abort`: the caller went away first.
   */
  readonly end: 'complete' | 'cut' | 'client_abort'
}

/** Sends `transport.reply` and resolves when the response is over. */
export async function deliver(
  transport: Transport,
  response: ServerResponse,
  delivery: Delivery,
): Promise<Delivered> {
  const gone = new Promise<void>((resolve) => {
    response.once('close', resolve)
  })
  if (transport.informational) await sendInformational(response)
  if (transport.ending === 'silent') {
    await gone
    return { bytes: 0, end: 'client_abort' }
  }
  const pauses = pausesOf(transport, delivery)
  const firstMs = pauses.first()
  if (firstMs > 0) await delivery.wait(firstMs, gone)
  const pieces = piecesOf(transport, delivery.chunking)
  const parts = transport.reply.parts.values()
  if (transport.head && !response.destroyed) sendHead(transport, response, delivery.chunking)
  let bytes = 0
  let begun = 0
  for (const piece of pieces) {
    // A part may go out in many pieces; the pause is before the first of them.
    const pauseMs = bytes >= begun ? pauses.next() : 0
    while (begun <= bytes) begun += parts.next().value?.length ?? Infinity
    if (pauseMs > 0) await delivery.wait(pauseMs, gone)
    if (response.destroyed) break
    bytes += piece.length
    if (!response.write(piece)) await Promise.race([drained(response), gone])
  }
  if (response.destroyed) return { bytes, end: 'client_abort' }
  return { bytes, end: await finish(transport, response, gone) }
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    response.once('drain', resolve)
  })
}

function sendHead(transport: Transport, response: ServerResponse, chunking: Chunking): void {
  const { reply, declaredBytes } = transport
  const headers = [...reply.headers]
  if (transport.trailer) headers.push('trailer', 'x-simulated-trailer')
  if (declaredBytes !== undefined && (typeof chunking !== 'number' || declaredBytes === 0)) {
    headers.push('content-length', String(declaredBytes))
  } else if (transport.closeDelimited) {
    response.useChunkedEncodingByDefault = false
    headers.push('connection', 'close')
  }
  response.writeHead(reply.status, headers)
  if (transport.slow !== 'no' || transport.ending === 'open') response.flushHeaders()
}

async function finish(
  transport: Transport,
  response: ServerResponse,
  gone: Promise<void>,
): Promise<Delivered['end']> {
  if (transport.ending === 'open') {
    await gone
    return 'client_abort'
  }
  if (transport.ending === 'end') {
    if (transport.trailer) response.addTrailers({ 'x-simulated-trailer': 'last words' })
    const finished = new Promise<void>((resolve) => {
      response.end(resolve)
    })
    await Promise.race([finished, gone])
    return response.writableFinished ? 'complete' : 'client_abort'
  }
  // Both kinds of cut come after everything before them has left this process, so that the peer can
  // receive all that is reported as sent.
  const { socket } = response
  if (transport.head) await flushed(response)
  if (transport.ending === 'reset') socket?.resetAndDestroy()
  else socket?.destroy()
  return 'cut'
}

function flushed(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    response.once('close', resolve)
    if (!response.headersSent) return resolve()
    // An empty write calls back once all that was written before it is in the kernel's hands.
    response.socket?.write('', () => resolve())
  })
}

function piecesOf({ reply }: Transport, chunking: Chunking): readonly Buffer[] {
  const parts = reply.parts.filter((part) => part.length > 0)
  if (chunking === 'frame') return parts
  const whole = Buffer.concat(parts)
  if (chunking === 'whole' || whole.length === 0) return whole.length === 0 ? [] : [whole]
  return Array.from({ length: Math.ceil(whole.length / chunking) }, (_, index) =>
    whole.subarray(index * chunking, (index + 1) * chunking),
  )
}

function pausesOf({ reply, slow }: Transport, delivery: Delivery) {
  const { cadence, slowMs, dripMs } = delivery
  if (slow === 'first-byte') return { first: () => slowMs, next: () => 0 }
  if (slow === 'every-part') return { first: () => dripMs, next: () => dripMs }
  if (cadence.firstByteMs === 0 && cadence.partMs === 0) return { first: () => 0, next: () => 0 }
  const seeded = createSeeded(reply.facts.requestId)
  const around = (ms: number) => (ms * (50 + seeded.below(101))) / 100
  return { first: () => around(cadence.firstByteMs), next: () => around(cadence.partMs) }
}

async function sendInformational(response: ServerResponse): Promise<void> {
  response.writeProcessing()
  await new Promise<void>((resolve) => {
    response.writeEarlyHints({ link: '</simulated>; rel=preload' }, resolve)
  })
}
