import NewestAnthropic from '@anthropic-ai/sdk'
import OldestAnthropic from 'anthropic-sdk-oldest'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Mode } from '../../packages/server/src/simulate/modes.ts'
import { type Pair, startPair } from '../e2e/harness.ts'
import { runTwice } from './twice.ts'

let pair: Pair

beforeAll(async () => {
  pair = await startPair({ simulator: { retryAfterMs: 1, dripMs: 2 } })
})

beforeEach(() => pair.simulator.clear())

afterAll(() => pair.close())

const request = {
  model: 'claude-sonnet-5-5',
  max_tokens: 2048,
  messages: [{ role: 'user' as const, content: 'How do bees find their way home?' }],
}
const withMode = (mode: Mode) => ({ headers: { 'x-simulate-mode': mode } })
const tools = [
  { name: 'Bash', input_schema: { type: 'object' as const, properties: {}, required: [] } },
]

const contents = [
  'ok',
  'thinking',
  'redacted_thinking',
  'tool_use',
  'server_tools',
  'citations',
  'multi_model',
  'refusal',
  'max_tokens',
  'partial_tool_json',
  'multibyte',
  'unknown_fields',
  'empty_content',
  'gzip',
  'duplicate_headers',
  'slow_drip',
] as const

const errors = [400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 503, 504, 529] as const

const versions = [
  ['the newest SDK', (baseURL: string) => newest(baseURL), 'Bearer'],
  ['the oldest SDK', (baseURL: string) => oldest(baseURL), 'x-api-key'],
] as const

// Both versions have these calls; the oldest's types are taken for both.
function newest(baseURL: string): Pick<OldestAnthropic, 'messages' | 'models'> {
  const client: unknown = new NewestAnthropic({ baseURL, apiKey: 'sk-test', maxRetries: 2 })
  return client as Pick<OldestAnthropic, 'messages' | 'models'>
}

function oldest(baseURL: string): Pick<OldestAnthropic, 'messages' | 'models'> {
  return new OldestAnthropic({ baseURL, apiKey: 'sk-test', maxRetries: 2 })
}

