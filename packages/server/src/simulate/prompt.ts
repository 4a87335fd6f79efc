/**
 * What the simulator needs to know of a Messages request, and the faults that the real API would
 * refuse with status 400. Everything else in the body is an open list and is ignored.
 *
 * @module
 */

/** A tool that the request offers. */
export interface OfferedTool {
  readonly name: string
  readonly schema: unknown
}

/** Input tokens by how they are billed. */
export interface InputTokens {
  readonly uncached: number
  readonly cacheRead: number
  readonly cacheCreation5m: number
  readonly cacheCreation1h: number
}

/** A Messages request as the simulator understands it. */
export interface Prompt {
  readonly model: string
  readonly maxTokens: number
  readonly streaming: boolean
  /** Last text block of each user and assistant message, oldest first. */
  readonly turns: readonly string[]
  /** All text of the last user message. */
  readonly lastUserText: string
  /** Text of the tool results in the last user message; `undefined` if it has none. */
  readonly toolResult: string | undefined
  readonly tools: readonly OfferedTool[]
  /** Name of the tool that must be called, `any` for one of them. */
  readonly forcedTool: string | undefined
  readonly thinking: 'off' | 'shown' | 'omitted'
  readonly stopSequences: readonly string[]
  /** JSON schema that the answer's text must match. */
  readonly answerSchema: unknown
  readonly input: InputTokens
}

/** Why a request is refused with status 400. */
export interface PromptFault {
  readonly fault: string
}

type Fields = Readonly<Record<string, unknown>>

/** API version from which sampling parameters are refused. */
const strictVersion = '2026-10-21'
const charsPerToken = 4
const nonTextBlockTokens = 85

/** Reads the body of POST /v1/messages or of its count_tokens. */
export function parsePrompt(
  body: Uint8Array,
  options: { version: string; counting: boolean },
): Prompt | PromptFault {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(body).toString('utf8'))
  } catch {
    return { fault: 'The request body is not valid JSON: unexpected character' }
  }
  if (!isFields(value)) return { fault: 'request body: Input should be an object' }
  const fault = faultOf(value, options)
  if (fault !== undefined) return { fault }
  return readPrompt(value)
}

function faultOf(
  body: Fields,
  options: { version: string; counting: boolean },
): string | undefined {
  if (typeof body['model'] !== 'string') return 'model: Field required'
  if (!Array.isArray(body['messages'])) return 'messages: Field required'
  if (body['messages'].length === 0 && body['thread'] === undefined) {
    return 'messages: at least one message is required'
  }
  if (!options.counting && typeof body['max_tokens'] !== 'number') {
    return 'max_tokens: Field required'
  }
  if (options.version < strictVersion) return undefined
  const removed = ['temperature', 'top_p', 'top_k'].find((name) => body[name] !== undefined)
  return removed === undefined
    ? undefined
    : `${removed}: not supported with anthropic-version ${strictVersion}`
}

function readPrompt(body: Fields): Prompt {
  const messages = listOf(body['messages'])
  const spoken = messages.filter(({ role }) => role === 'user' || role === 'assistant')
  const lastUser = spoken.findLast(({ role }) => role === 'user')
  const blocks = blocksOf(lastUser?.['content'])
  const results = blocks.filter(({ type }) => type === 'tool_result')
  const choice = isFields(body['tool_choice']) ? body['tool_choice'] : {}
  const outputConfig = isFields(body['output_config']) ? body['output_config'] : {}
  const format = outputConfig['format'] ?? body['output_format']
  return {
    model: String(body['model']),
    maxTokens: typeof body['max_tokens'] === 'number' ? body['max_tokens'] : 0,
    streaming: body['stream'] === true,
    turns: spoken.map(({ content }) => textsOf(content).at(-1) ?? ''),
    lastUserText: textsOf(lastUser?.['content']).join('\n'),
    toolResult:
      results.length === 0 ? undefined : results.flatMap(({ content }) => textsOf(content)).join(),
    tools: listOf(body['tools']).map((tool) => ({
      name: typeof tool['name'] === 'string' ? tool['name'] : '',
      schema: tool['input_schema'],
    })),
    forcedTool: forcedTool(choice),
    thinking: thinkingOf(body['thinking']),
    stopSequences: Array.isArray(body['stop_sequences'])
      ? body['stop_sequences'].filter((text): text is string => typeof text === 'string')
      : [],
    answerSchema: isFields(format) ? format['schema'] : undefined,
    input: inputTokens(body, messages),
  }
}

function forcedTool(choice: Fields): string | undefined {
  if (choice['type'] === 'any') return 'any'
  return choice['type'] === 'tool' && typeof choice['name'] === 'string'
    ? choice['name']
    : undefined
}

function thinkingOf(thinking: unknown): Prompt['thinking'] {
  if (!isFields(thinking) || thinking['type'] === 'disabled') return 'off'
  return thinking['display'] === 'omitted' ? 'omitted' : 'shown'
}

/**
 * Counts tokens at four characters each, and divides them as prompt caching would: what precedes the
 * last `cache_control` mark is read from the cache if an earlier turn has put it there.
 */
function inputTokens(body: Fields, messages: readonly Fields[]): InputTokens {
  const parts = [
    ...listOf(body['tools']),
    ...blocksOf(body['system']),
    ...messages.flatMap(({ content }) => blocksOf(content)),
  ]
  const weights = parts.map(tokensOf)
  const lastMark = parts.findLastIndex(({ cache_control: mark }) => isFields(mark))
  const sum = (from: number, to: number) =>
    weights.slice(from, to).reduce((total, weight) => total + weight, 0)
  const lastMessage = parts.length - blocksOf(messages.at(-1)?.['content']).length
  const cacheRead = messages.length > 1 ? sum(0, Math.min(lastMark + 1, lastMessage)) : 0
  const created = sum(0, lastMark + 1) - cacheRead
  const mark = parts[lastMark]?.['cache_control']
  const hour = isFields(mark) && mark['ttl'] === '1h'
  return {
    uncached: sum(lastMark + 1, parts.length) + 3,
    cacheRead,
    cacheCreation5m: hour ? 0 : created,
    cacheCreation1h: hour ? created : 0,
  }
}

function tokensOf(block: Fields): number {
  if (block['type'] === 'image' || block['type'] === 'document') {
    return nonTextBlockTokens + Math.ceil(charsOf(block['source']) / 40)
  }
  return Math.max(1, Math.ceil(charsOf(block) / charsPerToken))
}

/** Characters of every string inside `value`; `cache_control` is not part of the prompt. */
function charsOf(value: unknown): number {
  if (typeof value === 'string') return value.length
  if (Array.isArray(value)) return value.reduce((sum: number, item) => sum + charsOf(item), 0)
  if (!isFields(value)) return value === undefined ? 0 : 2
  let chars = 0
  for (const [name, item] of Object.entries(value)) {
    if (name !== 'cache_control' && name !== 'type') chars += charsOf(item)
  }
  return chars
}

function textsOf(content: unknown): string[] {
  return blocksOf(content).flatMap(({ type, text }) =>
    type === 'text' && typeof text === 'string' ? [text] : [],
  )
}

/** Content as blocks; a string is one text block. */
function blocksOf(content: unknown): readonly Fields[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : listOf(content)
}

function listOf(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.filter(isFields) : []
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
