import { isAuditError } from '@affidavit/format'
import { describe, expect, test } from 'vitest'
import { openPosixHeadStore } from './head-store.ts'
import { createMemoryDisk, type MountOptions, type Outcome } from './testing.ts'

const bytes = (text: string) => Buffer.from(text)

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  return isAuditError(error) ? error.code : undefined
}

describe('the head store', () => {
  test('is empty at first, and then has what was swapped in, after a reboot too', async () => {
    const disk = createMemoryDisk()
    const store = await openPosixHeadStore(disk.mount().fs, '/data/head')
    expect(await store.load()).toBeUndefined()
    await store.swap(undefined, bytes('one'))
    await store.swap(bytes('one'), bytes('two'))
    disk.reboot(() => false)
    const again = await openPosixHeadStore(disk.mount().fs, '/data/head')
    expect(await again.load()).toEqual(bytes('two'))
  })

  test('refuses a swap that expects something else, and changes nothing', async () => {
    const disk = createMemoryDisk()
    const store = await openPosixHeadStore(disk.mount().fs, '/data/head')
    expect(await codeOf(store.swap(bytes('one'), bytes('two')))).toBe('ERR_HEAD_CONFLICT')
    await store.swap(undefined, bytes('one'))
    for (const expected of [undefined, bytes('on'), bytes('one '), bytes('One'), bytes('')]) {
      expect(await codeOf(store.swap(expected, bytes('two')))).toBe('ERR_HEAD_CONFLICT')
    }
    expect(await store.load()).toEqual(bytes('one'))
  })

  test('has the old value or the new one after a crash at any step, never another', async () => {
    const outcomes = ['crash-before', 'crash-torn', 'crash-after'] satisfies Outcome[]
    for (let step = 1; step <= 5; step++) {
      for (const outcome of outcomes) {
        const disk = createMemoryDisk()
        const first = await openPosixHeadStore(disk.mount().fs, '/data/head')
        await first.swap(undefined, bytes('one'))
        // The first two steps make the directory and sync it.
        const decide: MountOptions['decide'] = (it) => (it.step === step + 2 ? outcome : 'ok')
        const { fs, died } = disk.mount({ decide })
        const store = await openPosixHeadStore(fs, '/data/head')
        await Promise.race([store.swap(bytes('one'), bytes('two')), died])
        disk.reboot(() => step % 2 === 0)
        const found = await (await openPosixHeadStore(disk.mount().fs, '/data/head')).load()
        expect(['one', 'two']).toContain(Buffer.from(found ?? []).toString())
      }
    }
  })
})
