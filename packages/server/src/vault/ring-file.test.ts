import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openRingFile } from './ring-file.ts'

let directory = ''
let path = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'affidavit-ring-'))
  path = join(directory, 'deep', 'subjects.jsonl')
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('the file of the ring', () => {
  test('is made with its directories, for the owner only', async () => {
    const file = await openRingFile(path)
    await file.close()
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(statSync(join(directory, 'deep')).mode & 0o777).toBe(0o700)
    expect(readFileSync(path)).toHaveLength(0)
  })

  test('appends at its end, whatever was read before', async () => {
    const file = await openRingFile(path)
    await file.append(Buffer.from('one\n'))
    expect(Buffer.from(await file.read(0, 100)).toString()).toBe('one\n')
    await file.append(Buffer.from('two\n'))
    await file.close()
    expect(readFileSync(path, 'utf8')).toBe('one\ntwo\n')
  })

  test('reads from any position, and less than asked for only at its end', async () => {
    const file = await openRingFile(path)
    await file.append(Buffer.from('0123456789'))
    expect(Buffer.from(await file.read(3, 4)).toString()).toBe('3456')
    expect(Buffer.from(await file.read(8, 100)).toString()).toBe('89')
    expect(await file.read(10, 100)).toHaveLength(0)
    await file.close()
  })

  test('is cut where it is told, and goes on from there', async () => {
    const file = await openRingFile(path)
    await file.append(Buffer.from('whole\ntorn'))
    await file.truncate(6)
    await file.append(Buffer.from('next\n'))
    await file.close()
    expect(readFileSync(path, 'utf8')).toBe('whole\nnext\n')
  })

  test('that is there already is kept', async () => {
    const first = await openRingFile(path)
    await first.append(Buffer.from('kept\n'))
    await first.close()
    const second = await openRingFile(path)
    expect(Buffer.from(await second.read(0, 100)).toString()).toBe('kept\n')
    await second.close()
  })

  test('that cannot be opened is an error of the system', async () => {
    writeFileSync(join(directory, 'deep'), 'a file in the way')
    await expect(openRingFile(path)).rejects.toMatchObject({ code: 'EEXIST' })
  })
})
