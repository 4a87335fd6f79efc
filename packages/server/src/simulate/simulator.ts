/**
 * The simulator: a stand-in for Claude's API on bare node:http, for tests, demos and measurements.
 * It keeps what it received and what it sent, so that a proxy in front of it can be held to both.
 *
 * Invariant: the body of a reply is a function of the seed, the method, the URL, the request's body,
 * its retry count and the mode, and of nothing else.
 *
 * @module
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type Clock, systemClock } from '@affidavit/sdk/capture'
import { createModeBoard, type ModeBoard } from './board.ts'
import { answerControl } from './control.ts'
import { type Cadence, deliver, type Delivery } from './deliver.ts'
import { openLibrary } from './library.ts'
import { type Chunking, type Mode, type ModeSetting } from './modes.ts'
import { pathOf, readBody, receivedRequest } from './receive.ts'
import { createRecorder, type Recorder, type SimulatedExchange } from './recorder.ts'
import { replyTo, type ReplyContext } from './reply.ts'
import { createSeeded } from './seeded.ts'
import { transportOf } from './transport.ts'

/** Settings of a simulator; every one has a default. */
export interface SimulatorOptions {
  readonly host?: string
  /** 0, the default, takes a free port. */
  readonly port?: number
  readonly seed?: string
  /** Mode of requests that ask for none. */
  readonly mode?: Mode
  readonly chunking?: Chunking
  readonly cadence?: Cadence
  readonly slowMs?: number
  readonly dripMs?: number
  /** Characters of a text delta, about. */
  readonly deltaChars?: number
  readonly hugeBytes?: number
  readonly retryAfterMs?: number
  /** What is kept of each exchange: nothing, digests, or the bodies too. */
  readonly record?: 'none' | 'digests' | 'bodies'
  readonly clock?: Clock
  /** Called when an exchange is over. */
  readonly onExchange?: (exchange: SimulatedExchange) => void
}

/** A running simulator. */
export interface Simulator {
  readonly url: string
  readonly port: number
  /** What arrived, oldest first, at most `exchangesMax`. */
  readonly requests: readonly SimulatedExchange[]
  /** Sets the mode of later requests that ask for none; with `count`, of that many only. */
  setMode(setting: ModeSetting & { readonly count?: number }): void
  /** Resolves when `count` requests in all have arrived since the start or the last `clear`. */
  arrived(count: number): Promise<void>
  /** Resolves when no exchange is open. */
  settled(): Promise<void>
  /** Forgets what was recorded and every mode that was set. */
  clear(): void
  /** Ends every connection and frees the port. */
  close(): Promise<void>
}

/** No pauses. */
export const cadenceNone: Cadence = { firstByteMs: 0, partMs: 0 }

/** The pauses of a large model on a busy afternoon. */
export const cadenceRealistic: Cadence = { firstByteMs: 700, partMs: 25 }

/** Longer than any idle time of the proxies and clients that are tested against it. */
const keepAliveTimeoutMs = 120_000

interface State {
  readonly options: SimulatorOptions
  readonly context: ReplyContext
  readonly recorder: Recorder
  readonly board: ModeBoard
  readonly delivery: Omit<Delivery, 'chunking'>
}

/** Starts a simulator and resolves when it listens. */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const state = createState(options)
  const { recorder, board } = state
  const server = createServer(
    { keepAliveTimeout: keepAliveTimeoutMs, requestTimeout: 0, headersTimeout: 0, noDelay: true },
    (incoming, response) => void handle(state, incoming, response),
  )
  const host = options.host ?? '127.0.0.1'
  server.listen(options.port ?? 0, host)
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    port,
    requests: recorder.exchanges,
    setMode: (setting) => board.set(setting),
    arrived: (count) => recorder.arrived(count),
    settled: () => recorder.settled(),
    clear: () => clear(state),
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

function createState(options: SimulatorOptions): State {
  const clock = options.clock ?? systemClock
  const seed = options.seed ?? 'affidavit'
  return {
    options,
    recorder: createRecorder({ keep: options.record ?? 'digests', clock }),
    board: createModeBoard({ mode: options.mode ?? 'ok' }),
    context: {
      seed,
      organizationId: createSeeded(`${seed}|organization`).uuid(),
      library: openLibrary(),
      deltaChars: options.deltaChars ?? 32,
      hugeBytes: options.hugeBytes ?? 10 * 1024 * 1024,
      retryAfterMs: options.retryAfterMs ?? 1000,
      resetTime: resetTimes(clock),
    },
    delivery: {
      cadence: options.cadence ?? cadenceNone,
      slowMs: options.slowMs ?? 5000,
      dripMs: options.dripMs ?? 250,
      wait,
    },
  }
}

async function wait(ms: number, gone: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const passed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([passed, gone])
  clearTimeout(timer)
}

/** Gives the next full minute, formatted once a minute. */
function resetTimes(clock: Clock): () => string {
  let minute = -1
  let text = ''
  return () => {
    const now = Math.floor(clock.nowMicros() / 60_000_000)
    if (now !== minute) {
      minute = now
      text = `${new Date((now + 1) * 60_000).toISOString().slice(0, -5)}Z`
    }
    return text
  }
}

function clear({ recorder, board, options }: State): void {
  recorder.clear()
  board.set({ mode: options.mode ?? 'ok' })
}

async function handle(
  state: State,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { recorder, board, options } = state
  const named = incoming.headers['x-simulate-mode']
  const early = board.isEarly(typeof named === 'string' ? named : undefined)
  const body = early ? Buffer.alloc(0) : await readBody(incoming)
  if (body === undefined) return
  const path = pathOf(incoming.url ?? '/')
  if (path === '/simulate' || path.startsWith('/simulate/')) {
    const controlled = { board, exchanges: recorder.exchanges, clear: () => clear(state) }
    return answerControl(controlled, { incoming, path, body }, response)
  }
  const request = receivedRequest(incoming, body)
  const setting = board.take(request)
  const transport = transportOf(replyTo(request, setting, state.context))
  const { reply } = transport
  const exchange = recorder.begin(incoming, body, request.bodySha256, reply)
  response.once('close', () => {
    if (
      !response.writableFinished &&
      transport.ending !== 'reset' &&
      transport.ending !== 'close'
    ) {
      exchange.aborted()
    }
  })
  if (early) response.shouldKeepAlive = false
  const chunking = setting.chunkBytes ?? options.chunking ?? 'frame'
  const delivered = await deliver(transport, response, { ...state.delivery, chunking })
  const finished = exchange.finish(delivered, reply.parts)
  options.onExchange?.(finished)
  // The caller of an early refusal may still be sending: nobody reads that.
  if (early) incoming.destroy()
}
