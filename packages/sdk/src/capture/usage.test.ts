import { describe, expect, test } from 'vitest'
import { emptyUsage, mergeUsage, totalInput, usageOf } from './usage.ts'

const asIs = (value: string) => value

function merged(...reports: unknown[]) {
  const state = emptyUsage()
  for (const report of reports) mergeUsage(state, report)
  return state
}

describe('usage', () => {
  test('is overwritten by each report, and kept where a report is silent or null', () => {
    const state = merged(
      {
        input_tokens: 10,
        output_tokens: 1,
        cache_read_input_tokens: 100,
        cache_creation_input_tokens: 7,
      },
      { output_tokens: 5, cache_read_input_tokens: null },
      { output_tokens: 9 },
      null,
      'noise',
    )
    expect(usageOf(state, asIs)).toEqual({
      input_tokens: 10,
      output_tokens: 9,
      cache_read_input_tokens: 100,
      cache_creation_input_tokens: 7,
    })
    expect(totalInput(state)).toBe(117)
  })

  test('can be overwritten by zero', () => {
    expect(merged({ output_tokens: 5 }, { output_tokens: 0 }).output_tokens).toBe(0)
  })

  test('has every field of the API', () => {
    const state = merged({
      input_tokens: 1,
      cache_creation: { ephemeral_5m_input_tokens: 2, ephemeral_1h_input_tokens: 3 },
      output_tokens_details: { thinking_tokens: 4 },
      server_tool_use: { web_search_requests: 5, web_fetch_requests: 6 },
      service_tier: 'priority',
      inference_geo: 'eu',
      speed: 'fast',
    })
    expect(usageOf(state, asIs)).toEqual({
      input_tokens: 1,
      cache_creation_5m_input_tokens: 2,
      cache_creation_1h_input_tokens: 3,
      thinking_tokens: 4,
      web_search_requests: 5,
      web_fetch_requests: 6,
      service_tier: 'priority',
      inference_geo: 'eu',
      speed: 'fast',
    })
  })

  test('takes no number that is not a count', () => {
    const state = merged({
      input_tokens: -1,
      output_tokens: 1.5,
      cache_read_input_tokens: '7',
      cache_creation_input_tokens: 2 ** 60,
    })
    expect(usageOf(state, asIs)).toBeNull()
    expect(totalInput(state)).toBeNull()
  })

  test('lists a bounded number of iterations', () => {
    const iterations = Array.from({ length: 100 }, () => ({
      type: 'message',
      model: 'm',
      input_tokens: 1,
      extra: 'x',
    }))
    const { iterations: kept } = merged({ iterations: [5, ...iterations] })
    expect(kept?.[0]).toEqual({ type: 'message', model: 'm', input_tokens: 1 })
    expect(kept?.length).toBeLessThanOrEqual(16)
    expect(merged({ iterations }, { iterations: [] }).iterations).toHaveLength(16)
  })
})
