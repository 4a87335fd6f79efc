/**
 * An answer as JSON: the whole message of a response without streaming, and the usage objects that
 * both forms share.
 *
 * @module
 */
import { type Answer } from './answer.ts'
import { type Mode } from './modes.ts'

/** The body of a response without streaming. */
export function messageJson(answer: Answer, mode: Mode): string {
  const unknown = mode === 'unknown_fields' ? { tomorrow_field: { a: [1, null, 'x'] } } : {}
  return JSON.stringify({
    id: answer.id,
    type: 'message',
    role: 'assistant',
    model: answer.model,
    content: answer.content,
    stop_reason: answer.stopReason,
    stop_sequence: answer.stopSequence,
    stop_details: answer.stopDetails,
    ...unknown,
    usage: { ...startUsage(answer), ...finalUsage(answer) },
  })
}

/** Usage as `message_start` reports it: input fields are final, output is a small number. */
export function startUsage(answer: Answer): Record<string, unknown> {
  const { input } = answer
  return {
    input_tokens: input.uncached,
    cache_creation_input_tokens: input.cacheCreation5m + input.cacheCreation1h,
    cache_read_input_tokens: input.cacheRead,
    cache_creation: {
      ephemeral_5m_input_tokens: input.cacheCreation5m,
      ephemeral_1h_input_tokens: input.cacheCreation1h,
    },
    output_tokens: Math.min(answer.outputTokens, 3),
    service_tier: 'standard',
    inference_geo: 'global',
    speed: 'standard',
  }
}

/** Usage as the last `message_delta` reports it: cumulative, it replaces what came before. */
export function finalUsage(answer: Answer): Record<string, unknown> {
  const { input } = answer
  return {
    input_tokens: input.uncached,
    cache_creation_input_tokens: input.cacheCreation5m + input.cacheCreation1h,
    cache_read_input_tokens: input.cacheRead,
    output_tokens: answer.outputTokens,
    ...(answer.thinkingTokens > 0
      ? { output_tokens_details: { thinking_tokens: answer.thinkingTokens } }
      : {}),
    ...(answer.webSearches > 0
      ? { server_tool_use: { web_search_requests: answer.webSearches, web_fetch_requests: 0 } }
      : {}),
    ...(answer.iterations.length > 0
      ? { iterations: answer.iterations.map(iteration(answer)) }
      : {}),
  }
}

function iteration({ input }: Answer) {
  return (part: Answer['iterations'][number]) => ({
    type: part.type,
    model: part.model,
    input_tokens: input.uncached,
    output_tokens: part.outputTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: input.cacheRead,
    cache_creation: null,
  })
}
