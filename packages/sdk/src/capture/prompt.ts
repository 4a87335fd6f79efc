/**
 * The canonical request: which members of a body shape the answer, and the skeleton whose SHA-256
 * under the tenant's key is `prompt_hash` (docs/spec/hashes.md §3). A body is digested member by
 * member, so that parts that were digested before can be put together with new ones.
 *
 * Invariants:
 * - Members are an open list: one that is not known is part of the skeleton.
 * - No secret (`mcp_servers[].authorization_token`, `fallback_credit_token`) is in any result.
 * - No result holds on to the body.
 *
 * @module
 */
import { blockSha256, blockText, toolText } from './blocks.ts'
import type { BlockDigest, PromptAnalysis, ReferenceDraft, RequestFacts } from './analysis.ts'
import { countOf, isObject, stringOf } from './json.ts'
import { defaultLimits } from './limits.ts'
import {
  canonicalObject,
  canonicalText,
  decode,
  fromBinary,
  itemsOf,
  memberOf,
  quotedKey,
  stringAt,
  type RawNode,
} from './raw-json.ts'
import { blockReferences, memberReferences, referringMembers } from './references.ts'
import { sha256OfBinary } from './sha256.ts'

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
  readonly key: string
  /** Its name as JSON text. */
  readonly name: string
  /** Its binary text in the skeleton; `null` for a member that is left out. */
  readonly text: string | null
  readonly blocks: readonly BlockDigest[]
  readonly references: readonly ReferenceDraft[]
  /** What the record tells of the member's value. */
  readonly value: unknown
}

const nothing: readonly never[] = []

/** The record of a body that tells nothing. */
export const noFacts: RequestFacts = {
  model: null,
  stream: false,
  maxTokens: null,
  metadataUserId: null,
  toolNames: nothing,
  toolCount: 0,
  continuesThread: false,
}

/** Digests a Messages body, which must be an object. */
export function analysePrompt(body: RawNode): PromptAnalysis {
  return assemblePrompt(analyseMembers(body, () => true))
}

/** Digests the members of an object, one by one. */
export function analyseMembers(body: RawNode, isWanted: (member: RawNode) => boolean): Member[] {
  const members: Member[] = []
  for (let at = 0; at < body.keys.length; at++) {
    const key = body.keys[at]
    const value = body.values[at]
    if (key === undefined || value === undefined || !isWanted(value)) continue
    members.push(analyseMember(quotedKey(key, body.hasPlainKeys), key, value))
  }
  return members
}

/** Puts members of different names together. Sorts them. */
export function assemblePrompt(members: Member[]): PromptAnalysis {
  members.sort((a, b) => (a.key < b.key ? -1 : 1))
  const found: Found = {}
  let references: ReferenceDraft[] | null = null
  let text = ''
  for (const member of members) {
    if (member.text !== null) text += `${text === '' ? '' : ','}${member.name}:${member.text}`
    if (member.references.length > 0) references = [...(references ?? []), ...member.references]
    find(found, member)
  }
  const skeleton = `{${text}}`
  return {
    sha256: sha256OfBinary(skeleton),
    skeleton,
    blocks: joinBlocks(found),
    references: references ?? nothing,
    facts: factsOf(found),
  }
}

/** Members that are looked at again. */
interface Found {
  max_tokens?: Member
  messages?: Member
  metadata?: Member
  model?: Member
  stream?: Member
  system?: Member
  thread?: Member
  tools?: Member
}

function find(found: Found, member: Member): void {
  switch (member.key) {
    case 'max_tokens':
    case 'messages':
    case 'metadata':
    case 'model':
    case 'stream':
    case 'system':
    case 'thread':
    case 'tools':
      found[member.key] = member
  }
}

function joinBlocks({ system, tools, messages }: Found): readonly BlockDigest[] {
  if (system === undefined && tools === undefined) return messages?.blocks ?? nothing
  return [
    ...(system?.blocks ?? nothing),
    ...(tools?.blocks ?? nothing),
    ...(messages?.blocks ?? nothing),
  ]
}

