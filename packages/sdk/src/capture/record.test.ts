import { canonicalize, entryBytesMax } from '@affidavit/format'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CapturedRequest, CaptureOptions, ResolvedIdentity } from './exchange.ts'
import { createHashKeys } from './hash-keys.ts'
import { isOpaqueId } from './identifiers.ts'
import { completedBody, completedText, startedBody, startedText } from './record.ts'
import { captureRequest } from './request.ts'
import { createResponseTap } from './response.ts'
import {
  capture,
  identity,
  jsonHeaders,
  options,
  outcomeOf,
  policy,
  requestInput,
  simpleRequest,
} from './testing.ts'

const answer = JSON.stringify({
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'claude-sonnet-5-5',
  content: [{ type: 'text', text: 'Hellö' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: {
    input_tokens: 5,
    output_tokens: 7,
    service_tier: 'standard',
    iterations: [{ type: 'message', model: 'm m' }],
  },
})
const loggedAt = 1_700_000_001_000_000
const writerBytesMax = 400

describe('a record', () => {
  const captured = capture(
    {
      ...simpleRequest,
      tools: [{ name: 'Bash' }],
      mcp_servers: [{ url: 'https://mcp.example/?k=v' }],
    },
    {
      rawHeaders: [
        'User-Agent',
        'claude-cli/2.1.330 (external, sdk-cli)',
        'anthropic-version',
        '2026-10-21',
        'anthropic-beta',
        'a-2026-01-01,b',
        'x-api-key',
        'sk-ant-api03-canary',
        'X-Claude-Code-Agent-Id',
        'agent1',
        'X-Stainless-Retry-Count',
        '2',
      ],
      remoteAddress: '::ffff:203.0.113.9',
    },
  )
  const outcome = outcomeOf([answer], { captured, headers: jsonHeaders })

  test('of a start says everything that is known before the request is forwarded', () => {
    expect(startedBody(captured, identity, policy)).toEqual({
      v: 1,
      kind: 'interaction.started',
      event_id: '0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b',
      timestamp: '2023-11-14T22:13:20.123456Z',
      capture_source: 'gateway',
      provider: 'anthropic',
      operation: 'messages.create',
      route: 'POST /v1/messages',
      streaming: false,
      model: 'claude-sonnet-5-5',
      user_id: 'sub_AAAAAAAAAAAAAAAAAAAAAA',
      session_id: 'session-1',
      application_id: 'app-1',
      identity_trust: { application: 'verified', session: 'client-asserted', user: 'verified' },
      agent_id: 'agent1',
      is_subagent: true,
      client: 'claude-cli/2.1.330',
      attempt: 2,
      anthropic_version: '2026-10-21',
      anthropic_beta: ['a-2026-01-01', 'b'],
      credential: { kind: 'api-key', fingerprint: expect.stringMatching(/^[0-9a-f]{32}$/) },
      ip_address: '203.0.113.0/24',
      hash: { alg: 'hmac-sha256', key_id: 'tenant:1' },
      prompt_hash: options.hashKeys.digest(captured.canonicalSha256 ?? '', null),
      prompt_completeness: 'full',
      request: {
        bytes: captured.bodyBytes,
        block_count: 2,
        headers_digest: expect.stringMatching(/^[0-9a-f]{64}$/),
        parsed: 'json',
        wire_digest: options.hashKeys.digest(captured.wireSha256, null),
      },
      tools_offered: ['Bash'],
      tools_offered_count: 1,
      external_refs: [
        { type: 'mcp_server', ref: expect.stringMatching(/^[0-9a-f]{64}$/), state: 'unresolved' },
      ],
      external_refs_count: 1,
      max_tokens: 64,
      data_classification: 'INTERNAL',
      classification_source: 'default',
      policy_flags: [],
      policy_version: '1',
      retention_class: 'standard',
      prompt_raw: null,
    })
  })

  test('of an end repeats the start and adds the outcome', () => {
    const started = startedBody(captured, identity, policy)
    const completed = completedBody(captured, identity, policy, outcome, loggedAt)
    expect(completed).toEqual({
      ...started,
      kind: 'interaction.completed',
      logged_at: '2023-11-14T22:13:21.000000Z',
      status: 'success',
      end_state: 'complete',
      http_status: 200,
      stop_reason: 'end_turn',
      error_type: null,
      request_id: null,
      message_id: 'msg_1',
      model_served: 'claude-sonnet-5-5',
      models: ['claude-sonnet-5-5', expect.stringMatching(/^hash:/)],
      prompt_tokens: 5,
      completion_tokens: 7,
      usage: {
        input_tokens: 5,
        output_tokens: 7,
        service_tier: 'standard',
        iterations: [{ type: 'message', model: expect.stringMatching(/^hash:/) }],
      },
      usage_source: 'final',
      response_hash: options.hashKeys.digest(outcome.canonicalSha256 ?? '', null),
      response: {
        bytes: Buffer.byteLength(answer),
        block_count: 1,
        parsed: 'json',
        wire_digest: options.hashKeys.digest(outcome.wireSha256, null),
      },
      latency_ms: 0,
      first_byte_ms: 0,
      response_raw: null,
    })
  })

  test('comes as its canonical text', () => {
    expect(startedText(captured, identity, policy)).toBe(
      canonicalize(startedBody(captured, identity, policy)),
    )
    const delivered = { ...outcome, delivered: { bytes: 3, sha256: new Uint8Array(32) } }
    for (const response of [outcome, delivered]) {
      const body = completedBody(captured, identity, policy, response, loggedAt)
      expect(completedText(captured, identity, policy, response, loggedAt)).toBe(canonicalize(body))
    }
  })

  test('says what was delivered when that is not what came', () => {
    const cut = { ...outcome, delivered: { bytes: 3, sha256: new Uint8Array(32) } }
    expect(completedBody(captured, identity, policy, cut, loggedAt).delivered).toEqual({
      bytes: 3,
      wire_digest: options.hashKeys.digest('0'.repeat(64), null),
    })
  })

  test('follows another identity or policy, though the start is remembered', () => {
    startedText(captured, identity, policy)
    const other: ResolvedIdentity = { ...identity, userId: 'sub_B' }
    expect(completedBody(captured, other, policy, outcome, loggedAt).user_id).toBe('sub_B')
    const strict = { ...policy, classification: 'RESTRICTED' as const }
    expect(startedBody(captured, identity, strict).data_classification).toBe('RESTRICTED')
  })

  test('takes the device from the door, the claim, or nobody', () => {
    const claimed = capture({
      ...simpleRequest,
      metadata: { user_id: '{"device_id":"dev-1","session_id":"s"}' },
    })
    expect(startedBody(claimed, identity, policy).device_id).toBe('dev-1')
    expect(startedBody(claimed, { ...identity, deviceId: 'dev-2' }, policy).device_id).toBe('dev-2')
    expect(startedBody(claimed, { ...identity, deviceId: null }, policy)).not.toHaveProperty(
      'device_id',
    )
  })
})

describe('digests in a record', () => {
  const digests = (captured: CapturedRequest, subject: string | null) => {
    const { prompt_hash, hash, request } = startedBody(
      captured,
      { ...identity, userId: subject },
      policy,
    )
    return { prompt_hash, hash, wire: request.wire_digest }
  }
  const under = (hashKeys: CaptureOptions['hashKeys']) =>
    captureRequest(requestInput(simpleRequest), { ...options, hashKeys })

  test('are comparable across users under a tenant key, and not under subject keys', () => {
    const tenant = under(options.hashKeys)
    expect(digests(tenant, 'sub_1').prompt_hash).toBe(digests(tenant, 'sub_2').prompt_hash)
    const keyOf = (subject: string) => Buffer.alloc(32, subject)
    const bySubject = under(
      createHashKeys({ mode: 'subject', key: new Uint8Array(32), subjectKey: keyOf }),
    )
    expect(digests(bySubject, 'sub_1').prompt_hash).not.toBe(
      digests(bySubject, 'sub_2').prompt_hash,
    )
    expect(digests(bySubject, 'sub_1').hash).toEqual({
      alg: 'hmac-sha256',
      key_id: 'subject:sub_1',
    })
  })

  test('are bare in plain mode only', () => {
    const plain = under(createHashKeys({ mode: 'plain' }))
    expect(digests(plain, null)).toEqual({
      prompt_hash: plain.canonicalSha256,
      hash: { alg: 'sha256', key_id: 'plain' },
      wire: plain.wireSha256,
    })
    expect(digests(under(options.hashKeys), null).wire).not.toBe(plain.wireSha256)
  })
})

describe('names in a record', () => {
  test('that could be a person’s are replaced by keyed hashes, wherever they stand', () => {
    const name = 'Jo Doe <jo@example.com>'
    const captured = capture(
      {
        ...simpleRequest,
        model: name,
        tools: [{ name }],
        container: name,
        metadata: { user_id: JSON.stringify({ device_id: name, session_id: name }) },
      },
      {
        rawHeaders: [
          'anthropic-version',
          name,
          'anthropic-beta',
          name,
          'x-claude-code-agent-id',
          name,
          'x-claude-code-parent-agent-id',
          name,
          'user-agent',
          name,
        ],
      },
    )
    const outcome = outcomeOf(
      [
        JSON.stringify({
          type: 'message',
          id: name,
          model: name,
          role: 'assistant',
          stop_reason: name,
          stop_sequence: name,
          stop_details: { category: name },
          content: [{ type: 'tool_use', name }],
          usage: { speed: name, iterations: [{ type: name, model: name }] },
        }),
      ],
      { captured, headers: [...jsonHeaders, 'request-id', name] },
    )
    const named = { ...identity, sessionId: name, applicationId: name }
    const text = completedText(captured, named, policy, outcome, loggedAt)
    expect(text).not.toMatch(/Jo|Doe|example/)
    expect(text.match(/hash:[0-9a-f]{32}/g)?.length).toBeGreaterThan(15)
  })
})

describe('the size of a record', () => {
  test('stays within an entry, whatever client and upstream invent', () => {
    const wide = (at: number) => `${at}`.padEnd(128, '~')
    const many = (count: number) => Array.from({ length: count }, (_, at) => wide(at))
    const list = (name: string, count: number) =>
      many(count).flatMap((value, at) => [name + (name.endsWith('-') ? at : ''), value])
    const captured = captureRequest(
      requestInput(
        {
          ...simpleRequest,
          model: wide(0),
          stream: true,
          tools: many(1000).map((name) => ({ name })),
          container: { id: wide(1), skills: many(1000).map((skill_id) => ({ skill_id })) },
          messages: many(1000).map((file_id) => ({
            role: 'user',
            content: [{ type: 'image', source: { file_id } }],
          })),
          metadata: { user_id: JSON.stringify({ device_id: wide(2), session_id: wide(3) }) },
        },
        {
          rawHeaders: [
            ...list('anthropic-beta', 500),
            'anthropic-version',
            wide(4),
            'content-encoding',
            wide(5),
            'user-agent',
            many(50)
              .map((name) => `x/${name.slice(0, 60)}`)
              .join(' '),
            'x-claude-code-agent-id',
            wide(6),
            'x-claude-code-parent-agent-id',
            wide(7),
          ],
          remoteAddress: 'ffff:ffff:ffff::1',
        },
      ),
      { ...options, ipMask: { v4Bits: 32, v6Bits: 128 } },
    )
    const input = requestInput(
      {
        ...simpleRequest,
        tools: many(1000).map((name) => ({ name })),
        container: { skills: many(1000).map((skill_id) => ({ skill_id })) },
      },
      { rawHeaders: list('anthropic-beta', 500) },
    )
    for (const request of [captured, captureRequest(input, options)]) {
      const message = {
        type: 'message',
        id: wide(1),
        model: wide(2),
        role: 'assistant',
        stop_reason: wide(3),
        stop_sequence: wide(4),
        stop_details: { category: wide(5) },
        content: many(1000).map((name) => ({ type: 'tool_use', name })),
        usage: {
          input_tokens: 2 ** 52,
          output_tokens: 2 ** 52,
          speed: wide(6),
          service_tier: wide(7),
          inference_geo: wide(8),
          iterations: many(1000).map((model) => ({
            type: model,
            model,
            input_tokens: 2 ** 52,
            output_tokens: 2 ** 52,
            cache_read_input_tokens: 2 ** 52,
            cache_creation_input_tokens: 2 ** 52,
          })),
        },
      }
      const tap = createResponseTap(request, options)
      tap.head(200, [...jsonHeaders, ...list('anthropic-ratelimit-', 500), 'request-id', wide(9)])
      tap.chunk(Buffer.from(JSON.stringify(message)))
      const named = { ...identity, sessionId: wide(10), applicationId: wide(11) }
      const text = completedText(request, named, policy, tap.end('end'), loggedAt)
      expect(Buffer.byteLength(text)).toBeLessThan(entryBytesMax - writerBytesMax)
    }
  })

  test('is under two kibibytes for an ordinary exchange', () => {
    const captured = capture(simpleRequest)
    const text = completedText(
      captured,
      identity,
      policy,
      outcomeOf([answer], { captured, headers: jsonHeaders }),
      loggedAt,
    )
    expect(text.length).toBeLessThan(2048)
  })
})

describe('a record of anything', () => {
  test('is canonical, and its names are opaque ids', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.jsonValue(),
        fc.array(fc.string({ unit: 'binary' })),
        (body, reply, rawHeaders) => {
          const captured = capture(body ?? null, { rawHeaders })
          const outcome = outcomeOf([JSON.stringify({ ...Object(reply), type: 'message' })], {
            captured,
            headers: [...jsonHeaders, ...rawHeaders],
          })
          const completed = completedBody(captured, identity, policy, outcome, loggedAt)
          expect(completedText(captured, identity, policy, outcome, loggedAt)).toBe(
            canonicalize(completed),
          )
          for (const value of [
            completed.model,
            completed.stop_reason,
            completed.model_served,
            completed.error_type,
          ]) {
            expect(value === null || isOpaqueId(value)).toBe(true)
          }
        },
      ),
      { numRuns: 300 },
    )
  })
})
