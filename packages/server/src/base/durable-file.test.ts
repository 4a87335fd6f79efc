import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createFileOnce, readFileIfPresent, replaceFile, secretMode } from './durable-file.ts'

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'affidavit-file-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

test('a file is replaced whole, with its mode, and nothing else is left', () => {
  const path = join(directory, 'a')
  replaceFile(path, 'one', secretMode)
  replaceFile(path, 'two', secretMode)
  expect(readFileSync(path, 'utf8')).toBe('two')
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(readdirSync(directory)).toEqual(['a'])
})

test('what a crash left of a replacement is overwritten, with the right mode', () => {
  const path = join(directory, 'a')
  writeFileSync(`${path}.next`, 'torn', { mode: 0o644 })
  replaceFile(path, 'whole', secretMode)
  expect(readFileSync(path, 'utf8')).toBe('whole')
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test('the first creation wins, and everybody reads the same', () => {
  const path = join(directory, 'deep', 'a')
  expect(createFileOnce(path, () => 'first', secretMode)).toBe('first')
  expect(createFileOnce(path, () => 'second', secretMode)).toBe('first')
  expect(readdirSync(join(directory, 'deep'))).toEqual(['a'])
})

test('a missing file is undefined, an unreadable one is an error', () => {
  expect(readFileIfPresent(join(directory, 'none'))).toBeUndefined()
  expect(() => readFileIfPresent(directory)).toThrow('EISDIR')
})
