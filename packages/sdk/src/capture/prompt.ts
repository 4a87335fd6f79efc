/**
 * The canonical request: which members of a body shape the answer, and the skeleton whose SHA-256
 * under the tenant's key is `prompt_hash` (docs/spec/hashes.md §3). A body is analysed member by
 * member, so that parts that were analysed before can be put together with new ones.
 *
 * Invariants:
 * - Members are an open list: one that is not known is part of the skeleton.
 * - No secret (`mcp_servers[].authorization_token`, `fallback_credit_token`) is in any result.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { blockText, sha256Hex, toolText } from './blocks.ts'
import { canonicalObject, canonicalText } from './canonical-json.ts'
import type { BlockDigest, ReferenceDraft } from './exchange.ts'
import { arrayOf, countOf, isObject, stringOf, type JsonObject } from './json.ts'
import { blockReferences, memberReferences } from './references.ts'

/** Members that do not shape the answer: transport, identity, caching, diagnosis, and one secret. */
const leftOut: ReadonlySet<string> = new Set([
  'cache_control',
  'diagnostics',
  'fallback_credit_token',
  'metadata',
  'stream',
])

/** One top-level member of a body, digested. */
export interface Member {
  /** Its text in the skeleton; `null` for a member that is left out. */
  readonly text: string | null
  readonly blocks: readonly BlockDigest[]
  readonly references: readonly ReferenceDraft[]
  readonly facts: Partial<RequestFacts>
}

/** What a record says about a body beside its digests. */
export interface RequestFacts {
  readonly model: string | null
  readonly stream: boolean
  readonly maxTokens: number | null
  readonly metadataUserId: string | null
  readonly toolNames: readonly string[]
  /** The conversation before these messages is not in the body. */
  readonly continuesThread: boolean
}

/** A body, digested. */
export interface PromptAnalysis {
  readonly sha256: Uint8Array
  readonly skeleton: string
  readonly blocks: readonly BlockDigest[]
  readonly references: readonly ReferenceDraft[]
  readonly facts: RequestFacts
}

const nothing: readonly never[] = []
const noFacts: RequestFacts = {
  model: null,
  stream: false,
  maxTokens: null,
  metadataUserId: null,
  toolNames: nothing,
  continuesThread: false,
}

/**
 * Digests a parsed Messages body.
 *
 * @throws NestingError if it nests deeper than `nestingMax`.
 */
export function analysePrompt(body: JsonObject): PromptAnalysis {
  const members = new Map<string, Member>()
  for (const key of Object.keys(body)) members.set(key, analyseMember(key, body[key]))
  return assemblePrompt(members)
}

