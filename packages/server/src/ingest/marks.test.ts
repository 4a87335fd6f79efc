import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openMarksFile } from './marks-file.ts'
import { isTaken, openMarks } from './marks.ts'
import { FakeMarksFile } from './testing.ts'

async function* entries(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text)
}

const spool = { key: 'k', writer: 'w' }

test('a mark is durable when it has moved, and only moves on', async () => {
  const file = new FakeMarksFile()
  const marks = await openMarks(file, entries())
  expect(marks.of(spool)).toBeUndefined()
  await Promise.all([
    marks.advance(spool, { epoch: 1, seq: 3 }),
    marks.advance(spool, { epoch: 1, seq: 9 }),
    marks.advance({ ...spool, key: 'other' }, { epoch: 7, seq: 0 }),
  ])
  const again = await openMarks(file, entries())
  expect(again.of(spool)).toEqual({ epoch: 1, seq: 9 })
  expect(again.of({ ...spool, key: 'other' })).toEqual({ epoch: 7, seq: 0 })
  await again.advance(spool, { epoch: 1, seq: 5 })
  expect((await openMarks(file, entries())).of(spool)).toEqual({ epoch: 1, seq: 9 })
})

test('a torn or damaged line is dropped, the others count', async () => {
  const file = new FakeMarksFile()
  await (await openMarks(file, entries())).advance(spool, { epoch: 1, seq: 3 })
  file.bytes = Buffer.concat([
    Buffer.from('junk\n{"epoch":1}\n'),
    file.bytes,
    file.bytes.subarray(0, 20),
  ])
  const again = await openMarks(file, entries())
  expect(again.of(spool)).toEqual({ epoch: 1, seq: 3 })
  expect(file.bytes.toString().trim().split('\n')).toHaveLength(1)
})

test('the ledger’s newest entries move a mark that a crash left behind', async () => {
  const stamp = (seq: number) => `{"ingest":{"epoch":1,"id":"w","key":"k","seq":${seq}},"v":1}`
  const file = new FakeMarksFile()
  const marks = await openMarks(
    file,
    entries(stamp(4), stamp(5), '{"v":1}', '{"ingest":{"epoch":"x"}}', '"ingest":{ broken'),
  )
  expect(marks.of(spool)).toEqual({ epoch: 1, seq: 5 })
})

test('a write that fails is the caller’s, and those behind it go on', async () => {
  const file = new FakeMarksFile()
  const marks = await openMarks(file, entries())
  file.failing = true
  await expect(marks.advance(spool, { epoch: 1, seq: 1 })).rejects.toThrow('as the test wants')
  file.failing = false
  await marks.advance(spool, { epoch: 1, seq: 2 })
  await marks.close()
  expect(file.bytes.toString()).toContain('"seq":2')
})

test.each([
  [{ epoch: 1, seq: 1 }, { epoch: 1, seq: 1 }, true],
  [{ epoch: 1, seq: 2 }, { epoch: 1, seq: 1 }, false],
  [{ epoch: 1, seq: 9 }, { epoch: 2, seq: 0 }, true],
  [{ epoch: 2, seq: 0 }, { epoch: 1, seq: 9 }, false],
  [{ epoch: 0, seq: 0 }, undefined, false],
])('%j against %j is taken: %s', (mark, last, expected) => {
  expect(isTaken(mark, last)).toBe(expected)
})

test('on a real disk: private, appended, rewritten', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'affidavit-marks-'))
  const path = join(directory, 'keyring', 'ingest.jsonl')
  try {
    const marks = await openMarks(await openMarksFile(path), entries())
    await marks.advance(spool, { epoch: 1, seq: 1 })
    await marks.advance(spool, { epoch: 1, seq: 2 })
    await marks.close()
    expect(readFileSync(path, 'utf8').trim().split('\n')).toHaveLength(2)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const again = await openMarks(await openMarksFile(path), entries())
    await again.close()
    expect(readFileSync(path, 'utf8')).toBe('{"epoch":1,"key":"k","seq":2,"writer":"w"}\n')
  } finally {
    rmSync(directory, { recursive: true })
  }
})
