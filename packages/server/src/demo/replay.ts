/**
 * Plays a plan through the official SDK, as applications would: several conversations at a time, the
 * turns of each one after the other.
 *
 * @module
 */
import type Anthropic from '@anthropic-ai/sdk'
import { type Clock } from '@affidavit/sdk/capture'
import { type PlannedConversation, type PlannedTurn } from './plan.ts'

/** The part of the SDK that the demo needs; loaded when the demo runs. */
export type AnthropicConstructor = new (options: {
  baseURL: string
  apiKey: string
  maxRetries: number
  defaultHeaders: Readonly<Record<string, string>>
}) => Pick<Anthropic, 'messages'>

/** What a replay needs. */
export interface ReplayOptions {
  readonly plan: readonly PlannedConversation[]
  readonly baseUrl: string
  readonly Client: AnthropicConstructor
  /** Conversations that are begun in a second; 0 for as many as possible. */
  readonly rate: number
  readonly onTurn?: (done: number) => void
  pause(ms: number): Promise<void>
  readonly clock: Clock
}

/** What the callers saw: how many turns ended well, and how many in which error. */
export interface ReplayResult {
  readonly turns: number
  readonly answered: number
  readonly failed: Readonly<Record<string, number>>
}

/** Conversations that run at one time. */
export const conversationsAtOnceMax = 16
const answerTokensMax = 1024
const attemptsAgain = 1
/** Not a key: the simulator takes any. */
const apiKey = 'simulated-credential'

/** Plays every conversation; a turn that fails ends nothing. */
export async function replay(options: ReplayOptions): Promise<ReplayResult> {
  const { plan, rate, onTurn, pause, clock } = options
  const startedMs = clock.monotonicMs()
  const failed = new Map<string, number>()
  let done = 0
  let begun = 0
  const worker = async () => {
    for (let next = plan[begun]; next !== undefined; next = plan[begun]) {
      const dueMs = startedMs + (rate > 0 ? (begun * 1000) / rate : 0)
      begun += 1
      const earlyMs = dueMs - clock.monotonicMs()
      if (earlyMs > 0) await pause(earlyMs)
      for (const turn of next.turns) {
        const failure = await playTurn(clientFor(next, turn, options), next, turn)
        if (failure !== undefined) failed.set(failure, (failed.get(failure) ?? 0) + 1)
        done += 1
        onTurn?.(done)
      }
    }
  }
  await Promise.all(Array.from({ length: conversationsAtOnceMax }, worker))
  const failures = [...failed.values()].reduce((sum, count) => sum + count, 0)
  return { turns: done, answered: done - failures, failed: Object.fromEntries(failed) }
}

function clientFor(
  conversation: PlannedConversation,
  { mode }: PlannedTurn,
  { Client, baseUrl }: ReplayOptions,
): Pick<Anthropic, 'messages'> {
  return new Client({
    baseURL: baseUrl,
    apiKey,
    maxRetries: attemptsAgain,
    defaultHeaders: {
      'x-audit-user': conversation.user,
      'x-audit-application': conversation.application,
      'x-audit-session': conversation.session,
      'x-simulate-mode': mode,
    },
  })
}

/** Plays one turn; returns the name of the error that the caller saw, if it saw one. */
async function playTurn(
  client: Pick<Anthropic, 'messages'>,
  conversation: PlannedConversation,
  turn: PlannedTurn,
): Promise<string | undefined> {
  const request = requestFor(conversation, turn)
  try {
    switch (turn.form) {
      case 'count_tokens': {
        const { model, messages, system } = request
        await client.messages.countTokens({ model, messages, system })
        break
      }
      case 'json':
        await client.messages.create(request)
        break
      case 'stream':
        await client.messages.stream(request).finalMessage()
        break
      case 'abort':
        await leaveStream(client, request)
        break
      case 'tool':
        await useTool(client, request)
        break
    }
    return undefined
  } catch (error) {
    return error instanceof Error ? error.constructor.name : 'unknown'
  }
}

type Request = Anthropic.MessageCreateParamsNonStreaming & {
  readonly system: Anthropic.TextBlockParam[]
}

function requestFor({ model, system }: PlannedConversation, { messages }: PlannedTurn): Request {
  return {
    model,
    max_tokens: answerTokensMax,
    system: [{ type: 'text', text: system, cache_control: { type: 'ephemeral' } }],
    messages: messages.map(({ role, content }) => ({ role, content })),
  }
}

async function leaveStream(client: Pick<Anthropic, 'messages'>, request: Request): Promise<void> {
  const stream = await client.messages.create({ ...request, stream: true })
  for await (const event of stream) if (event.type === 'content_block_delta') break
}

const lookUp: Anthropic.Tool = {
  name: 'look_up',
  description: 'Looks a word up in the handbook',
  input_schema: {
    type: 'object',
    properties: { word: { type: 'string' } },
    required: ['word'],
  },
}

async function useTool(client: Pick<Anthropic, 'messages'>, request: Request): Promise<void> {
  const asked = await client.messages.create({ ...request, tools: [lookUp] })
  const call = asked.content.find((block) => block.type === 'tool_use')
  if (call === undefined) return
  const result: Anthropic.ToolResultBlockParam = {
    type: 'tool_result',
    tool_use_id: call.id,
    content: 'The handbook has one page about it.',
  }
  await client.messages.create({
    ...request,
    tools: [lookUp],
    messages: [
      ...request.messages,
      { role: 'assistant', content: [call] },
      { role: 'user', content: [result] },
    ],
  })
}
