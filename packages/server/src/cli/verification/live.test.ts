import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { canonicalize, newEventId } from '@affidavit/format'
import { formatMicros } from '@affidavit/sdk/capture'
import { expect, test } from 'vitest'
import { openLedger } from '../../ledger/ledger.ts'
import { createTestClock, createTestRandom, makeFolder } from '../testing.ts'
import { createFindingList } from './finding.ts'
import { checkLedger } from './ledger-check.ts'
import { findTarget } from './places.ts'

const rounds = 12

test('a ledger that is being written verifies at every moment', async () => {
  const folder = await makeFolder()
  const clock = createTestClock()
  const random = createTestRandom()
  const { ledger } = await openLedger({
    directory: join(folder, 'gw-1'),
    deployment: 'audit.test',
    instance: 'gw-1',
    clock,
    random,
    segmentBytes: 1 << 16,
    integrateEntries: 64,
    every: () => () => {},
  })
  const writing = { done: false, entries: 0 }
  const write = async (retentionClass: string) => {
    while (!writing.done) {
      const eventId = newEventId(Math.floor(clock.nowMicros() / 1000), random(10))
      const own = { v: 1, event_id: eventId, timestamp: formatMicros(clock.nowMicros()) }
      const body = (kind: string) =>
        canonicalize({ ...own, kind, retention_class: retentionClass, padding: 'x'.repeat(200) })
      await ledger.append({ retentionClass, body: body('interaction.started'), opens: eventId })
      await ledger.append({ retentionClass, body: body('interaction.completed'), closes: eventId })
      writing.entries += 2
    }
  }
  const writers = ['standard', 'standard', 'financial'].map(write)
  const found: unknown[] = []
  for (let round = 0; round < rounds; round += 1) {
    const findings = createFindingList()
    const target = await findTarget(folder)
    for (const place of target.ledgers) {
      const options = { root: folder, trust: { kind: 'own' }, held: [], findings } as const
      await checkLedger(place, options)
    }
    found.push(...findings.kept)
  }
  writing.done = true
  await Promise.all(writers)
  await ledger.close()
  expect(found).toEqual([])
  expect(writing.entries).toBeGreaterThan(rounds)
  await rm(folder, { recursive: true, force: true })
})
