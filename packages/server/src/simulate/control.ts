/**
 * The endpoints under /simulate by which another process steers a simulator: sets modes, and asks
 * what arrived.
 *
 * @module
 */
import { type IncomingMessage, type ServerResponse } from 'node:http'
import { type ModeBoard } from './board.ts'
import { type Chunking, modes, parseMode, summaryOf } from './modes.ts'
import { type SimulatedExchange } from './recorder.ts'

/** What the endpoints act on. */
export interface Controlled {
  readonly board: ModeBoard
  readonly exchanges: readonly SimulatedExchange[]
  clear(): void
}

/** Answers a request whose path begins with /simulate. */
export function answerControl(
  controlled: Controlled,
  request: { incoming: IncomingMessage; path: string; body: Buffer },
  response: ServerResponse,
): void {
  const { incoming, path, body } = request
  const { board, exchanges } = controlled
  const send = (status: number, value: unknown) => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(`${JSON.stringify(value)}\n`)
  }
  switch (`${incoming.method ?? ''} ${path}`) {
    case 'GET /simulate':
      return send(200, { modes: Object.fromEntries(modes.map((mode) => [mode, summaryOf(mode)])) })
    case 'POST /simulate/mode': {
      const setting = parseSetting(body)
      if (typeof setting === 'string') return send(400, { error: setting })
      board.set(setting)
      return send(200, setting)
    }
    case 'GET /simulate/requests':
      return send(200, exchanges.map(withoutBodies))
    case 'DELETE /simulate/requests':
      controlled.clear()
      return send(200, {})
    default:
      return send(404, { error: 'unknown path; GET /simulate lists the modes' })
  }
}

/** Reads `{"mode": "…", "count"?: n, "chunk_bytes"?: n, "body_bytes"?: n}`; a string says what is wrong. */
function parseSetting(body: Buffer): Parameters<ModeBoard['set']>[0] | string {
  let value: unknown
  try {
    value = JSON.parse(body.toString('utf8'))
  } catch {
    return 'the body is not JSON'
  }
  if (typeof value !== 'object' || value === null) return 'the body is not a JSON object'
  const fields = Object.entries(value)
  const named = fields.find(([name]) => name === 'mode')?.[1]
  const mode = typeof named === 'string' ? parseMode(named) : undefined
  if (mode === undefined) return 'mode is missing or unknown; GET /simulate lists the modes'
  const setting: { mode: typeof mode; count?: number; chunkBytes?: Chunking; bodyBytes?: number } =
    {
      mode,
    }
  for (const [name, number] of fields) {
    if (name === 'mode') continue
    if (!Number.isSafeInteger(number) || number < 1) return `${name} is not a positive integer`
    if (name === 'count') setting.count = number
    else if (name === 'chunk_bytes') setting.chunkBytes = number
    else if (name === 'body_bytes') setting.bodyBytes = number
    else return `${name} is unknown`
  }
  return setting
}

/** Request headers may hold credentials; another process sees only their names. */
function withoutBodies({ received, facts, sent, arrivedAtMs, abortedAtMs }: SimulatedExchange) {
  const { method, url, bodyBytes, bodySha256, rawHeaders } = received
  const names = rawHeaders.filter((_, index) => index % 2 === 0)
  return {
    received: { method, url, bodyBytes, bodySha256, headerNames: names },
    facts,
    sent: { ...sent, body: undefined },
    arrivedAtMs,
    abortedAtMs,
  }
}
