/**
 * From a request to the reply that is owed to it, without sending anything: routes, the check of
 * credentials, and the errors that a mode asks for. transport.ts says how a reply may go wrong on the
 * wire, deliver.ts sends it.
 *
 * @module
 */
import { answerTo, type Answer } from './answer.ts'
import { type Library } from './library.ts'
import { messageJson, finalUsage, startUsage } from './message.ts'
import { type Mode, type ModeSetting } from './modes.ts'
import { modelCatalogue } from './models.ts'
import { parsePrompt, type Prompt } from './prompt.ts'
import { createSeeded, type Seeded } from './seeded.ts'
import { framesOf } from './stream.ts'

/** A request that has arrived whole. */
export interface ReceivedRequest {
  readonly method: string
  readonly url: string
  readonly path: string
  /** First value of a header, by lower-case name. */
  header(name: string): string | undefined
  /** The body after content decoding. */
  readonly body: Buffer
  /** Hex SHA-256 of the body as it was on the wire. */
  readonly bodySha256: string
}

/** What a reply says, for assertions. */
export interface ReplyFacts {
  readonly mode: Mode
  readonly requestId: string
  readonly streaming: boolean
  readonly messageId: string | null
  readonly model: string | null
  readonly models: readonly string[]
  readonly stopReason: string | null
  /** The usage object of the whole reply; `null` if it has none. */
  readonly usage: Readonly<Record<string, unknown>> | null
  /** What a stream has reported when it is cut before `message_delta`. */
  readonly usageAtStart: Readonly<Record<string, unknown>> | null
  readonly errorType: string | null
}

/** A reply before it is sent. */
export interface Reply {
  readonly status: number
  /** Name, value, name, value; `date` and the framing headers are the sender's. */
  readonly headers: readonly string[]
  readonly parts: readonly Buffer[]
  readonly facts: ReplyFacts
}

/** What replies depend on besides the request. */
export interface ReplyContext {
  readonly seed: string
  readonly organizationId: string
  readonly library: Library
  readonly deltaChars: number
  readonly hugeBytes: number
  readonly retryAfterMs: number
  /** RFC 3339 time at which the rate limits reset. */
  resetTime(): string
}

interface Work {
  readonly request: ReceivedRequest
  readonly setting: ModeSetting
  readonly context: ReplyContext
  readonly seeded: Seeded
  readonly requestId: string
}

/** The `server` header of every reply: nobody shall take a simulated answer for a real one. */
export const simulatorServerName = 'affidavit-simulate'

const bodyBytesMax = 32 * 1024 * 1024
const organizationRate = 4000

const errors: Partial<Record<Mode, readonly [status: number, type: string, message: string]>> = {
  error_400: [400, 'invalid_request_error', 'messages.0: simulated invalid request'],
  error_401: [401, 'authentication_error', 'invalid x-api-key'],
  error_402: [402, 'billing_error', 'Your credit balance is too low.'],
  error_403: [403, 'permission_error', 'Your API key does not have permission.'],
  error_404: [404, 'not_found_error', 'model: simulated-missing-model'],
  error_409: [409, 'conflict_error', 'The resource was changed by another request.'],
  error_413: [413, 'request_too_large', 'Request exceeds the maximum size'],
  error_422: [422, 'invalid_request_error', 'Simulated unprocessable request'],
  error_429: [429, 'rate_limit_error', 'This request would exceed your rate limit.'],
  error_500: [500, 'api_error', 'Internal server error'],
  error_503: [503, 'api_error', 'Service unavailable'],
  error_504: [504, 'timeout_error', 'Request timed out'],
  error_529: [529, 'overloaded_error', 'Overloaded'],
  refuse_451: [451, 'permission_error', 'Refused by policy.'],
  refuse_503: [503, 'api_error', 'The gateway cannot serve this request.'],
  early_413: [413, 'request_too_large', 'Request exceeds the maximum size'],
}

