import Anthropic from '@anthropic-ai/sdk'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startSimulator, type Simulator } from '../simulate/simulator.ts'
import { type PlannedConversation, type PlannedTurn } from './plan.ts'
import { replay } from './replay.ts'

let simulator: Simulator

beforeAll(async () => {
  simulator = await startSimulator({ record: 'bodies', retryAfterMs: 1, dripMs: 1 })
})

beforeEach(() => simulator.clear())

afterAll(() => simulator.close())

const messages = [{ role: 'user' as const, content: 'Hello there.' }]

function conversation(...turns: readonly Partial<PlannedTurn>[]): PlannedConversation {
  return {
    user: 'user-001',
    application: 'desk',
    session: 'run-1',
    model: 'claude-haiku-5-5',
    system: 'Be short.',
    turns: turns.map((turn) => ({ form: 'json', mode: 'ok', messages, ...turn })),
  }
}

/** A clock that stands, and pauses that move it. */
function stillTime() {
  let nowMs = 0
  return {
    clock: { monotonicMs: () => nowMs, nowMicros: () => nowMs * 1000 },
    pause(ms: number) {
      nowMs += ms
      return Promise.resolve()
    },
    elapsedMs: () => nowMs,
  }
}

const play = (plan: readonly PlannedConversation[], more: { rate?: number } = {}) => {
  const time = stillTime()
  const options = { baseUrl: simulator.url, Client: Anthropic, rate: 0, ...more, ...time }
  return replay({ plan, ...options }).then((result) => ({ result, elapsedMs: time.elapsedMs() }))
}

describe('a replay', () => {
  test('names user, application and session with every request', async () => {
    await play([conversation({}, { form: 'stream' })])
    expect(simulator.requests).toHaveLength(2)
    for (const { received } of simulator.requests) {
      expect(received.rawHeaders).toEqual(expect.arrayContaining(['user-001', 'desk', 'run-1']))
    }
  })

  test('sends each form as its kind of request', async () => {
    const { result } = await play([
      conversation(
        { form: 'count_tokens' },
        { form: 'tool', mode: 'tool_use' },
        { form: 'abort', mode: 'slow_drip' },
      ),
    ])
    expect(result).toEqual({ turns: 3, answered: 3, failed: {} })
    expect(simulator.requests.map(({ received }) => received.url)).toEqual([
      '/v1/messages/count_tokens',
      '/v1/messages',
      '/v1/messages',
      '/v1/messages',
    ])
    await simulator.settled()
    expect(simulator.requests.at(-1)?.sent.end).toBe('client_abort')
    expect(simulator.requests[2]?.received.body?.toString()).toContain('tool_result')
  })

  test('goes on after an error, and says what callers saw', async () => {
    const { result } = await play([
      conversation({ mode: 'error_400' }, { form: 'stream', mode: 'mid_error' }, {}),
    ])
    expect(result).toEqual({
      turns: 3,
      answered: 1,
      failed: { BadRequestError: 1, APIError: 1 },
    })
  })

  test('begins no more conversations in a second than it may', async () => {
    const { elapsedMs } = await play(
      Array.from({ length: 9 }, () => conversation({})),
      { rate: 4 },
    )
    expect(elapsedMs).toBe(2000)
  })
})
