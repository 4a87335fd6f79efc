import { createHash } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createPrefixCache } from './prefix.ts'
import { captureRequest } from './request.ts'
import { capture, options, requestInput, simpleRequest } from './testing.ts'

const sha256 = (text: string | Uint8Array) => createHash('sha256').update(text).digest('hex')

describe('a request', () => {
  test('is captured from any bytes, headers, method and URL', () => {
    fc.assert(
      fc.property(
        fc.uint8Array(),
        fc.array(fc.string({ unit: 'binary' })),
        fc.string(),
        fc.oneof(
          fc.string(),
          fc.constantFrom(
            '/v1/messages',
            '/v1/messages/batches',
            '/v1/sessions',
            '/v1/messages/count_tokens',
          ),
        ),
        (body, rawHeaders, method, url) => {
          const captured = captureRequest(
            { ...requestInput(body), rawHeaders, method, url, remoteAddress: method },
            options,
          )
          expect(captured.wireSha256).toBe(sha256(body))
          expect(captured.bodyBytes).toBe(body.length)
        },
      ),
      { numRuns: 500 },
    )
  })

  test('is captured from any JSON', () => {
    const url = fc.constantFrom('/v1/messages', '/v1/messages/batches', '/v1/sessions')
    const names = fc.constantFrom(
      'model',
      'messages',
      'system',
      'tools',
      'thread',
      'container',
      'metadata',
      'mcp_servers',
      'requests',
      'params',
      'content',
      'type',
      'text',
      'source',
      'x',
    )
    const value = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 6 },
        fc.constantFrom<unknown>(null, true, 1, -1.5, 'text', 'thinking', 'tool_result', ''),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(names, tie('value'), { maxKeys: 6 }),
      ),
    })).value
    fc.assert(
      fc.property(url, value, (path, body) => {
        const captured = capture(JSON.stringify(body), { url: path })
        expect(captured.parsed).toBe(
          typeof body === 'object' && body !== null && !Array.isArray(body) ? 'json' : 'opaque',
        )
      }),
      { numRuns: 500 },
    )
  })

  test('tells what the body asks for', () => {
    expect(
      capture({
        ...simpleRequest,
        stream: true,
        tools: [{ name: 'a' }, { type: 'bash_20250124' }, 5],
      }),
    ).toMatchObject({
      operation: 'messages.create',
      model: 'claude-sonnet-5-5',
      maxTokens: 64,
      streaming: true,
      expectsSse: true,
      toolNames: ['a', 'bash_20250124', ''],
      toolCount: 3,
      completeness: 'full',
    })
    expect(capture({ ...simpleRequest, stream: 'yes', max_tokens: '5', model: 7 })).toMatchObject({
      model: null,
      maxTokens: null,
      streaming: false,
      expectsSse: false,
    })
  })

  test('without a body has none', () => {
    expect(capture('', { method: 'GET', url: '/v1/models' })).toMatchObject({
      parsed: 'none',
      canonicalSha256: null,
      completeness: 'unknown',
      operation: 'models.list',
    })
  })

  test('of an unknown path is opaque, with its digest', () => {
    expect(capture(simpleRequest, { url: '/v1/unknown' })).toMatchObject({
      operation: 'opaque',
      parsed: 'opaque',
      canonicalSha256: null,
      wireSha256: sha256(JSON.stringify(simpleRequest)),
    })
  })

  test('with a byte order mark is read without it', () => {
    const text = JSON.stringify(simpleRequest)
    expect(capture(`\ufeff${text}`).canonicalSha256).toBe(capture(text).canonicalSha256)
  })

  test('that nests too deep is opaque', () => {
    const deep = `${'['.repeat(300)}${']'.repeat(300)}`
    expect(capture(`{"model":"m","messages":[],"x":${deep}}`)).toMatchObject({
      parsed: 'opaque',
      canonicalSha256: null,
    })
  })

  test('beyond a limit is opaque', () => {
    const limited = (limits: object) =>
      captureRequest(requestInput({ ...simpleRequest, system: ['a', 'b'] }), { ...options, limits })
    expect(limited({ parseBytesMax: 10 }).parsed).toBe('opaque')
    expect(limited({ requestBlocksMax: 2 }).parsed).toBe('opaque')
    expect(limited({ requestBlocksMax: 3 }).parsed).toBe('json')
  })
})