/** Makes the reply that `request` gets under `setting`. The same arguments give the same bytes. */
export function replyTo(
  request: ReceivedRequest,
  setting: ModeSetting,
  context: ReplyContext,
): Reply {
  const attempt = request.header('x-stainless-retry-count') ?? '0'
  const identity = `${context.seed}|${request.method}|${request.url}|${request.bodySha256}`
  const seeded = createSeeded(identity)
  const requestId = `req_011C${createSeeded(`${identity}|${attempt}|${setting.mode}`).id(20)}`
  const work = { request, setting, context, seeded, requestId }
  return refusal(work) ?? (request.path.startsWith('/v1/') ? apiReply(work) : otherReply(work))
}

function refusal(work: Work): Reply | undefined {
  const { request, setting } = work
  if (request.path.startsWith('/api/')) return undefined
  const known = errors[setting.mode]
  if (known !== undefined) return errorReply(work, ...known)
  if (setting.mode === 'error_html') {
    const page = '<html><body><h1>502 Bad Gateway</h1></body></html>\n'
    return reply(work, 502, 'text/html', [page], {})
  }
  if (!request.path.startsWith('/v1/')) return undefined
  if (request.header('x-api-key') === undefined && request.header('authorization') === undefined) {
    return errorReply(work, 401, 'authentication_error', 'x-api-key header is required')
  }
  if (request.body.length > bodyBytesMax && request.path.startsWith('/v1/messages')) {
    return errorReply(work, 413, 'request_too_large', 'Request exceeds the maximum size')
  }
  return undefined
}

function apiReply(work: Work): Reply {
  const { method, path } = work.request
  if (method === 'POST' && path === '/v1/messages') return messagesReply(work)
  if (method === 'POST' && path === '/v1/messages/count_tokens') return countReply(work)
  if (method === 'GET' && path === '/v1/models') return jsonReply(work, modelCatalogue())
  if (method === 'GET' && path.startsWith('/v1/models/')) return modelReply(work)
  return echoReply(work)
}

function messagesReply(work: Work): Reply {
  const prompt = promptOf(work, false)
  if ('status' in prompt) return prompt
  const { setting, context, seeded } = work
  const answer = answerTo({
    prompt,
    mode: setting.mode,
    seeded,
    library: context.library,
    hugeBytes: setting.bodyBytes ?? context.hugeBytes,
  })
  const facts = factsOf(answer)
  if (!prompt.streaming) {
    return reply(work, 200, 'application/json', [messageJson(answer, setting.mode)], facts)
  }
  const deltaChars = setting.mode === 'huge' ? 4096 : context.deltaChars
  const frames = framesOf(answer, { mode: setting.mode, seeded, deltaChars })
  return reply(work, 200, 'text/event-stream; charset=utf-8', frames, { ...facts, streaming: true })
}

function countReply(work: Work): Reply {
  const prompt = promptOf(work, true)
  if ('status' in prompt) return prompt
  const { uncached, cacheRead, cacheCreation1h, cacheCreation5m } = prompt.input
  const tokens = uncached + cacheRead + cacheCreation1h + cacheCreation5m
  return jsonReply(work, { input_tokens: tokens }, { usage: { input_tokens: tokens } })
}

function promptOf(work: Work, counting: boolean): Prompt | Reply {
  const version = work.request.header('anthropic-version')
  if (version === undefined) {
    return errorReply(work, 400, 'invalid_request_error', 'anthropic-version: header is required')
  }
  const prompt = parsePrompt(work.request.body, { version, counting })
  return 'fault' in prompt ? errorReply(work, 400, 'invalid_request_error', prompt.fault) : prompt
}

function modelReply(work: Work): Reply {
  const id = decodeURIComponent(work.request.path.slice('/v1/models/'.length))
  const model = modelCatalogue().data.find((known) => known.id === id)
  if (model === undefined) return errorReply(work, 404, 'not_found_error', `model: ${id}`)
  return jsonReply(work, model)
}

