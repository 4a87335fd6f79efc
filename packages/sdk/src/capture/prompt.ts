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
import type { BlockDigest, ReferenceDraft } from './exchange.ts'
import { countOf, isObject, stringOf } from './json.ts'
import {
  canonicalObject,
  canonicalText,
  decode,
  fromBinary,
  itemsOf,
  memberOf,
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
  /** Its binary text in the skeleton; `null` for a member that is left out. */
  readonly text: string | null
  readonly blocks: readonly BlockDigest[]
  readonly references: readonly ReferenceDraft[]
  /** The value, decoded, of a member that the record tells of. */
  readonly value: unknown
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
  readonly sha256: string
  /** Binary text. */
  readonly skeleton: string
  readonly blocks: readonly BlockDigest[]
  readonly references: readonly ReferenceDraft[]
  readonly facts: RequestFacts
}

const nothing: readonly never[] = []

/** The record of a body that tells nothing. */
export const noFacts: RequestFacts = {
  model: null,
  stream: false,
  maxTokens: null,
  metadataUserId: null,
  toolNames: nothing,
  continuesThread: false,
}

/** Digests a Messages body, which must be an object. */
export function analysePrompt(body: RawNode): PromptAnalysis {
  return assemblePrompt(analyseMembers(body))
}

/** Digests the members of an object, one by one. */
export function analyseMembers(body: RawNode): Member[] {
  const members: Member[] = []
  for (let at = 0; at < body.keys.length; at++) {
    const key = body.keys[at]
    const value = body.values[at]
    if (key !== undefined && value !== undefined) members.push(analyseMember(key, value))
  }
  return members
}

/** Puts members of different names together. */
export function assemblePrompt(members: Member[]): PromptAnalysis {
  const sorted = members.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  const blocks: BlockDigest[] = []
  const references: ReferenceDraft[] = []
  let text = ''
  for (const member of sorted) {
    if (member.text !== null)
      text += `${text === '' ? '' : ','}${quoted(member.key)}:${member.text}`
    for (const reference of member.references) references.push(reference)
  }
  for (const key of ['system', 'tools', 'messages']) {
    const member = sorted.find((candidate) => candidate.key === key)
    for (const block of member?.blocks ?? nothing) blocks.push(block)
  }
  const skeleton = `{${text}}`
  const sha256 = sha256OfBinary(skeleton)
  return { sha256, skeleton, blocks, references, facts: factsOf(sorted) }
}

/** Digests messages whose first one stands at `firstIndex` of the list; `text` is without brackets. */
export function analyseMessages(messages: readonly RawNode[], firstIndex: number): Member {
  const blocks: BlockDigest[] = []
  const references: ReferenceDraft[] = []
  let text = ''
  for (let at = 0; at < messages.length; at++) {
    const message = messages[at]
    if (message === undefined) continue
    if (at > 0) text += ','
    text += messageText(message, firstIndex + at, { blocks, references })
  }
  return { key: 'messages', text, blocks, references, value: undefined }
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

function analyseMember(key: string, node: RawNode): Member {
  if (key === 'messages' && node.kind === 'array') {
    const messages = analyseMessages(node.values, 0)
    return { ...messages, text: `[${messages.text}]` }
  }
  if (key === 'system') return analyseSystem(node)
  if (key === 'tools' && node.kind === 'array') return analyseTools(node)
  const value = told.has(key) || referringMembers.has(key) ? decode(node) : undefined
  const references = referringMembers.has(key) ? memberReferences(key, value) : nothing
  const text = leftOut.has(key) ? null : memberText(key, node)
  return { key, text, blocks: nothing, references, value }
}

function messageText(message: RawNode, messageIndex: number, into: Collected): string {
  const role = stringAt(memberOf(message, 'role')) ?? ''
  if (message.kind !== 'object') return canonicalText(message)
  return canonicalObject(message, (key, member) => {
    if (key === 'cache_control') return null
    if (key !== 'content') return canonicalText(member)
    return contentText(member, { kind: 'message', role, messageIndex }, into)
  })
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
  return { key: 'system', text, ...into, value: undefined }
}

function analyseTools(node: RawNode): Member {
  const blocks: BlockDigest[] = []
  const names: string[] = []
  let text = ''
  for (const [index, tool] of node.values.entries()) {
    const sha256 = sha256OfBinary(toolText(tool))
    const type = blockType(tool)
    blocks.push({ kind: 'tool', type, role: '', messageIndex: -1, index, sha256 })
    names.push(stringAt(memberOf(tool, 'name')) ?? type)
    text += index > 0 ? `,"${sha256}"` : `"${sha256}"`
  }
  return { key: 'tools', text: `[${text}]`, blocks, references: nothing, value: names }
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

/** Members whose value a record tells of; see `factsOf`. */
const told: ReadonlySet<string> = new Set(['max_tokens', 'metadata', 'model', 'stream', 'thread'])

function factsOf(members: readonly Member[]): RequestFacts {
  const values = new Map(members.map((member) => [member.key, member.value]))
  const metadata = values.get('metadata')
  const thread = values.get('thread')
  const names = values.get('tools')
  return {
    model: stringOf(values.get('model')),
    stream: values.get('stream') === true,
    maxTokens: countOf(values.get('max_tokens')),
    metadataUserId: isObject(metadata) ? stringOf(metadata['user_id']) : null,
    toolNames: Array.isArray(names) ? names : nothing,
    continuesThread: isObject(thread) && stringOf(thread['previous_message_id']) !== null,
  }
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

function quoted(key: string): string {
  return Buffer.from(JSON.stringify(key), 'utf8').toString('latin1')
}
