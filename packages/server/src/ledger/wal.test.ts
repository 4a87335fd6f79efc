import { equalBytes } from '@affidavit/format'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createMemoryDisk, type MemoryDisk, type MountOptions } from '../store/testing.ts'
import { firstFrameHash, frameHashPrefix, frameHeaderBytes, sealFrame } from './frame.ts'
import { failureOf } from './testing.ts'
import { listSegments, scanWal } from './wal-scan.ts'
import {
  openWalWriter,
  parseSegmentName,
  segmentName,
  type WalPosition,
  type WalWriter,
} from './wal.ts'

/** A frame of one entry of so many bytes that goes after `position`. */
function frameAfter(position: WalPosition, entryBytes: number) {
  const before = frameHashPrefix.length + frameHeaderBytes
  const buffer = Buffer.alloc(before + 2 + entryBytes + 32, 0x61)
  buffer.writeUInt16BE(entryBytes, before)
  const header = {
    firstIndex: position.index,
    count: 1,
    timeMicros: 1,
    previousHash: position.frameHash,
  }
  return { ...sealFrame(buffer, before + 2 + entryBytes, header), count: 1 }
}

async function openOn(
  disk: MemoryDisk,
  {
    mount = {},
    segmentBytes = 4096,
    failed = [] as unknown[],
  }: {
    mount?: MountOptions
    segmentBytes?: number
    failed?: unknown[]
  } = {},
): Promise<WalWriter> {
  const { fs } = disk.mount(mount)
  return await openWalWriter({
    directory: '/data',
    staging: '/data',
    epoch: 3,
    segmentBytes,
    start: { index: 100, frameHash: firstFrameHash },
    fs,
    backgroundFs: fs,
    onPrepareFailed: (error) => failed.push(error),
  })
}

const start: WalPosition = {
  segment: segmentName({ firstIndex: 100, epoch: 3 }),
  offset: 0,
  index: 100,
  frameHash: firstFrameHash,
}

async function scan(disk: MemoryDisk, from = start) {
  const lengths: number[] = []
  const { fs } = disk.mount()
  const end = await scanWal(fs, '/data', from, ({ bytes }) => lengths.push(bytes.length))
  return { lengths, end }
}

const segmentsOn = (disk: MemoryDisk) => disk.files().filter((path) => path.endsWith('.wal'))

describe('names of segments', () => {
  test('hold first index and epoch, sort by them, and nothing else is one', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.nat(), (firstIndex, epoch) => {
        const name = segmentName({ firstIndex, epoch })
        expect(parseSegmentName(name)).toEqual({ firstIndex, epoch, name })
        const next = segmentName({ firstIndex: Math.min(firstIndex + 1, 2 ** 53 - 1), epoch })
        expect(next >= name).toBe(true)
      }),
    )
    for (const name of [
      '',
      'x.wal',
      '1-1.wal',
      `${'9'.repeat(20)}-0000000001.wal`,
      `${segmentName({ firstIndex: 1, epoch: 1 })}.tmp`,
    ]) {
      expect(parseSegmentName(name)).toBeUndefined()
    }
  })
})

