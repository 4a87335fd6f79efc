/**
 * What the simulator remembers of its exchanges, for assertions.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { type IncomingMessage } from 'node:http'
import { type Clock } from '@affidavit/sdk/capture'
import { type Delivered } from './deliver.ts'
import { type Reply, type ReplyFacts } from './reply.ts'

/** What was received. */
export interface ReceivedFacts {
  readonly method: string
  readonly url: string
  /** Name, value, name, value, as on the wire. */
  readonly rawHeaders: readonly string[]
  readonly bodyBytes: number
  readonly bodySha256: string
  /** Present when bodies are kept. */
  readonly body?: Buffer
}

/** What was sent. */
export interface SentFacts {
  readonly status: number
  /** Name, value, name, value, without those that HTTP framing added. */
  readonly headers: readonly string[]
  readonly bodyBytes: number
  readonly bodySha256: string
  /** Present when bodies are kept. */
  readonly body?: Buffer
  readonly end: Delivered['end'] | 'pending'
}

/** One request and its reply. */
export interface SimulatedExchange {
  readonly received: ReceivedFacts
  readonly facts: ReplyFacts
  readonly sent: SentFacts
  /** Monotonic time of arrival. */
  readonly arrivedAtMs: number
  /** Monotonic time at which the caller was seen to be gone before the end. */
  readonly abortedAtMs: number | undefined
}

/** Keeps exchanges as they go. */
export interface Recorder {
  readonly exchanges: readonly SimulatedExchange[]
  /** A request has arrived whole. */
  begin(incoming: IncomingMessage, body: Buffer, bodySha256: string, reply: Reply): OpenExchange
  arrived(count: number): Promise<void>
  settled(): Promise<void>
  clear(): void
}

/** One exchange that is being answered. */
export interface OpenExchange {
  /** The caller is gone; said at most once, and before `finish`. */
  aborted(): void
  /** The reply is over. */
  finish(delivered: Delivered, parts: readonly Buffer[]): SimulatedExchange
}

/** Older exchanges are dropped beyond this number. */
export const exchangesMax = 10_000

type Mutable = { -readonly [Name in keyof SimulatedExchange]: SimulatedExchange[Name] }

/** Makes a recorder that keeps as much as `keep` says. */
export function createRecorder(options: {
  keep: 'none' | 'digests' | 'bodies'
  clock: Clock
}): Recorder {
  const { keep, clock } = options
  const exchanges: SimulatedExchange[] = []
  const waiters = new Set<() => void>()
  let arrivals = 0
  let open = 0
  const until = (condition: () => boolean) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (!condition()) return
        waiters.delete(check)
        resolve()
      }
      waiters.add(check)
      check()
    })
  const changed = () => {
    for (const check of waiters) check()
  }
  return {
    exchanges,
    arrived: (count) => until(() => arrivals >= count),
    settled: () => until(() => open === 0),
    clear() {
      exchanges.length = 0
      arrivals = 0
    },
    begin(incoming, body, bodySha256, reply) {
      const exchange = openExchange(incoming, body, bodySha256, reply)
      if (keep === 'bodies') exchange.received = { ...exchange.received, body }
      exchange.arrivedAtMs = clock.monotonicMs()
      if (keep !== 'none') exchanges.push(exchange)
      if (exchanges.length > exchangesMax) exchanges.shift()
      arrivals += 1
      open += 1
      changed()
      return {
        aborted() {
          exchange.abortedAtMs = clock.monotonicMs()
        },
        finish(delivered, parts) {
          if (keep !== 'none') exchange.sent = sentFacts(reply, delivered, parts, keep)
          open -= 1
          changed()
          return exchange
        },
      }
    },
  }
}

function openExchange(
  incoming: IncomingMessage,
  body: Buffer,
  bodySha256: string,
  reply: Reply,
): Mutable {
  return {
    received: {
      method: incoming.method ?? '',
      url: incoming.url ?? '',
      rawHeaders: incoming.rawHeaders,
      bodyBytes: body.length,
      bodySha256,
    },
    facts: reply.facts,
    sent: {
      status: reply.status,
      headers: reply.headers,
      bodyBytes: 0,
      bodySha256: '',
      end: 'pending',
    },
    arrivedAtMs: 0,
    abortedAtMs: undefined,
  }
}

/** Digests the first `delivered.bytes` bytes of `parts`: what was handed to the socket. */
function sentFacts(
  reply: Reply,
  delivered: Delivered,
  parts: readonly Buffer[],
  keep: 'digests' | 'bodies',
): SentFacts {
  const digest = createHash('sha256')
  const sent: Buffer[] = []
  let left = delivered.bytes
  for (const part of parts) {
    const piece = part.subarray(0, left)
    left -= piece.length
    digest.update(piece)
    if (keep === 'bodies') sent.push(piece)
  }
  return {
    status: reply.status,
    headers: reply.headers,
    bodyBytes: delivered.bytes,
    bodySha256: digest.digest('hex'),
    ...(keep === 'bodies' ? { body: Buffer.concat(sent) } : {}),
    end: delivered.end,
  }
}
