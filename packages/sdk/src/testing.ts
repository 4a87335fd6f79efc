/**
 * Fakes for the doors' tests: a stand-in for Claude that says what it saw and sent, and a destination
 * in memory that can be told to fail.
 *
 * @module
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { AuditDestination } from './destination.ts'
import type { CompletedDraft, GapDraft, StartedDraft } from './spool/payload.ts'

/** How the stand-in answers; a request asks for it by `x-test-mode`. */
export type Mode =
  | 'ok'
  | 'tool'
  /** One byte a chunk. */
  | 'bytes'
  /** Three events, then nothing until the caller goes away. */
  | 'stall'
  /** Nothing at all until the caller goes away. */
  | 'silent'
  /** The connection breaks in the middle. */
  | 'cut'
  /** An `error` event in the middle. */
  | 'miderror'
  | 'overloaded'
  /** Overloaded at the first attempt only. */
  | 'flaky'
  | 'empty'
  /** `message_stop`, and the connection stays open until the caller goes away. */
  | 'lingering'

/** One request as the stand-in saw it. */
export interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
  /** Resolves when the connection of this exchange is over; true if the caller left early. */
  readonly left: Promise<boolean>
}

export interface FakeClaude {
  readonly url: string
  readonly seen: Seen[]
  /** Bytes of the answers, as far as they were sent. */
  readonly sent: Buffer[]
  close(): Promise<void>
}

const message = {
  id: 'msg_01',
  type: 'message',
  role: 'assistant',
  model: 'claude-test',
  content: [{ type: 'text', text: 'Grüße, 世界!' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 12, output_tokens: 7 },
}

/** Starts the stand-in on a free loopback port. */
export async function startFakeClaude(): Promise<FakeClaude> {
  const seen: Seen[] = []
  const sent: Buffer[] = []
  const server = createServer((request, response) => {
    void receive(request, response).then((each) => {
      seen.push(each)
      return answer(each, response, sent)
    })
  })
  await listen(server)
  return {
    url: `http://127.0.0.1:${portOf(server)}`,
    seen,
    sent,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Listens on a free loopback port. */
export async function listen(server: Server): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
}

export function portOf(server: Server): number {
  const address = server.address() as AddressInfo
  return address.port
}

async function receive(request: IncomingMessage, response: ServerResponse): Promise<Seen> {
  const left = new Promise<boolean>((resolve) => {
    response.once('close', () => resolve(!response.writableFinished))
  })
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  const { method = '', url = '', headers } = request
  return { method, url, headers, body: Buffer.concat(chunks), left }
}

async function answer(seen: Seen, response: ServerResponse, sent: Buffer[]): Promise<void> {
  const mode = seen.headers['x-test-mode'] ?? 'ok'
  const attempt = seen.headers['x-stainless-retry-count'] ?? '0'
  const write = (bytes: Buffer) => {
    sent.push(bytes)
    response.write(bytes)
  }
  if (mode === 'silent') return
  if (mode === 'overloaded' || (mode === 'flaky' && attempt === '0')) {
    return answerError(response, write)
  }
  if (mode === 'empty') {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 0 }).end()
    return
  }
  if (seen.url.includes('/count_tokens')) return answerJson(response, { input_tokens: 12 }, write)
  const asked: unknown = seen.body.length > 0 ? safeParse(seen.body) : {}
  const isStream = typeof asked === 'object' && asked !== null && 'stream' in asked && asked.stream
  if (isStream !== true) return answerJson(response, bodyFor(mode), write)
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'request-id': 'req_01',
  })
  await stream(mode, response, write)
}

function answerError(response: ServerResponse, write: (bytes: Buffer) => void): void {
  const error = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }
  response.writeHead(529, { 'content-type': 'application/json', 'retry-after-ms': '1' })
  write(Buffer.from(JSON.stringify(error)))
  response.end()
}

function answerJson(response: ServerResponse, body: object, write: (bytes: Buffer) => void): void {
  response.writeHead(200, { 'content-type': 'application/json', 'request-id': 'req_01' })
  const bytes = Buffer.from(JSON.stringify(body))
  // In two pieces, so that holding back the last one shows.
  write(bytes.subarray(0, 10))
  write(bytes.subarray(10))
  response.end()
}

function bodyFor(mode: unknown): object {
  if (mode !== 'tool') return message
  const call = { type: 'tool_use', id: 'toolu_01', name: 'look_up', input: { city: 'Zürich' } }
  return { ...message, content: [call], stop_reason: 'tool_use' }
}

async function stream(
  mode: unknown,
  response: ServerResponse,
  write: (bytes: Buffer) => void,
): Promise<void> {
  const frames = mode === 'tool' ? toolFrames() : textFrames()
  if (mode === 'bytes') {
    for (const byte of Buffer.from(frames.join(''))) {
      write(Buffer.from([byte]))
      await new Promise(setImmediate)
    }
    return void response.end()
  }
  if (mode === 'ok' || mode === 'tool' || mode === 'flaky') {
    for (const text of frames) write(Buffer.from(text))
    return void response.end()
  }
  if (mode === 'lingering') {
    for (const text of frames) write(Buffer.from(text))
    return
  }
  for (const text of frames.slice(0, 3)) write(Buffer.from(text))
  if (mode === 'miderror') {
    const error = { type: 'overloaded_error', message: 'Overloaded' }
    write(Buffer.from(frame('error', { error })))
    response.end()
  }
  // Everything must have left before the connection breaks.
  if (mode === 'cut') setImmediate(() => response.socket?.destroySoon())
}

