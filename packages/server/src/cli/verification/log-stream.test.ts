import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeFolder, makeTestData, type TestData } from '../testing.ts'
import type { LogJob } from './log-job.ts'
import { startLog } from './log-stream.ts'
import { parcelsWaitingMax } from './parcels.ts'

let folder: string
let data: TestData
let job: LogJob

beforeAll(async () => {
  folder = await makeFolder()
  // Entries of some 8 KiB: a parcel holds a hundred.
  const fields = { tools_offered: Array.from({ length: 20 }, (_, index) => `${index}`.repeat(250)) }
  data = await makeTestData({ directory: folder, epochs: [700], fields })
  const directory = join(data.ledger, 'logs/standard/2026q4')
  const vkey = (await readFile(join(directory, 'vkey'), 'utf8')).trim()
  job = { directory, vkeys: [vkey], heldCheckpoints: [] }
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

test('a log that is not taken waits, and goes on when it is', async () => {
  const stream = startLog(job, { entries: 1401 })
  let isOver = false
  const outcome = stream.outcome.finally(() => (isOver = true))
  const first = await stream.next()
  for (let turn = 0; turn < 50; turn += 1) {
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
  }
  expect([first?.firstLeafIndex, isOver]).toEqual([0, false])
  let [parcels, entries] = [1, first?.count ?? 0]
  for (let next = await stream.next(); next !== undefined; next = await stream.next()) {
    parcels += 1
    entries += next.count
  }
  expect(parcels).toBeGreaterThan(parcelsWaitingMax)
  expect(entries).toBe(1401)
  expect(await outcome).toMatchObject({ report: { intact: true, treeSize: 1401 } })
  expect(await stream.next()).toBeUndefined()
})

test('a part of a log gives the entries of that part', async () => {
  const stream = startLog({ ...job, range: { from: 300, to: 310 } }, { entries: 10 })
  const parcel = await stream.next()
  expect([parcel?.firstLeafIndex, parcel?.count]).toEqual([300, 10])
  expect(await stream.next()).toBeUndefined()
})

test('a file that cannot be read ends the log with its path and the reason', async () => {
  const tile = join(job.directory, 'tile/0/000')
  await rm(tile)
  await mkdir(tile)
  const stream = startLog(job, { entries: 1401 })
  while ((await stream.next()) !== undefined);
  expect(await stream.outcome).toMatchObject({ unreadable: { reason: 'EISDIR' } })
})
