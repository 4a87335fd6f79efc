import { createHash } from 'node:crypto'
import { canonicalize } from '@affidavit/format'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isObject } from './json.ts'
import { canonicalPrompt } from './request.ts'
import { capture, respell, simpleRequest, trickyText } from './testing.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** docs/spec/hashes.md §2 and §3, written down a second time, slowly. */
function specifiedBlock(block: unknown): unknown {
  if (typeof block === 'string') return { type: 'text', text: block }
  if (!isObject(block)) return block
  const members = Object.entries(block).filter(
    ([key, value]) =>
      key !== 'cache_control' &&
      value !== null &&
      !(key === 'citations' && Array.isArray(value) && value.length === 0),
  )
  const out: Record<string, unknown> = Object.fromEntries(members)
  const { citations, content, source, type } = out
  const isNested = (value: unknown) => isObject(value)
  const nested = (list: readonly unknown[]) =>
    list.map((inner) => (isNested(inner) ? specifiedBlock(inner) : inner))
  if (Array.isArray(content)) out['content'] = nested(content)
  if ((type === 'tool_result' || type === 'mcp_tool_result') && typeof content === 'string') {
    out['content'] = [{ type: 'text', text: content }]
  }
  if (isObject(source) && Array.isArray(source['content'])) {
    out['source'] = { ...source, content: nested(source['content']) }
  }
  const digested =
    type === 'thinking'
      ? ['thinking', 'signature']
      : type === 'text' && Array.isArray(citations)
        ? ['text', 'citations']
        : []
  for (const key of digested) {
    if (key in out) out[key] = sha256(canonicalize(out[key]))
  }
  return out
}

const blockDigest = (block: unknown) => sha256(canonicalize(specifiedBlock(block)))

function specifiedContent(content: unknown): unknown {
  if (typeof content === 'string') return [blockDigest(content)]
  return Array.isArray(content) ? content.map(blockDigest) : content
}

function without(value: unknown, ...names: string[]): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(isObject(value) ? value : {}).filter(([key]) => !names.includes(key)),
  )
}

function specifiedSkeleton(body: Record<string, unknown>): string {
  const skeleton = without(
    body,
    'cache_control',
    'diagnostics',
    'fallback_credit_token',
    'metadata',
    'stream',
  )
  const { messages, mcp_servers: servers, system, tools } = skeleton
  if ('system' in skeleton) skeleton['system'] = specifiedContent(system)
  if (Array.isArray(tools)) {
    skeleton['tools'] = tools.map((tool) => sha256(canonicalize(without(tool, 'cache_control'))))
  }
  if (Array.isArray(servers)) {
    skeleton['mcp_servers'] = servers.map((server) => without(server, 'authorization_token'))
  }
  if (Array.isArray(messages)) {
    skeleton['messages'] = messages.map((message: unknown) => {
      if (!isObject(message)) return message
      const rest = without(message, 'cache_control')
      if ('content' in rest) rest['content'] = specifiedContent(rest['content'])
      return rest
    })
  }
  return canonicalize(skeleton)
}

