/**
 * Capture of a request: from bytes and headers to everything that a record says before the request
 * is forwarded. Works on a copy, never changes the bytes, never throws.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { maskAddress } from './addresses.ts'
import { contentCoding, decodeBody } from './encoding.ts'
import type {
  BlockDigest,
  CaptureOptions,
  CapturedRequest,
  ReferenceDraft,
  RequestInput,
} from './exchange.ts'
import { readRequestHeaders } from './headers.ts'
import { clientTokens, readClaims } from './identity.ts'
import { defaultLimits, type CaptureLimits } from './limits.ts'
import { analysePrompt, blockTextAt, noFacts, serversText, type PromptAnalysis } from './prompt.ts'
import {
  binaryText,
  canonicalObject,
  canonicalText,
  fromBinary,
  memberOf,
  parseRaw,
  stringAt,
  type RawNode,
} from './raw-json.ts'
import { findRoute, type Route } from './routes.ts'
import { sha256OfBinary } from './sha256.ts'

/** What is known about a body. */
interface BodyAnalysis extends Omit<PromptAnalysis, 'sha256' | 'skeleton'> {
  readonly sha256: string | null
  readonly parsed: CapturedRequest['parsed']
}

const opaque: BodyAnalysis = {
  sha256: null,
  parsed: 'opaque',
  blocks: [],
  references: [],
  facts: noFacts,
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
  let parsedBody: RawNode | null = null
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
    wireSha256: hash('sha256', input.body, 'hex'),
    decodedSha256: encoding === null || plain === null ? null : hash('sha256', plain, 'hex'),
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
      parsedBody ??= parseRaw(binaryText(withoutMark(body)))
      return parsedBody === null ? null : blockTextAt(parsedBody, block)
    },
    recordMemo: null,
    release() {
      body = null
      parsedBody = null
    },
  }
}

/** A request body by its canonical form. */
export interface CanonicalPrompt {
  /** SHA-256 of `skeleton`; under a key it is the `prompt_hash` of records. */
  readonly sha256: Uint8Array
  readonly skeleton: string
  readonly blocks: readonly BlockDigest[]
}

/** Digests a request body given as bytes, for `affidavit hash`; `null` if it is no JSON object. */
export function canonicalPrompt(body: Uint8Array): CanonicalPrompt | null {
  try {
    const parsed = parseRaw(binaryText(withoutMark(body)))
    if (parsed?.kind !== 'object') return null
    const { sha256, skeleton, blocks } = analysePrompt(parsed)
    return { sha256: Buffer.from(sha256, 'hex'), skeleton: fromBinary(skeleton), blocks }
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
  const plain = decodeBody(body, encoding, { bytesMax: limits.parseBytesMax })
  return typeof plain === 'string' ? null : plain
}

function analyseBody(plain: Uint8Array | null, route: Route, limits: CaptureLimits): BodyAnalysis {
  if (plain === null) return opaque
  if (plain.length === 0) return { ...opaque, parsed: 'none' }
  if (route.content === 'opaque' || plain.length > limits.parseBytesMax) return opaque
  try {
    const body = parseRaw(binaryText(withoutMark(plain)))
    if (body?.kind !== 'object') return opaque
    if (route.content === 'batch') return analyseBatch(body)
    if (route.content === 'json') return analyseJson(body)
    const analysis = analysePrompt(body)
    return analysis.blocks.length > limits.requestBlocksMax
      ? opaque
      : { ...analysis, parsed: 'json' }
  } catch {
    // Nested too deep for a canonical form; the wire digest still covers it.
    return opaque
  }
}

/** A batch: the list of its requests, each by the SHA-256 of its own skeleton. */
function analyseBatch(body: RawNode): BodyAnalysis {
  const references: ReferenceDraft[] = []
  const text = canonicalObject(body, (key, member) => {
    if (key !== 'requests' || member.kind !== 'array') return canonicalText(member)
    return `[${member.values.map((row) => batchRow(row, references)).join(',')}]`
  })
  return { ...opaque, parsed: 'json', sha256: sha256OfBinary(text), references }
}

function batchRow(row: RawNode, references: ReferenceDraft[]): string {
  if (row.kind !== 'object') return canonicalText(row)
  return canonicalObject(row, (key, member) => {
    if (key !== 'params' || member.kind !== 'object') return canonicalText(member)
    const analysis = analysePrompt(member)
    references.push(...analysis.references)
    return `"${analysis.sha256}"`
  })
}

/** Other JSON bodies: the canonical form of all members, without the secrets. */
function analyseJson(body: RawNode): BodyAnalysis {
  const { references, facts } = analysePrompt(body)
  const text = canonicalObject(body, (key, member) => {
    if (key === 'fallback_credit_token') return null
    return key === 'mcp_servers' ? serversText(member) : canonicalText(member)
  })
  const model = facts.model ?? stringAt(memberOf(memberOf(body, 'model'), 'id'))
  return {
    ...opaque,
    parsed: 'json',
    sha256: sha256OfBinary(text),
    references,
    facts: { ...facts, model },
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

/** A byte order mark is no part of a JSON text, and is skipped (RFC 8259 §8.1). */
function withoutMark(bytes: Uint8Array): Uint8Array {
  const hasMark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
  return hasMark ? bytes.subarray(3) : bytes
}
