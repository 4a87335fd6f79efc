import { describe, expect, test } from 'vitest'
import { clearStaging, createDurableFiles, makeDirectories, writeWhole } from './durable.ts'
import { createMemoryDisk, type MemoryDisk, type MountOptions, type Outcome } from './testing.ts'

const bytes = (text: string) => Buffer.from(text)

async function filesOn(disk: MemoryDisk, options?: MountOptions) {
  const { fs, steps, died } = disk.mount(options)
  await makeDirectories(fs, '/data/staging')
  await makeDirectories(fs, '/data/log')
  const files = createDurableFiles({ fs, root: '/data/log', staging: '/data/staging' })
  return { files, fs, steps, died }
}

describe('durable files', () => {
  test('are there after a reboot, with all directories on the way, once settled', async () => {
    const disk = createMemoryDisk()
    const { files } = await filesOn(disk)
    const paths = Array.from(
      { length: 20 },
      (_, at) => `/data/log/tile/${at % 3}/x00${at % 4}/${at}`,
    )
    for (const path of paths) await files.put(path, bytes(path))
    await files.settle()
    disk.reboot(() => false)
    for (const path of paths) expect(disk.read(path)).toEqual(bytes(path))
    expect(disk.files()).toHaveLength(paths.length)
  })

  test('are whole or not there at every crash', async () => {
    const run = async (disk: MemoryDisk, options?: MountOptions) => {
      const { files, steps, died } = await filesOn(disk, options)
      const work = async () => {
        for (const name of ['a/b/1', 'a/b/2', 'a/3']) {
          await files.put(`/data/log/${name}`, Buffer.alloc(3000, name))
        }
        await files.settle()
      }
      return { steps, end: Promise.race([work(), died]) }
    }
    const whole = createMemoryDisk()
    const { steps, end } = await run(whole)
    await end
    const last = steps()
    for (let step = 9; step <= last; step++) {
      for (const outcome of ['crash-before', 'crash-torn', 'crash-after'] satisfies Outcome[]) {
        for (const survives of [true, false]) {
          const disk = createMemoryDisk()
          const decide: MountOptions['decide'] = (it) => (it.step === step ? outcome : 'ok')
          await (
            await run(disk, { decide })
          ).end
          disk.reboot(() => survives)
          for (const path of disk.files().filter((it) => it.startsWith('/data/log'))) {
            expect(disk.read(path)).toEqual(whole.read(path))
          }
        }
      }
    }
    expect(last).toBeGreaterThan(15)
  })

  test('the first failure is told at once and for good', async () => {
    const disk = createMemoryDisk()
    const { files } = await filesOn(disk, {
      code: 'ENOSPC',
      decide: ({ name, path }) => (name === 'rename' && path.endsWith('2') ? 'fail-nothing' : 'ok'),
    })
    await files.put('/data/log/1', bytes('1'))
    await files.put('/data/log/2', bytes('2'))
    await expect(files.settle()).rejects.toThrow('ENOSPC')
    await expect(files.put('/data/log/3', bytes('3'))).rejects.toThrow('ENOSPC')
    await expect(files.settle()).rejects.toThrow('ENOSPC')
  })

  test('a directory that a killed run has made, and not synced, is synced', async () => {
    const disk = createMemoryDisk()
    const { fs, kill } = disk.mount()
    await makeDirectories(fs, '/data/staging')
    await makeDirectories(fs, '/data/log')
    await fs.makeDirectory('/data/log/a')
    kill()
    const { files } = await filesOn(disk)
    await files.put('/data/log/a/1', bytes('1'))
    await files.settle()
    disk.reboot(() => false)
    expect(disk.read('/data/log/a/1')).toEqual(bytes('1'))
  })

  test('one is written while the next is made', async () => {
    const disk = createMemoryDisk()
    let writing = 0
    let writingMax = 0
    const { fs } = disk.mount()
    const files = createDurableFiles({
      root: '/data',
      staging: '/data',
      fs: {
        ...fs,
        async create(path) {
          writingMax = Math.max(writingMax, ++writing)
          const file = await fs.create(path)
          return {
            ...file,
            async close() {
              writing -= 1
              await file.close()
            },
          }
        },
      },
    })
    for (let number = 0; number < 30; number++) await files.put(`/data/f${number}`, bytes('x'))
    await files.settle()
    expect(writingMax).toBe(1)
  })
})

describe('a file written whole', () => {
  test('has the old content or the new at every crash', async () => {
    const target = { path: '/data/x', staged: '/data/x.tmp' }
    for (let step = 1; step <= 4; step++) {
      for (const outcome of ['crash-before', 'crash-torn', 'crash-after'] satisfies Outcome[]) {
        const disk = createMemoryDisk()
        await writeWhole(disk.mount().fs, { ...target, bytes: Buffer.alloc(2000, 'old') })
        const decide: MountOptions['decide'] = (it) => (it.step === step ? outcome : 'ok')
        const { fs, died } = disk.mount({ decide })
        await Promise.race([writeWhole(fs, { ...target, bytes: Buffer.alloc(2000, 'new') }), died])
        disk.reboot(() => step % 2 === 0)
        const found = disk.read('/data/x')?.toString() ?? ''
        expect([
          Buffer.alloc(2000, 'old').toString(),
          Buffer.alloc(2000, 'new').toString(),
        ]).toContain(found)
      }
    }
  })
})

describe('the staging directory', () => {
  test('is emptied, whatever is in it', async () => {
    const disk = createMemoryDisk()
    const { fs } = await filesOn(disk)
    await (await fs.create('/data/staging/7')).close()
    await (await fs.create('/data/staging/segment-1')).close()
    await clearStaging(fs, '/data/staging')
    expect(disk.files()).toEqual([])
    await clearStaging(fs, '/data/nowhere')
  })
})
