/**
 * The digests of a record, computed a second time and in another way than the product does: from
 * docs/spec/hashes.md, over plain objects, with nothing of the product's own code.
 *
 * @module
 */
import { createHash, createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

type Fields = Readonly<Record<string, unknown>>

/** RFC 8785 for what JSON.parse returns: sorted names, JavaScript's numbers and strings. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (!isFields(value)) return JSON.stringify(value)
  const members = Object.keys(value)
    .toSorted()
    .map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`)
  return `{${members.join(',')}}`
}

/** Hex SHA-256. */
export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

/** Makes `prompt_hash`, `response_hash` and wire digests under the tenant key of `dataDir`. */
export function digestsOf(dataDir: string): {
  keyed(sha256Hex: string): string
  prompt(body: string): string
  message(message: Fields): string
} {
  const file: unknown = JSON.parse(readFileSync(join(dataDir, 'keys/hash-tenant.json'), 'utf8'))
  if (!isFields(file) || !isFields(file['keys'])) throw new Error('no tenant key')
  const key = Buffer.from(String(file['keys'][String(file['current'])]), 'base64')
  const keyed = (hex: string) =>
    createHmac('sha256', key).update(Buffer.from(hex, 'hex')).digest('hex')
  return {
    keyed,
    prompt: (body) => keyed(plainPromptHash(body)),
    message: (message) => keyed(sha256(canonical(messageSkeleton(message)))),
  }
}

/** `prompt_hash` without a key. */
export function plainPromptHash(body: string): string {
  return sha256(canonical(skeleton(JSON.parse(body))))
}

function skeleton(body: unknown): unknown {
  if (!isFields(body)) throw new Error('a request is an object')
  const {
    cache_control: _1,
    diagnostics: _2,
    fallback_credit_token: _3,
    metadata: _4,
    stream: _5,
    ...rest
  } = body
  const shaped: Record<string, unknown> = { ...rest }
  if ('system' in rest) shaped['system'] = listOf(rest['system']).map(blockDigest)
  if (Array.isArray(rest['tools'])) {
    shaped['tools'] = rest['tools'].map((tool) => sha256(canonical(without(tool, 'cache_control'))))
  }
  if (Array.isArray(rest['mcp_servers'])) {
    shaped['mcp_servers'] = rest['mcp_servers'].map((server) =>
      without(server, 'authorization_token'),
    )
  }
  if (Array.isArray(rest['messages'])) {
    shaped['messages'] = rest['messages'].map((message: unknown) => {
      const bare = without(message, 'cache_control')
      return { ...bare, content: listOf(bare['content']).map(blockDigest) }
    })
  }
  return shaped
}

function messageSkeleton(message: Fields): unknown {
  return {
    content: listOf(message['content']).map(blockDigest),
    model: message['model'],
    role: message['role'],
    stop_reason: message['stop_reason'],
    stop_sequence: message['stop_sequence'],
  }
}

function blockDigest(block: unknown): string {
  return sha256(canonical(canonicalBlock(block)))
}

function canonicalBlock(block: unknown): unknown {
  if (typeof block === 'string') return { type: 'text', text: block }
  if (!isFields(block)) return block
  const members = Object.entries(block).filter(([name, member]) => {
    const empty = name === 'citations' && Array.isArray(member) && member.length === 0
    return member !== null && name !== 'cache_control' && !empty
  })
  const kept: Record<string, unknown> = Object.fromEntries(members)
  const digested = (name: string) => {
    if (name in kept) kept[name] = sha256(canonical(kept[name]))
  }
  if (block['type'] === 'thinking') {
    digested('thinking')
    digested('signature')
  }
  if (block['type'] === 'text' && 'citations' in kept) {
    digested('text')
    digested('citations')
  }
  // Input that is no JSON stands there by the digest of its text.
  const { input, ...rest } = kept
  if (isFields(input) && 'invalid' in input) {
    return { ...rest, input_raw: sha256(String(input['invalid'])) }
  }
  if ('content' in kept) {
    const isResult = block['type'] === 'tool_result' || Array.isArray(kept['content'])
    if (isResult) kept['content'] = listOf(kept['content']).map(canonicalBlock)
  }
  return kept
}

function listOf(content: unknown): readonly unknown[] {
  if (Array.isArray(content)) return content
  return content === undefined ? [] : [content]
}

function without(value: unknown, name: string): Record<string, unknown> {
  if (!isFields(value)) throw new Error('not an object')
  return Object.fromEntries(Object.entries(value).filter(([key]) => key !== name))
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
