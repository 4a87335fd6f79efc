import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { formatHead, type Head, parseHead } from '../../ledger/head.ts'
import { makeFolder, makeTestData } from '../testing.ts'
import { createFindingList } from './finding.ts'
import { checkLedger } from './ledger-check.ts'
import { findTarget } from './places.ts'

let folder: string
let copies = 0

beforeAll(async () => {
  folder = await makeFolder()
  const directory = join(folder, 'data')
  await makeTestData({ directory, epochs: [4, 5], open: 2, classes: ['standard', 'financial'] })
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

/** Verifies a copy whose head says something else, in its right form. */
async function verifyWith(change: (head: Head) => Head): Promise<string[]> {
  copies += 1
  const directory = join(folder, `copy-${copies}`)
  await cp(join(folder, 'data'), directory, { recursive: true })
  const path = join(directory, 'gw-1/ledger/head/head.json')
  await writeFile(path, formatHead(change(parseHead(await readFile(path)))))
  const target = await findTarget(directory)
  const findings = createFindingList()
  for (const place of target.ledgers) {
    const options = { root: directory, trust: { kind: 'own' }, held: [], findings } as const
    await checkLedger(place, options)
  }
  return findings.kept.map(({ kind, what }) => `${kind}: ${what}`)
}

function withLog(head: Head, path: string, change: object): Head {
  const log = head.logs.get(path)
  if (log === undefined) throw new Error(`the head knows ${path}`)
  return { ...head, logs: new Map([...head.logs, [path, { ...log, ...change }]]) }
}

const path = 'standard/2026q4'

test('a head that is as the ledger wrote it contradicts nothing', async () => {
  expect(await verifyWith((head) => head)).toEqual([])
})

const lies: readonly (readonly [string, (head: Head) => Head, RegExp])[] = [
  [
    'a root that is not the log’s',
    (head) => withLog(head, path, { root: new Uint8Array(32).fill(1) }),
    /another root/,
  ],
  [
    'a size that is below the log’s',
    (head) => withLog(head, path, { size: 3 }),
    /head was rolled back/,
  ],
  [
    'a size that is above the log’s',
    (head) => withLog(head, path, { size: 300 }),
    /older than the head/,
  ],
  [
    'the checkpoint of another log',
    (head) => withLog(head, path, { note: head.logs.get('financial/2026q4')?.note }),
    /not the one that its log signed/,
  ],
  ['another deployment', (head) => ({ ...head, deployment: 'audit.other' }), /its log signed/],
  [
    'another writer',
    (head) => ({ ...head, writer: { ...head.writer, id: 'f'.repeat(16) } }),
    /another writer/,
  ],
  ['another epoch', (head) => ({ ...head, epoch: head.epoch + 1 }), /not in its canonical form/],
  [
    'another place for the next entry',
    (head) => ({ ...head, writer: { ...head.writer, seq: head.writer.seq + 1 } }),
    /another place for the writer/,
  ],
  [
    'another predecessor for the next entry',
    (head) => ({ ...head, writer: { ...head.writer, prev: 'a'.repeat(64) } }),
    /another place for the writer/,
  ],
  ['no open interactions', (head) => ({ ...head, open: new Map() }), /other interactions open/],
  [
    'an interaction open that is not',
    (head) => ({ ...head, open: new Map([...head.open, [path, [1]]]) }),
    /other interactions open/,
  ],
  [
    'a log that is not there',
    (head) => {
      const { size, root } = head.logs.get(path) ?? { size: 0, root: new Uint8Array(32) }
      return { ...head, sealed: new Map([['standard/2026q3', { size, root }]]) }
    },
    /a log that the head knows is missing/,
  ],
  [
    'a log less than there is',
    (head) => ({ ...head, logs: new Map([...head.logs].filter(([name]) => name !== path)) }),
    /head was rolled back/,
  ],
  [
    'another number of entries',
    (head) => ({ ...head, wal: { ...head.wal, index: head.wal.index + 1 } }),
    /counts other entries/,
  ],
  [
    'another frame before its place',
    (head) => ({ ...head, wal: { ...head.wal, frameHash: new Uint8Array(32).fill(1) } }),
    /not the one the head knows/,
  ],
]

test.each(lies)('a head that says %s is contradicted', async (_, change, what) => {
  expect((await verifyWith(change)).join('\n')).toMatch(what)
})
