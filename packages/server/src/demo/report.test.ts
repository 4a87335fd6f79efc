import { describe, expect, test } from 'vitest'
import { isComplete, jsonOf, type Report, textOf } from './report.ts'
import { summarize, type CompletedRecord } from './summary.ts'
import { tableOf } from './table.ts'

const plain = (text: string) => text
const colours = { good: plain, bad: plain, warn: plain, dim: plain, bold: plain, accent: plain }

function record(fields: Partial<CompletedRecord>): CompletedRecord {
  const partial: Partial<CompletedRecord> = {
    kind: 'interaction.completed',
    event_id: '0193',
    application_id: 'desk',
    user_id: 'sub_1',
    session_id: 's1',
    prompt_tokens: 10,
    completion_tokens: 5,
    end_state: 'complete',
    latency_ms: 100,
    ...fields,
  }
  // Only the fields that a summary reads.
  return partial as CompletedRecord
}

const records = [
  record({}),
  record({ user_id: 'sub_2', session_id: 's2', latency_ms: 300, completion_tokens: null }),
  record({ application_id: 'code', end_state: 'client_abort', latency_ms: 1234 }),
  record({ application_id: 'code', end_state: 'upstream_error', user_id: null }),
]

function report(fields: Partial<Report> = {}): Report {
  return {
    conversations: 3,
    dataDir: '/data/demo',
    played: { turns: 5, answered: 4, failed: { APIError: 1 } },
    received: 4,
    summary: summarize(records),
    eventId: '0193-x',
    entriesVerified: 9,
    isIntact: true,
    ...fields,
  }
}

describe('a summary', () => {
  test('counts users, sessions, tokens and ends by application', () => {
    const { applications, total } = summarize(records)
    expect(applications.map(({ application }) => application)).toEqual(['code', 'desk'])
    expect(applications[1]).toMatchObject({ users: 2, sessions: 2, tokensIn: 20, tokensOut: 5 })
    expect(applications[0]).toMatchObject({
      users: 1,
      ends: { client_abort: 1, upstream_error: 1 },
    })
    expect(total).toMatchObject({ users: 2, interactions: 4, latencyMsP50: 100, latencyMsP95: 300 })
  })

  test('of nothing is a row of zeros', () => {
    const { applications, total } = summarize([])
    expect(applications).toEqual([])
    expect(total).toMatchObject({ users: 0, interactions: 0, latencyMsP95: 0 })
  })

  test('is a table whose columns line up', () => {
    const lines = tableOf(summarize(records))
    expect(lines).toHaveLength(4)
    expect(new Set(lines.map((line) => line.indexOf('  ') >= 0)).size).toBe(1)
    const last = lines.map((line) => line.length)
    expect(new Set(last).size).toBe(1)
  })
})

describe('a report', () => {
  test('says that nothing escaped when every request has a record', () => {
    expect(isComplete(report())).toBe(true)
    expect(textOf(report(), colours)).toContain('nothing escaped')
    expect(textOf(report(), colours)).toContain('affidavit show 0193-x --data-dir /data/demo')
  })

  test('says that they differ when a record is missing', () => {
    expect(isComplete(report({ received: 5 }))).toBe(false)
    expect(textOf(report({ received: 5 }), colours)).toContain('they differ')
    expect(JSON.parse(jsonOf(report({ received: 5 })))).toMatchObject({ complete: false })
  })

  test('says that the log does not verify', () => {
    expect(textOf(report({ isIntact: false }), colours)).toContain('does not verify')
  })

  test('as JSON has every number', () => {
    expect(JSON.parse(jsonOf(report({ received: undefined })))).toMatchObject({
      turns: 5,
      recorded: 4,
      received_by_simulator: null,
      complete: true,
      total: { interactions: 4, users: 2 },
    })
  })
})
