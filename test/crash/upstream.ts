/**
 * The upstream of the crash tests: it lives in the test's process, so it remembers what was forwarded
 * to it whatever happens to the gateway. It answers slowly enough, and in enough pieces, that a kill
 * finds exchanges in every state.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from './random.ts'

const answerDelayMsMax = 12

/** What was forwarded, by the id that the test put on each request. */
export interface CrashUpstream {
  readonly url: string
  /** Ids of requests of which at least the head arrived. */
  readonly forwarded: ReadonlySet<string>
  /** SHA-256 of each body that arrived whole. */
  readonly bodies: ReadonlyMap<string, string>
  close(): Promise<void>
}

/** Starts the upstream on a free port. */
export async function startUpstream(random: Random): Promise<CrashUpstream> {
  const forwarded = new Set<string>()
  const bodies = new Map<string, string>()
  const server = createServer((request, response) => {
    const id = String(request.headers['x-test-id'])
    forwarded.add(id)
    void answer(request, response, { id, bodies, random }).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}`,
    forwarded,
    bodies,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

interface Exchange {
  readonly id: string
  readonly bodies: Map<string, string>
  readonly random: Random
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { id, bodies, random }: Exchange,
): Promise<void> {
  const body = await text(request)
  bodies.set(id, createHash('sha256').update(body).digest('hex'))
  await sleep(random.below(answerDelayMsMax))
  if (body.includes('"stream":true')) await stream(response, random)
  else {
    response.writeHead(200, { 'content-type': 'application/json', 'request-id': `req_${id}` })
    response.end(JSON.stringify({ ...message, content: [{ type: 'text', text: id }] }))
  }
}

async function stream(response: ServerResponse, random: Random): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  const send = (data: { readonly type: string; readonly [field: string]: unknown }) =>
    response.write(`event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`)
  send({ type: 'message_start', message: { ...message, content: [], stop_reason: null } })
  send({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } })
  for (let event = 0; event < 4; event++) {
    await sleep(random.below(answerDelayMsMax / 2))
    send({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'a' } })
  }
  send({ type: 'content_block_stop', index: 0 })
  send({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 4 } })
  send({ type: 'message_stop' })
  response.end()
}

const message = {
  id: 'msg_01CrashTest000000000000',
  type: 'message',
  role: 'assistant',
  model: 'claude-sonnet-4-5',
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 12, output_tokens: 4 },
}
