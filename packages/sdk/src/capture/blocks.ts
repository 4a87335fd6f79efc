/**
 * Content blocks: their canonical form and its SHA-256 (docs/spec/hashes.md §2). The same content has
 * the same digest in the request that sends it, in the answer that made it, and in every later turn
 * that resends it: a string is a text block, `cache_control` is left out, `null` members are left out.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { canonicalObject, canonicalText, NestingError } from './canonical-json.ts'
import { isObject, type JsonObject } from './json.ts'
import { nestingMax } from './limits.ts'

/** Hex SHA-256 of a text in UTF-8. */
export function sha256Hex(text: string): string {
  return hash('sha256', text, 'hex')
}

/** Canonical text of one block of a system prompt, a message, or an answer. */
export function blockText(block: unknown): string {
  return writeBlock(block, 0)
}

/** Canonical text of a tool definition. */
export function toolText(tool: unknown): string {
  if (!isObject(tool)) return canonicalText(tool)
  return canonicalObject(tool, (key, member) =>
    key === 'cache_control' ? null : canonicalText(member),
  )
}

/** Canonical text of a text block that has nothing but its text. */
export function textBlockText(text: string): string {
  return `{"text":${JSON.stringify(text)},"type":"text"}`
}

/**
 * Canonical text of a text block with citations. In a stream they come after the text that they belong
 * to, but sort before it; so that a long answer can be digested while it passes, both stand in the
 * block by the digests of their canonical JSON. `citations` is `null` if there are none after all.
 */
export function citedText(block: JsonObject, text: string, citations: string | null): string {
  const members = { ...block, text, citations }
  return canonicalObject(members, (key, member) => {
    if (member === null || key === 'cache_control') return null
    return canonicalText(member)
  })
}

/**
 * Canonical text of a thinking block: for the same reason (the signature sorts first and comes last),
 * `thinking` and `signature` stand by the digests of their canonical JSON.
 */
export function thinkingText(block: JsonObject, thinking: string | null): string {
  const { signature } = block
  const members = { ...block, thinking: thinking ?? block['thinking'] ?? null }
  return canonicalObject(members, (key, member) => {
    if (member === null || member === undefined || key === 'cache_control') return null
    if (key === 'signature') return quotedDigest(canonicalText(signature))
    return canonicalText(member)
  })
}

function quotedDigest(text: string): string {
  return `"${sha256Hex(text)}"`
}

function writeBlock(block: unknown, depth: number): string {
  if (depth > nestingMax) throw new NestingError('blocks nest too deep for a canonical form')
  if (typeof block === 'string') return textBlockText(block)
  if (!isObject(block)) return canonicalText(block)
  const { text, type } = block
  if (type === 'text' && typeof text === 'string') {
    if (isPlain(block)) return textBlockText(text)
    return writeText(block, depth)
  }
  if (type === 'thinking') return writeThinking(block)
  return writeMembers(block, depth)
}

/** Whether a text block has no member that counts beside `text` and `type`. */
function isPlain(block: JsonObject): boolean {
  for (const key in block) {
    if (key !== 'text' && key !== 'type' && key !== 'cache_control') return false
  }
  return true
}

function writeText(block: JsonObject, depth: number): string {
  const { citations, text } = block
  if (Array.isArray(citations) && citations.length > 0) {
    return citedText(block, sha256Hex(canonicalText(text)), sha256Hex(canonicalText(citations)))
  }
  return canonicalObject(block, (key, member) =>
    isLeftOut(key, member) ? null : writeMember(key, member, depth),
  )
}

function writeThinking(block: JsonObject): string {
  const { thinking } = block
  return thinkingText(
    block,
    typeof thinking === 'string' ? sha256Hex(canonicalText(thinking)) : null,
  )
}

function writeMembers(block: JsonObject, depth: number): string {
  const isResult = block['type'] === 'tool_result' || block['type'] === 'mcp_tool_result'
  return canonicalObject(block, (key, member) => {
    if (isLeftOut(key, member)) return null
    if (isResult && key === 'content' && typeof member === 'string') {
      return `[${textBlockText(member)}]`
    }
    return writeMember(key, member, depth)
  })
}

/** `content` and `source.content` hold blocks; everything else is data, to the letter. */
function writeMember(key: string, member: unknown, depth: number): string {
  if (key === 'content' && Array.isArray(member)) return writeBlocks(member, depth)
  if (key === 'source' && isObject(member) && Array.isArray(member['content'])) {
    return canonicalObject(member, (name, value) =>
      name === 'content' && Array.isArray(value) ? writeBlocks(value, depth) : canonicalText(value),
    )
  }
  return canonicalText(member)
}

function writeBlocks(blocks: readonly unknown[], depth: number): string {
  let text = '['
  for (let at = 0; at < blocks.length; at++) {
    if (at > 0) text += ','
    const block = blocks[at]
    text += typeof block === 'string' ? canonicalText(block) : writeBlock(block, depth + 1)
  }
  return `${text}]`
}

function isLeftOut(key: string, member: unknown): boolean {
  if (member === null || key === 'cache_control') return true
  return key === 'citations' && Array.isArray(member) && member.length === 0
}
