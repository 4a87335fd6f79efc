import { fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createMemoryDisk } from './testing.ts'
import type { LedgerFs } from './ledger-fs.ts'
import { posixFs } from './posix-fs.ts'

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'posix-fs-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

/** The disk of the tests and the real one answer alike; what holds on one is tried on both. */
const systems: readonly (readonly [name: string, open: () => { fs: LedgerFs; root: string }])[] = [
  ['the real file system', () => ({ fs: posixFs, root: directory })],
  ['the disk of the tests', () => ({ fs: createMemoryDisk().mount().fs, root: '/data' })],
]

describe.each(systems)('%s', (_, open) => {
  test('writes at positions and reads from them', async () => {
    const { fs, root } = open()
    const path = join(root, 'x')
    const file = await fs.create(path)
    await file.write(Buffer.from('hello'), 0)
    await file.write(Buffer.from('world'), 6)
    await file.write(Buffer.from('J'), 0)
    await file.close()
    const text = async (from?: number) =>
      Buffer.from((await fs.readFile(path, from)) ?? []).toString()
    expect(await text()).toBe('Jello\0world')
    expect(await text(6)).toBe('world')
    expect(await text(100)).toBe('')
    expect(await fs.readFile(join(root, 'none'))).toBeUndefined()
  })

  test('empties a file that it creates again', async () => {
    const { fs, root } = open()
    const path = join(root, 'x')
    const file = await fs.create(path)
    await file.write(Buffer.from('hello'), 0)
    await file.close()
    await (await fs.create(path)).close()
    expect(await fs.readFile(path)).toHaveLength(0)
  })

  test('makes, lists and removes directories', async () => {
    const { fs, root } = open()
    const inner = join(root, 'a')
    expect(await fs.list(inner)).toBeUndefined()
    expect(await fs.makeDirectory(inner)).toBe(true)
    expect(await fs.makeDirectory(inner)).toBe(false)
    for (const name of ['c', 'b']) await (await fs.create(join(inner, name))).close()
    expect(await fs.list(inner)).toEqual(['b', 'c'])
    await fs.syncDirectory(inner)
    await fs.removeDirectory(inner)
    expect(await fs.list(inner)).toEqual(['b', 'c'])
    await fs.rename(join(inner, 'b'), join(inner, 'c'))
    await fs.unlink(join(inner, 'c'))
    await fs.unlink(join(inner, 'c'))
    await fs.removeDirectory(inner)
    await fs.removeDirectory(inner)
    expect(await fs.list(inner)).toBeUndefined()
    await expect(fs.makeDirectory(join(inner, 'deep'))).rejects.toThrow('ENOENT')
    await expect(fs.rename(join(inner, 'b'), join(root, 'b'))).rejects.toThrow('ENOENT')
    await expect(fs.create(join(inner, 'b'))).rejects.toThrow('ENOENT')
    await expect(fs.syncDirectory(inner)).rejects.toThrow('ENOENT')
  })

  test('gives a lock to one at a time, and the text of the holder to the others', async () => {
    const { fs, root } = open()
    const path = join(root, 'lock')
    const lock = await fs.lock(path, 'the holder')
    if (typeof lock === 'string') throw new Error('locked')
    expect(await fs.lock(path, 'another')).toBe('the holder')
    await lock.release()
    const next = await fs.lock(path, 'n')
    if (typeof next === 'string') throw new Error('locked')
    expect(await fs.lock(path, 'another')).toBe('n')
    await next.release()
  })
})

describe('the real file system', () => {
  test('lets only the owner read', async () => {
    await (await posixFs.create(join(directory, 'x'))).close()
    await posixFs.makeDirectory(join(directory, 'd'))
    expect(statSync(join(directory, 'x')).mode & 0o777).toBe(0o600)
    expect(statSync(join(directory, 'd')).mode & 0o777).toBe(0o700)
  })

  test('writes a mebibyte in one call', async () => {
    const path = join(directory, 'x')
    const file = await posixFs.create(path)
    await file.write(Buffer.alloc(1 << 20, 7), 3)
    await file.close()
    const written = readFileSync(path)
    expect(written.length).toBe((1 << 20) + 3)
    expect(written.subarray(3).every((byte) => byte === 7)).toBe(true)
  })

  test('fails a write on a closed file with the reason of the system', async () => {
    const file = await posixFs.create(join(directory, 'x'))
    await file.close()
    await expect(file.write(Buffer.from('x'), 0)).rejects.toThrow('EBADF')
  })

  test('drops the lock of a process that is killed', async () => {
    const path = join(directory, 'lock')
    const script = join(directory, 'holder.cjs')
    const native = join(import.meta.dirname, '../../../../node_modules/fs-native-extensions')
    writeFileSync(
      script,
      `const fs = require('node:fs')
const fd = fs.openSync(process.argv[2], 'w+')
require(process.argv[3]).tryLock(fd)
fs.writeSync(fd, 'child')
process.send('locked')
setInterval(() => undefined, 1000)`,
    )
    const child = fork(script, [path, native])
    await new Promise((resolve) => child.once('message', resolve))
    expect(await posixFs.lock(path, 'parent')).toBe('child')
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await ended
    const lock = await posixFs.lock(path, 'parent')
    if (typeof lock === 'string') throw new Error('locked')
    expect(readFileSync(path, 'utf8')).toBe('parent')
    await lock.release()
  })
})
