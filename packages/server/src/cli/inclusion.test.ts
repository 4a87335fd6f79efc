import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createSigner } from '@affidavit/format'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type LogInfo, openLedgerReader, type PlacedEntry } from '../ledger/read.ts'
import { faultOfReceipt, makeReceipt, stateOf } from './inclusion.ts'
import { makeFolder, makeTestData, type TestData } from './testing.ts'
import { findRecord, lastEntry, loadRecord, policyForReceipt } from './verification/record-file.ts'
import { createTrust } from './verification/trust.ts'

let folder: string
let data: TestData
let log: LogInfo
let entries: PlacedEntry[]

beforeAll(async () => {
  folder = await makeFolder()
  data = await makeTestData({ directory: join(folder, 'data'), epochs: [150, 20] })
  const reader = await openLedgerReader(join(data.dataDir, 'gw-1'))
  const [only] = await reader.logs()
  if (only === undefined) throw new Error('there is a log')
  log = only
  entries = []
  for await (const placed of reader.readEntries(log)) entries.push(placed)
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

const own = createTrust({ vkeys: [] })

test('every entry has a receipt that verifies, and no entry has that of another', async () => {
  expect(entries).toHaveLength(342)
  for (let index = 0; index < entries.length; index += 37) {
    const [placed, other] = [entries[index], entries[(index + 1) % entries.length]]
    if (placed === undefined || other === undefined) throw new Error('the index is inside')
    const receipt = await makeReceipt(placed, log)
    expect(faultOfReceipt(placed, receipt, { log, trust: own })).toBeUndefined()
    expect(faultOfReceipt(other, receipt, { log, trust: own })).toMatch(/./)
  }
})

test('a receipt does not verify against the key of somebody else', async () => {
  const [placed] = entries
  if (placed === undefined) throw new Error('there is an entry')
  const receipt = await makeReceipt(placed, log)
  const { vkey } = createSigner({ name: log.origin, seed: new Uint8Array(32).fill(3) })
  const trust = createTrust({ vkeys: [vkey] })
  expect(faultOfReceipt(placed, receipt, { log, trust })).toMatch(/trusted|signed/)
})

test('a receipt is not made of tiles that are not there', async () => {
  const directory = join(folder, 'without-tile')
  await cp(log.directory, directory, { recursive: true })
  await rm(join(directory, 'tile/0/000'))
  const [placed] = entries
  if (placed === undefined) throw new Error('there is an entry')
  await expect(makeReceipt(placed, { ...log, directory })).rejects.toThrow('lacks a tile')
})

test('an entry is sequenced, integrated, published: in this order', async () => {
  const placed: PlacedEntry = {
    log: log.path,
    leafIndex: 341,
    entry: new Uint8Array(0),
    integrated: true,
  }
  expect(stateOf(placed, log)).toBe('published')
  expect(stateOf({ ...placed, leafIndex: 342 }, log)).toBe('sequenced')
  expect(stateOf(placed, undefined)).toBe('sequenced')
  const directory = join(folder, 'unpublished')
  await cp(log.directory, directory, { recursive: true })
  const older = (await readFile(join(directory, 'checkpoint'), 'utf8')).replace(
    '\n342\n',
    '\n300\n',
  )
  await writeFile(join(directory, 'checkpoint'), older)
  expect(stateOf(placed, { ...log, directory })).toBe('integrated')
  await writeFile(join(directory, 'checkpoint'), 'nonsense')
  expect(stateOf(placed, { ...log, directory })).toBe('integrated')
  await rm(join(directory, 'checkpoint'))
  expect(stateOf(placed, { ...log, directory })).toBe('integrated')
})

test('a record is found by its id, whole, and its end says most', async () => {
  const [id = ''] = data.eventIds
  const found = await findRecord(id, { dataDir: data.dataDir })
  expect(found.entries.map(({ parsed }) => parsed.kind)).toEqual([
    'interaction.started',
    'interaction.completed',
  ])
  expect(lastEntry(found).parsed.kind).toBe('interaction.completed')
  const loaded = await loadRecord(id, { dataDir: data.dataDir })
  expect(loaded.eventId).toBe(id)
})

test('an id that is none, and one that nobody has, are told apart', async () => {
  const options = { dataDir: data.dataDir }
  await expect(findRecord('nonsense', options)).rejects.toThrow('is not an event id')
  const unknown = '01930000-0000-7000-8000-000000000000'
  await expect(findRecord(unknown, options)).rejects.toThrow('No log below')
})

test('a record that comes from a file is read byte for byte, or refused', async () => {
  const path = join(folder, 'record.json')
  const [first] = entries
  await writeFile(path, first?.entry ?? '')
  const loaded = await loadRecord(path, {})
  expect(loaded.bytes).toEqual(Buffer.from(first?.entry ?? []))
  await writeFile(path, `${Buffer.from(first?.entry ?? []).toString()}\n`)
  await expect(loadRecord(path, {})).rejects.toThrow('malformed')
  await writeFile(path, Buffer.alloc(70_000, 0x20))
  await expect(loadRecord(path, {})).rejects.toThrow('too long')
})

test('a receipt without a key from elsewhere is held to the log’s own, if the log is here', async () => {
  const [placed] = entries
  if (placed === undefined) throw new Error('there is an entry')
  const receipt = Buffer.from(await makeReceipt(placed, log))
  const policy = await policyForReceipt(own, receipt, { dataDir: data.dataDir })
  expect(policy.logs.map(({ key }) => key.name)).toEqual([log.origin])
  const nowhere = policyForReceipt(own, receipt, { dataDir: join(folder, 'nowhere') })
  await expect(nowhere).rejects.toThrow('no key to trust')
})
