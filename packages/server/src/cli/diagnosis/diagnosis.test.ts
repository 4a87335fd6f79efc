import { createServer } from 'node:net'
import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '@affidavit/sdk/capture'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { quantile } from './diagnosis.ts'
import {
  examineMachine,
  judgeClock,
  judgeNode,
  judgeOpenFiles,
  judgeSpace,
  judgeSync,
  measureSync,
} from './machine.ts'
import { examinePermissions } from './permissions.ts'
import { examineReach } from './reach.ts'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'affidavit-doctor-'))
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

const gibibyte = 1024 ** 3

test.each([
  [100, 50, 'ok', 'ok'],
  [5, 50, 'warning', 'ok'],
  [0.5, 1, 'problem', 'problem'],
])('%d GiB and %d %% of the inodes free is %s and %s', (free, inodes, space, inode) => {
  const facts = { freeBytes: free * gibibyte, freeInodes: inodes, inodes: 100 }
  expect(judgeSpace(facts).map(({ level }) => level)).toEqual([space, inode])
})

test('a file system that reports no inodes is judged by its space alone', () => {
  expect(judgeSpace({ freeBytes: gibibyte * 50, freeInodes: 0, inodes: 0 })).toHaveLength(1)
})

test('a disk that confirms faster than a device can is not trusted, and a slow one is named', () => {
  expect(judgeSync([0.001, 0.002, 0.003]).level).toBe('warning')
  expect(judgeSync([0.2, 0.3, 0.4]).level).toBe('ok')
  expect(judgeSync([0.2, 0.3, 200]).level).toBe('warning')
  expect(judgeSync([9, 9, 9]).found).toContain('9.00 ms (p50)')
})

test('a clock before this product, or before the newest record, is a problem', () => {
  const at = (iso: string) => ({ nowMicros: () => Date.parse(iso) * 1000, monotonicMs: () => 0 })
  const newest = Date.parse('2026-11-23T14:00:00Z')
  expect(judgeClock(at('1970-01-02T00:00:00Z'), undefined).level).toBe('problem')
  expect(judgeClock(at('2026-11-23T13:00:00Z'), newest).level).toBe('problem')
  expect(judgeClock(at('2026-11-23T13:59:59Z'), newest).level).toBe('ok')
})

test.each([
  ['v20.19.0', 'ok'],
  ['v20.18.9', 'problem'],
  ['v18.20.0', 'problem'],
  ['v26.0.0', 'ok'],
])('Node %s is %s', (version, level) => {
  expect(judgeNode(version).level).toBe(level)
})

test('a low limit of open files is named, an unknown one is not guessed', () => {
  const limits = (soft: string) =>
    `Max open files            ${soft}                 4096      files`
  expect(judgeOpenFiles(limits('1024'))?.level).toBe('warning')
  expect(judgeOpenFiles(limits('65536'))?.level).toBe('ok')
  expect(judgeOpenFiles(limits('unlimited'))?.level).toBe('ok')
  expect(judgeOpenFiles(undefined)).toBeUndefined()
})

test('the measurement of durable writes leaves nothing behind', async () => {
  expect(await measureSync({ directory, clock: systemClock, samples: 5 })).toHaveLength(5)
  expect(await readdir(directory)).toEqual([])
})

test('a machine is examined in every respect', async () => {
  const found = await examineMachine({ directory, clock: systemClock, newestMs: undefined })
  const checks = found.map(({ check }) => check)
  expect(checks).toEqual(expect.arrayContaining(['node', 'clock', 'disk-space', 'fsync']))
})

test('a key that others can read and a folder that others can write are problems', async () => {
  const own = process.getuid?.() ?? 0
  await mkdir(join(directory, 'keys'), { mode: 0o700 })
  await writeFile(join(directory, 'keys', 'identity.key'), 'x', { mode: 0o600 })
  await writeFile(join(directory, 'keys', 'identity.pub'), 'x', { mode: 0o644 })
  await symlink('/nonexistent', join(directory, 'link'))
  expect((await examinePermissions(directory, own)).map(({ level }) => level)).toEqual(['ok'])
  await chmod(join(directory, 'keys', 'identity.key'), 0o640)
  await chmod(join(directory, 'keys'), 0o777)
  const checks = (await examinePermissions(directory, own)).map(({ check }) => check)
  expect(checks).toEqual(['key-files', 'permissions'])
})

test('files of another user are named', async () => {
  await writeFile(join(directory, 'a'), 'x', { mode: 0o600 })
  const other = (process.getuid?.() ?? 0) + 1
  expect((await examinePermissions(directory, other)).map(({ check }) => check)).toEqual(['owner'])
})

test('an upstream that listens is reached, one that does not is named with the reason', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => {
    server.once('listening', resolve)
  })
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const url = `http://127.0.0.1:${port}/base`
  expect(await examineReach('anthropic', url)).toMatchObject({ level: 'ok' })
  await new Promise((resolve) => {
    server.close(resolve)
  })
  expect(await examineReach('anthropic', url)).toMatchObject({
    check: 'upstream-anthropic',
    level: 'warning',
    found: expect.stringContaining('ECONNREFUSED'),
  })
})

test('a quantile of nothing is zero', () => {
  expect(quantile([], 0.5)).toBe(0)
  expect(quantile([3, 1, 2], 0.5)).toBe(2)
})
