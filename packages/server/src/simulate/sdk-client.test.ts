import Anthropic, {
  AuthenticationError,
  BadRequestError,
  ConflictError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
  UnprocessableEntityError,
} from '@anthropic-ai/sdk'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Mode } from './modes.ts'
import { type Simulator, startSimulator } from './simulator.ts'

let simulator: Simulator
let client: Anthropic

beforeAll(async () => {
  simulator = await startSimulator({ retryAfterMs: 1, slowMs: 5, dripMs: 1 })
  client = new Anthropic({ baseURL: simulator.url, apiKey: 'sk-test', maxRetries: 0 })
})

beforeEach(() => simulator.clear())

afterAll(() => simulator.close())

const request = {
  model: 'claude-sonnet-5-5',
  max_tokens: 2048,
  messages: [{ role: 'user' as const, content: 'Why is the sky blue?' }],
}
const withMode = (mode: Mode) => ({ headers: { 'x-simulate-mode': mode } })

describe('the official SDK', () => {
  test.each([
    'ok',
    'thinking',
    'redacted_thinking',
    'tool_use',
    'server_tools',
    'citations',
    'multi_model',
    'refusal',
    'max_tokens',
    'multibyte',
    'empty_content',
    'pings',
    'crlf',
    'bom',
    'multi_data',
    'gzip',
    'slow_drip',
    'informational',
    'close_delimited',
  ] as const)('%s: is understood as JSON and as a stream', async (mode) => {
    const whole = await client.messages.create(request, withMode(mode))
    const streamed = await client.messages.stream(request, withMode(mode)).finalMessage()
    expect(streamed.stop_reason).toBe(whole.stop_reason)
    const [first, second] = simulator.requests
    expect(whole.usage).toEqual(first?.facts.usage)
    expect(streamed.usage.output_tokens).toBe(second?.facts.usage?.['output_tokens'])
    expect(streamed.content.map(({ type }) => type)).toEqual(whole.content.map(({ type }) => type))
  })

  test.each([
    ['error_400', BadRequestError],
    ['error_401', AuthenticationError],
    ['error_403', PermissionDeniedError],
    ['error_404', NotFoundError],
    ['error_409', ConflictError],
    ['error_422', UnprocessableEntityError],
    ['error_429', RateLimitError],
    ['error_500', InternalServerError],
    ['error_529', InternalServerError],
  ] as const)('%s becomes its error class', async (mode, type) => {
    simulator.setMode({ mode })
    const failure = client.messages.create(request)
    await expect(failure).rejects.toBeInstanceOf(type)
    await expect(failure).rejects.toMatchObject({
      requestID: simulator.requests[0]?.facts.requestId,
    })
  })

  test('retries 529 until it passes', async () => {
    simulator.setMode({ mode: 'error_529', count: 2 })
    const message = await client.messages.create(request, { maxRetries: 2 })
    expect(message.stop_reason).toBe('end_turn')
    expect(simulator.requests.map(({ facts }) => facts.mode)).toEqual([
      'error_529',
      'error_529',
      'ok',
    ])
  })

  test('does not retry a refusal that says so', async () => {
    simulator.setMode({ mode: 'refuse_503' })
    await expect(client.messages.create(request, { maxRetries: 2 })).rejects.toThrow(/gateway/)
    expect(simulator.requests).toHaveLength(1)
  })

  test('sees an error event in the middle of a stream', async () => {
    const stream = client.messages.stream(request, withMode('mid_error'))
    await expect(stream.finalMessage()).rejects.toThrow(/overloaded_error/)
  })

  test('sees a cut', async () => {
    const stream = client.messages.stream(request, withMode('cut'))
    await expect(stream.finalMessage()).rejects.toThrow(/terminated/)
  })

  test('runs a tool and gets the final answer', async () => {
    const tools = [{ name: 'Bash', input_schema: { type: 'object' as const } }]
    const question = { role: 'user' as const, content: 'USE_TOOL please' }
    const asked = await client.messages.create({ ...request, tools, messages: [question] })
    expect(asked.stop_reason).toBe('tool_use')
    const [call] = asked.content
    if (call?.type !== 'tool_use') throw new Error('no tool call')
    const answered = await client.messages.create({
      ...request,
      tools,
      messages: [
        question,
        { role: 'assistant', content: [call] },
        {
          role: 'user',
          content: [{ type: 'tool_result', tool_use_id: call.id, content: 'tool says hi' }],
        },
      ],
    })
    expect(answered.stop_reason).toBe('end_turn')
    expect(JSON.stringify(answered.content)).toContain('tool says hi')
  })

  test('a break closes the connection, and the simulator sees it', async () => {
    const stream = client.messages.stream(request, withMode('never_end'))
    let seen = 0
    for await (const event of stream) {
      seen += 1
      if (event.type === 'content_block_delta') break
    }
    await simulator.settled()
    expect(seen).toBeGreaterThan(1)
    expect(simulator.requests[0]?.abortedAtMs).toBeDefined()
  })

  test('counts tokens and lists models', async () => {
    const { input_tokens } = await client.messages.countTokens({
      model: request.model,
      messages: request.messages,
    })
    expect(input_tokens).toBeGreaterThan(0)
    const ids: string[] = []
    for await (const model of client.models.list()) ids.push(model.id)
    expect(ids).toContain('claude-opus-5-5')
  })
})
