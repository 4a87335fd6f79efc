import { canonicalize, leafHash, stampEntry, toHex, utf8Encode } from '@affidavit/format'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { entriesOf } from './testing.ts'
import {
  SequencedEntry,
  addEntry,
  closeBatch,
  createBatchMemory,
  hashInPlace,
  openBatch,
  releaseBatch,
  sealBatch,
  type Batch,
} from './batch.ts'
import { firstFrameHash, readFrame } from './frame.ts'
import { instanceKeyOf } from './key.ts'
import { createLogTable } from './logs.ts'
import type { WalPosition } from './wal.ts'

const writer = { epoch: 1, id: '0'.repeat(16), log: 'a/2026q4', prev: '0'.repeat(64), seq: 0 }
const stamp = stampEntry('{"":0}', writer).slice(5)
const key = instanceKeyOf(new Uint8Array(32))
const table = createLogTable({ name: 'a/b', directory: '/', epoch: 1, key, sealed: new Map() })
const log = table.open('a/2026q4')

/** Adds an entry as the ledger does; `undefined` when the batch is full. */
function add(batch: Batch, body: string): SequencedEntry | undefined {
  const start = addEntry(batch, body, stamp)
  if (start === undefined) return undefined
  const { slab, payloadEnd: end } = batch.space
  const place = { log, leafIndex: 0, slab, start, end, hash: hashInPlace(slab.bytes, start, end) }
  const entry = new SequencedEntry({ ...place, opens: undefined, closes: undefined })
  batch.entries.push(entry)
  return entry
}

const start: WalPosition = { segment: '', offset: 0, index: 0, frameHash: firstFrameHash }

describe('a batch', () => {
  test('encodes body and stamp as if they had been one text, and hashes the leaf', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'grapheme', minLength: 1 }), { minLength: 1 }),
        (texts) => {
          const memory = createBatchMemory()
          const batch = openBatch(memory, 200_000)
          for (const text of texts) {
            const body = canonicalize({ text: text.replaceAll(/\p{Surrogate}/gu, '?') })
            const added = add(batch, body)
            const expected = utf8Encode(stampEntry(body, writer))
            if (added === undefined) throw new Error('no room')
            expect(toHex(added.entry)).toBe(toHex(expected))
            expect(toHex(added.leafHash)).toBe(toHex(leafHash(expected)))
          }
        },
      ),
    )
  })

  test('is a frame of all its entries, and the next one does not touch it', () => {
    const memory = createBatchMemory()
    const frames = []
    let position = start
    for (let number = 0; number < 300; number++) {
      const batch = openBatch(memory, 3000)
      const body = canonicalize({ number, pad: 'x'.repeat(number * 7) })
      expect([add(batch, body), add(batch, body)]).not.toContain(undefined)
      closeBatch(memory, batch)
      const frame = sealBatch(batch, position, number)
      position = { ...position, index: position.index + 2, frameHash: frame.hash }
      frames.push({ frame, body })
    }
    let previous: Uint8Array = firstFrameHash
    for (const [number, { frame, body }] of frames.entries()) {
      const read = readFrame(frame.bytes, 0)
      expect(read).toMatchObject({ firstIndex: number * 2, count: 2, timeMicros: number })
      expect(toHex(read?.previousHash ?? new Uint8Array())).toBe(toHex(previous))
      const expected = toHex(utf8Encode(stampEntry(body, writer)))
      expect(entriesOf(read).map(toHex)).toEqual([expected, expected])
      previous = frame.hash
    }
  })

  test('that is full says so and is as before', () => {
    const memory = createBatchMemory()
    const batch = openBatch(memory, 60_000)
    const body = canonicalize({ pad: 'x'.repeat(60_000) })
    const entries = []
    for (let added = add(batch, body); added !== undefined; added = add(batch, body)) {
      entries.push(toHex(added.entry))
    }
    expect(entries).toHaveLength(8)
    closeBatch(memory, batch)
    const { bytes } = sealBatch(batch, start, 0)
    expect(entriesOf(readFrame(bytes, 0)).map(toHex)).toEqual(entries)
  })

  test('gives its memory back when it is integrated, with the others in its slab, and not before', () => {
    const memory = createBatchMemory()
    const body = canonicalize({ pad: 'x'.repeat(60_000) })
    const make = () => {
      const batch = openBatch(memory, 60_100)
      const entry = add(batch, body)
      if (entry === undefined) throw new Error('no room')
      closeBatch(memory, batch)
      return { entry, slab: batch.space.slab }
    }
    const made = Array.from({ length: 40 }, make)
    const slabs = [...new Set(made.map(({ slab }) => slab))]
    expect(slabs.length).toBeGreaterThan(3)
    const [first, second] = slabs
    if (first === undefined || second === undefined) throw new Error('not two slabs')
    const inFirst = made.filter(({ slab }) => slab === first)
    for (const { slab } of inFirst.slice(1)) releaseBatch(memory, slab)
    expect(memory.free).toEqual([])
    expect(inFirst[0]?.entry.entry.length).toBeGreaterThan(60_000)
    releaseBatch(memory, first)
    expect(memory.free).toEqual([first])
    expect(() => inFirst[0]?.entry.entry).toThrow('before it is integrated')
    // The hash and the place stay.
    expect(inFirst[0]?.entry.leafHash).toHaveLength(32)
    const later = Array.from({ length: 10 }, make)
    expect(later.some(({ slab }) => slab === first)).toBe(true)
    for (const { entry, slab } of made.filter((it) => it.slab === second)) {
      expect(toHex(leafHash(entry.entry))).toBe(entry.hash)
      expect(slab.generation).toBe(0)
    }
  })

  test('whose slab is still being filled keeps it', () => {
    const memory = createBatchMemory()
    const batch = openBatch(memory, 10)
    const entry = add(batch, '{"a":1}')
    closeBatch(memory, batch)
    releaseBatch(memory, batch.space.slab)
    expect(memory.free).toEqual([])
    expect(entry?.entry.length).toBeGreaterThan(7)
  })
})
