import { createAnthropic } from '@ai-sdk/anthropic'
import Anthropic from '@anthropic-ai/sdk'
import { ChatAnthropic } from '@langchain/anthropic'
import { generateText, streamText, tool } from 'ai'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { AuditError, auditFetch, auditMiddleware, type AuditFetchOptions } from './index.ts'
import {
  createMemoryDestination,
  startFakeClaude,
  type FakeClaude,
  type MemoryDestination,
  type Mode,
} from './testing.ts'
import { systemTimers } from './timers.ts'

let claude: FakeClaude
let destination: MemoryDestination

beforeAll(async () => {
  claude = await startFakeClaude()
})
afterAll(() => claude.close())
beforeEach(() => {
  destination = createMemoryDestination()
  claude.seen.length = 0
  claude.sent.length = 0
})

const auditing = (options: Partial<AuditFetchOptions> = {}) =>
  auditFetch({ destination, application: 'desk', identity: () => ({ user: 'alice' }), ...options })

const complete = { status: 'success', end_state: 'complete', completion_tokens: 7 }
const messages = `/v1/messages`
const post = (body: RequestInit['body'], mode: Mode = 'ok'): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', 'x-test-mode': mode, 'x-api-key': 'sk-secret' },
  ...(body === undefined ? {} : { body }),
})
const ask = JSON.stringify({ model: 'm', max_tokens: 9, messages: [] })
// Not in the types of every platform.
const half: object = { duplex: 'half' }
const askStream = JSON.stringify({ model: 'm', max_tokens: 9, messages: [], stream: true })

describe('the Vercel AI SDK', () => {
  const modelOf = (mode: Mode, send?: typeof fetch) =>
    createAnthropic({
      baseURL: `${claude.url}/v1`,
      apiKey: 'sk-secret',
      headers: { 'x-test-mode': mode },
      ...(send && { fetch: send }),
    })('claude-test')
  const lookUp = tool({
    description: 'looks a city up',
    inputSchema: z.object({ city: z.string() }),
  })

  test('texts, streams and tool calls are the same as without it, and recorded', async () => {
    const run = async (send?: typeof fetch) => {
      const whole = await generateText({
        model: modelOf('ok', send),
        prompt: 'Hello',
        maxOutputTokens: 64,
      })
      const parts: string[] = []
      const streamed = streamText({
        model: modelOf('bytes', send),
        prompt: 'Hello',
        maxOutputTokens: 64,
      })
      for await (const part of streamed.textStream) parts.push(part)
      const called = await generateText({
        model: modelOf('tool', send),
        prompt: 'Hello',
        // Its types are not written for exactOptionalPropertyTypes.
        tools: { look_up: lookUp as never },
      })
      const calls = called.toolCalls.map(({ toolName, input }) => [toolName, input])
      return [whole.text, whole.usage.totalTokens, parts, await streamed.finishReason, calls]
    }
    const bare = await run()
    expect(await run(auditing())).toEqual(bare)
    expect(await destination.ended(3)).toMatchObject([
      { ...complete, streaming: false, subject_claim: 'alice', capture_source: 'fetch' },
      { ...complete, streaming: true },
      { ...complete, stop_reason: 'tool_use', tools_offered: ['look_up'], tool_calls: ['look_up'] },
    ])
    expect(JSON.stringify(destination)).not.toContain('sk-secret')
  })

  test('an abort is recorded as one', async () => {
    const controller = new AbortController()
    const streamed = streamText({
      model: modelOf('stall', auditing()),
      prompt: 'Hello',
      maxOutputTokens: 64,
      abortSignal: controller.signal,
      onError: () => undefined,
    })
    const reader = streamed.fullStream.getReader()
    for (;;) {
      const { value, done } = await reader.read()
      if (done || value.type === 'text-start') break
    }
    controller.abort()
    expect(await destination.ended(1)).toMatchObject([{ end_state: 'client_abort' }])
    expect(await claude.seen[0]?.left).toBe(true)
  })

  test('a request that cannot be recorded is not sent, and tried once', async () => {
    destination.failStart = new Error('connect ETIMEDOUT')
    const run = generateText({
      model: modelOf('ok', auditing()),
      prompt: 'Hello',
      maxOutputTokens: 64,
    })
    await expect(run).rejects.toBeInstanceOf(AuditError)
    expect(claude.seen).toEqual([])
  })
})