function textFrames(): string[] {
  return [
    frame('message_start', { message: { ...message, content: [], stop_reason: null } }),
    frame('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
    ...['Grüße', ', 世', '界!'].map((text) =>
      frame('content_block_delta', { index: 0, delta: { type: 'text_delta', text } }),
    ),
    frame('ping', {}),
    frame('content_block_stop', { index: 0 }),
    ...endFrames('end_turn'),
  ]
}

function toolFrames(): string[] {
  const call = { type: 'tool_use', id: 'toolu_01', name: 'look_up', input: {} }
  return [
    frame('message_start', { message: { ...message, content: [], stop_reason: null } }),
    frame('content_block_start', { index: 0, content_block: call }),
    ...['{"city":', '"Zürich"}'].map((text) =>
      frame('content_block_delta', {
        index: 0,
        delta: { type: 'input_json_delta', partial_json: text },
      }),
    ),
    frame('content_block_stop', { index: 0 }),
    ...endFrames('tool_use'),
  ]
}

function endFrames(stop_reason: string): string[] {
  const delta = { stop_reason, stop_sequence: null }
  return [frame('message_delta', { delta, usage: { output_tokens: 7 } }), frame('message_stop', {})]
}

function frame(type: string, fields: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`
}

function safeParse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return {}
  }
}

/** A stand-in for a gateway's ingest endpoint: counts each (writer, epoch, seq) once. */
export interface FakeIngest {
  readonly url: string
  readonly key: string
  /** Body by writer, epoch and seq. */
  readonly records: Map<string, { kind: string; event_id: string }>
  /** Answers with this status; 200 takes the records. */
  status: number
  kindsOf(eventId: string): string[]
  close(): Promise<void>
}

/** Starts the stand-in on a free loopback port. */
export async function startFakeIngest(): Promise<FakeIngest> {
  const records: FakeIngest['records'] = new Map()
  const server = createServer((request, response) => {
    void take(request).then(({ status, body }) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
    )
  })

  async function take(request: IncomingMessage): Promise<{ status: number; body: object }> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    if (request.headers.authorization !== `Bearer ${ingest.key}`) return { status: 401, body: {} }
    if (ingest.status !== 200) return { status: ingest.status, body: {} }
    const accepted: number[] = []
    for (const line of Buffer.concat(chunks).toString().trimEnd().split('\n')) {
      const { writer, body } = JSON.parse(line)
      const key = `${writer.id}/${writer.epoch}/${writer.seq}`
      const known = records.get(key)
      // Two records under one identity would be lost one for the other.
      if (known !== undefined && JSON.stringify(known) !== JSON.stringify(body)) {
        return { status: 500, body: {} }
      }
      records.set(key, body)
      accepted.push(writer.seq)
    }
    return { status: 200, body: { accepted, refused: [] } }
  }

  await listen(server)
  const ingest: FakeIngest = {
    url: `http://127.0.0.1:${portOf(server)}`,
    key: 'key-1',
    records,
    status: 200,
    kindsOf: (eventId) =>
      [...records.values()].filter((body) => body.event_id === eventId).map((body) => body.kind),
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return ingest
}

/** A destination in memory. */
export interface MemoryDestination extends AuditDestination {
  readonly starts: StartedDraft[]
  readonly ends: CompletedDraft[]
  readonly gaps: GapDraft[]
  /** Thrown by the next calls, while set. */
  failStart: unknown
  failEnd: unknown
  /** Ends wait for this while it is set. */
  holdEnd: Promise<void> | undefined
  /** Resolves when so many exchanges have ended. */
  ended(count: number): Promise<readonly CompletedDraft[]>
}

export function createMemoryDestination(): MemoryDestination {
  const waiting = new Set<() => void>()
  const destination: MemoryDestination = {
    starts: [],
    ends: [],
    gaps: [],
    failStart: undefined,
    failEnd: undefined,
    holdEnd: undefined,
    async started(draft) {
      await Promise.resolve()
      if (destination.failStart !== undefined) throw destination.failStart
      destination.starts.push(draft)
    },
    async completed(draft) {
      await destination.holdEnd
      if (destination.failEnd !== undefined) throw destination.failEnd
      destination.ends.push(draft)
      for (const wake of waiting) wake()
    },
    async gap(draft) {
      if (destination.failStart !== undefined) throw destination.failStart
      destination.gaps.push(draft)
    },
    close: () => Promise.resolve(),
    async ended(count) {
      while (destination.ends.length < count) {
        await new Promise<void>((resolve) => {
          const wake = () => {
            waiting.delete(wake)
            resolve()
          }
          waiting.add(wake)
        })
      }
      return destination.ends
    },
  }
  return destination
}
