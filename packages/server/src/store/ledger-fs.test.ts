import { describe, expect, test } from 'vitest'
import { guardFs, type LedgerFs } from './ledger-fs.ts'
import { createMemoryDisk } from './testing.ts'

const stopped = () => new Error('stopped')

/** A file system of which every `list` waits until the test lets it end. */
function createSlowFs() {
  const ends: (() => void)[] = []
  const { fs } = createMemoryDisk().mount()
  const slow: LedgerFs = {
    ...fs,
    list: (path) => new Promise((resolve) => ends.push(() => resolve([path]))),
  }
  return { slow, running: () => ends.length, endOne: () => ends.shift()?.() }
}

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

describe('a guarded file system', () => {
  test('runs as many operations at once as it may, the others in order', async () => {
    const { slow, running, endOne } = createSlowFs()
    const { fs } = guardFs(slow, { operationsMax: 2, stopped })
    const done: unknown[] = []
    for (const path of ['a', 'b', 'c', 'd', 'e'])
      void fs.list(path).then((names) => done.push(...(names ?? [])))
    await settle()
    expect(running()).toBe(2)
    for (let number = 0; number < 5; number++) {
      endOne()
      await settle()
      expect(running()).toBe(Math.min(2, 4 - number))
    }
    expect(done).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  test('a failed operation makes room like any other', async () => {
    const { fs } = guardFs(createMemoryDisk().mount().fs, { operationsMax: 1, stopped })
    const failing = Array.from({ length: 5 }, () => fs.rename('/data/no', '/data/where'))
    const outcomes = await Promise.allSettled(failing)
    expect(outcomes.map(({ status }) => status)).toEqual(
      Array.from({ length: 5 }, () => 'rejected'),
    )
    expect(await fs.list('/data')).toEqual([])
  })

  test('once stopped lets nothing begin, and says when nothing runs', async () => {
    const { slow, running, endOne } = createSlowFs()
    const { fs, stop } = guardFs(slow, { operationsMax: 1, stopped })
    const first = fs.list('a')
    const waiting = fs.list('b')
    const idle = stop().then(() => 'idle')
    await settle()
    expect(await Promise.race([idle, Promise.resolve('running')])).toBe('running')
    endOne()
    expect(await first).toEqual(['a'])
    await expect(waiting).rejects.toThrow('stopped')
    expect(await idle).toBe('idle')
    expect(running()).toBe(0)
    await expect(fs.list('c')).rejects.toThrow('stopped')
    await stop()
  })

  test('binds the files that were opened through it', async () => {
    const disk = createMemoryDisk()
    const { fs, stop } = guardFs(disk.mount().fs, { operationsMax: 1, stopped })
    const file = await fs.create('/data/x')
    await file.write(Buffer.from('one'), 0)
    await stop()
    await expect(file.write(Buffer.from('two'), 0)).rejects.toThrow('stopped')
    await file.close()
    expect(disk.read('/data/x')).toEqual(Buffer.from('one'))
  })
})
