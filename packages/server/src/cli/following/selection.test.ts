import type { Entry } from '@affidavit/format'
import { expect, test } from 'vitest'
import { createSelector, parseSince, type Selection, writtenMs } from './selection.ts'

const nowMs = Date.parse('2026-11-23T14:00:00Z')

test.each([
  ['90s', nowMs - 90_000],
  ['10m', nowMs - 600_000],
  ['2h', nowMs - 7_200_000],
  ['7d', nowMs - 604_800_000],
  ['2026-11-23T13:00:00Z', nowMs - 3_600_000],
  ['2026-11-23T13:00:00.5+00:00', nowMs - 3_599_500],
])('%s is a time', (text, expected) => {
  expect(parseSince(text, nowMs)).toBe(expected)
})

test.each(['', 'yesterday', '10', '10x', '-5m', '2026-13-99', '2026-11-23 13:00'])(
  '%j is no time',
  (text) => {
    expect(() => parseSince(text, nowMs)).toThrow('is not a time')
  },
)

const timestamp = '2026-11-23T14:00:00.000000Z'

function entry(fields: object): Entry {
  const writer = { epoch: 1, id: '0'.repeat(16), log: 'a/2026q4', prev: '0'.repeat(64), seq: 0 }
  const common = { v: 1, event_id: 'x', timestamp, application_id: 'a', session_id: 's', writer }
  return { ...common, user_id: 'sub_u', retention_class: 'standard', ...fields } as Entry
}

const started = entry({ kind: 'interaction.started' })
const completed = entry({
  kind: 'interaction.completed',
  status: 'error',
  end_state: 'upstream_cut',
  logged_at: '2026-11-23T14:00:05.000000Z',
})
const heartbeat = entry({ kind: 'ledger.heartbeat' })
const opened = entry({ kind: 'ledger.opened' })

function shown(selection: Selection): string[] {
  const isShown = createSelector(selection)
  return [started, completed, heartbeat, opened].filter(isShown).map(({ kind }) => kind)
}

test('ends and facts are shown, starts and heartbeats only with all', () => {
  expect(shown({})).toEqual(['interaction.completed', 'ledger.opened'])
  expect(shown({ all: true })).toHaveLength(4)
})

test('a filter leaves interactions that match it, and no facts', () => {
  expect(shown({ application: 'a', session: 's' })).toEqual(['interaction.completed'])
  expect(shown({ status: 'error' })).toEqual(['interaction.completed'])
  expect(shown({ status: 'upstream_cut', all: true })).toEqual(['interaction.completed'])
  expect(shown({ userHandle: 'sub_u', all: true })).toHaveLength(2)
  for (const other of [{ application: 'b' }, { session: 't' }, { status: 'success' }]) {
    expect(shown(other)).toEqual([])
  }
})

test('an entry was written when it was logged, which is after its interaction began', () => {
  expect(writtenMs(completed)).toBe(nowMs + 5000)
  expect(writtenMs(started)).toBe(nowMs)
})
