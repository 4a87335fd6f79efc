/**
 * The callers of the crash tests. They keep their own ledger of what they were given: an exchange is
 * acknowledged when its answer has arrived whole, with the id of its record. What the gateway promises
 * is stated about exactly these.
 *
 * @module
 */
import { Agent, request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Random } from './random.ts'

/** How one request ended, as the caller saw it. */
export interface CallerRecord {
  /** The test's own id: header `x-test-id`, and the session id of the record. */
  readonly id: string
  readonly streaming: boolean
  /** HTTP status; undefined when no answer began. */
  readonly status: number | undefined
  /** The gateway's id of the record, as soon as the answer's head has arrived. */
  readonly eventId: string | undefined
  /** Whether the whole answer arrived: a whole JSON body, or `message_stop`. */
  readonly acknowledged: boolean
}

/** Callers that send requests one after the other until they are stopped. */
export interface Callers {
  /** Every request that has ended, in that order. */
  readonly records: readonly CallerRecord[]
  /** Resolves when `requestsMax` requests have ended, or after `stop`. */
  readonly finished: Promise<void>
  /** Stops after the running requests, which end when the gateway answers or dies. */
  stop(): Promise<void>
}

/** Settings of `startCallers`. */
export interface CallerOptions {
  readonly port: number
  readonly random: Random
  /** Requests at a time. */
  readonly concurrency: number
  /** Put before every id, so that ids never repeat within a test. */
  readonly prefix: string
  /** Requests in all; without it, until `stop`. */
  readonly requestsMax?: number
}

// A refused caller waits this long, so that a dead gateway is not asked thousands of times.
const retryMs = 5

/** Starts callers against a gateway on loopback. */
export function startCallers(options: CallerOptions): Callers {
  const agent = new Agent({ keepAlive: true, maxSockets: options.concurrency })
  const records: CallerRecord[] = []
  const state = { stopped: false }
  let sent = 0
  const call = async () => {
    while (!state.stopped && sent < (options.requestsMax ?? Number.POSITIVE_INFINITY)) {
      const id = `${options.prefix}-${sent++}`
      const streaming = options.random.below(2) === 0
      const record = await exchange({ ...options, agent, id, streaming })
      records.push(record)
      if (!record.acknowledged) await new Promise((resolve) => setTimeout(resolve, retryMs))
    }
  }
  const all = Array.from({ length: options.concurrency }, call)
  const finished = Promise.all(all).then(() => agent.destroy())
  return {
    records,
    finished,
    async stop() {
      state.stopped = true
      await finished
    },
  }
}

interface Sending extends CallerOptions {
  readonly agent: Agent
  readonly id: string
  readonly streaming: boolean
}

// Longer than any answer of the test's upstream; a hanging exchange is a finding of its own.
const exchangeMsMax = 20_000

function exchange({ port, agent, id, streaming, random }: Sending): Promise<CallerRecord> {
  const content = `Request ${id}. ${'text '.repeat(random.below(400))}`
  const body = JSON.stringify({
    model: 'claude-sonnet-4-5',
    max_tokens: 64,
    ...(streaming ? { stream: true } : {}),
    messages: [{ role: 'user', content }],
  })
  const nothing = { id, streaming, status: undefined, eventId: undefined, acknowledged: false }
  return new Promise((resolve) => {
    const outgoing = request(
      {
        agent,
        port,
        method: 'POST',
        path: '/v1/messages',
        timeout: exchangeMsMax,
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          'x-api-key': 'sk-ant-test',
          'x-test-id': id,
          'x-audit-session': id,
          'x-audit-user': `user-${random.below(5)}`,
        },
      },
      (response) => void readAnswer(response, { id, streaming }).then(resolve),
    )
    outgoing.on('timeout', () => outgoing.destroy())
    outgoing.on('error', () => resolve(nothing))
    outgoing.end(body)
  })
}

function readAnswer(
  response: IncomingMessage,
  { id, streaming }: { readonly id: string; readonly streaming: boolean },
): Promise<CallerRecord> {
  const header = response.headers['x-audit-event-id']
  const eventId = typeof header === 'string' ? header : undefined
  const status = response.statusCode
  let text = ''
  return new Promise((resolve) => {
    response.setEncoding('utf8')
    response.on('data', (part: string) => (text += part))
    // 'close' comes last, after an error or a cut as well.
    response.on('error', () => {})
    response.on('close', () => {
      // In a stream, the last frame says that the answer is whole, even if the connection dies
      // before HTTP's own end.
      const whole = streaming ? text.includes('"message_stop"') : response.complete
      const acknowledged = status === 200 && eventId !== undefined && whole
      resolve({ id, streaming, status, eventId, acknowledged })
    })
  })
}
