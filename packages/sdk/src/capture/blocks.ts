/**
 * Content blocks: their canonical form and its SHA-256 (docs/spec/hashes.md §2). The same content has
 * the same digest in the request that sends it, in the answer that made it, and in every later turn
 * that resends it: a string is a text block, `cache_control` is left out, `null` members are left out.
 *
 * @module
 */
import {
  canonicalObject,
  canonicalText,
  isNull,
  itemsOf,
  memberOf,
  type RawNode,
} from './raw-json.ts'
import { sha256OfBinary, sha256OfSpan } from './sha256.ts'

// Below this, putting the canonical text together costs less than three updates of a hash.
const spanCharsMin = 2048

/** Hex SHA-256 of the canonical form of one block of a system prompt, a message, or an answer. */
export function blockSha256(block: RawNode): string {
  const text = plainTextOf(block)
  if (text === undefined || !text.isCanonical || text.end - text.start < spanCharsMin) {
    return sha256OfBinary(blockText(block))
  }
  return sha256OfSpan('{"text":', text, ',"type":"text"}')
}

/**
 * Canonical binary text of one block. `added` are members (with their canonical text) that replace or
 * join those of `block`: what a stream has brought after the block's start.
 */
export function blockText(block: RawNode, added?: Readonly<Record<string, string>>): string {
  const text = added === undefined ? plainTextOf(block) : undefined
  if (text !== undefined) return textBlockText(canonicalText(text))
  if (block.kind !== 'object') return canonicalText(block)
  const type = typeOf(block)
  if (added === undefined && type === '"text"') return writeText(block)
  if (added === undefined && type === '"thinking"') return writeThinking(block)
  const isResult = type === '"tool_result"' || type === '"mcp_tool_result"'
  return canonicalObject(
    block,
    (key, member) => {
      if (isLeftOut(key, member)) return null
      if (isResult && key === 'content' && member.kind === 'string') {
        return `[${textBlockText(canonicalText(member))}]`
      }
      return memberText(key, member)
    },
    added,
  )
}

/** Canonical binary text of a tool definition. */
export function toolText(tool: RawNode): string {
  if (tool.kind !== 'object') return canonicalText(tool)
  if (tool.isCanonical && !tool.keys.includes('cache_control')) return canonicalText(tool)
  return canonicalObject(tool, (key, member) =>
    key === 'cache_control' ? null : canonicalText(member),
  )
}

/** Canonical text of a block that has nothing but its text, given the JSON string. */
function textBlockText(quoted: string): string {
  return `{"text":${quoted},"type":"text"}`
}

/** The text of a string, or of a text block that has no other member that counts. */
function plainTextOf(block: RawNode): RawNode | undefined {
  if (block.kind === 'string') return block
  if (block.kind !== 'object' || typeOf(block) !== '"text"') return undefined
  for (const key of block.keys) {
    if (key !== 'text' && key !== 'type' && key !== 'cache_control') return undefined
  }
  const text = memberOf(block, 'text')
  return text?.kind === 'string' ? text : undefined
}

/**
 * In a stream the citations come after the text that they belong to, but sort before it; so that a long
 * answer can be digested while it passes, both stand in a cited block by the digests of their text.
 */
function writeText(block: RawNode): string {
  const isCited = itemsOf(memberOf(block, 'citations')).length > 0
  return canonicalObject(block, (key, member) => {
    if (isLeftOut(key, member)) return null
    if (isCited && (key === 'citations' || key === 'text')) return quotedDigest(member)
    return memberText(key, member)
  })
}

/** For the same reason: the signature of a thinking block sorts first and comes last. */
function writeThinking(block: RawNode): string {
  return canonicalObject(block, (key, member) => {
    if (isLeftOut(key, member)) return null
    return key === 'thinking' || key === 'signature'
      ? quotedDigest(member)
      : memberText(key, member)
  })
}

/** `content` and `source.content` hold blocks; everything else is data, to the letter. */
function memberText(key: string, member: RawNode): string {
  if (key === 'content' && member.kind === 'array') return blocksText(member)
  if (key === 'source' && memberOf(member, 'content')?.kind === 'array') {
    return canonicalObject(member, (name, value) =>
      name === 'content' ? blocksText(value) : canonicalText(value),
    )
  }
  return canonicalText(member)
}

function blocksText(blocks: RawNode): string {
  const texts = blocks.values.map((block) =>
    block.kind === 'object' ? blockText(block) : canonicalText(block),
  )
  return `[${texts.join(',')}]`
}

/** The JSON text of `type`, quotes included. */
function typeOf(block: RawNode): string {
  const type = memberOf(block, 'type')
  return type === undefined ? '' : canonicalText(type)
}

function quotedDigest(member: RawNode): string {
  return `"${sha256OfBinary(canonicalText(member))}"`
}

function isLeftOut(key: string, member: RawNode): boolean {
  if (key === 'cache_control' || isNull(member)) return true
  return key === 'citations' && member.kind === 'array' && member.values.length === 0
}