describe('LangChain', () => {
  const modelOf = (mode: Mode, clientOptions: object) =>
    new ChatAnthropic({
      model: 'claude-test',
      apiKey: 'sk-secret',
      anthropicApiUrl: claude.url,
      clientOptions: { defaultHeaders: { 'x-test-mode': mode }, ...clientOptions },
    })

  test.each(['fetch', 'middleware'] as const)('invoke and stream by %s', async (door) => {
    const options = { destination, application: 'desk' }
    const clientOptions =
      door === 'fetch' ? { fetch: auditFetch(options) } : { middleware: [auditMiddleware(options)] }
    const run = async (inside: object) => {
      const whole = await modelOf('ok', inside).invoke('Hello')
      const parts: unknown[] = []
      for await (const part of await modelOf('ok', inside).stream('Hello')) parts.push(part.content)
      return JSON.parse(JSON.stringify([whole.content, whole.usage_metadata, parts]))
    }
    expect(await run(clientOptions)).toEqual(await run({}))
    expect(await destination.ended(2)).toMatchObject([
      { ...complete, streaming: false, capture_source: door },
      { ...complete, streaming: true, application_id: 'desk' },
    ])
  })

  test('through the middleware a request that cannot be recorded is tried once', async () => {
    destination.failStart = new Error('down')
    const model = modelOf('ok', { middleware: [auditMiddleware({ destination })] })
    await expect(model.invoke('Hello')).rejects.toThrow(/was not sent/)
    expect(claude.seen).toEqual([])
  })
})

