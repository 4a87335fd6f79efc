/**
 * Usage of the Messages API. Every report is cumulative: a field overwrites what was reported before,
 * a field that is absent or `null` keeps it. Nothing is ever added up, except the total input.
 *
 * @module
 */
import type { Usage, UsageIteration } from '@affidavit/format'
import type { Draft } from './draft.ts'
import { arrayOf, countOf, isObject, stringOf } from './json.ts'
import { iterationsMax } from './limits.ts'

/** Usage as reported so far; `null` is not reported. Members in canonical order of their names. */
export interface UsageState {
  cache_creation_1h_input_tokens: number | null
  cache_creation_5m_input_tokens: number | null
  cache_creation_input_tokens: number | null
  cache_read_input_tokens: number | null
  inference_geo: string | null
  input_tokens: number | null
  iterations: readonly UsageIteration[] | null
  output_tokens: number | null
  service_tier: string | null
  speed: string | null
  thinking_tokens: number | null
  web_fetch_requests: number | null
  web_search_requests: number | null
}

export function emptyUsage(): UsageState {
  return {
    cache_creation_1h_input_tokens: null,
    cache_creation_5m_input_tokens: null,
    cache_creation_input_tokens: null,
    cache_read_input_tokens: null,
    inference_geo: null,
    input_tokens: null,
    iterations: null,
    output_tokens: null,
    service_tier: null,
    speed: null,
    thinking_tokens: null,
    web_fetch_requests: null,
    web_search_requests: null,
  }
}

/** Overwrites `state` with what `report` says. */
export function mergeUsage(state: UsageState, report: unknown): void {
  if (!isObject(report)) return
  state.input_tokens = countOf(report['input_tokens']) ?? state.input_tokens
  state.output_tokens = countOf(report['output_tokens']) ?? state.output_tokens
  state.cache_creation_input_tokens =
    countOf(report['cache_creation_input_tokens']) ?? state.cache_creation_input_tokens
  state.cache_read_input_tokens =
    countOf(report['cache_read_input_tokens']) ?? state.cache_read_input_tokens
  state.inference_geo = stringOf(report['inference_geo']) ?? state.inference_geo
  state.service_tier = stringOf(report['service_tier']) ?? state.service_tier
  state.speed = stringOf(report['speed']) ?? state.speed
  mergeDetails(state, report['cache_creation'], report['output_tokens_details'])
  const server = report['server_tool_use']
  if (isObject(server)) {
    state.web_fetch_requests = countOf(server['web_fetch_requests']) ?? state.web_fetch_requests
    state.web_search_requests = countOf(server['web_search_requests']) ?? state.web_search_requests
  }
  const iterations = arrayOf(report['iterations'])
  if (iterations.length > 0) {
    state.iterations = iterations.slice(0, iterationsMax).flatMap(iterationOf)
  }
}

/** What a record holds, in canonical order; `null` if nothing was reported. */
export function usageOf(
  state: Readonly<UsageState>,
  name: (value: string) => string,
): Draft<Usage> | null {
  const { iterations } = state
  if (!hasUsage(state) && Object.values(state).every((value) => value === null)) return null
  return {
    cache_creation_1h_input_tokens: state.cache_creation_1h_input_tokens ?? undefined,
    cache_creation_5m_input_tokens: state.cache_creation_5m_input_tokens ?? undefined,
    cache_creation_input_tokens: state.cache_creation_input_tokens ?? undefined,
    cache_read_input_tokens: state.cache_read_input_tokens ?? undefined,
    inference_geo: state.inference_geo === null ? undefined : name(state.inference_geo),
    input_tokens: state.input_tokens ?? undefined,
    iterations: iterations?.map((row) => safeIteration(row, name)),
    output_tokens: state.output_tokens ?? undefined,
    service_tier: state.service_tier === null ? undefined : name(state.service_tier),
    speed: state.speed === null ? undefined : name(state.speed),
    thinking_tokens: state.thinking_tokens ?? undefined,
    web_fetch_requests: state.web_fetch_requests ?? undefined,
    web_search_requests: state.web_search_requests ?? undefined,
  }
}

/** Input + cache creation + cache read; `null` while no input has been reported. */
export function totalInput(state: Readonly<UsageState>): number | null {
  if (state.input_tokens === null) return null
  return (
    state.input_tokens +
    (state.cache_creation_input_tokens ?? 0) +
    (state.cache_read_input_tokens ?? 0)
  )
}

/** Whether anything has been reported. */
export function hasUsage(state: Readonly<UsageState>): boolean {
  return state.input_tokens !== null || state.output_tokens !== null
}

function mergeDetails(state: UsageState, creation: unknown, output: unknown): void {
  if (isObject(creation)) {
    state.cache_creation_1h_input_tokens =
      countOf(creation['ephemeral_1h_input_tokens']) ?? state.cache_creation_1h_input_tokens
    state.cache_creation_5m_input_tokens =
      countOf(creation['ephemeral_5m_input_tokens']) ?? state.cache_creation_5m_input_tokens
  }
  if (isObject(output)) {
    state.thinking_tokens = countOf(output['thinking_tokens']) ?? state.thinking_tokens
  }
}

function iterationOf(row: unknown): UsageIteration[] {
  if (!isObject(row)) return []
  const creation = countOf(row['cache_creation_input_tokens'])
  const read = countOf(row['cache_read_input_tokens'])
  const input = countOf(row['input_tokens'])
  const model = stringOf(row['model'])
  const output = countOf(row['output_tokens'])
  return [
    {
      ...(creation === null ? {} : { cache_creation_input_tokens: creation }),
      ...(read === null ? {} : { cache_read_input_tokens: read }),
      ...(input === null ? {} : { input_tokens: input }),
      ...(model === null ? {} : { model }),
      ...(output === null ? {} : { output_tokens: output }),
      type: stringOf(row['type']) ?? 'unknown',
    },
  ]
}

function safeIteration(row: UsageIteration, name: (value: string) => string): UsageIteration {
  const type = name(row.type)
  return row.model === undefined ? { ...row, type } : { ...row, model: name(row.model), type }
}
