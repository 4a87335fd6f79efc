import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { encodeBundle, type Finding as LogFinding, utf8Encode } from '@affidavit/format'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeFolder } from '../testing.ts'
import { translate } from './log-findings.ts'
import type { LogPlace } from './places.ts'

let folder: string
let place: LogPlace

const eventId = '01930000-0000-7000-8000-000000000000'
const entry = utf8Encode(
  `{"event_id":"${eventId}","kind":"ledger.heartbeat","timestamp":"2026-11-23T14:00:00.123456Z","v":1,` +
    `"writer":{"epoch":1,"id":"${'a'.repeat(16)}","log":"standard/2026q4","prev":"${'0'.repeat(64)}","seq":7}}`,
)

beforeAll(async () => {
  folder = await makeFolder()
  place = { directory: join(folder, 'log'), where: 'gw-1/log' }
  const path = join(place.directory, 'tile/entries/000.p/3')
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, encodeBundle([utf8Encode('no record'), entry, entry]))
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

function one(found: LogFinding) {
  const { findings, notices } = translate(place, [found])
  return findings[0] ?? notices[0]
}

test('a finding about an entry has its byte and its event id', () => {
  const where = 'tile/entries/000.p/3'
  const found = one({ kind: 'entry-altered', where, leafIndex: 1, expected: 'aa', actual: 'bb' })
  expect(found).toMatchObject({
    kind: 'altered',
    where: `gw-1/log/${where}`,
    byteOffset: 2 + 9 + 2,
    leafIndex: 1,
    eventId,
    expected: 'aa',
    actual: 'bb',
  })
})

test('a finding about a hash has its byte in the tile, and the event id of its entry', () => {
  const found = one({ kind: 'tile-altered', where: 'tile/0/000.p/3', leafIndex: 2 })
  expect(found).toMatchObject({ kind: 'altered', byteOffset: 64, eventId })
})

test('an entry that is no record has a place and no event id', () => {
  const found = one({ kind: 'entry-altered', where: 'tile/entries/000.p/3', leafIndex: 0 })
  expect(found).toMatchObject({ byteOffset: 2 })
  expect(found).not.toHaveProperty('eventId')
})

test('what is said of a file that cannot be taken apart is said without a place', () => {
  for (const where of ['tile/entries/001', 'tile/entries/000.p/4', 'tile/1/000.p/1']) {
    const found = one({ kind: 'mismatch', where, leafIndex: 300 })
    expect(found).toMatchObject({ kind: 'altered', where: `gw-1/log/${where}` })
    expect(found).not.toHaveProperty('eventId')
  }
})

test.each([
  ['missing', 'tile/0/000', 'missing'],
  ['malformed', 'tile/0/000', 'altered'],
  ['malformed', 'checkpoint', 'malformed'],
  ['unsigned', 'checkpoint', 'signature'],
  ['root', 'checkpoint', 'altered'],
  ['fork', 'cp/00000000000000000003', 'inconsistent'],
  ['rolled-back', 'held checkpoint 1', 'inconsistent'],
  ['vkey', 'vkey', 'signature'],
] as const)('%s at %s is %s', (kind, where, expected) => {
  expect(one({ kind, where })).toMatchObject({ kind: expected, what: expect.any(String) })
})

test.each(['behind', 'ahead', 'unexpected'] as const)('%s breaks nothing', (kind) => {
  const { findings, notices } = translate(place, [{ kind, where: 'x' }])
  expect([findings.length, notices]).toEqual([
    0,
    [{ what: expect.any(String), where: 'gw-1/log/x' }],
  ])
})

test('a leftover that a running writer has removed meanwhile is no finding', () => {
  const gone = { kind: 'leftover-altered', where: 'tile/0/000.p/1' } as const
  const there = { kind: 'leftover-altered', where: 'tile/entries/000.p/3' } as const
  expect(translate(place, [gone]).findings).toEqual([])
  expect(translate(place, [there]).findings).toHaveLength(1)
})

test('evidence is handed on as it is', () => {
  const evidence = { kind: 'inclusion', leafHash: 'aa', receipt: 'r' } as const
  expect(one({ kind: 'entry-altered', where: 'x', evidence })).toMatchObject({ evidence })
})
