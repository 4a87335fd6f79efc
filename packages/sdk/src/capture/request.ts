/**
 * Capture of a request: from bytes and headers to everything that a record says before the request
 * is forwarded. Works on a copy, never changes the bytes, never throws.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { maskAddress } from './addresses.ts'
import { canonicalObject, canonicalText } from './canonical-json.ts'
import { contentCoding, decodeBody } from './encoding.ts'
import type { CaptureOptions, CapturedRequest, ReferenceDraft, RequestInput } from './exchange.ts'
import { readRequestHeaders } from './headers.ts'
import { clientTokens, readClaims } from './identity.ts'
import { arrayOf, isObject, parseJson, stringOf, type JsonObject } from './json.ts'
import { defaultLimits, type CaptureLimits } from './limits.ts'
import {
  analyseMember,
  analysePrompt,
  blockTextAt,
  type PromptAnalysis,
  type RequestFacts,
} from './prompt.ts'
import { findRoute, type Route } from './routes.ts'

/** What is known about a body. */
interface BodyAnalysis extends Omit<PromptAnalysis, 'sha256' | 'skeleton'> {
  readonly sha256: Uint8Array | null
  readonly parsed: CapturedRequest['parsed']
}

const emptyFacts: RequestFacts = {
  model: null,
  stream: false,
  maxTokens: null,
  metadataUserId: null,
  toolNames: [],
  continuesThread: false,
}
const opaque: BodyAnalysis = {
  sha256: null,
  parsed: 'opaque',
  blocks: [],
  references: [],
  facts: emptyFacts,
}

/** Captures one request. Synchronous; never throws, whatever the bytes are. */
export function captureRequest(input: RequestInput, options: CaptureOptions): CapturedRequest {
  const limits =
    options.limits === undefined ? defaultLimits : { ...defaultLimits, ...options.limits }
  const route = findRoute(input.method, input.url)
  const headers = readRequestHeaders(input.rawHeaders, options.hashKeys)
  const encoding = contentCoding(headers.values.get('content-encoding'))
  const plain = plainBody(input.body, encoding, limits)
  const analysis = analyseBody(plain, route, limits)
  const { facts } = analysis
  const references = distinct(analysis.references)
  let body: Uint8Array | null = plain
  let parsedBody: JsonObject | null = null
  return {
    eventId: input.eventId,
    startedAtMicros: input.startedAtMicros,
    startedMonotonicMs: input.startedMonotonicMs,
    captureSource: input.captureSource,
    provider: 'anthropic',
    operation: route.operation,
    route: route.route,
    content: route.content,
    streaming: facts.stream,
    expectsSse: facts.stream && route.content === 'messages',
    model: facts.model,
    maxTokens: facts.maxTokens,
    claims: readClaims(headers.values, facts.metadataUserId),
    credential: headers.credential,
    client: clientTokens(headers.values.get('user-agent')),
    attempt: attemptOf(headers.values.get('x-stainless-retry-count')),
    anthropicVersion: headers.values.get('anthropic-version') ?? null,
    anthropicBeta: headers.betas,
    ipAddress:
      input.remoteAddress === undefined ? null : maskAddress(input.remoteAddress, options.ipMask),
    bodyBytes: input.body.length,
    encoding,
    parsed: analysis.parsed,
    wireSha256: hash('sha256', input.body, 'buffer'),
    decodedSha256: encoding === null || plain === null ? null : hash('sha256', plain, 'buffer'),
    headersSha256: headers.sha256,
    canonicalSha256: analysis.sha256,
    completeness: completenessOf(analysis),
    blocks: analysis.blocks,
    toolNames: facts.toolNames.slice(0, limits.namesMax),
    toolCount: facts.toolNames.length,
    references: references.slice(0, limits.referencesMax),
    referenceCount: references.length,
    hashKeys: options.hashKeys,
    limits,
    blockText(position) {
      const block = analysis.blocks[position]
      if (block === undefined || body === null) return null
      if (parsedBody === null) {
        const again = parseJson(textOf(body))
        parsedBody = isObject(again) ? again : {}
      }
      return blockTextAt(parsedBody, block)
    },
    release() {
      body = null
      parsedBody = null
    },
  }
}

/** What `affidavit hash FILE` prints: the digest of a request body given as bytes. */
export function canonicalPrompt(body: Uint8Array): PromptAnalysis | null {
  const parsed = parseJson(textOf(body))
  if (!isObject(parsed)) return null
  try {
    return analysePrompt(parsed)
  } catch {
    return null
  }
}

