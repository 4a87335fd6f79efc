import { createAnthropic } from '@ai-sdk/anthropic'
import { ChatAnthropic } from '@langchain/anthropic'
import { generateText, jsonSchema, streamText, tool } from 'ai'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Mode } from '../../packages/server/src/simulate/modes.ts'
import { type Pair, startPair } from '../e2e/harness.ts'
import { runTwice } from './twice.ts'

let pair: Pair

beforeAll(async () => {
  pair = await startPair({ simulator: { retryAfterMs: 1 } })
})

beforeEach(() => pair.simulator.clear())

afterAll(() => pair.close())

const prompt = 'What does a lighthouse keeper do all day?'
const model = 'claude-sonnet-5-5'

describe('the AI SDK', () => {
  const claude = (url: string, mode: Mode = 'ok') =>
    createAnthropic({
      baseURL: `${url}/v1`,
      apiKey: 'sk-test',
      headers: { 'x-simulate-mode': mode, 'x-audit-application': 'ai-sdk' },
    })(model)

  test.each(['ok', 'thinking', 'citations', 'max_tokens', 'multibyte', 'gzip'] as const)(
    'generateText, %s',
    async (mode) => {
      const { straight, through, records } = await runTwice(pair, async (url) => {
        const { text, finishReason, usage } = await generateText({
          model: claude(url, mode),
          prompt,
        })
        return { text, finishReason, usage }
      })
      expect(straight).toHaveProperty('value')
      expect(through).toEqual(straight)
      expect(records).toMatchObject([
        { end_state: 'complete', application_id: 'ai-sdk', streaming: false, model },
      ])
    },
  )

  test.each(['ok', 'thinking', 'server_tools', 'multibyte', 'pings'] as const)(
    'streamText, %s',
    async (mode) => {
      const { straight, through, records } = await runTwice(pair, async (url) => {
        const result = streamText({ model: claude(url, mode), prompt })
        const parts: string[] = []
        for await (const part of result.textStream) parts.push(part)
        return { parts, usage: await result.usage, finishReason: await result.finishReason }
      })
      expect(straight).toHaveProperty('value')
      expect(through).toEqual(straight)
      expect(records).toMatchObject([{ end_state: 'complete', streaming: true }])
    },
  )

  test('a tool is called and its result sent back', async () => {
    const { straight, through, records } = await runTwice(pair, async (url) => {
      const { text, steps } = await generateText({
        model: createAnthropic({ baseURL: `${url}/v1`, apiKey: 'sk-test' })(model),
        prompt: 'USE_TOOL to find out.',
        tools: {
          Bash: tool({
            description: 'Run a command',
            inputSchema: jsonSchema<{ command: string }>({
              type: 'object',
              properties: { command: { type: 'string' } },
            }),
            execute: () => Promise.resolve('lamp is lit'),
          }),
        },
        stopWhen: ({ steps: taken }) => taken.length >= 2,
      })
      return { text, steps: steps.length }
    })
    expect(straight).toMatchObject({ value: { steps: 2 } })
    expect(through).toEqual(straight)
    expect(records.map(({ stop_reason: reason }) => reason)).toEqual(['tool_use', 'end_turn'])
    expect(records[0]?.tools_offered).toEqual(['Bash'])
  })

  test.each(['error_400', 'error_401', 'refuse_451'] as const)('%s', async (mode) => {
    const { straight, through, records } = await runTwice(pair, async (url) => {
      const { text } = await generateText({ model: claude(url, mode), prompt, maxRetries: 0 })
      return text
    })
    expect(straight).toHaveProperty('error')
    expect(through).toEqual(straight)
    expect(records).toMatchObject([{ end_state: 'upstream_error' }])
  })
})

describe('LangChain', () => {
  const chat = (url: string, mode: Mode = 'ok') =>
    new ChatAnthropic({
      anthropicApiUrl: url,
      apiKey: 'sk-test',
      model,
      maxRetries: 0,
      clientOptions: { defaultHeaders: { 'x-simulate-mode': mode, 'x-audit-user': 'user-081' } },
    })

  test.each(['ok', 'server_tools', 'citations', 'multibyte'] as const)(
    'invoke, %s',
    async (mode) => {
      const { straight, through, records } = await runTwice(pair, async (url) => {
        const { content, usage_metadata: usage } = await chat(url, mode).invoke(prompt)
        return { content, usage }
      })
      expect(straight).toHaveProperty('value')
      expect(through).toEqual(straight)
      expect(records).toMatchObject([{ end_state: 'complete', model }])
      expect(records[0]?.user_id).toMatch(/^sub_/)
    },
  )

  test.each(['ok', 'multibyte', 'pings'] as const)('stream, %s', async (mode) => {
    const { straight, through, records } = await runTwice(pair, async (url) => {
      const parts: unknown[] = []
      for await (const part of await chat(url, mode).stream(prompt)) parts.push(part.content)
      return parts
    })
    expect(straight).toHaveProperty('value')
    expect(through).toEqual(straight)
    expect(records).toMatchObject([{ end_state: 'complete', streaming: true }])
  })

  test('tools are offered and called', async () => {
    const { straight, through, records } = await runTwice(pair, async (url) => {
      const bound = chat(url, 'tool_use').bindTools([
        { name: 'Bash', description: 'Run', input_schema: { type: 'object', properties: {} } },
      ])
      const { tool_calls: calls } = await bound.invoke(prompt)
      return calls
    })
    expect(straight).toMatchObject({ value: [{ name: 'Bash' }] })
    expect(through).toEqual(straight)
    expect(records).toMatchObject([{ stop_reason: 'tool_use', tool_calls: ['Bash'] }])
  })

  test.each(['error_400', 'error_529'] as const)('%s', async (mode) => {
    const { straight, through } = await runTwice(pair, async (url) => {
      return (await chat(url, mode).invoke(prompt)).content
    })
    expect(straight).toHaveProperty('error')
    expect(through).toEqual(straight)
  })
})
