import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openLedger } from '../../ledger/ledger.ts'
import { instanceAt, type InstancePlace } from '../settings.ts'
import { createTestClock, createTestRandom, makeFolder, makeTestData } from '../testing.ts'
import { examineLedger, newestWriteMs } from './ledger-state.ts'

let folder: string
let place: InstancePlace

beforeEach(async () => {
  folder = await makeFolder()
  await makeTestData({ directory: folder, epochs: [3] })
  place = instanceAt(join(folder, 'gw-1'))
})

afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

async function levels(): Promise<Record<string, string>> {
  const found = await examineLedger(place)
  return Object.fromEntries(found.map(({ check, level }) => [check, level]))
}

const healthy = { 'ledger-gw-1': 'ok', 'head-gw-1': 'ok', 'signing-key-gw-1': 'ok' }

test('a ledger that is closed is free, and what it holds is counted', async () => {
  expect(await levels()).toEqual(healthy)
  const found = (await examineLedger(place)).map((diagnosis) => diagnosis.found)
  expect(found).toContain('not in use; the next start opens it')
  expect(found).toContain('epoch 1, 7 entries in 1 log')
})

test('a ledger that is open is in use by whom its lock names, and stays so', async () => {
  const { ledger } = await openLedger({
    directory: place.directory,
    deployment: 'audit.test',
    instance: 'gw-1',
    clock: createTestClock(),
    random: createTestRandom(),
    every: () => () => {},
  })
  const before = await readFile(join(place.ledger, 'lock'), 'utf8')
  const found = (await examineLedger(place)).map((diagnosis) => diagnosis.found)
  expect(found.join()).toContain(`in use by a running gateway (pid ${process.pid}, since 2026`)
  expect(await readFile(join(place.ledger, 'lock'), 'utf8')).toBe(before)
  await ledger.close()
})

test('a damaged head, a missing key and a missing lock are named, with what to do', async () => {
  await writeFile(join(place.ledger, 'head/head.json'), '{}')
  await rm(join(place.ledger, 'key'))
  await rm(join(place.ledger, 'lock'))
  expect(await levels()).toEqual({
    'ledger-gw-1': 'warning',
    'head-gw-1': 'problem',
    'signing-key-gw-1': 'problem',
  })
  for (const { advice } of await examineLedger(place)) expect(advice).toMatch(/[A-Z].+\.$/)
})

test('the newest write is that of the head', async () => {
  expect(await newestWriteMs(place)).toBeGreaterThan(0)
  await rm(join(place.ledger, 'head'), { recursive: true })
  expect(await newestWriteMs(place)).toBeUndefined()
})