function factsOf(found: Found): RequestFacts {
  const names = found.tools?.value
  return {
    model: stringOf(found.model?.value),
    stream: found.stream?.value === true,
    maxTokens: countOf(found.max_tokens?.value),
    metadataUserId: stringOf(found.metadata?.value),
    toolNames: Array.isArray(names) ? names : nothing,
    toolCount: found.tools?.blocks.length ?? 0,
    continuesThread: found.thread?.value === true,
  }
}

/** One message, or several in a row, digested. `text` is their skeleton text without brackets. */
export interface Messages {
  readonly text: string
  readonly count: number
  readonly blocks: readonly BlockDigest[]
  readonly references: readonly ReferenceDraft[]
}

/** Digests messages one by one; the first one stands at `firstIndex` of the whole list. */
export function analyseMessages(messages: readonly RawNode[], firstIndex: number): Messages[] {
  return messages.map((message, at) => {
    const into: Collected = { blocks: [], references: [] }
    return { text: messageText(message, firstIndex + at, into), count: 1, ...into }
  })
}

/** Puts messages together that follow each other. */
export function joinMessages(list: readonly Messages[]): Messages {
  const blocks: BlockDigest[] = []
  const references: ReferenceDraft[] = []
  let text = ''
  let count = 0
  for (const messages of list) {
    if (messages.count === 0) continue
    text += count === 0 ? messages.text : `,${messages.text}`
    count += messages.count
    for (const block of messages.blocks) blocks.push(block)
    for (const reference of messages.references) references.push(reference)
  }
  return { text, count, blocks, references }
}

/** The member that `messages` make. */
export function messagesMember({ text, blocks, references }: Messages): Member {
  return {
    key: 'messages',
    name: '"messages"',
    text: `[${text}]`,
    blocks,
    references,
    value: undefined,
  }
}

/** Text of a block by where it stands, in UTF-16. */
export function blockTextAt(body: RawNode, block: BlockDigest): string | null {
  if (block.kind === 'tool') {
    const tool = itemsOf(memberOf(body, 'tools'))[block.index]
    return tool === undefined ? null : fromBinary(toolText(tool))
  }
  const holder =
    block.kind === 'system'
      ? memberOf(body, 'system')
      : memberOf(itemsOf(memberOf(body, 'messages'))[block.messageIndex], 'content')
  const node = holder?.kind === 'string' ? holder : itemsOf(holder)[block.index]
  return node === undefined ? null : fromBinary(blockText(node))
}

interface Collected {
  readonly blocks: BlockDigest[]
  readonly references: ReferenceDraft[]
}

type Place = Pick<BlockDigest, 'kind' | 'role' | 'messageIndex'>

/** Digests one top-level member. */
function analyseMember(name: string, key: string, node: RawNode): Member {
  if (key === 'messages' && node.kind === 'array') {
    return messagesMember(joinMessages(analyseMessages(node.values, 0)))
  }
  if (key === 'system') return analyseSystem(node)
  if (key === 'tools' && node.kind === 'array') return analyseTools(node)
  const isLookedAt = told.has(key) || referringMembers.has(key)
  const value = isLookedAt ? decode(node) : undefined
  return {
    key,
    name,
    text: leftOut.has(key) ? null : memberText(key, node),
    blocks: nothing,
    references: referringMembers.has(key) ? memberReferences(key, value) : nothing,
    value: told.has(key) ? toldValue(key, value) : undefined,
  }
}

function messageText(message: RawNode, messageIndex: number, into: Collected): string {
  if (message.kind !== 'object') return canonicalText(message)
  const role = roleOf(memberOf(message, 'role'))
  const content = memberOf(message, 'content')
  // Nearly every message has just these two members.
  if (message.keys.length === 2 && content !== undefined && commonRoles.has(role)) {
    const text = contentText(content, { kind: 'message', role, messageIndex }, into)
    return `{"content":${text},"role":"${role}"}`
  }
  return canonicalObject(message, (key, member) => {
    if (key === 'cache_control') return null
    if (key !== 'content') return canonicalText(member)
    return contentText(member, { kind: 'message', role, messageIndex }, into)
  })
}

