import { spawn } from 'node:child_process'
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
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

test('a record that no checkpoint covers yet has no receipt', async () => {
  const directory = join(folder, 'unpublished')
  const { eventIds } = await makeTestData({ directory, epochs: [1, 2], crash: true })
  const id = eventIds.at(-1) ?? ''
  const shown = await run('show', id, '--data-dir', directory, '--json')
  expect(json(shown.stdout)).toMatchObject({
    entries: [{ state: 'sequenced', verified: null }, {}],
  })
  const { code, stderr } = await run('prove', id, '--wait', '0', '--data-dir', directory)
  expect(code).toBe(exits.pending.code)
  expect(stderr).toContain('safe on disk')
})

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
  const path = join(directory, 'gw-1/ledger/logs/standard/2026q4/tile/entries/000.p/62')
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

test('bench measures in a folder of its own and leaves nothing', async () => {
  const directory = join(folder, 'measured')
  await mkdir(directory)
  const { code, stdout } = await run('bench', '--seconds', '0.2', '--json', '--data-dir', directory)
  expect(code).toBe(0)
  expect(json(stdout)).toMatchObject({
    fsync_ms: { p50: expect.any(Number), p99: expect.any(Number) },
    recording: { records: expect.any(Number), sequenced_per_second: expect.any(Number) },
    verifying: { entries_per_second: expect.any(Number), intact: true },
  })
  expect(await readdir(directory)).toEqual([])
  expect((await run('bench', '--seconds', '0')).code).toBe(exits.usage.code)
})