function plainBody(
  body: Uint8Array,
  encoding: string | null,
  limits: CaptureLimits,
): Uint8Array | null {
  if (encoding === null) return body
  if (body.length > limits.encodedBytesMax) return null
  return decodeBody(body, encoding, { bytesMax: limits.parseBytesMax })
}

function analyseBody(plain: Uint8Array | null, route: Route, limits: CaptureLimits): BodyAnalysis {
  if (plain === null) return opaque
  if (plain.length === 0) return { ...opaque, parsed: 'none' }
  if (route.content === 'opaque' || plain.length > limits.parseBytesMax) return opaque
  const body = parseJson(textOf(plain))
  if (!isObject(body)) return opaque
  try {
    if (route.content === 'batch') return { ...analyseBatch(body), parsed: 'json' }
    if (route.content === 'json') return { ...analyseJson(body), parsed: 'json' }
    const analysis = analysePrompt(body)
    if (analysis.blocks.length > limits.requestBlocksMax) return { ...analysis, ...opaque }
    return { ...analysis, parsed: 'json' }
  } catch {
    // Nested too deep for a canonical form; the wire digest still covers it.
    return opaque
  }
}

/** A batch: the list of its requests, each by the SHA-256 of its own skeleton. */
function analyseBatch(body: JsonObject): Omit<BodyAnalysis, 'parsed'> {
  const references: ReferenceDraft[] = []
  const text = canonicalObject(body, (key, member) => {
    if (key !== 'requests' || !Array.isArray(member)) return canonicalText(member)
    const rows = member.map((row: unknown) => batchRow(row, references))
    return `[${rows.join(',')}]`
  })
  return { sha256: hash('sha256', text, 'buffer'), blocks: [], references, facts: emptyFacts }
}

function batchRow(row: unknown, references: ReferenceDraft[]): string {
  if (!isObject(row)) return canonicalText(row)
  return canonicalObject(row, (key, member) => {
    if (key !== 'params' || !isObject(member)) return canonicalText(member)
    const analysis = analysePrompt(member)
    references.push(...analysis.references)
    return `"${Buffer.from(analysis.sha256).toString('hex')}"`
  })
}

/** Other JSON bodies: the canonical form of all members, secrets left out. */
function analyseJson(body: JsonObject): Omit<BodyAnalysis, 'parsed'> {
  const references: ReferenceDraft[] = []
  const text = canonicalObject(body, (key, value) => {
    if (key === 'fallback_credit_token') return null
    if (key !== 'mcp_servers' && key !== 'resources') return canonicalText(value)
    const member = analyseMember(key, value)
    references.push(...member.references)
    return member.text
  })
  const model = isObject(body['model']) ? body['model']['id'] : body['model']
  const metadata = body['metadata']
  return {
    sha256: hash('sha256', text, 'buffer'),
    blocks: [],
    references,
    facts: {
      ...emptyFacts,
      model: stringOf(model),
      stream: body['stream'] === true,
      metadataUserId: isObject(metadata) ? stringOf(metadata['user_id']) : null,
      toolNames: arrayOf(body['tools']).flatMap((tool) =>
        isObject(tool) && typeof tool['name'] === 'string' ? [tool['name']] : [],
      ),
    },
  }
}

function completenessOf(analysis: BodyAnalysis): CapturedRequest['completeness'] {
  if (analysis.sha256 === null) return 'unknown'
  return analysis.facts.continuesThread ? 'partial' : 'full'
}

function distinct(references: readonly ReferenceDraft[]): readonly ReferenceDraft[] {
  if (references.length < 2) return references
  const seen = new Map<string, ReferenceDraft>()
  for (const reference of references) {
    const key = `${reference.type} ${reference.value}`
    if (!seen.has(key)) seen.set(key, reference)
  }
  return [...seen.values()]
}

function attemptOf(value: string | undefined): number | null {
  return value !== undefined && /^\d{1,4}$/.test(value) ? Number(value) : null
}

/** JSON text of a body; a byte order mark is skipped. */
function textOf(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const hasMark = buffer[0] === 0xef && buffer[1] === 0xbb && buffer[2] === 0xbf
  return buffer.toString('utf8', hasMark ? 3 : 0)
}
