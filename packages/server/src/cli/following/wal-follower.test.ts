import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { canonicalize, newEventId, parseEntry } from '@affidavit/format'
import { formatMicros } from '@affidavit/sdk/capture'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseHead } from '../../ledger/head.ts'
import { type Ledger, openLedger } from '../../ledger/ledger.ts'
import { createTestClock, createTestRandom, makeFolder } from '../testing.ts'
import { followWal, type WalFollower } from './wal-follower.ts'

let folder: string
let ledger: Ledger
const clock = createTestClock()
const random = createTestRandom()

beforeEach(async () => {
  folder = await makeFolder()
  ledger = await openTestLedger()
})

afterEach(async () => {
  await ledger.close().catch(() => undefined)
  await rm(folder, { recursive: true, force: true })
})

async function openTestLedger(): Promise<Ledger> {
  const opened = await openLedger({
    directory: join(folder, 'gw-1'),
    deployment: 'audit.test',
    instance: 'gw-1',
    clock,
    random,
    segmentBytes: 4096,
    every: () => () => {},
  })
  return opened.ledger
}

const wal = () => join(folder, 'gw-1/ledger/wal')

async function append(count: number): Promise<void> {
  for (let done = 0; done < count; done += 1) {
    const event_id = newEventId(Math.floor(clock.nowMicros() / 1000), random(10))
    const timestamp = formatMicros(clock.nowMicros())
    const own = { v: 1, kind: 'control.event', event_id, timestamp, action: 'a.b', details: {} }
    await ledger.append({
      retentionClass: 'standard',
      body: canonicalize({ ...own, retention_class: 'standard' }),
    })
  }
}

async function followFromHead(): Promise<WalFollower> {
  const head = parseHead(await readFile(join(folder, 'gw-1/ledger/head/head.json')))
  return followWal(wal(), head.wal)
}

/** Sequence numbers of what a poll gives. */
async function poll(follower: WalFollower): Promise<number[] | 'lost'> {
  const result = await follower.poll()
  return 'lost' in result ? 'lost' : result.entries.map((entry) => parseEntry(entry).writer.seq)
}

test('a poll gives what is new, and nothing twice', async () => {
  const follower = await followFromHead()
  expect(await poll(follower)).toEqual([0])
  expect(await poll(follower)).toEqual([])
  await append(2)
  expect(await poll(follower)).toEqual([1, 2])
  expect(await poll(follower)).toEqual([])
  await follower.close()
})

test('segments are followed one into the next', async () => {
  const follower = await followFromHead()
  await append(40)
  expect((await readdir(wal())).length).toBeGreaterThan(2)
  const seen: number[] = []
  for (let part = await poll(follower); part !== 'lost' && part.length > 0;) {
    seen.push(...part)
    part = await poll(follower)
  }
  expect(seen).toEqual(Array.from({ length: 41 }, (_, index) => index))
  await follower.close()
})

test('a reader whose segment is gone has lost its place', async () => {
  const follower = await followFromHead()
  await append(40)
  await ledger.publish()
  expect(await poll(follower)).toBe('lost')
  await follower.close()
})

test('a writer that starts anew goes on elsewhere', async () => {
  const follower = await followFromHead()
  await append(1)
  expect(await poll(follower)).toEqual([0, 1])
  await ledger.close()
  ledger = await openTestLedger()
  expect(await poll(follower)).toBe('lost')
  await follower.close()
})

test('a frame that is not whole yet is given when it is', async () => {
  const follower = await followFromHead()
  expect(await poll(follower)).toEqual([0])
  await append(1)
  const [name = ''] = await readdir(wal())
  const path = join(wal(), name)
  const whole = await readFile(path)
  const end = whole.length - [...whole].toReversed().findIndex((byte) => byte !== 0)
  for (const missing of [1, 40, 300]) {
    const torn = Buffer.from(whole).fill(0, end - missing, end)
    await writeFile(path, torn)
    expect(await poll(follower)).toEqual([])
  }
  await writeFile(path, whole)
  expect(await poll(follower)).toEqual([1])
  await follower.close()
})

test('a log without segments has no place to follow', async () => {
  const follower = await followFromHead()
  await ledger.close()
  await rm(wal(), { recursive: true })
  expect(await poll(follower)).toBe('lost')
  await follower.close()
})

test('a segment that was cut short gives what is left of it', async () => {
  await append(3)
  const follower = await followFromHead()
  const [name = ''] = await readdir(wal())
  await truncate(join(wal(), name), 700)
  const seen = await poll(follower)
  expect(seen).not.toBe('lost')
  expect(seen.length).toBeLessThan(4)
  await follower.close()
})