describe('any fetch', () => {
  test('a refusal can be an answer that the Anthropic SDK does not repeat', async () => {
    let attempts = 0
    const failing = {
      ...destination,
      async started() {
        attempts++
        throw new AuditError('ERR_SPOOL_FULL', 'the spool is full')
      },
    }
    const send = auditing({ destination: failing, refusal: 'respond' })
    const client = new Anthropic({ baseURL: claude.url, apiKey: 'k', fetch: send })
    const call = client.messages.create({ model: 'm', max_tokens: 1, messages: [] })
    await expect(call).rejects.toMatchObject({
      status: 503,
      error: { error: { message: expect.stringContaining('the spool is full') } },
    })
    expect(attempts).toBe(1)
    expect(claude.seen).toEqual([])
  })

  test('arguments that need no change reach the inner fetch as the same objects', async () => {
    const init = post(ask)
    const seen: unknown[] = []
    const inner: typeof fetch = async (...given) => {
      seen.push(...given)
      return fetch(...given)
    }
    const url = `${claude.url}${messages}`
    await (await auditing({ fetch: inner })(url, init)).text()
    expect(seen).toEqual([url, init])
    expect(seen[1]).toBe(init)
  })

  test('every kind of body arrives unchanged and is digested', async () => {
    const bytes = new TextEncoder().encode(ask)
    const streamed = () =>
      new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(bytes.slice(0, 5))
          controller.enqueue(bytes.slice(5))
          controller.close()
        },
      })
    const url = `${claude.url}${messages}`
    const calls: [Request | string | URL, RequestInit?][] = [
      [url, post(ask)],
      [new URL(url), post(bytes)],
      [url, post(bytes.slice().buffer)],
      [url, post(new Blob([ask]))],
      [url, { ...post(streamed()), ...half }],
      [new Request(url, post(ask))],
      [new Request(url, { ...post(ask), headers: { 'x-test-mode': 'ok' } })],
    ]
    for (const [input, init] of calls) await (await auditing()(input, init)).text()
    const ends = await destination.ended(calls.length)
    expect(claude.seen.map(({ body }) => body.toString())).toEqual(calls.map(() => ask))
    const digests = ends.map(({ request }) => [request.bytes, request.wire_digest])
    expect(digests).toEqual(calls.map(() => digests[0]))
    expect(ends.filter(({ prompt_hash }) => prompt_hash !== null)).toHaveLength(5)
  })

  test('a body that breaks while it is sent fails as without us', async () => {
    const broken = () =>
      new ReadableStream({
        pull(controller) {
          controller.error(new Error('disk error'))
        },
      })
    const init = () => ({ ...post(broken()), ...half })
    const url = `${claude.url}${messages}`
    const bare = await fetch(url, init()).catch((error: Error) => [error.name, error.message])
    const ours = await auditing()(url, init()).catch((error: Error) => [error.name, error.message])
    expect(ours).toEqual(bare)
    expect(await destination.ended(1)).toMatchObject([{ end_state: 'upstream_error' }])
  })

  test('fail_open sends a streamed body that could not be recorded', async () => {
    destination.failStart = new Error('down')
    const send = auditing({ mode: 'fail_open', report: () => undefined })
    const init = { ...post(new Blob([ask]).stream()), ...half }
    await (await send(`${claude.url}${messages}`, init)).text()
    expect(claude.seen[0]?.body.toString()).toBe(ask)
  })

  test('fail_closed cancels a streamed body that is not sent', async () => {
    destination.failStart = new Error('down')
    let reason: unknown
    const body = new ReadableStream({
      cancel(why) {
        reason = why
      },
    })
    const sent = auditing()(`${claude.url}${messages}`, { ...post(body), ...half })
    await expect(sent).rejects.toBeInstanceOf(AuditError)
    expect(reason).toBe(destination.failStart)
  })

  test('our own headers name the caller and are not sent, from every form of arguments', async () => {
    const headers = { 'x-audit-user': 'bob', 'x-audit-session': 's-2', 'x-test-mode': 'ok' }
    const url = `${claude.url}${messages}`
    const send = auditing({ identity: () => ({}) })
    await (await send(url, { ...post(ask), headers })).text()
    await (await send(new Request(url, { ...post(ask), headers }))).text()
    await (await send(new Request(url, post(ask)), { headers })).text()
    expect(destination.starts).toMatchObject(
      [1, 2, 3].map(() => ({ subject_claim: 'bob', session_id: 's-2' })),
    )
    for (const seen of claude.seen) {
      expect(Object.keys(seen.headers).filter((name) => name.startsWith('x-audit'))).toEqual([])
      expect(seen.body.toString()).toBe(ask)
    }
  })

  test('token exchanges and the shipping of records pass unrecorded', async () => {
    for (const path of ['/v1/oauth/token', '/affidavit/v1/ingest']) {
      await (await auditing()(`${claude.url}${path}`, post('{"refresh_token":"secret"}'))).text()
    }
    expect(claude.seen).toHaveLength(2)
    expect(destination.starts).toEqual([])
  })

  test('an answer without a body, and one announced as empty, are recorded without being read', async () => {
    await auditing()(`${claude.url}/v1/models`, { method: 'HEAD' })
    await auditing()(`${claude.url}${messages}`, post(ask, 'empty'))
    expect(destination.ends).toHaveLength(2)
  })

  test('a stream whose connection stays open is handed on whole', async () => {
    const timers = { ...systemTimers, delay: () => Promise.resolve() }
    const send = auditing({ dependencies: { timers } })
    const response = await send(`${claude.url}${messages}`, post(askStream, 'lingering'))
    const reader = response.body?.getReader()
    let text = ''
    while (!text.includes('message_stop')) {
      const { value } = (await reader?.read()) ?? {}
      text += Buffer.from(value ?? new Uint8Array(0)).toString()
    }
    expect(destination.ends).toMatchObject([complete])
    await reader?.cancel()
    expect(await claude.seen[0]?.left).toBe(true)
  })

  test('a fetch that gives Node streams works too', async () => {
    const { Readable } = await import('node:stream')
    const inner: typeof fetch = async () => {
      const body: unknown = Readable.from([Buffer.from('{"a":'), Buffer.from('1}')])
      const response = Response.json({})
      Object.defineProperty(response, 'body', { value: body })
      return response
    }
    const response = await auditing({ fetch: inner })(`${claude.url}${messages}`, post(ask))
    expect(await response.json()).toEqual({ a: 1 })
  })
})
