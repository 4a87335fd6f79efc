import { describe, expect, test } from 'vitest'
import type { CallerRecord } from './load.ts'
import { findBrokenPromises } from './promises.ts'
import type { Fact } from './promises.ts'

const entry = (kind: string, id: string, seq: number): Fact => ({
  kind,
  eventId: id,
  sessionId: `s-${id}`,
  epoch: 1,
  seq,
})

const caller = (id: string, acknowledged: boolean): CallerRecord => ({
  id: `s-${id}`,
  streaming: false,
  status: 200,
  eventId: id,
  acknowledged,
})

const whole = [
  entry('ledger.opened', 'o', 0),
  entry('interaction.started', 'a', 1),
  entry('interaction.completed', 'a', 2),
]

describe('the crash tests themselves notice', () => {
  test('nothing, when every promise holds', () => {
    const evidence = {
      facts: whole,
      callers: [caller('a', true)],
      forwarded: new Set(['s-a']),
    }
    expect(findBrokenPromises(evidence, true)).toEqual([])
  })

  test.each([
    ['an answered exchange that is not recorded', whole.slice(0, 1), 'answered, no started'],
    ['an answered exchange whose outcome is lost', whole.slice(0, 2), 'answered, no completed'],
    ['an end without a start', [entry('interaction.completed', 'a', 0)], 'end, no start'],
    [
      'two ends of one event',
      [...whole, entry('interaction.interrupted', 'a', 3)],
      'two ends of one event',
    ],
    ['a gap in the writer’s count', [...whole, entry('ledger.heartbeat', 'h', 4)], 'epoch 1'],
    ['an entry that stands twice', [...whole, entry('ledger.heartbeat', 'h', 2)], 'epoch 1'],
  ])('%s', (_name, entries, sentence) => {
    const evidence = { facts: entries, callers: [caller('a', true)], forwarded: new Set<string>() }
    expect(findBrokenPromises(evidence, false).join('\n')).toContain(sentence)
  })

  test('a request that was forwarded unrecorded', () => {
    const evidence = { facts: whole, callers: [], forwarded: new Set(['s-b']) }
    expect(findBrokenPromises(evidence, false)).toEqual(['s-b: forwarded without a started'])
  })

  test('a start that nobody closed, once the gateway has run again', () => {
    const evidence = { facts: whole.slice(0, 2), callers: [], forwarded: new Set<string>() }
    expect(findBrokenPromises(evidence, false)).toEqual([])
    expect(findBrokenPromises(evidence, true)).toEqual(['a: never closed'])
  })
})
