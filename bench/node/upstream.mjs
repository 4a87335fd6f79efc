/**
 * The bench's stand-in for Claude without a C compiler; see native/upstream.c.
 *
 * @module
 */
import { createServer } from 'node:http'

const usage = { input_tokens: 211, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 }
const message = {
  id: 'msg_01AbCdEfGhIjKlMnOpQrStUv',
  type: 'message',
  role: 'assistant',
  model: 'claude-sonnet-4-5',
}
const answer = JSON.stringify({
  ...message,
  content: [{ type: 'text', text: 'The ledger keeps every record in order. '.repeat(16) }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { ...usage, output_tokens: 57 },
})
const shape = { deltas: 20, intervalMs: 0 }
const seen = { requests: 0, streams: 0, bodyBytes: 0 }
let number = 0

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://upstream')
  if (url.pathname === '/control') {
    shape.deltas = Number(url.searchParams.get('deltas'))
    shape.intervalMs = Number(url.searchParams.get('interval_us')) / 1000
    response.end('{}')
  } else if (url.pathname === '/stats') response.end(JSON.stringify(seen))
  else receive(request, response)
})
server.keepAliveTimeout = 600_000
server.listen(Number(process.argv[2]), '127.0.0.1', 4096)

function receive(request, response) {
  let first
  request.on('data', (part) => {
    first ??= part
    seen.bodyBytes += part.length
  })
  request.on('end', () => {
    seen.requests++
    const requestId = `req_${String(++number).padStart(24, '0')}`
    if (first?.subarray(0, 1024).includes('"stream":true')) stream(response, requestId)
    else {
      response.writeHead(200, {
        'content-type': 'application/json',
        'request-id': requestId,
        'content-length': answer.length,
      })
      response.end(answer)
    }
  })
}

const event = (data) => `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`

function delta() {
  const stamp = String(process.hrtime.bigint()).padStart(20, '0')
  const text = `t=${stamp} what it says `
  return event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })
}

function stream(response, requestId) {
  seen.streams++
  let left = shape.deltas
  response.writeHead(200, { 'content-type': 'text/event-stream', 'request-id': requestId })
  const start = {
    ...message,
    content: [],
    stop_reason: null,
    usage: { ...usage, output_tokens: 1 },
  }
  const opening =
    event({ type: 'message_start', message: start }) +
    event({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }) +
    event({ type: 'ping' })
  const closing =
    event({ type: 'content_block_stop', index: 0 }) +
    event({
      type: 'message_delta',
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: { output_tokens: 57 },
    }) +
    event({ type: 'message_stop' })
  if (shape.intervalMs === 0) {
    response.end(opening + Array.from({ length: left }, delta).join('') + closing)
    return
  }
  response.write(opening)
  const timer = setInterval(() => {
    response.write(delta())
    if (--left > 0) return
    clearInterval(timer)
    response.end(closing)
  }, shape.intervalMs)
  response.on('close', () => clearInterval(timer))
}
