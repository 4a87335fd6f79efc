import { spawn } from 'node:child_process'
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
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

test('a wrong command line does nothing and says so', async () => {
  for (const parameters of [
    ['nonsense'],
    ['verify', '--nonsense'],
    ['show'],
    ['tail', '-n', 'x'],
  ]) {
    const { code, stderr, stdout } = await run(...parameters, '--data-dir', data.dataDir)
    expect([parameters, code]).toEqual([parameters, exits.usage.code])
    expect(stderr).toMatch(/^affidavit: .+\. .+/)
    expect(stdout).toBe('')
  }
})

test('an invalid configuration ends with its own code', async () => {
  const path = join(folder, 'wrong.yaml')
  await writeFile(path, 'gatway: {}\n')
  const env = { AFFIDAVIT_CONFIG: path }
  const { code, stderr } = await runCommand(['tail'], { cwd: folder, env })
  expect(code).toBe(exits.config.code)
  expect(stderr).toContain('(ERR_CONFIG_INVALID)')
})

test('--json gives an error as JSON too', async () => {
  const { code, stdout } = await run('show', 'no-id', '--data-dir', data.dataDir, '--json')
  expect(code).toBe(exits.notFound.code)
  expect(json(stdout)).toMatchObject({
    error: { code: 'ERR_RECORD_NOT_FOUND', exit: 4, kind: 'notFound' },
  })
})

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