/** Puts members together; the order of `members` means nothing. */
export function assemblePrompt(members: ReadonlyMap<string, Member>): PromptAnalysis {
  let facts = noFacts
  const references: ReferenceDraft[] = []
  let text = ''
  for (const key of [...members.keys()].sort()) {
    const member = members.get(key)
    if (member === undefined) continue
    if (member.text !== null)
      text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${member.text}`
    if (member.references.length > 0) references.push(...member.references)
    facts = { ...facts, ...member.facts }
  }
  const skeleton = `{${text}}`
  const blocks: BlockDigest[] = []
  for (const key of ['system', 'tools', 'messages']) {
    for (const block of members.get(key)?.blocks ?? nothing) blocks.push(block)
  }
  return { sha256: hash('sha256', skeleton, 'buffer'), skeleton, blocks, references, facts }
}

/** Digests one top-level member. */
export function analyseMember(key: string, value: unknown): Member {
  if (key === 'messages' && Array.isArray(value)) return analyseMessages(value, 0)
  if (key === 'system') return analyseSystem(value)
  if (key === 'tools' && Array.isArray(value)) return analyseTools(value)
  const references: ReferenceDraft[] = []
  memberReferences(key, value, (type, ref, keyed) => references.push({ type, value: ref, keyed }))
  return {
    text: leftOut.has(key) ? null : memberText(key, value),
    blocks: nothing,
    references,
    facts: memberFacts(key, value),
  }
}

/** Digests messages whose first one stands at `firstIndex` of the whole list. */
export function analyseMessages(messages: readonly unknown[], firstIndex: number): Member {
  const blocks: BlockDigest[] = []
  const references: ReferenceDraft[] = []
  let text = ''
  for (let at = 0; at < messages.length; at++) {
    if (at > 0) text += ','
    text += analyseMessage(messages[at], firstIndex + at, { blocks, references })
  }
  return { text: `[${text}]`, blocks, references, facts: {} }
}

/** Text of a block by where it stands; the reverse of `BlockDigest`'s position. */
export function blockTextAt(body: JsonObject, block: BlockDigest): string | null {
  if (block.kind === 'tool') return toolText(arrayOf(body['tools'])[block.index])
  const holder =
    block.kind === 'system'
      ? body['system']
      : contentOf(arrayOf(body['messages'])[block.messageIndex])
  if (typeof holder === 'string') return blockText(holder)
  return Array.isArray(holder) ? blockText(holder[block.index]) : null
}

function contentOf(message: unknown): unknown {
  return isObject(message) ? message['content'] : undefined
}

interface Collected {
  readonly blocks: BlockDigest[]
  readonly references: ReferenceDraft[]
}

function analyseMessage(message: unknown, messageIndex: number, into: Collected): string {
  if (!isObject(message)) return canonicalText(message)
  const role = stringOf(message['role']) ?? ''
  return canonicalObject(message, (key, member) => {
    if (key === 'cache_control') return null
    if (key !== 'content') return canonicalText(member)
    return (
      analyseContent(member, { kind: 'message', role, messageIndex }, into) ?? canonicalText(member)
    )
  })
}

/** `["<digest>",…]` of a string or an array of blocks; `null` for anything else. */
function analyseContent(
  content: unknown,
  place: Pick<BlockDigest, 'kind' | 'role' | 'messageIndex'>,
  into: Collected,
): string | null {
  const list = typeof content === 'string' ? [content] : content
  if (!Array.isArray(list)) return null
  let text = '['
  for (let index = 0; index < list.length; index++) {
    const block: unknown = list[index]
    const sha256 = sha256Hex(blockText(block))
    into.blocks.push({ ...place, type: typeOf(block), index, sha256 })
    blockReferences(block, (type, value, keyed) => into.references.push({ type, value, keyed }))
    text += index > 0 ? `,"${sha256}"` : `"${sha256}"`
  }
  return `${text}]`
}

function analyseSystem(value: unknown): Member {
  const into: Collected = { blocks: [], references: [] }
  const text = analyseContent(value, { kind: 'system', role: '', messageIndex: -1 }, into)
  return { ...into, text: text ?? canonicalText(value), facts: {} }
}

function analyseTools(tools: readonly unknown[]): Member {
  const blocks: BlockDigest[] = []
  const toolNames: string[] = []
  for (const [index, tool] of tools.entries()) {
    const sha256 = sha256Hex(toolText(tool))
    blocks.push({ kind: 'tool', type: typeOf(tool), role: '', messageIndex: -1, index, sha256 })
    const name = isObject(tool) ? stringOf(tool['name']) : null
    toolNames.push(name ?? typeOf(tool))
  }
  const text = `[${blocks.map((block) => `"${block.sha256}"`).join(',')}]`
  return { text, blocks, references: nothing, facts: { toolNames } }
}

function memberText(key: string, value: unknown): string {
  if (key !== 'mcp_servers' || !Array.isArray(value)) return canonicalText(value)
  const servers = value.map((server: unknown) => {
    if (!isObject(server)) return canonicalText(server)
    return canonicalObject(server, (name, member) =>
      name === 'authorization_token' ? null : canonicalText(member),
    )
  })
  return `[${servers.join(',')}]`
}

function memberFacts(key: string, value: unknown): Partial<RequestFacts> {
  if (key === 'model') return { model: stringOf(value) }
  if (key === 'stream') return { stream: value === true }
  if (key === 'max_tokens') return { maxTokens: countOf(value) }
  if (key === 'metadata') {
    return { metadataUserId: isObject(value) ? stringOf(value['user_id']) : null }
  }
  if (key === 'thread') {
    return { continuesThread: isObject(value) && stringOf(value['previous_message_id']) !== null }
  }
  return {}
}

function typeOf(block: unknown): string {
  if (typeof block === 'string') return 'text'
  const type = isObject(block) ? block['type'] : undefined
  return typeof type === 'string' ? type.slice(0, 64) : ''
}