describe.each(versions)('%s', (_, client) => {
  test.each(contents)('create, %s', async (mode) => {
    const { straight, through, records } = await runTwice(pair, (url) =>
      client(url).messages.create({ ...request, tools }, withMode(mode)),
    )
    expect(straight).toHaveProperty('value')
    expect(through).toEqual(straight)
    expect(records.map(({ end_state: state }) => state)).toEqual(['complete'])
    expect(records[0]?.completion_tokens).toBe(
      pair.simulator.requests.at(-1)?.facts.usage?.['output_tokens'],
    )
  })

  test.each(contents)('stream, %s', async (mode) => {
    const { straight, through, records } = await runTwice(pair, async (url) => {
      const events: unknown[] = []
      const stream = client(url).messages.stream({ ...request, tools }, withMode(mode))
      stream.on('streamEvent', (event) => events.push(event))
      // Input that is no JSON makes some versions throw, straight and through alike.
      const message = await stream.finalMessage()
      return { events, message }
    })
    expect(through).toEqual(straight)
    expect(records.map(({ end_state: state }) => state)).toEqual(['complete'])
    expect(records[0]?.response_hash).toMatch(/^[0-9a-f]{64}$/)
  })

  test('stream: true gives the events one by one', async () => {
    const { straight, through } = await runTwice(pair, async (url) => {
      const types: string[] = []
      const stream = await client(url).messages.create({ ...request, stream: true })
      for await (const event of stream) types.push(event.type)
      return types
    })
    expect(straight).toEqual({ value: expect.arrayContaining(['message_stop']) })
    expect(through).toEqual(straight)
  })

  test('break out of a stream ends the upstream at once', async () => {
    const { through, records } = await runTwice(pair, async (url) => {
      const stream = await client(url).messages.create(
        { ...request, stream: true },
        withMode('slow_drip'),
      )
      let seen = 0
      for await (const _event of stream) {
        seen += 1
        if (seen === 3) break
      }
      return seen
    })
    expect(through).toEqual({ value: 3 })
    expect(records.map(({ end_state: state }) => state)).toEqual(['client_abort'])
    expect(pair.simulator.requests.at(-1)?.sent.end).toBe('client_abort')
  })

  test('abort gives the SDK’s own error, and is recorded as the caller’s', async () => {
    const { straight, through, records } = await runTwice(pair, async (url) => {
      const stream = client(url).messages.stream(request, withMode('slow_drip'))
      stream.once('text', () => stream.abort())
      return stream.finalMessage()
    })
    expect(straight).toMatchObject({ error: { class: 'APIUserAbortError' } })
    expect(through).toEqual(straight)
    expect(records.map(({ end_state: state }) => state)).toEqual(['client_abort'])
  })

  test('a tool round trip is two interactions of one session', async () => {
    const { straight, through, records } = await runTwice(pair, async (url) => {
      const question = { role: 'user' as const, content: 'USE_TOOL for me' }
      const asked = await client(url).messages.create({ ...request, tools, messages: [question] })
      const [call] = asked.content
      if (call?.type !== 'tool_use') throw new Error('no tool call')
      const result = { type: 'tool_result' as const, tool_use_id: call.id, content: 'tool says hi' }
      return client(url).messages.create({
        ...request,
        tools,
        messages: [
          question,
          { role: 'assistant', content: asked.content },
          { role: 'user', content: [result] },
        ],
      })
    })
    expect(straight).toMatchObject({ value: { stop_reason: 'end_turn' } })
    expect(through).toEqual(straight)
    expect(records.map(({ stop_reason: reason }) => reason)).toEqual(['tool_use', 'end_turn'])
    expect(records[0]?.tool_calls).toEqual(['Bash'])
  })

  test('count_tokens and models', async () => {
    const { straight, through, records } = await runTwice(pair, async (url) => {
      const { model, messages } = request
      const counted = await client(url).messages.countTokens({ model, messages })
      const models = await client(url).models.list()
      return { counted, ids: models.data.map(({ id }) => id) }
    })
    expect(straight).toHaveProperty('value')
    expect(through).toEqual(straight)
    expect(records.map(({ operation }) => operation)).toContain('messages.count_tokens')
  })

  test.each(errors)('status %d is the same error after the same attempts', async (status) => {
    const { straight, through, records } = await runTwice(pair, (url) =>
      client(url).messages.create(request, { ...withMode(errorMode(status)), maxRetries: 0 }),
    )
    expect(straight).toMatchObject({ error: { status } })
    expect(through).toEqual(straight)
    expect(records).toMatchObject([{ http_status: status, end_state: 'upstream_error' }])
  })

  test('529 twice, then the answer: three attempts, three records', async () => {
    pair.simulator.setMode({ mode: 'error_529', count: 2 })
    await client(pair.simulator.url).messages.create(request)
    pair.simulator.setMode({ mode: 'error_529', count: 2 })
    const known = (await pair.entries()).length
    const message = await client(pair.url).messages.create(request)
    expect(message.stop_reason).toBe('end_turn')
    await pair.idle()
    const entries = (await pair.entries()).slice(known)
    const ends = entries.filter(({ kind }) => kind === 'interaction.completed')
    expect(ends).toMatchObject([
      { http_status: 529, attempt: 0 },
      { http_status: 529, attempt: 1 },
      { http_status: 200, attempt: 2 },
    ])
  })

  test.each(['refuse_451', 'refuse_503'] as const)('%s is one attempt', async (mode) => {
    const { straight, through, records } = await runTwice(pair, (url) =>
      client(url).messages.create(request, withMode(mode)),
    )
    expect(straight).toHaveProperty('error')
    expect(through).toEqual(straight)
    expect(records).toHaveLength(1)
  })

  test.each(['mid_error', 'mid_permission', 'early_error', 'no_stop', 'end_early'] as const)(
    'stream, %s',
    async (mode) => {
      const { straight, through, records } = await runTwice(pair, (url) =>
        client(url).messages.stream(request, withMode(mode)).finalMessage(),
      )
      expect(through).toEqual(straight)
      const state = /error|permission/.test(mode) ? 'upstream_error' : 'upstream_cut'
      expect(records.map((record) => record.end_state)).toEqual([state])
    },
  )

  test('a cut stream is the same error', async () => {
    const { straight, through, records } = await runTwice(pair, (url) =>
      client(url).messages.stream(request, withMode('cut')).finalMessage(),
    )
    expect(straight).toHaveProperty('error')
    expect(through).toEqual(straight)
    expect(records.map(({ end_state: state }) => state)).toEqual(['upstream_cut'])
  })
})

function errorMode(status: (typeof errors)[number]): Mode {
  return `error_${status}`
}