describe('a released request', () => {
  test('lets its body go, though its record is still to come', async () => {
    setFlagsFromString('--expose-gc')
    const collect: () => void = runInNewContext('gc')
    const text = JSON.stringify({ ...simpleRequest, system: 'x'.repeat(100_000) })
    const held = (encoding: string[]) => {
      const bytes = new Uint8Array(encoding.length > 0 ? gzipSync(text) : Buffer.from(text))
      const input = requestInput(bytes, { rawHeaders: encoding })
      const captured = captureRequest(input, { ...options, prefixCache })
      captured.blockText(0)
      captured.release()
      return { captured, body: new WeakRef(bytes) }
    }
    const prefixCache = createPrefixCache()
    const all = [held([]), held(['content-encoding', 'gzip'])]
    // A weak reference is strong until the turn that made it is over.
    await new Promise((resolve) => setImmediate(resolve))
    collect()
    expect(all.map(({ body }) => body.deref())).toEqual([undefined, undefined])
    expect(all.map(({ captured }) => captured.blocks.length)).toEqual([2, 2])
    expect(prefixCache.count).toBe(1)
  })
})

describe('an encoded request', () => {
  const text = JSON.stringify(simpleRequest)
  const encoded = (bytes: Uint8Array, coding: string) =>
    capture(bytes, { rawHeaders: ['content-encoding', coding] })

  test.each([
    ['gzip', gzipSync],
    [' GZIP ', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ])('in %s is read on a copy, with both digests', (coding, encode) => {
    const bytes = encode(text)
    expect(encoded(bytes, coding)).toMatchObject({
      canonicalSha256: capture(text).canonicalSha256,
      wireSha256: sha256(bytes),
      decodedSha256: sha256(text),
      encoding: coding.trim().toLowerCase(),
      bodyBytes: bytes.length,
    })
    expect(encoded(bytes, coding).blockText(0)).toBe('{"text":"hi","type":"text"}')
  })

  test.each([
    ['zstd', Buffer.from(text)],
    ['gzip, gzip', gzipSync(gzipSync(text))],
    ['gzip', Buffer.from(text)],
    ['gzip', gzipSync(text).subarray(0, -3)],
  ])('that does not decode is opaque: %s', (coding, bytes) => {
    expect(encoded(bytes, coding)).toMatchObject({
      parsed: 'opaque',
      canonicalSha256: null,
      decodedSha256: null,
      wireSha256: sha256(bytes),
    })
  })

  test('that unpacks beyond the limit is opaque', () => {
    const bomb = gzipSync(Buffer.alloc(1_000_000, 0x20))
    const input = requestInput(bomb, { rawHeaders: ['content-encoding', 'gzip'] })
    expect(captureRequest(input, { ...options, limits: { parseBytesMax: 10_000 } }).parsed).toBe(
      'opaque',
    )
    expect(captureRequest(input, { ...options, limits: { encodedBytesMax: 10 } }).parsed).toBe(
      'opaque',
    )
  })

  test('with coding identity is not encoded', () => {
    expect(encoded(Buffer.from(text), 'identity')).toMatchObject({
      encoding: null,
      decodedSha256: null,
      parsed: 'json',
    })
  })
})

describe('external references', () => {
  const references = (body: object, url = '/v1/messages') =>
    capture(body, { url }).references.map(({ type, value }) => [type, value])

  test('are found wherever a body points outside of itself', () => {
    const image = (source: object) => ({ type: 'image', source })
    const body = {
      ...simpleRequest,
      container: {
        id: 'container_1',
        skills: [{ type: 'anthropic', skill_id: 'pptx', version: 'latest' }],
      },
      thread: { type: 'continue', previous_message_id: 'msg_1' },
      diagnostics: { previous_message_id: 'msg_2' },
      mcp_servers: [{ type: 'url', url: 'https://mcp.example/' }],
      system: [{ type: 'document', source: { type: 'file', file_id: 'file_0' } }],
      messages: [
        {
          role: 'user',
          content: [
            image({ type: 'file', file_id: 'file_1' }),
            image({ type: 'url', url: 'https://example.com/x' }),
            { type: 'container_upload', file_id: 'file_2' },
            {
              type: 'tool_result',
              content: [
                image({ type: 'file', file_id: 'file_3' }),
                image({ type: 'file', file_id: 'file_1' }),
              ],
            },
            {
              type: 'document',
              source: { type: 'content', content: [image({ type: 'file', file_id: 'file_4' })] },
            },
            { type: 'text', text: 'file_id', file_id: 'not-a-reference' },
          ],
        },
      ],
    }
    expect(references(body)).toEqual([
      ['container', 'container_1'],
      ['skill', 'pptx'],
      ['message', 'msg_2'],
      ['mcp_server', sha256('https://mcp.example/')],
      ['file', 'file_1'],
      ['url', sha256('https://example.com/x')],
      ['file', 'file_2'],
      ['file', 'file_3'],
      ['file', 'file_4'],
      ['file', 'file_0'],
      ['thread', 'msg_1'],
    ])
    expect(capture(body).completeness).toBe('partial')
  })

  test('of a session are its files and memory stores', () => {
    const resources = [
      { type: 'memory_store', memory_store_id: 'memstore_1' },
      { type: 'file', file_id: 'file_1' },
    ]
    expect(references({ agent: 'agent_1', resources }, '/v1/sessions')).toEqual([
      ['memory_store', 'memstore_1'],
      ['file', 'file_1'],
    ])
  })

  test('are listed up to a limit, and counted', () => {
    const content = Array.from({ length: 100 }, (_, at) => ({
      type: 'image',
      source: { file_id: `file_${at}` },
    }))
    const { references: listed, referenceCount } = capture({
      ...simpleRequest,
      messages: [{ role: 'user', content }],
    })
    expect([listed.length, referenceCount]).toEqual([32, 100])
  })

  test('are a string or nothing', () => {
    expect(references({ ...simpleRequest, container: 'container_1' })).toEqual([
      ['container', 'container_1'],
    ])
    expect(
      references({
        ...simpleRequest,
        container: 5,
        thread: 'x',
        mcp_servers: {},
        diagnostics: null,
      }),
    ).toEqual([])
  })
})

describe('a batch', () => {
  const row = (custom_id: string, content: string) => ({
    custom_id,
    params: { ...simpleRequest, messages: [{ role: 'user', content }] },
  })
  const batch = (...requests: unknown[]) => capture({ requests }, { url: '/v1/messages/batches' })

  test('is the list of the canonical forms of its requests', () => {
    expect(batch(row('a', 'hi'))).toMatchObject({
      operation: 'messages.batches.create',
      parsed: 'json',
      model: null,
    })
    const inner = `{"max_tokens":64,"messages":[{"content":["${sha256('{"text":"hi","type":"text"}')}"],"role":"user"}],"model":"claude-sonnet-5-5"}`
    expect(batch(row('a', 'hi')).canonicalSha256).toBe(
      sha256(`{"requests":[{"custom_id":"a","params":"${sha256(inner)}"}]}`),
    )
    expect(batch(row('a', 'hi')).canonicalSha256).not.toBe(batch(row('a', 'ho')).canonicalSha256)
    expect(batch(row('a', 'hi')).canonicalSha256).not.toBe(batch(row('b', 'hi')).canonicalSha256)
    expect(batch(5, { custom_id: 'a' }).parsed).toBe('json')
  })
})

describe('other JSON operations', () => {
  test('are digested whole, without secrets', () => {
    const session = (more: object) =>
      capture(
        { agent: 'a', stream: true, metadata: { user_id: 'u' }, ...more },
        { url: '/v1/sessions' },
      )
    expect(session({}).canonicalSha256).toBe(
      sha256('{"agent":"a","metadata":{"user_id":"u"},"stream":true}'),
    )
    expect(session({ fallback_credit_token: 's' }).canonicalSha256).toBe(
      session({}).canonicalSha256,
    )
    expect(
      session({ mcp_servers: [{ name: 'x', authorization_token: 's' }] }).canonicalSha256,
    ).toBe(session({ mcp_servers: [{ name: 'x' }] }).canonicalSha256)
    expect(session({}).claims.userId).toBe('u')
    expect(session({ model: { id: 'claude-x' } }).model).toBe('claude-x')
  })
})