const damages: readonly (readonly [keyof typeof exits, (directory: string) => Promise<void>])[] = [
  ['signature', (directory) => flip(join(directory, log, 'checkpoint'), -10)],
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

test('a record that no checkpoint covers yet has no receipt', async () => {
  const directory = join(folder, 'unpublished')
  const { eventIds } = await makeTestData({ directory, epochs: [1, 2], crash: true })
  const id = eventIds.at(-1) ?? ''
  const shown = await run('show', id, '--data-dir', directory, '--json')
  expect(json(shown.stdout)).toMatchObject({
    entries: [{ state: 'sequenced', verified: null }, {}],
  })
  const { code, stderr } = await run('prove', id, '--data-dir', directory)
  expect(code).toBe(exits.pending.code)
  expect(stderr).toContain('safe on disk')
}, 20_000)

test('show has the whole record, its places in the log and that they verify', async () => {
  const [id = ''] = data.eventIds
  const { code, stdout } = await run('show', id, '--data-dir', data.dataDir)
  expect(code).toBe(0)
  for (const part of [id, 'claude-test', 'app-1', 'entry 1 of', 'verifies', 'published']) {
    expect(stdout).toContain(part)
  }
  const facts = await run('show', id, '--data-dir', data.dataDir, '--json')
  expect(json(facts.stdout)).toMatchObject({
    event_id: id,
    instance: 'gw-1',
    names: {},
    entries: [
      { kind: 'interaction.started', leaf_index: 1, state: 'published', verified: true },
      { kind: 'interaction.completed', leaf_index: 2, state: 'published', verified: true },
    ],
  })
})

test('a record that was altered in its log is shown, and said not to verify', async () => {
  const directory = join(folder, 'damaged-shown')
  await cp(data.dataDir, directory, { recursive: true })
  const path = join(directory, log, 'tile/entries/000.p/62')
  const bytes = await readFile(path)
  await writeFile(path, Buffer.from(bytes.toString('latin1').replace(':34,', ':35,'), 'latin1'))
  const { code, stdout } = await run('show', data.eventIds[0] ?? '', '--data-dir', directory)
  expect([code, stdout]).toEqual([exits.altered.code, expect.stringContaining('does not verify')])
})

test('tail prints the records of the past, filtered, as lines or as they stand in the log', async () => {
  const past = ['tail', '--no-follow', '--data-dir', data.dataDir]
  const lines = await run(...past, '-n', '5')
  expect(lines.stdout.trim().split('\n')).toHaveLength(6)
  expect(lines.stdout).toContain(data.eventIds.at(-1))
  const all = await run(...past, '--since', '2026-11-01', '--json', '--application', 'app-1')
  const records = all.stdout.trim().split('\n').map(json)
  expect(records).toHaveLength(60)
  expect(records[0]).toMatchObject({ kind: 'interaction.completed', writer: { epoch: 1 } })
  const none = await run(...past, '--since', '2026-11-01', '--json', '--status', 'error')
  expect(none.stdout).toBe('')
  const everything = await run(...past, '--since', '2026-11-01', '--json', '--all')
  expect(everything.stdout.trim().split('\n')).toHaveLength(122)
})

const program = fileURLToPath(new URL('../../bin/affidavit.mjs', import.meta.url))

test('tail follows what is written, also over a restart of the writer', async () => {
  const directory = join(folder, 'followed')
  const before = await makeTestData({ directory, epochs: [1] })
  const child = spawn(process.execPath, [program, 'tail', '--json', '--data-dir', directory])
  const seen: string[] = []
  let wake = () => {}
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    seen.push(...(text.match(/"event_id":"[^"]+","external|"event_id":"[^"]+"/g) ?? []))
    wake()
  })
  const until = async (id: string) => {
    while (!seen.join().includes(id)) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  await until(before.eventIds[0] ?? '')
  const { clock } = before
  for (let round = 0; round < 3; round += 1) {
    const more = await makeTestData({ directory, epochs: [4], clock })
    for (const id of more.eventIds) await until(id)
  }
  const exited = new Promise((resolve) => {
    child.once('exit', (_, signal) => resolve(signal))
  })
  child.kill('SIGINT')
  expect(await exited).toBe('SIGINT')
})

test('keys are made once, listed without their secret, and revoked', async () => {
  const directory = join(folder, 'keyed')
  const here = ['--data-dir', directory, '--json']
  const refused = await run('keys', 'create', ...here)
  expect(refused.code).toBe(exits.usage.code)
  const made = json((await run('keys', 'create', '--user', 'u-1', ...here)).stdout)
  expect(made).toMatchObject({ key: expect.stringMatching(/^afk_/), user: 'u-1', revoked_at: null })
  const { id, key } = made as { id: string; key: string }
  const listed = await run('keys', 'list', ...here)
  expect(json(listed.stdout)).toMatchObject({ keys: [{ id, user: 'u-1', application: null }] })
  expect(listed.stdout).not.toContain(key)
  const revoked = await run('keys', 'revoke', id, ...here)
  expect(json(revoked.stdout)).toMatchObject({ id, revoked_at: expect.any(String) })
  expect((await run('keys', 'revoke', 'nonsense', ...here)).code).toBe(exits.notFound.code)
})

test('hash does not depend on white space, and reads standard input', async () => {
  const body = { model: 'claude-test', max_tokens: 1, messages: [{ role: 'user', content: 'hi' }] }
  const compact = await runCommand(['hash', '-', '--json'], {
    cwd: folder,
    input: JSON.stringify(body),
  })
  const path = join(folder, 'request.json')
  await writeFile(path, JSON.stringify(body, null, 2))
  const spaced = await run('hash', path, '--json')
  expect(json(compact.stdout)).toEqual(json(spaced.stdout))
  expect(json(spaced.stdout)).toMatchObject({ sha256: expect.stringMatching(/^[0-9a-f]{64}$/) })
  const wrong = await runCommand(['hash', '-'], { cwd: folder, input: 'no json' })
  expect(wrong.code).toBe(exits.malformed.code)
  expect((await run('hash', 'nothing.json')).code).toBe(exits.notFound.code)
})

test('doctor looks at everything and ends with 7 when a person is needed', async () => {
  const good = await run('doctor', '--offline', '--json', '--data-dir', data.dataDir)
  expect(json(good.stdout)).toMatchObject({
    checks: expect.arrayContaining([
      expect.objectContaining({ check: 'fsync', found: expect.stringContaining('p99') }),
      expect.objectContaining({ check: 'head-gw-1', level: 'ok' }),
    ]),
  })
  const directory = join(folder, 'sick')
  await cp(data.dataDir, directory, { recursive: true })
  await rm(join(directory, 'gw-1/ledger/key'))
  const sick = await run('doctor', '--offline', '--data-dir', directory)
  expect([sick.code, sick.stdout]).toEqual([7, expect.stringContaining('signing-key-gw-1')])
})