const commonRoles: ReadonlySet<string> = new Set(['user', 'assistant'])

function roleOf(role: RawNode | undefined): string {
  if (role === undefined) return ''
  if (role.source.startsWith('"user"', role.start)) return 'user'
  if (role.source.startsWith('"assistant"', role.start)) return 'assistant'
  return stringAt(role)?.slice(0, typeCharsMax) ?? ''
}

/** `["<digest>",…]` of a string or an array of blocks; anything else as it is. */
function contentText(content: RawNode, place: Place, into: Collected): string {
  if (content.kind !== 'string' && content.kind !== 'array') return canonicalText(content)
  const list = content.kind === 'string' ? [content] : content.values
  const { kind, role, messageIndex } = place
  let text = '['
  for (let index = 0; index < list.length; index++) {
    const block = list[index]
    if (block === undefined) continue
    const sha256 = blockSha256(block)
    const type = blockType(block)
    into.blocks.push({ kind, type, role, messageIndex, index, sha256 })
    if (type !== 'text') blockReferences(block, into.references)
    text += index > 0 ? `,"${sha256}"` : `"${sha256}"`
  }
  return `${text}]`
}

function analyseSystem(node: RawNode): Member {
  const into: Collected = { blocks: [], references: [] }
  const text = contentText(node, { kind: 'system', role: '', messageIndex: -1 }, into)
  return { key: 'system', name: '"system"', text, ...into, value: undefined }
}

function analyseTools(node: RawNode): Member {
  const blocks: BlockDigest[] = []
  const names: string[] = []
  let text = ''
  for (const [index, tool] of node.values.entries()) {
    const sha256 = sha256OfBinary(toolText(tool))
    const type = blockType(tool)
    blocks.push({ kind: 'tool', type, role: '', messageIndex: -1, index, sha256 })
    if (index < defaultLimits.namesMax) names.push(stringAt(memberOf(tool, 'name')) ?? type)
    text += index > 0 ? `,"${sha256}"` : `"${sha256}"`
  }
  return {
    key: 'tools',
    name: '"tools"',
    text: `[${text}]`,
    blocks,
    references: nothing,
    value: names,
  }
}

function memberText(key: string, node: RawNode): string {
  return key === 'mcp_servers' ? serversText(node) : canonicalText(node)
}

/** Canonical text of `mcp_servers`, without their tokens. */
export function serversText(node: RawNode): string {
  if (node.kind !== 'array') return canonicalText(node)
  const servers = node.values.map((server) => {
    if (server.kind !== 'object') return canonicalText(server)
    return canonicalObject(server, (name, member) =>
      name === 'authorization_token' ? null : canonicalText(member),
    )
  })
  return `[${servers.join(',')}]`
}

/** Members whose value a record tells of. */
const told: ReadonlySet<string> = new Set(['max_tokens', 'metadata', 'model', 'stream', 'thread'])

/** What the record tells, and no more: members are remembered. */
function toldValue(key: string, value: unknown): unknown {
  if (key === 'max_tokens') return countOf(value)
  if (key === 'stream') return value === true
  if (key === 'model') return stringOf(value)?.slice(0, toldCharsMax) ?? null
  if (!isObject(value)) return null
  if (key === 'metadata') return stringOf(value['user_id'])?.slice(0, toldCharsMax) ?? null
  return stringOf(value['previous_message_id']) !== null
}

/** A block's `type`, as a copy that does not hold on to the body. */
function blockType(block: RawNode): string {
  if (block.kind === 'string') return 'text'
  const type = memberOf(block, 'type')
  if (type?.kind !== 'string') return ''
  if (type.source.startsWith('"text"', type.start)) return 'text'
  return (stringAt(type) ?? '').slice(0, typeCharsMax)
}

const typeCharsMax = 64
const toldCharsMax = 4096
