/**
 * Request bodies: decoded, read as their operation says, and digested. What cannot be understood is
 * opaque; its wire digest stands all the same.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { PrefixCache, PromptAnalysis, ReferenceDraft } from './analysis.ts'
import { decodeBody } from './encoding.ts'
import type { CapturedRequest } from './exchange.ts'
import type { CaptureLimits } from './limits.ts'
import { analysePrompt, noFacts, serversText } from './prompt.ts'
import {
  canonicalObject,
  canonicalText,
  memberOf,
  parseRawBytes,
  stringAt,
  type RawNode,
} from './raw-json.ts'
import { sha256OfBinary } from './sha256.ts'

/** What is known about a body. */
export interface BodyAnalysis extends Omit<PromptAnalysis, 'sha256' | 'skeleton'> {
  /** Of the skeleton; `null` if there is none. */
  readonly sha256: string | null
  readonly parsed: CapturedRequest['parsed']
  readonly wireSha256: string
  readonly decodedSha256: string | null
  /** The decoded body; `null` if it could not be decoded. */
  readonly plain: Uint8Array | null
}

/** How to read a body. */
export interface BodyReading {
  readonly content: CapturedRequest['content']
  readonly encoding: string | null
  readonly limits: CaptureLimits
  readonly prefixCache: PrefixCache | undefined
  /** Name of the conversation, empty if it has none. */
  readonly hint: string
}

type Understood = Omit<BodyAnalysis, 'wireSha256' | 'decodedSha256' | 'plain'>

const opaque: Understood = {
  sha256: null,
  parsed: 'opaque',
  blocks: [],
  references: [],
  facts: noFacts,
}

/** Digests a body. Never throws. */
export function analyseBody(body: Uint8Array, reading: BodyReading): BodyAnalysis {
  const prefixed = analysePrefixed(body, reading)
  if (prefixed !== null) return prefixed
  const { encoding, limits } = reading
  const wireSha256 = hash('sha256', body, 'hex')
  const plain = encoding === null ? body : decoded(body, encoding, limits)
  const understood = plain === null ? opaque : understand(plain, reading)
  const decodedSha256 = encoding === null || plain === null ? null : hash('sha256', plain, 'hex')
  const { sha256, parsed, blocks, references, facts } = understood
  return { sha256, parsed, blocks, references, facts, wireSha256, decodedSha256, plain }
}

/** Makes what `CapturedRequest.blockText` is, over a decoded body. */
export function parseBody(plain: Uint8Array): RawNode | null {
  return parseRawBytes(withoutMark(plain))
}

function analysePrefixed(body: Uint8Array, reading: BodyReading): BodyAnalysis | null {
  const { content, encoding, hint, limits, prefixCache } = reading
  const isPrompt = content === 'messages' || content === 'count'
  if (prefixCache === undefined || !isPrompt || encoding !== null) return null
  if (body.length > limits.parseBytesMax) return null
  try {
    const found = prefixCache.analyse(body, hint)
    if (found === null || found.analysis.blocks.length > limits.requestBlocksMax) return null
    const { analysis, wireSha256 } = found
    const { sha256, blocks, references, facts } = analysis
    const decodedSha256 = null
    const parsed = 'json'
    return { sha256, parsed, blocks, references, facts, wireSha256, decodedSha256, plain: body }
  } catch {
    return null
  }
}

function decoded(body: Uint8Array, encoding: string, limits: CaptureLimits): Uint8Array | null {
  if (body.length > limits.encodedBytesMax) return null
  const plain = decodeBody(body, encoding, { bytesMax: limits.parseBytesMax })
  return typeof plain === 'string' ? null : plain
}

function understand(plain: Uint8Array, { content, limits }: BodyReading): Understood {
  if (plain.length === 0) return { ...opaque, parsed: 'none' }
  if (content === 'opaque' || plain.length > limits.parseBytesMax) return opaque
  try {
    const body = parseBody(plain)
    if (body?.kind !== 'object') return opaque
    if (content === 'batch') return analyseBatch(body)
    if (content === 'json') return analyseJson(body)
    const { sha256, blocks, references, facts } = analysePrompt(body)
    if (blocks.length > limits.requestBlocksMax) return opaque
    return { sha256, parsed: 'json', blocks, references, facts }
  } catch {
    // Nested too deep for a canonical form; the wire digest still covers it.
    return opaque
  }
}

/** A batch: the list of its requests, each by the SHA-256 of its own skeleton. */
function analyseBatch(body: RawNode): Understood {
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
function analyseJson(body: RawNode): Understood {
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

/** A byte order mark is no part of a JSON text, and is skipped (RFC 8259 §8.1). */
function withoutMark(bytes: Uint8Array): Uint8Array {
  const hasMark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
  return hasMark ? bytes.subarray(3) : bytes
}
