import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { CapturedRequest } from './exchange.ts'
import { isObject } from './json.ts'
import { createPrefixCache } from './prefix.ts'
import { captureRequest } from './request.ts'
import { options, requestInput } from './testing.ts'

interface Recorded {
  readonly method: string
  readonly url: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: unknown
}

const folder = new URL('../../../../test/fixtures/captures/', import.meta.url)

/** Requests of one file; tool definitions, which are recorded by name only, become definitions again. */
function recorded(name: string): CapturedRequest[] {
  const file: { requests: Recorded[] } = JSON.parse(
    readFileSync(new URL(`${name}.json`, folder), 'utf8'),
  )
  const prefixCache = createPrefixCache({ prefixBytesMin: 0 })
  return file.requests.map(({ method, url, headers, body }) => {
    const input = requestInput(withTools(body), { method, url, rawHeaders: headers.flat() })
    const captured = captureRequest(input, { ...options, prefixCache })
    expect(JSON.stringify(captured)).toBe(JSON.stringify(captureRequest(input, options)))
    return captured
  })
}

function withTools(body: unknown): unknown {
  if (!isObject(body) || !isObject(body['tools'])) return body ?? ''
  return { ...body, tools: body['tools']['items'] }
}

describe('real clients', () => {
  test('of Claude Code are known by session, device and client', () => {
    const [captured] = recorded('claude-code-resume')
    expect(captured).toMatchObject({
      operation: 'messages.create',
      model: 'claude-opus-5-5',
      streaming: true,
      maxTokens: 128_000,
      client: 'claude-cli/2.1.330',
      attempt: 0,
      anthropicVersion: '2023-06-01',
      credential: { kind: 'api-key' },
      claims: {
        userId: null,
        sessionId: '11111111-2222-4333-8444-555555555555',
        deviceId: '<64hex>',
        accountUuid: null,
        isSubagent: false,
      },
      toolCount: 12,
      completeness: 'full',
    })
    expect(captured?.anthropicBeta).toHaveLength(8)
    expect(captured?.blocks.filter((block) => block.kind === 'system')).toHaveLength(3)
  })

  test('of Claude Code resend blocks that are known by their digest, though markers and forms move', () => {
    const [first, , third] = recorded('claude-code-agent')
    const known = new Set(third?.blocks.map((block) => block.sha256))
    const messages = first?.blocks.filter((block) => block.kind === 'message') ?? []
    // The system-role message is an array with cache_control first, and a bare string later.
    expect(messages.map((block) => known.has(block.sha256))).toEqual(messages.map(() => true))
  })

  test('that are sub-agents say so', () => {
    const agents = recorded('claude-code-agent').map((captured) => captured.claims.agentId)
    expect(agents).toEqual([null, 'aeaa208adc350e572', null])
  })

  test('of the Agent SDK name their application', () => {
    for (const { claims, client } of recorded('agent-sdk')) {
      expect(claims).toMatchObject({ applicationId: 'acme-app', clientApp: 'acme-app/1.2.3' })
      expect(client).toBe('claude-cli/2.1.330 agent-sdk/0.3.330 client-app/acme-app/1.2.3')
    }
  })

  test('with a key helper present one key in both headers', () => {
    expect(recorded('claude-code-helper')[0]?.credential?.kind).toBe('api-key')
  })

  test('probe before they ask', () => {
    expect(recorded('claude-code-nonessential').map(({ operation }) => operation)).toEqual([
      'probe',
      'messages.create',
    ])
  })

  test('of the SDK are known by operation and credential', () => {
    const direct = recorded('sdk').filter(({ operation }) => operation !== 'opaque')
    expect(direct.map(({ operation }) => operation)).toEqual(
      expect.arrayContaining([
        'messages.create',
        'messages.count_tokens',
        'messages.batches.create',
        'files.upload',
        'models.list',
        'sessions.create',
      ]),
    )
    const [create] = direct
    expect(create).toMatchObject({
      client: 'Anthropic/JS 1.12.0',
      anthropicVersion: '2026-10-21',
      credential: { kind: 'bearer' },
      claims: { userId: 'u-123', userSource: 'metadata.user_id' },
    })
  })

  test('of the AI SDK and LangChain are known', () => {
    const clients = recorded('others').map(({ client, operation }) => [
      client?.split(' ')[0],
      operation,
    ])
    expect(clients).toEqual([
      ['ai/6.0.326', 'messages.create'],
      ['ai-sdk/anthropic/3.0.140', 'messages.create'],
      ['ai/6.0.326', 'opaque'],
      ['Anthropic/JS', 'messages.create'],
      ['Anthropic/JS', 'messages.create'],
    ])
  })
})