/** A path this simulator does not know: says what arrived, so that a proxy can be checked. */
function echoReply(work: Work): Reply {
  const { method, url, body, bodySha256 } = work.request
  return jsonReply(work, {
    id: `sim_01${work.seeded.id(22)}`,
    type: 'simulated',
    method,
    url,
    body_bytes: body.length,
    body_sha256: bodySha256,
  })
}

function otherReply(work: Work): Reply {
  if (work.request.path === '/api/hello') return jsonReply(work, { message: 'hello' })
  return errorReply(work, 404, 'not_found_error', 'Not found')
}

function errorReply(work: Work, status: number, type: string, message: string): Reply {
  const body = { type: 'error', error: { type, message }, request_id: work.requestId }
  const { mode } = work.setting
  const { retryAfterMs } = work.context
  const headers: string[] = []
  if (mode === 'error_429' || mode === 'error_529') {
    headers.push('retry-after', String(Math.ceil(retryAfterMs / 1000)))
    if (retryAfterMs % 1000 !== 0) headers.push('retry-after-ms', String(retryAfterMs))
  }
  if (mode.startsWith('refuse_')) headers.push('x-should-retry', 'false')
  if (mode === 'error_529' || mode === 'error_500') headers.push('x-should-retry', 'true')
  const base = reply(work, status, 'application/json', [JSON.stringify(body)], { errorType: type })
  return { ...base, headers: [...base.headers, ...headers] }
}

function jsonReply(work: Work, body: unknown, facts: Partial<ReplyFacts> = {}): Reply {
  return reply(work, 200, 'application/json', [JSON.stringify(body)], facts)
}

function reply(
  work: Work,
  status: number,
  contentType: string,
  texts: readonly string[],
  facts: Partial<ReplyFacts>,
): Reply {
  const parts = texts.map((text) => Buffer.from(text, 'utf8'))
  if (work.setting.mode === 'garbage_only' && facts.streaming === true)
    parts.push(Buffer.from([0xff, 0xfe, 0xc3, 0x28, 0x80]))
  return {
    status,
    headers: headersOf(work, contentType),
    parts,
    facts: {
      mode: work.setting.mode,
      requestId: work.requestId,
      streaming: false,
      messageId: null,
      model: null,
      models: [],
      stopReason: null,
      usage: null,
      usageAtStart: null,
      errorType: null,
      ...facts,
    },
  }
}

function factsOf(answer: Answer): Partial<ReplyFacts> {
  const models = answer.iterations.map(({ model }) => model)
  return {
    messageId: answer.id,
    model: answer.model,
    models: models.length > 0 ? models : [answer.model],
    stopReason: answer.stopReason,
    usage: { ...startUsage(answer), ...finalUsage(answer) },
    usageAtStart: startUsage(answer),
  }
}

function headersOf({ seeded, requestId, context }: Work, contentType: string): string[] {
  const reset = context.resetTime()
  const trace = `00-${seeded.bytes(16).toString('hex')}-${seeded.bytes(8).toString('hex')}-01`
  const headers = [
    ['content-type', contentType],
    ['request-id', requestId],
    ['anthropic-organization-id', context.organizationId],
    ['anthropic-ratelimit-requests-limit', String(organizationRate)],
    ['anthropic-ratelimit-requests-remaining', String(organizationRate - 1 - seeded.below(200))],
    ['anthropic-ratelimit-requests-reset', reset],
    ['anthropic-ratelimit-tokens-limit', '400000'],
    ['anthropic-ratelimit-tokens-remaining', String(399_000 - seeded.below(90_000))],
    ['anthropic-ratelimit-tokens-reset', reset],
    ['server', simulatorServerName],
    ['x-robots-tag', 'none'],
    ['traceresponse', trace],
  ]
  if (contentType.startsWith('text/event-stream')) headers.push(['cache-control', 'no-cache'])
  return headers.flat()
}
