import { cp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { formatPrivateKey, parsePrivateKey } from '@affidavit/format'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exits } from '../exit.ts'
import { makeFolder, makeTestData, type TestData } from '../testing.ts'
import { createFindingList, exitOfFindings, type Finding } from './finding.ts'
import { checkLedger } from './ledger-check.ts'
import { findTarget } from './places.ts'
import { checkRange } from './range-check.ts'
import { createTrust, type Trust } from './trust.ts'

let folder: string
let data: TestData
let older: string

/** 1,100 entries in two logs over three epochs, and a copy of the second epoch's end. */
beforeAll(async () => {
  folder = await makeFolder()
  const options = { directory: join(folder, 'data'), classes: ['standard', 'financial'] }
  data = await makeTestData({ ...options, epochs: [140, 10] })
  older = join(folder, 'older')
  await cp(data.dataDir, older, { recursive: true })
  data = await makeTestData({ ...options, epochs: [160], clock: data.clock })
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

let copies = 0

/** A copy of the data that a test may damage. */
async function copy(): Promise<string> {
  copies += 1
  const directory = join(folder, `copy-${copies}`)
  await cp(data.dataDir, directory, { recursive: true })
  return directory
}

const ownTrust: Trust = { kind: 'own' }

async function verify(path: string, options: { trust?: Trust; held?: readonly string[] } = {}) {
  const { trust = ownTrust, held = [] } = options
  const target = await findTarget(path)
  const findings = createFindingList()
  const ledgers = []
  for (const place of target.ledgers) {
    ledgers.push(await checkLedger(place, { root: target.root, trust, held, findings }))
  }
  const exit = exitOfFindings(findings.counts)
  return { ledgers, findings: findings.kept, exit, kinds: findings.kept.map(({ kind }) => kind) }
}

async function filesBelow(directory: string, pattern: RegExp): Promise<string[]> {
  const items = await readdir(directory, { recursive: true, withFileTypes: true })
  const paths = items
    .filter((item) => item.isFile())
    .map((item) => join(item.parentPath, item.name))
  return paths.filter((path) => pattern.test(relative(directory, path))).sort()
}

async function flip(path: string, offset: number): Promise<void> {
  const bytes = await readFile(path)
  bytes[offset] = (bytes[offset] ?? 0) ^ 1
  await writeFile(path, bytes)
}

function summary(findings: readonly Finding[]): string[] {
  return findings.map(({ kind, what, where, expected, actual }) =>
    [kind, what, where, expected, actual].join(' | '),
  )
}

test('what the ledger wrote verifies, in place and as a copy', async () => {
  for (const path of [data.dataDir, await copy()]) {
    const { ledgers, findings } = await verify(path)
    expect(summary(findings)).toEqual([])
    expect(ledgers).toHaveLength(1)
    expect(ledgers[0]?.logs.map(({ intact }) => intact)).toEqual([true, true])
    expect(ledgers[0]?.chain).toMatchObject({ entries: 623, epochs: 3, paired: 310, open: 0 })
    expect(ledgers[0]?.tail).toEqual({ entries: 0, tornBytes: 0 })
  }
})

test('an instance, its logs alone, and one log verify by themselves', async () => {
  const logs = join(data.ledger, 'logs')
  for (const path of [
    join(data.dataDir, 'gw-1'),
    data.ledger,
    logs,
    join(logs, 'standard/2026q4'),
  ]) {
    expect(summary((await verify(path)).findings)).toEqual([])
  }
})

test('a directory without a log is said to be one', async () => {
  await expect(findTarget(folder + '/nothing')).rejects.toThrow('There is no log')
  await expect(findTarget(data.ledger + '/wal')).rejects.toThrow('There is no log')
})

const flips: readonly (readonly [string, RegExp, readonly string[]])[] = [
  ['a bundle', /standard\/2026q4\/tile\/entries\/000$/, ['altered']],
  ['a partial bundle', /standard\/2026q4\/tile\/entries\/00\d\.p\/\d+$/, ['altered']],
  ['a tile', /standard\/2026q4\/tile\/0\/000$/, ['altered']],
  ['an upper tile', /standard\/2026q4\/tile\/1\/000\.p\/\d+$/, ['altered']],
  ['the checkpoint', /standard\/2026q4\/checkpoint$/, ['signature', 'malformed']],
  ['a stored checkpoint', /standard\/2026q4\/cp\/\d+$/, ['signature', 'malformed']],
  ['the key file', /standard\/2026q4\/vkey$/, ['signature']],
  ['the head', /head\/head\.json$/, ['malformed', 'inconsistent', 'signature', 'wal', 'missing']],
]

test.each(flips)(
  'any byte of %s that is changed shows',
  async (_, pattern, kinds) => {
    const directory = await copy()
    const [path] = await filesBelow(directory, pattern)
    if (path === undefined) throw new Error(`no file matches ${String(pattern)}`)
    const { length } = await readFile(path)
    const step = Math.max(1, Math.floor(length / 8))
    for (let offset = 0; offset < length; offset += step) {
      await flip(path, offset)
      const { exit } = await verify(directory)
      expect([offset, kinds.includes(exit)]).toEqual([offset, true])
      await flip(path, offset)
    }
  },
  60_000,
)

test('an altered entry is named by file, byte, index, event id and both hashes', async () => {
  const directory = await copy()
  const path = join(directory, 'gw-1/ledger/logs/standard/2026q4/tile/entries/000')
  const text = (await readFile(path)).toString('latin1')
  const at = text.indexOf('"completion_tokens":34')
  await flip(path, at + '"completion_tokens":3'.length)
  const { findings, exit } = await verify(directory)
  expect(exit).toBe('altered')
  const finding = findings.find(({ kind }) => kind === 'altered')
  expect(finding).toMatchObject({
    where: 'gw-1/ledger/logs/standard/2026q4/tile/entries/000',
    eventId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    expected: expect.stringMatching(/^[0-9a-f]{64}$/),
    actual: expect.stringMatching(/^[0-9a-f]{64}$/),
    evidence: { kind: 'inclusion' },
  })
  expect(finding?.byteOffset).toBeLessThan(at)
  expect(data.eventIds.length).toBe(160)
})

const removable: readonly (readonly [string, RegExp, readonly string[]])[] = [
  ['a bundle', /standard\/2026q4\/tile\/entries\/000$/, ['missing']],
  ['the last bundle', /standard\/2026q4\/tile\/entries\/00\d\.p\/\d+$/, ['missing']],
  ['a tile', /standard\/2026q4\/tile\/0\/000$/, ['missing']],
  ['the checkpoint', /standard\/2026q4\/checkpoint$/, ['missing']],
  ['the head', /head\/head\.json$/, ['missing']],
  ['the segment', /wal\/.*\.wal$/, ['inconsistent']],
]

test.each(removable)('%s that was removed is missed', async (_, pattern, kinds) => {
  const directory = await copy()
  for (const path of await filesBelow(directory, pattern)) await rm(path)
  const { exit, findings } = await verify(directory)
  expect([exit, summary(findings).length > 0]).toEqual([kinds[0], true])
})

test('a log that was removed is missed, by the head and by the chain', async () => {
  const directory = await copy()
  await rm(join(directory, 'gw-1/ledger/logs/financial'), { recursive: true })
  const { kinds } = await verify(directory)
  expect(kinds).toEqual(expect.arrayContaining(['missing', 'gap']))
})

test('a log that was removed from bare logs is missed by the chain', async () => {
  const directory = await copy()
  const logs = join(directory, 'gw-1/ledger/logs')
  await rm(join(logs, 'financial'), { recursive: true })
  expect((await verify(logs)).exit).toBe('gap')
})

test('two entries that were exchanged show', async () => {
  const directory = await copy()
  const path = join(directory, 'gw-1/ledger/logs/standard/2026q4/tile/entries/000')
  const bytes = await readFile(path)
  const entries: Buffer[] = []
  for (let at = 0; at < bytes.length; at += 2 + bytes.readUInt16BE(at)) {
    entries.push(bytes.subarray(at, at + 2 + bytes.readUInt16BE(at)))
  }
  const [first, second, third, ...rest] = entries
  if (first === undefined || second === undefined || third === undefined) throw new Error('few')
  await writeFile(path, Buffer.concat([first, third, second, ...rest]))
  expect((await verify(directory)).exit).toBe('altered')
})

test('logs that were put back to an older state show against the head', async () => {
  const directory = await copy()
  const logs = join('gw-1/ledger/logs')
  await rm(join(directory, logs), { recursive: true })
  await cp(join(older, logs), join(directory, logs), { recursive: true })
  const { findings } = await verify(directory)
  expect(findings.length).toBeGreaterThan(0)
  expect(findings.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['missing']))
})

test('a head that was put back to an older state shows against the logs', async () => {
  const directory = await copy()
  const head = 'gw-1/ledger/head/head.json'
  await cp(join(older, head), join(directory, head))
  expect((await verify(directory)).kinds).toContain('inconsistent')
})

test('a ledger that was put back as a whole shows against a checkpoint kept elsewhere', async () => {
  expect((await verify(older)).exit).toBe('ok')
  const path = 'gw-1/ledger/logs/standard/2026q4/checkpoint'
  const kept = await readFile(join(data.dataDir, path), 'utf8')
  const { exit } = await verify(older, { held: [kept] })
  expect(exit).toBe('inconsistent')
  const earlier = await readFile(join(older, path), 'utf8')
  expect((await verify(data.dataDir, { held: [earlier] })).exit).toBe('ok')
})

test('two logs that changed folders show', async () => {
  const directory = await copy()
  const logs = join(directory, 'gw-1/ledger/logs')
  await rename(join(logs, 'standard'), join(logs, 'aside'))
  await rename(join(logs, 'financial'), join(logs, 'standard'))
  await rename(join(logs, 'aside'), join(logs, 'financial'))
  const { kinds } = await verify(directory)
  expect(kinds).toEqual(expect.arrayContaining(['inconsistent', 'malformed']))
  expect((await verify(logs)).kinds).toEqual(expect.arrayContaining(['inconsistent', 'malformed']))
})

test('a stray file is noticed and breaks nothing', async () => {
  const directory = await copy()
  await writeFile(join(directory, 'gw-1/ledger/logs/standard/2026q4/.DS_Store'), 'x')
  const { ledgers, exit } = await verify(directory)
  expect(exit).toBe('ok')
  expect(ledgers[0]?.notices.map(({ where }) => where).join()).toContain('.DS_Store')
})

test('a key from elsewhere speaks for every log of its instance, another key for none', async () => {
  const vkey = await readFile(join(data.ledger, 'logs/standard/2026q4/vkey'), 'utf8')
  expect((await verify(data.dataDir, { trust: createTrust({ vkeys: [vkey] }) })).exit).toBe('ok')
  const elsewhere = join(folder, 'elsewhere')
  const other = await makeTestData({ directory: elsewhere, epochs: [1], instance: 'gw-2' })
  const foreign = await readFile(join(other.ledger, 'logs/standard/2026q4/vkey'), 'utf8')
  const trust = createTrust({ vkeys: [foreign] })
  expect((await verify(data.dataDir, { trust })).exit).toBe('signature')
})

test('a policy that asks for a witness is not satisfied without one', async () => {
  const vkey = (await readFile(join(data.ledger, 'logs/standard/2026q4/vkey'), 'utf8')).trim()
  const witness = 'Wit1+9b3fb2d5+BFhZSmQj9+SoL+p/nN0Hh76xXmF7QcHfytUrI1XfSClk'
  const policy = `log ${vkey}\nwitness w ${witness}\nquorum w\n`
  const { exit } = await verify(data.dataDir, { trust: createTrust({ policy, vkeys: [] }) })
  expect(exit).toBe('signature')
})

async function verifyPart(path: string, range: { from: number; to: number }, log?: string) {
  const findings = createFindingList()
  const target = await findTarget(path)
  const summaryOfPart = await checkRange(target, { log, range }, { trust: ownTrust, findings })
  return {
    part: summaryOfPart,
    findings: findings.kept,
    kinds: findings.kept.map(({ kind }) => kind),
  }
}

test('a part of a log verifies, with its chain through the other logs of the writer', async () => {
  for (const range of [
    { from: 0, to: 10 },
    { from: 100, to: 300 },
    { from: 255, to: 257 },
    { from: 280, to: 100_000 },
  ]) {
    const { findings, part } = await verifyPart(data.dataDir, range, 'standard/2026q4')
    expect(summary(findings)).toEqual([])
    const own = Math.min(range.to, part.treeSize) - range.from
    expect(part.chain.entries).toBeGreaterThanOrEqual(own)
  }
})

test('an altered entry inside a part shows, outside of it not', async () => {
  const directory = await copy()
  const path = join(directory, 'gw-1/ledger/logs/standard/2026q4/tile/entries/000')
  await flip(path, 150_000)
  const inside = await verifyPart(directory, { from: 100, to: 256 }, 'standard/2026q4')
  expect(inside.kinds).toContain('altered')
  const outside = await verifyPart(directory, { from: 260, to: 300 }, 'standard/2026q4')
  expect(outside.kinds).toEqual([])
})

test('a part of a log that several have, or that is empty, is refused with the names', async () => {
  await expect(verifyPart(data.dataDir, { from: 0, to: 9 })).rejects.toThrow('financial/2026q4')
  const beyond = { from: 100_000, to: 100_001 }
  await expect(verifyPart(data.dataDir, beyond, 'standard/2026q4')).rejects.toThrow('nothing from')
})

test('what a killed process left is verified as far as it was written', async () => {
  const directory = join(folder, 'killed')
  const killed = await makeTestData({ directory, epochs: [10, 20], crash: true })
  const { findings, ledgers } = await verify(directory)
  expect(summary(findings)).toEqual([])
  expect(ledgers[0]?.tail?.entries).toBeGreaterThan(39)
  const [segment] = await filesBelow(killed.ledger, /\.wal$/)
  if (segment === undefined) throw new Error('there is a segment')
  await flip(segment, 200)
  expect((await verify(directory)).exit).toBe('wal')
})

test('interactions that are open are counted, and not wrong', async () => {
  const directory = join(folder, 'open')
  await makeTestData({ directory, epochs: [5], open: 3 })
  const { findings, ledgers } = await verify(directory)
  expect(summary(findings)).toEqual([])
  expect(ledgers[0]?.chain.open).toBe(3)
})

test('a log that was agreed on and never published is verified against the head', async () => {
  const directory = await copy()
  const log = join(directory, 'gw-1/ledger/logs/financial/2026q4')
  for (const name of ['checkpoint', 'cp', 'vkey']) await rm(join(log, name), { recursive: true })
  const { findings, ledgers } = await verify(directory)
  expect(summary(findings)).toEqual([])
  expect(ledgers[0]?.notices.map(({ what }) => what)).toContain(
    'the log was agreed on and is not published yet',
  )
})

test('tiles of an integration that was cut short are noticed', async () => {
  const directory = await copy()
  const logs = join(directory, 'gw-1/ledger/logs')
  await cp(join(logs, 'standard/2026q4/tile'), join(logs, 'other/2026q4/tile'), { recursive: true })
  const { exit, ledgers } = await verify(directory)
  expect(exit).toBe('ok')
  expect(ledgers[0]?.notices.map(({ where }) => where)).toContain('gw-1/ledger/logs/other/2026q4')
})

test('a signing key that is damaged, or another one, shows; one that is not there does not', async () => {
  const directory = await copy()
  const path = join(directory, 'gw-1/ledger/key')
  await flip(path, 40)
  expect((await verify(directory)).exit).toBe('malformed')
  await flip(path, 40)
  const { name, seed } = parsePrivateKey((await readFile(path, 'utf8')).trimEnd())
  seed[0] = (seed[0] ?? 0) ^ 1
  await writeFile(path, `${formatPrivateKey({ name, seed })}\n`)
  expect((await verify(directory)).exit).toBe('signature')
  await rm(path)
  expect((await verify(directory)).exit).toBe('ok')
})

test('every kind of finding has an exit code from 10', () => {
  for (const kind of ['signature', 'unreadable'] as const) {
    expect(exits[kind].code).toBeGreaterThanOrEqual(10)
  }
})
