import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exits } from './exit.ts'
import { makeFolder, makeTestData, runCommand, type TestData } from './testing.ts'

let folder: string
let data: TestData

beforeAll(async () => {
  folder = await makeFolder()
  const directory = join(folder, 'data')
  data = await makeTestData({ directory, epochs: [30, 30], classes: ['standard', 'financial'] })
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

const run = (...parameters: string[]) => runCommand(parameters, { cwd: folder })

function json(text: string): unknown {
  return JSON.parse(text)
}

test('verify says what was verified, and what that does not prove', async () => {
  const { code, stdout } = await run('verify', data.dataDir)
  expect(code).toBe(0)
  expect(stdout).toContain('Everything verifies.')
  expect(stdout).toContain('does not prove whose logs these are')
})

test('the JSON of verify keeps its shape', async () => {
  const { code, stdout } = await run('verify', data.dataDir, '--json')
  expect(code).toBe(0)
  expect(json(stdout)).toEqual({
    ok: true,
    verdict: 'ok',
    exit: 0,
    path: data.dataDir,
    trust: 'own-key',
    ledgers: [
      {
        name: 'gw-1',
        writer_id: expect.stringMatching(/^[0-9a-f]{16}$/),
        logs: [
          expect.objectContaining({ origin: 'audit.test/gw-1/financial/2026q4', intact: true }),
          {
            origin: 'audit.test/gw-1/standard/2026q4',
            where: 'gw-1/ledger/logs/standard/2026q4',
            tree_size: 62,
            root_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
            entries_hashed: 62,
            checkpoints: expect.any(Number),
            intact: true,
          },
        ],
        chain: {
          entries: 122,
          epochs: 2,
          paired: 60,
          open: 0,
          last: { epoch: 2, seq: 60, leaf_hash: expect.stringMatching(/^[0-9a-f]{64}$/) },
          partial: false,
        },
        tail: { entries: 0, torn_bytes: 0 },
      },
    ],
    findings: [],
    finding_counts: {},
    notices: [],
  })
})

const log = 'gw-1/ledger/logs/standard/2026q4'

async function flip(path: string, offset: number): Promise<void> {
  const bytes = await readFile(path)
  const at = offset < 0 ? bytes.length + offset : offset
  bytes[at] = (bytes[at] ?? 0) ^ 1
  await writeFile(path, bytes)
}

/** Puts another base64 digit in place of one, so that the note stays well formed. */
async function replaceSignatureDigit(path: string): Promise<void> {
  const text = await readFile(path, 'utf8')
  const digit = text.at(-10) === 'A' ? 'B' : 'A'
  await writeFile(path, `${text.slice(0, -10)}${digit}${text.slice(-9)}`)
}

const damages: readonly (readonly [keyof typeof exits, (directory: string) => Promise<void>])[] = [
  ['signature', (directory) => replaceSignatureDigit(join(directory, log, 'checkpoint'))],
  ['altered', (directory) => flip(join(directory, log, 'tile/entries/000.p/62'), 40)],
  ['missing', (directory) => rm(join(directory, log, 'tile/0/000.p/62'))],
  ['gap', (directory) => rm(join(directory, 'gw-1/ledger/logs/financial'), { recursive: true })],
  ['wal', async (directory) => flip(await segmentOf(directory), 30)],
  ['malformed', (directory) => flip(join(directory, 'gw-1/ledger/head/head.json'), 3)],
]

async function segmentOf(directory: string): Promise<string> {
  const wal = join(directory, 'gw-1/ledger/wal')
  return join(wal, (await readdir(wal)).at(-1) ?? '')
}

test.each(damages)('%s has its exit code and its evidence', async (exit, damage) => {
  const directory = join(folder, `damaged-${exit}`)
  await cp(data.dataDir, directory, { recursive: true })
  await damage(directory)
  // A head that knows the removed log would say `missing` first.
  const path = exit === 'gap' ? join(directory, 'gw-1/ledger/logs') : directory
  const [text, facts] = await Promise.all([run('verify', path), run('verify', path, '--json')])
  expect([text.code, facts.code]).toEqual([exits[exit].code, exits[exit].code])
  expect(text.stdout).toContain(`exit code ${exits[exit].code}`)
  expect(json(facts.stdout)).toMatchObject({
    ok: false,
    verdict: exit,
    findings: expect.arrayContaining([
      expect.objectContaining({
        kind: exit,
        what: expect.any(String),
        where: expect.any(String),
      }),
    ]),
  })
})

test('evidence is told in words too', async () => {
  const { code, stdout } = await run('verify', join(folder, 'damaged-altered'))
  expect([code, stdout]).toEqual([11, expect.stringContaining('(exit code 11)')])
  expect(stdout).toMatch(/altered: .+\n +file +gw-1.+000\.p\/62\n +byte +\d+\n +entry +\d+\n/)
})

test('a part of a log is verified by its numbers', async () => {
  const part = ['--log', 'standard/2026q4', '--range', '10..40']
  const { code, stdout } = await run('verify', data.dataDir, ...part, '--json')
  expect(code).toBe(0)
  expect(json(stdout)).toMatchObject({ range: { from: 10, to: 40, tree_size: 62 } })
})

test('a large log is verified in threads, with the same result', async () => {
  const directory = join(folder, 'large')
  const large = await makeTestData({ directory, epochs: [4200] })
  const { code, stdout } = await run('verify', directory, '--json')
  expect(code).toBe(0)
  expect(json(stdout)).toMatchObject({ ledgers: [{ chain: { entries: 8401, paired: 4200 } }] })
  await flip(join(large.ledger, 'logs/standard/2026q4/tile/entries/020'), 5000)
  const damaged = await run('verify', directory, '--json')
  expect(damaged.code).toBe(exits.altered.code)
  expect(json(damaged.stdout)).toMatchObject({
    findings: expect.arrayContaining([expect.objectContaining({ kind: 'altered' })]),
  })
})

test('a receipt proves its record, on its own, and no other', async () => {
  const [first = '', second = ''] = data.eventIds
  const out = join(folder, 'receipts')
  for (const id of [first, second]) {
    const { code } = await run('prove', id, '--out', out, '--data-dir', data.dataDir)
    expect(code).toBe(0)
  }
  const vkey = await readFile(join(data.dataDir, log, 'vkey'), 'utf8')
  const check = (record: string, proof: string, key = vkey.trim()) =>
    run('verify', '--record', join(out, record), '--proof', join(out, proof), '--vkey', key)
  const good = await check(`${first}.entry.json`, `${first}.tlog-proof`)
  expect([good.code, good.stdout]).toEqual([0, expect.stringContaining(first)])
  const swapped = await check(`${second}.entry.json`, `${first}.tlog-proof`)
  expect(swapped.code).not.toBe(0)
  await flip(join(out, `${first}.entry.json`), 30)
  const altered = await check(`${first}.entry.json`, `${first}.tlog-proof`)
  expect([exits.altered.code, exits.malformed.code]).toContain(altered.code)
  const foreign = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
  const untrusted = await check(`${second}.entry.json`, `${second}.tlog-proof`, foreign)
  expect(untrusted.code).toBe(exits.signature.code)
})
