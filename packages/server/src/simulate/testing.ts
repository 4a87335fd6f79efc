/**
 * What tests of the simulator, and of proxies in front of it, share: a client that shows the bytes as
 * they came, and request bodies.
 *
 * @module
 */
import { request as startRequest } from 'node:http'

/** What a client saw of one exchange. */
export interface Seen {
  readonly status: number
  /** Name, value, name, value, as on the wire. */
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
  /** Sizes of the pieces in which the body came. */
  readonly pieces: readonly number[]
  /** Statuses of 1xx responses. */
  readonly informational: readonly number[]
  readonly trailers: Readonly<NodeJS.Dict<string>>
  /** `complete` as HTTP understands it, or how the connection failed. */
  readonly end: 'complete' | 'cut' | 'left'
}

/** A request to send. */
export interface Sending {
  readonly method?: string
  readonly path?: string
  /** Name, value, name, value; sent as they are. */
  readonly headers?: readonly string[]
  readonly body?: string | Uint8Array
  /** Leaves when the body holds this many bytes. */
  readonly leaveAfterBytes?: number
}

/** Headers that the simulator asks of every request to the API. */
export const apiHeaders: readonly string[] = [
  ['x-api-key', 'sk-test'],
  ['anthropic-version', '2023-06-01'],
  ['content-type', 'application/json'],
].flat()

/** The body of a Messages request. */
export function messagesBody(fields: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    model: 'claude-sonnet-5-5',
    max_tokens: 1024,
    messages: [{ role: 'user', content: 'Why is the sky blue?' }],
    ...fields,
  })
}

/** Sends one request over a connection of its own; resolves when it is over, however it ended. */
export function send(url: string, sending: Sending): Promise<Seen> {
  const { method = 'POST', path = '/v1/messages', headers = apiHeaders, body = '' } = sending
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url)
    const length = String(Buffer.byteLength(body))
    const all = ['host', `${hostname}:${port}`, ...headers, 'content-length', length]
    const request = startRequest({ hostname, port, method, path, headers: all, agent: false })
    const informational: number[] = []
    let answered = false
    request.on('information', ({ statusCode }) => informational.push(statusCode))
    request.on('error', (error) => {
      if (answered) return
      if ('code' in error && error.code === 'ECONNREFUSED') reject(error)
      else resolve({ ...unanswered, informational })
    })
    request.on('response', (response) => {
      answered = true
      const chunks: Buffer[] = []
      let bytes = 0
      const finish = (end: Seen['end']) =>
        resolve({
          status: response.statusCode ?? 0,
          rawHeaders: response.rawHeaders,
          body: Buffer.concat(chunks),
          pieces: chunks.map((chunk) => chunk.length),
          informational,
          trailers: response.trailers,
          end,
        })
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        bytes += chunk.length
        if (bytes < (sending.leaveAfterBytes ?? Infinity)) return
        finish('left')
        request.destroy()
      })
      response.on('end', () => finish(response.complete ? 'complete' : 'cut'))
      response.on('error', () => finish('cut'))
      response.on('close', () => finish('cut'))
    })
    request.end(body)
  })
}

const unanswered: Seen = {
  status: 0,
  rawHeaders: [],
  body: Buffer.alloc(0),
  pieces: [],
  informational: [],
  trailers: {},
  end: 'cut',
}

/** Values of the header `name` in a raw list, in order. */
export function valuesOf(rawHeaders: readonly string[], name: string): string[] {
  return rawHeaders.filter(
    (_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name,
  )
}

/** The `data:` objects of a stream, in order, in any spelling; what is no JSON object is left out. */
export function eventsIn(stream: string): Record<string, unknown>[] {
  const lines = stream.replace(/^\uFEFF/, '').replaceAll(/\r\n?/g, '\n')
  return lines.split('\n\n').flatMap((frame) => {
    const data = [...frame.matchAll(/^data: ?(.*)$/gm)].map(([, text]) => text)
    try {
      return [asObject(JSON.parse(data.join('\n')))]
    } catch {
      return []
    }
  })
}

/** A message put together from the events of its stream, as a client would. */
export function messageFrom(events: readonly Record<string, unknown>[]): Record<string, unknown> {
  let message: Record<string, unknown> = {}
  const content: Record<string, unknown>[] = []
  const json = new Map<unknown, string>()
  for (const event of events) {
    const block = content[Number(event['index'])] ?? {}
    switch (event['type']) {
      case 'message_start':
        message = { ...asObject(event['message']), content }
        break
      case 'content_block_start':
        content.push({ ...asObject(event['content_block']) })
        break
      case 'content_block_delta':
        applyDelta(block, asObject(event['delta']), (text) =>
          json.set(event['index'], (json.get(event['index']) ?? '') + text),
        )
        break
      case 'content_block_stop':
        if (json.has(event['index'])) block['input'] = parsed(json.get(event['index']) ?? '')
        break
      case 'message_delta': {
        const news = Object.entries(asObject(event['usage'])).filter(([, value]) => value !== null)
        const usage = { ...asObject(message['usage']), ...Object.fromEntries(news) }
        message = { ...message, ...asObject(event['delta']), usage }
        break
      }
      default:
    }
  }
  const hop = content.findLast(({ type }) => type === 'fallback')
  return hop === undefined ? message : { ...message, model: asObject(hop['to'])['model'] }
}

function applyDelta(
  block: Record<string, unknown>,
  delta: Readonly<Record<string, unknown>>,
  addJson: (text: string) => void,
): void {
  switch (delta['type']) {
    case 'text_delta':
      block['text'] = String(block['text']) + String(delta['text'])
      break
    case 'thinking_delta':
      block['thinking'] = String(block['thinking']) + String(delta['thinking'])
      break
    case 'signature_delta':
      block['signature'] = delta['signature']
      break
    case 'input_json_delta':
      addJson(String(delta['partial_json']))
      break
    case 'citations_delta': {
      const known: unknown = block['citations']
      block['citations'] = [...(Array.isArray(known) ? known : []), delta['citation']]
      break
    }
    default:
  }
}

/** Tool input; text that is no JSON is returned as `{ invalid: text }`. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return { invalid: text }
  }
}

/** `value`, which is an object. */
export function asObject(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new Error('not an object')
  return Object.fromEntries(Object.entries(value))
}
