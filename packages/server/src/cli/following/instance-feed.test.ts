import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { canonicalize, newEventId } from '@affidavit/format'
import { formatMicros } from '@affidavit/sdk/capture'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Ledger, openLedger } from '../../ledger/ledger.ts'
import { instanceAt } from '../settings.ts'
import { createTestClock, createTestRandom, makeFolder } from '../testing.ts'
import { type InstanceFeed, openFeed } from './instance-feed.ts'

let folder: string
const clock = createTestClock()
const random = createTestRandom()

beforeEach(async () => {
  folder = await makeFolder()
})

afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

async function openTestLedger(): Promise<Ledger> {
  const { ledger } = await openLedger({
    directory: join(folder, 'gw-1'),
    deployment: 'audit.test',
    instance: 'gw-1',
    clock,
    random,
    // A segment holds some ten entries, so that following crosses many of them.
    segmentBytes: 4096,
    every: () => () => {},
  })
  return ledger
}

let made = 0

async function append(ledger: Ledger, retentionClass = 'standard'): Promise<string> {
  const eventId = newEventId(Math.floor(clock.nowMicros() / 1000), random(10))
  const timestamp = formatMicros(clock.nowMicros())
  made += 1
  const own = { v: 1, kind: 'control.event', event_id: eventId, timestamp, action: `a.${made}` }
  const body = canonicalize({ ...own, retention_class: retentionClass, details: {} })
  await ledger.append({ retentionClass, body })
  return eventId
}

async function idsOf(feed: InstanceFeed): Promise<string[]> {
  const ids: string[] = []
  for await (const { entry } of feed.next()) {
    if (entry.kind !== 'ledger.opened') ids.push(entry.event_id)
  }
  return ids
}

const everything = { kind: 'since', timeMs: 0 } as const
const openTestFeed = () => openFeed(instanceAt(join(folder, 'gw-1')), everything)

test('each entry is given once, in order, whether it is integrated or not', async () => {
  const ledger = await openTestLedger()
  const feed = await openTestFeed()
  const expected: string[] = []
  const seen: string[] = []
  for (let round = 0; round < 12; round += 1) {
    for (let count = 0; count <= round; count += 1) {
      expected.push(await append(ledger, count % 2 === 0 ? 'standard' : 'financial'))
    }
    if (round % 3 === 2) await ledger.publish()
    seen.push(...(await idsOf(feed)))
    expect(seen).toEqual(expected)
  }
  await feed.close()
  await ledger.close()
})

test('a reader that was away while segments came and went has lost nothing', async () => {
  const ledger = await openTestLedger()
  const feed = await openTestFeed()
  const expected = [await append(ledger)]
  const seen = await idsOf(feed)
  for (let count = 0; count < 60; count += 1) expected.push(await append(ledger))
  await ledger.publish()
  for (let count = 0; count < 5; count += 1) expected.push(await append(ledger))
  seen.push(...(await idsOf(feed)))
  expect(seen).toEqual(expected)
  await feed.close()
  await ledger.close()
})

test('a writer that starts anew is followed into its new epoch', async () => {
  const first = await openTestLedger()
  const feed = await openTestFeed()
  const expected = [await append(first)]
  const seen = await idsOf(feed)
  await first.close()
  const second = await openTestLedger()
  expected.push(await append(second))
  seen.push(...(await idsOf(feed)), ...(await idsOf(feed)))
  expect(seen).toEqual(expected)
  await feed.close()
  await second.close()
})

test('a feed from the end begins with the last entries of each log', async () => {
  const ledger = await openTestLedger()
  const ids: string[] = []
  for (let count = 0; count < 20; count += 1) ids.push(await append(ledger))
  await ledger.publish()
  const place = instanceAt(join(folder, 'gw-1'))
  const feed = await openFeed(place, { kind: 'last', entriesPerLog: 5 })
  expect(await idsOf(feed)).toEqual(ids.slice(-5))
  await feed.close()
  await ledger.close()
})