const cacheControl = fc.option(fc.constant({ type: 'ephemeral' }), { nil: undefined })
const textBlock = fc.record(
  {
    type: fc.constant('text'),
    text: fc.oneof(
      trickyText,
      trickyText.map((text) => text.repeat(300)),
    ),
    cache_control: cacheControl,
    citations: fc.constantFrom(undefined, null, [], [{ type: 'char_location', cited_text: 'é' }]),
  },
  { requiredKeys: ['type', 'text'] },
)
const imageBlock = fc.record({
  type: fc.constant('image'),
  source: fc.constantFrom(
    { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' },
    { type: 'url', url: 'https://example.com/a.png?sig=1' },
    { type: 'file', file_id: 'file_011' },
  ),
})
const anyBlock = fc.oneof(
  textBlock,
  imageBlock,
  fc.record({
    type: fc.constant('thinking'),
    thinking: trickyText,
    signature: fc.constant('EqQBCg=='),
  }),
  fc.record({
    type: fc.constant('tool_use'),
    id: fc.constant('toolu_1'),
    name: fc.constant('Bash'),
    input: fc.record({
      command: trickyText,
      cache_control: fc.boolean(),
      n: fc.double({ noNaN: true, noDefaultInfinity: true }),
    }),
  }),
  fc.record({
    type: fc.constant('tool_result'),
    tool_use_id: fc.constant('toolu_1'),
    content: fc.oneof(trickyText, fc.array(fc.oneof(textBlock, imageBlock), { maxLength: 2 })),
    is_error: fc.constantFrom(null, true, false),
    cache_control: cacheControl,
  }),
  fc.record({
    type: fc.constant('document'),
    source: fc.record({
      type: fc.constant('content'),
      content: fc.oneof(trickyText, fc.array(textBlock, { maxLength: 2 })),
    }),
    title: fc.constantFrom(null, 'T'),
    citations: fc.constant({ enabled: true }),
  }),
)
const content = fc.oneof(trickyText, fc.array(anyBlock, { maxLength: 3 }))
export const anyPrompt = fc.record(
  {
    model: fc.constantFrom('claude-opus-5-5', 'claude-haiku-5'),
    max_tokens: fc.nat(),
    stream: fc.boolean(),
    system: content,
    metadata: fc.record({ user_id: fc.constant('u-1') }),
    messages: fc.array(
      fc.record(
        {
          role: fc.constantFrom('user', 'assistant', 'system'),
          content,
          cache_control: cacheControl,
          output_config: fc.constant({ effort: 'medium' }),
        },
        { requiredKeys: ['role', 'content'] },
      ),
      { maxLength: 5 },
    ),
    tools: fc.array(
      fc.record({
        name: fc.constant('Bash'),
        input_schema: fc.object({ maxDepth: 2 }),
        cache_control: cacheControl,
      }),
      { maxLength: 3 },
    ),
    mcp_servers: fc.constant([
      { type: 'url', url: 'https://mcp.example/', authorization_token: 'secret' },
    ]),
    temperature: fc.double({ noNaN: true, noDefaultInfinity: true }),
    future_member: fc.object({ maxDepth: 2 }),
  },
  { requiredKeys: ['model', 'messages'] },
)

describe('the canonical request', () => {
  test('is what the specification says, for every spelling of the body', () => {
    fc.assert(
      fc.property(anyPrompt, fc.nat(), (prompt, seed) => {
        const text = JSON.stringify(prompt)
        const body: unknown = JSON.parse(text)
        if (!isObject(body)) throw new Error('a prompt is an object')
        const skeleton = specifiedSkeleton({ ...body })
        expect(canonicalPrompt(Buffer.from(text))?.skeleton).toBe(skeleton)
        expect(capture(respell(text, seed)).canonicalSha256).toBe(sha256(skeleton))
      }),
      { numRuns: 150 },
    )
  })

  const digestOf = (body: unknown) => capture(body).canonicalSha256
  const base = { ...simpleRequest, system: 'be brief' }

  test('does not tell a string from one text block', () => {
    const blocks = {
      ...base,
      system: [{ type: 'text', text: 'be brief', cache_control: { type: 'ephemeral' } }],
      messages: [{ content: [{ text: 'hi', type: 'text', citations: null }], role: 'user' }],
    }
    expect(digestOf(blocks)).toBe(digestOf(base))
    const result = (inner: unknown) => ({
      ...base,
      messages: [
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: inner }] },
      ],
    })
    expect(digestOf(result('ok'))).toBe(digestOf(result([{ type: 'text', text: 'ok' }])))
  })

  test('does not depend on transport, identity, caching and credentials', () => {
    const same = {
      ...base,
      stream: true,
      metadata: { user_id: 'other' },
      cache_control: { type: 'ephemeral' },
      diagnostics: { previous_message_id: 'msg_1' },
      fallback_credit_token: 'fct_1',
    }
    expect(digestOf(same)).toBe(digestOf(base))
    const server = { type: 'url', url: 'https://mcp.example/', name: 'm' }
    expect(digestOf({ ...base, mcp_servers: [{ ...server, authorization_token: 'a' }] })).toBe(
      digestOf({ ...base, mcp_servers: [server] }),
    )
  })

  test.each([
    ['model', { model: 'claude-opus-5-5' }],
    ['max_tokens', { max_tokens: 65 }],
    ['system', { system: 'be brief.' }],
    ['role', { messages: [{ role: 'assistant', content: 'hi' }] }],
    ['content', { messages: [{ role: 'user', content: 'hi ' }] }],
    ['tools', { tools: [] }],
    ['thinking', { thinking: { type: 'adaptive' } }],
    ['a member of tomorrow', { future: null }],
    ['a field of a message', { messages: [{ role: 'user', content: 'hi', clear_at: 1 }] }],
  ])('depends on %s', (_, change) => {
    expect(digestOf({ ...base, ...change })).not.toBe(digestOf(base))
  })

  test('keeps cache_control where it is data', () => {
    const call = (input: unknown) => ({
      ...base,
      messages: [{ role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'n', input }] }],
    })
    expect(digestOf(call({ cache_control: 1 }))).not.toBe(digestOf(call({})))
  })

  test('of a long text is the same as of the text in pieces of canonical JSON', () => {
    const text = 'é"\\\n'.repeat(5000)
    const [block] = capture({
      ...base,
      system: [],
      messages: [{ role: 'user', content: text }],
    }).blocks
    expect(block?.sha256).toBe(sha256(canonicalize({ type: 'text', text })))
  })
})

describe('blocks', () => {
  const body = {
    ...simpleRequest,
    messages: [
      { role: 'user', content: 'one' },
      { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'Bash', input: {} }] },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'é' },
          { type: 'tool_result', tool_use_id: 't', content: 'ok' },
        ],
      },
    ],
    tools: [{ name: 'Bash', input_schema: {}, cache_control: {} }, { type: 'web_search_20250305' }],
    system: 'be brief',
  }

  test('come system first, then tools, then messages, each with its place', () => {
    const { blocks } = capture(body)
    expect(
      blocks.map(({ kind, type, role, messageIndex, index }) => [
        kind,
        type,
        role,
        messageIndex,
        index,
      ]),
    ).toEqual([
      ['system', 'text', '', -1, 0],
      ['tool', '', '', -1, 0],
      ['tool', 'web_search_20250305', '', -1, 1],
      ['message', 'text', 'user', 0, 0],
      ['message', 'tool_use', 'assistant', 1, 0],
      ['message', 'text', 'user', 2, 0],
      ['message', 'tool_result', 'user', 2, 1],
    ])
  })

  test('give the text that was digested, until the body is released', () => {
    fc.assert(
      fc.property(anyPrompt, (prompt) => {
        const captured = capture(prompt)
        captured.blocks.forEach((block, at) => {
          expect(sha256(captured.blockText(at) ?? '')).toBe(block.sha256)
        })
        captured.release()
        expect(captured.blocks.every((_, at) => captured.blockText(at) === null)).toBe(true)
      }),
      { numRuns: 50 },
    )
  })

  test('out of range have no text', () => {
    expect(capture(body).blockText(99)).toBeNull()
  })
})
