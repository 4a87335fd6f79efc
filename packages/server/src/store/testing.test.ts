import { describe, expect, test } from 'vitest'
import { createMemoryDisk } from './testing.ts'

const bytes = (text: string) => Buffer.from(text)

async function fileOn(disk: ReturnType<typeof createMemoryDisk>, text: string) {
  const { fs } = disk.mount()
  const file = await fs.create('/data/x')
  await file.write(bytes(text), 0)
  return { fs, file }
}

describe('the disk of the tests', () => {
  test('forgets a name that was not synced, and keeps one that was', async () => {
    const disk = createMemoryDisk()
    const { fs } = await fileOn(disk, 'one')
    const lost = disk.clone()
    lost.reboot(() => false)
    expect(lost.read('/data/x')).toBeUndefined()
    await fs.syncDirectory('/data')
    disk.reboot(() => false)
    expect(disk.read('/data/x')).toEqual(bytes('one'))
  })

  test('may bring back what was moved or removed and not synced', async () => {
    const disk = createMemoryDisk()
    const { fs } = await fileOn(disk, 'one')
    await fs.syncDirectory('/data')
    await fs.rename('/data/x', '/data/y')
    disk.reboot(() => false)
    expect(disk.files()).toEqual(['/data/x'])
    await disk.mount().fs.unlink('/data/x')
    disk.reboot(() => true)
    expect(disk.files()).toEqual([])
  })

  test('shows a failed write until the reboot, and not after', async () => {
    const disk = createMemoryDisk()
    const { fs } = await fileOn(disk, 'one')
    await fs.syncDirectory('/data')
    const failing = disk.mount({ decide: ({ name }) => (name === 'write' ? 'fail-cached' : 'ok') })
    const file = await failing.fs.create('/data/y')
    await failing.fs.syncDirectory('/data')
    await expect(file.write(bytes('two'), 0)).rejects.toThrow('EIO')
    expect(disk.read('/data/y')).toEqual(bytes('two'))
    disk.reboot(() => true)
    expect(disk.read('/data/y')).toEqual(Buffer.alloc(0))
  })

  test('tears a write by sectors, and leaves at least one out', async () => {
    for (let seed = 0; seed < 50; seed++) {
      let state = seed
      const disk = createMemoryDisk(() => {
        state = (state * 16_807 + 11) % 2_147_483_647
        return state / 2_147_483_647
      })
      const { fs, died } = disk.mount({
        decide: ({ name }) => (name === 'write' ? 'crash-torn' : 'ok'),
      })
      const file = await fs.create('/data/x')
      await fs.syncDirectory('/data')
      void file.write(Buffer.alloc(2000, 1), 100)
      await died
      disk.reboot(() => true)
      const found = Buffer.concat([disk.read('/data/x') ?? bytes(''), Buffer.alloc(2100)]).subarray(
        0,
        2100,
      )
      const sectors = [100, 512, 1024, 1536, 2048, 2100]
      const kept = sectors
        .slice(0, -1)
        .map((start, at) => new Set(found.subarray(start, sectors[at + 1])))
      // Each sector is all there or all missing.
      expect(kept.every((values) => values.size === 1)).toBe(true)
      expect(kept.some((values) => values.has(0))).toBe(true)
    }
  })

  test('gives a dead process no answer, and lets the next one have its lock', async () => {
    const disk = createMemoryDisk()
    const first = disk.mount()
    const lock = await first.fs.lock('/data/lock', 'first')
    expect(typeof lock).toBe('object')
    expect(await disk.mount().fs.lock('/data/lock', 'second')).toBe('first')
    let isAnswered = false
    void first.fs.list('/data').finally(() => {
      isAnswered = true
    })
    first.kill()
    expect(typeof (await disk.mount().fs.lock('/data/lock', 'third'))).toBe('object')
    expect(isAnswered).toBe(false)
  })

  test('lets operations overtake each other when they take a while', async () => {
    const disk = createMemoryDisk()
    const delays = [9, 1]
    const { fs } = disk.mount({ delay: () => delays.shift() ?? 1 })
    const order: string[] = []
    await Promise.all([
      fs.makeDirectory('/data/a').then(() => order.push('a')),
      fs.makeDirectory('/data/b').then(() => order.push('b')),
    ])
    expect(order).toEqual(['b', 'a'])
  })
})