describe('a writer', () => {
  test('writes what a scan reads, over as many segments as it takes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 6000 }), { maxLength: 30 }),
        async (sizes) => {
          const disk = createMemoryDisk()
          const writer = await openOn(disk)
          const positions = [writer.position]
          for (const size of sizes) {
            await writer.write(frameAfter(writer.position, size))
            positions.push(writer.position)
          }
          await writer.close()
          disk.reboot(() => false)
          const { lengths, end } = await scan(disk)
          expect(lengths).toEqual(sizes.map((size) => size + 98))
          const { frameHash, ...place } = end.position
          expect(end.tornBytes).toBe(0)
          expect(writer.position).toMatchObject(place)
          expect(equalBytes(frameHash, writer.position.frameHash)).toBe(true)
          // From every position on, the rest.
          for (const [at, position] of positions.entries()) {
            expect((await scan(disk, position)).lengths).toEqual(lengths.slice(at))
          }
        },
      ),
      { numRuns: 30 },
    )
  })

  test('names each segment by the entry that it begins with, and leaves zeros after the last frame', async () => {
    const disk = createMemoryDisk()
    const writer = await openOn(disk)
    for (const size of [1000, 1000, 3000, 10, 5000]) {
      await writer.write(frameAfter(writer.position, size))
    }
    await writer.close()
    expect(segmentsOn(disk)).toEqual(
      [100, 102, 104].map((firstIndex) => `/data/${segmentName({ firstIndex, epoch: 3 })}`),
    )
    // The last one is larger than a segment: it gets one of its own size.
    const sizes = segmentsOn(disk).map((path) => disk.read(path)?.length)
    expect(sizes).toEqual([4096, 4096, 5098])
    const [first] = segmentsOn(disk)
    expect(
      disk
        .read(first ?? '')
        ?.subarray(2 * 1098)
        .every((byte) => byte === 0),
    ).toBe(true)
  })

  test('leaves no prepared segment behind when it is closed', async () => {
    const disk = createMemoryDisk()
    const writer = await openOn(disk)
    await writer.close()
    expect(disk.files()).toEqual(segmentsOn(disk))
  })

  test('goes on when a segment could not be prepared, and prepares one when it needs it', async () => {
    const disk = createMemoryDisk()
    const failed: unknown[] = []
    const decide: MountOptions['decide'] = ({ name, path }) =>
      name === 'write' && path.endsWith('segment-1') ? 'fail-torn' : 'ok'
    const writer = await openOn(disk, { mount: { decide, code: 'ENOSPC' }, failed })
    for (const size of [3000, 3000]) await writer.write(frameAfter(writer.position, size))
    expect(failed).toHaveLength(1)
    expect(segmentsOn(disk)).toHaveLength(2)
    // What it had taken of the disk was given back.
    await writer.close()
    expect(disk.files()).toEqual(segmentsOn(disk))
  })

  test('fails when no segment can be had at all', async () => {
    const disk = createMemoryDisk()
    let isFull = false
    const decide: MountOptions['decide'] = ({ name, path }) =>
      isFull && name === 'create' && path.includes('segment') ? 'fail-nothing' : 'ok'
    const writer = await openOn(disk, { mount: { decide, code: 'ENOSPC' } })
    await writer.write(frameAfter(writer.position, 3000))
    isFull = true
    await writer.write(frameAfter(writer.position, 3000))
    await expect(writer.write(frameAfter(writer.position, 3000))).rejects.toThrow('ENOSPC')
    expect((await scan(disk)).lengths).toHaveLength(2)
  })
})

describe('a scan', () => {
  test('passes over files that are no segments, and segments of epochs before', async () => {
    const disk = createMemoryDisk()
    const { fs } = disk.mount()
    for (const name of ['x', 'notes.txt', segmentName({ firstIndex: 90, epoch: 2 })]) {
      const file = await fs.create(`/data/${name}`)
      await file.write(Buffer.from('something'), 0)
    }
    const writer = await openOn(disk)
    await writer.write(frameAfter(writer.position, 10))
    expect((await scan(disk)).lengths).toEqual([108])
    expect((await listSegments(fs, '/data')).map(({ firstIndex }) => firstIndex)).toEqual([90, 100])
    expect(await listSegments(fs, '/nowhere')).toEqual([])
  })

  test('is not led astray by a frame inside an entry', async () => {
    const disk = createMemoryDisk()
    const writer = await openOn(disk)
    const inner = frameAfter({ ...start, index: 500 }, 10)
    const outer = frameAfter(writer.position, inner.bytes.length)
    const before = frameHeaderBytes + 2
    outer.bytes.set(inner.bytes, before)
    // Sealed again around the frame that an entry holds as content.
    const buffer = Buffer.alloc(frameHashPrefix.length + outer.bytes.length)
    buffer.set(outer.bytes, frameHashPrefix.length)
    const header = { firstIndex: 100, count: 1, timeMicros: 1, previousHash: firstFrameHash }
    const sealed = sealFrame(buffer, buffer.length - 32, header)
    await writer.write({ ...sealed, count: 1 })
    const { lengths, end } = await scan(disk)
    expect(lengths).toEqual([sealed.bytes.length])
    expect(end.position.index).toBe(101)
    expect(equalBytes(end.position.frameHash, sealed.hash)).toBe(true)
  })

  test('refuses a position in a segment that is not there', async () => {
    const disk = createMemoryDisk()
    await openOn(disk)
    const elsewhere = { ...start, segment: segmentName({ firstIndex: 101, epoch: 3 }) }
    expect((await failureOf(scan(disk, elsewhere))).code).toBe('ERR_ROLLBACK_SUSPECTED')
    const beyond = { ...start, offset: 9000 }
    expect((await failureOf(scan(disk, beyond))).code).toBe('ERR_ROLLBACK_SUSPECTED')
  })
})
