/**
 * Usage of the Messages API. Every report is cumulative: a field overwrites what was reported before,
 * a field that is absent or `null` keeps it. Nothing is ever added up, except the total input.
 *
 * @module
 */
import type { Usage, UsageIteration } from '@affidavit/format'
import { arrayOf, countOf, isObject, stringOf, type JsonObject } from './json.ts'
import { iterationsMax } from './limits.ts'

/** Where each count of a usage object stands in the record. */
const counts: readonly (readonly [keyof Usage, readonly string[]])[] = [
  ['cache_creation_1h_input_tokens', ['cache_creation', 'ephemeral_1h_input_tokens']],
  ['cache_creation_5m_input_tokens', ['cache_creation', 'ephemeral_5m_input_tokens']],
  ['cache_creation_input_tokens', ['cache_creation_input_tokens']],
  ['cache_read_input_tokens', ['cache_read_input_tokens']],
  ['input_tokens', ['input_tokens']],
  ['output_tokens', ['output_tokens']],
  ['thinking_tokens', ['output_tokens_details', 'thinking_tokens']],
  ['web_fetch_requests', ['server_tool_use', 'web_fetch_requests']],
  ['web_search_requests', ['server_tool_use', 'web_search_requests']],
]

const words: readonly (keyof Usage & string)[] = ['inference_geo', 'service_tier', 'speed']

/** Usage as reported so far. */
export type UsageState = Map<string, number | string | readonly UsageIteration[]>

/** Overwrites `state` with what `report` says. */
export function mergeUsage(state: UsageState, report: unknown): void {
  if (!isObject(report)) return
  for (const [name, path] of counts) {
    const count = countOf(valueAt(report, path))
    if (count !== null) state.set(name, count)
  }
  for (const name of words) {
    const word = stringOf(report[name])
    if (word !== null) state.set(name, word)
  }
  const iterations = arrayOf(report['iterations'])
  if (iterations.length > 0) {
    state.set('iterations', iterations.slice(0, iterationsMax).flatMap(iterationOf))
  }
}

/** Input + cache creation + cache read; `null` while no input has been reported. */
export function totalInput(state: UsageState): number | null {
  const input = state.get('input_tokens')
  if (typeof input !== 'number') return null
  return (
    input +
    numberOf(state.get('cache_creation_input_tokens')) +
    numberOf(state.get('cache_read_input_tokens'))
  )
}

function iterationOf(row: unknown): UsageIteration[] {
  if (!isObject(row)) return []
  const iteration: Record<string, number | string> = {}
  for (const name of ['cache_creation_input_tokens', 'cache_read_input_tokens', 'input_tokens']) {
    const count = countOf(row[name])
    if (count !== null) iteration[name] = count
  }
  const model = stringOf(row['model'])
  if (model !== null) iteration['model'] = model
  const output = countOf(row['output_tokens'])
  if (output !== null) iteration['output_tokens'] = output
  return [{ ...iteration, type: stringOf(row['type']) ?? 'unknown' }]
}

function valueAt(report: JsonObject, path: readonly string[]): unknown {
  let value: unknown = report
  for (const name of path) value = isObject(value) ? value[name] : undefined
  return value
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0
}
