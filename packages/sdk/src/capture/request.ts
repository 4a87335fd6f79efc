/**
 * Capture of a request: from bytes and headers to everything that a record says before the request
 * is forwarded. Works on a copy, never changes the bytes, never throws.
 *
 * @module
 */
import { maskAddress } from './addresses.ts'
import type { BlockDigest, ReferenceDraft } from './analysis.ts'
import { analyseBody, parseBody, type BodyAnalysis } from './body.ts'
import { contentCoding } from './encoding.ts'
import type { CaptureOptions, CapturedRequest, RequestInput } from './exchange.ts'
import { readRequestHeaders } from './headers.ts'
import { clientTokens, readClaims } from './identity.ts'
import { defaultLimits } from './limits.ts'
import { analysePrompt, blockTextAt } from './prompt.ts'
import { fromBinary, type RawNode } from './raw-json.ts'
import { findRoute } from './routes.ts'

/** Captures one request. Synchronous; never throws, whatever the bytes are. */
export function captureRequest(input: RequestInput, options: CaptureOptions): CapturedRequest {
  const limits =
    options.limits === undefined ? defaultLimits : { ...defaultLimits, ...options.limits }
  const route = findRoute(input.method, input.url)
  const headers = readRequestHeaders(input.rawHeaders, options.hashKeys)
  const encoding = contentCoding(headers.values.get('content-encoding'))
  const analysis = analyseBody(input.body, {
    content: route.content,
    encoding,
    limits,
    prefixCache: options.prefixCache,
    hint: hintOf(headers.values),
  })
  // Nothing below may hold on to `analysis`: it has the body.
  const { blocks, facts } = analysis
  const references = distinct(analysis.references)
  let body = analysis.plain
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
    wireSha256: analysis.wireSha256,
    decodedSha256: analysis.decodedSha256,
    headersSha256: headers.sha256,
    canonicalSha256: analysis.sha256,
    completeness: completenessOf(analysis),
    blocks,
    toolNames: facts.toolNames.slice(0, limits.namesMax),
    toolCount: facts.toolCount,
    references: references.slice(0, limits.referencesMax),
    referenceCount: references.length,
    hashKeys: options.hashKeys,
    limits,
    blockText(position) {
      const block = blocks[position]
      if (block === undefined || body === null) return null
      parsedBody ??= parseBody(body)
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
    const parsed = parseBody(body)
    if (parsed?.kind !== 'object') return null
    const { sha256, skeleton, blocks } = analysePrompt(parsed)
    return { sha256: Buffer.from(sha256, 'hex'), skeleton: fromBinary(skeleton), blocks }
  } catch {
    return null
  }
}

function completenessOf(analysis: BodyAnalysis): CapturedRequest['completeness'] {
  if (analysis.sha256 === null) return 'unknown'
  return analysis.facts.continuesThread ? 'partial' : 'full'
}

/** What names a conversation, as far as the caller tells. */
function hintOf(headers: ReadonlyMap<string, string>): string {
  const session = headers.get('x-claude-code-session-id') ?? headers.get('x-audit-session')
  if (session === undefined) return ''
  return `${session} ${headers.get('x-claude-code-agent-id') ?? ''}`
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
