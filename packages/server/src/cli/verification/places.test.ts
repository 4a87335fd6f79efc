import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { dataDirOf, findInstances } from '../settings.ts'
import { makeFolder } from '../testing.ts'
import { findTarget, whereOf } from './places.ts'

let folder: string

beforeEach(async () => {
  folder = await makeFolder()
})

afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

async function makeLog(path: string): Promise<void> {
  await mkdir(join(folder, path), { recursive: true })
  await writeFile(join(folder, path, 'checkpoint'), 'x')
}

/** What is found at a path, as `name: log, log`. */
async function found(path: string): Promise<string[]> {
  const { ledgers } = await findTarget(join(folder, path))
  return ledgers.map(({ name, logs }) => `${name}: ${logs.map(({ where }) => where).join(', ')}`)
}

test('a data directory has the logs of all its instances, and nothing else is taken for one', async () => {
  await makeLog('gw-1/ledger/logs/standard/2026q4')
  await makeLog('gw-1/ledger/logs/standard/2027q1')
  await makeLog('gw-2/ledger/logs/financial/2026q4')
  await makeLog('gw-2/ledger/logs/financial/notes')
  await mkdir(join(folder, 'keys'))
  expect(await found('.')).toEqual([
    'gw-1: gw-1/ledger/logs/standard/2026q4, gw-1/ledger/logs/standard/2027q1',
    'gw-2: gw-2/ledger/logs/financial/2026q4',
  ])
  expect(await found('gw-1')).toEqual([
    'gw-1: ledger/logs/standard/2026q4, ledger/logs/standard/2027q1',
  ])
  expect(await found('gw-1/ledger')).toEqual(['gw-1: logs/standard/2026q4, logs/standard/2027q1'])
  expect(await found('gw-1/ledger/logs')).toEqual(['logs: standard/2026q4, standard/2027q1'])
  expect(await found('gw-1/ledger/logs/standard/2026q4')).toEqual(['standard/2026q4: .'])
})

test('only a log by itself has a chain with holes', async () => {
  await makeLog('gw-1/ledger/logs/standard/2026q4')
  const whole = await findTarget(join(folder, 'gw-1/ledger/logs'))
  const one = await findTarget(join(folder, 'gw-1/ledger/logs/standard/2026q4'))
  expect([whole.ledgers[0]?.isPartial, one.ledgers[0]?.isPartial]).toEqual([false, true])
})

test('a file, an empty folder and nothing at all are not verified', async () => {
  await writeFile(join(folder, 'file'), 'x')
  for (const path of ['file', '.', 'nothing']) {
    await expect(found(path)).rejects.toThrow('There is no log')
  }
})

test('findings name files from what was asked for', () => {
  expect(whereOf('/data', '/data/gw-1/x')).toBe('gw-1/x')
  expect(whereOf('/data', '/data')).toBe('.')
})

test('instances are folders with a ledger; a directory without any says what to do', async () => {
  await makeLog('gw-2/ledger/logs/standard/2026q4')
  await makeLog('gw-1/ledger/logs/standard/2026q4')
  await mkdir(join(folder, 'keys'))
  expect((await findInstances(folder)).map(({ name }) => name)).toEqual(['gw-1', 'gw-2'])
  await expect(findInstances(join(folder, 'keys'))).rejects.toThrow('holds no records yet')
  await expect(findInstances(join(folder, 'nothing'))).rejects.toThrow('no data directory')
  expect(await dataDirOf({ dataDir: folder })).toBe(folder)
})
