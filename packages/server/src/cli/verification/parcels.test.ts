import { leafHash } from '@affidavit/format'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createFactsReader } from './log-facts.ts'
import {
  createParcelWriter,
  leavesOf,
  type Parcel,
  parcelBytes,
  parcelEntriesMax,
  walkParcel,
} from './parcels.ts'

interface Sent {
  readonly leafIndex: number
  readonly entry: Uint8Array
}

function pack(entries: readonly Sent[]): Parcel[] {
  const parcels: Parcel[] = []
  const writer = createParcelWriter((parcel) => parcels.push(parcel))
  for (const { entry, leafIndex } of entries) writer.add(entry, leafIndex, leafHash(entry))
  writer.flush()
  writer.flush()
  return parcels
}

function unpack(parcels: readonly Parcel[]): Sent[] {
  const received: Sent[] = []
  for (const parcel of parcels) {
    const bytes = new Uint8Array(parcel.buffer)
    walkParcel(parcel, (index, from, to) => {
      const entry = bytes.slice(from, to)
      const hash = leavesOf(parcel).subarray(index * 32, (index + 1) * 32)
      expect(hash).toEqual(leafHash(entry))
      received.push({ leafIndex: parcel.firstLeafIndex + index, entry })
    })
  }
  return received
}

const anyEntry = fc.uint8Array({ maxLength: 300 })

test('what goes in comes out: bytes, hashes, places', () => {
  const sent = fc.array(fc.tuple(anyEntry, fc.boolean()), { maxLength: 60 }).map((items) => {
    let leafIndex = -1
    return items.map(([entry, isAfterHole]) => {
      leafIndex += isAfterHole ? 256 : 1
      return { entry, leafIndex }
    })
  })
  fc.assert(
    fc.property(sent, (entries) => {
      expect(unpack(pack(entries))).toEqual(entries)
    }),
  )
})

test('the longest entries, and very many short ones, fill several parcels', () => {
  const long = Array.from({ length: 40 }, (_, leafIndex) => ({
    leafIndex,
    entry: new Uint8Array(65_535).fill(leafIndex),
  }))
  const parcels = pack(long)
  expect(parcels.length).toBeGreaterThan(2)
  expect(parcels.every(({ buffer }) => buffer.byteLength === parcelBytes)).toBe(true)
  expect(unpack(parcels).map(({ entry }) => entry[0])).toEqual(long.map(({ entry }) => entry[0]))
  const writer = createParcelWriter((parcel) => parcels.push(parcel))
  const entry = new Uint8Array(1)
  for (let leafIndex = 0; leafIndex <= parcelEntriesMax; leafIndex += 1) {
    writer.add(entry, leafIndex, leafHash(entry))
  }
  expect(parcels.at(-1)?.count).toBe(parcelEntriesMax)
})

test('an entry that is malformed is left out of the facts, and reported with its place', () => {
  const good = Buffer.from(
    `{"event_id":"01930000-0000-7000-8000-000000000000","kind":"ledger.heartbeat",` +
      `"timestamp":"2026-11-23T14:00:00.123456Z","v":1,"writer":{"epoch":1,"id":"${'a'.repeat(16)}",` +
      `"log":"standard/2026q4","prev":"${'0'.repeat(64)}","seq":7}}`,
  )
  const bad = Buffer.from(good.toString().replace('"v":1', '"v": 1'))
  const entries = [good, bad, good, bad, good].map((entry, index) => ({
    entry,
    leafIndex: 9 + index,
  }))
  const found: unknown[] = []
  const claims = { where: 'w', log: 'standard/2026q4', writerId: 'a'.repeat(16) }
  const read = createFactsReader(claims, ({ kind, leafIndex }) => found.push([kind, leafIndex]))
  const [parcel] = pack(entries)
  const batch = parcel && read(parcel)
  expect(found).toEqual([
    ['malformed', 10],
    ['malformed', 12],
  ])
  expect(batch?.count).toBe(3)
  expect([...(batch?.leafIndices.subarray(0, 3) ?? [])]).toEqual([9, 11, 13])
  const hash = leafHash(good)
  expect(batch?.leaves.subarray(0, 96)).toEqual(new Uint8Array([...hash, ...hash, ...hash]))
})

test.each([
  [{ log: 'standard/2026q3' }, 'belongs to another log'],
  [{ writerId: 'b'.repeat(16) }, "does not have this log's key"],
])('an entry that claims another place is a finding', (change, what) => {
  const text =
    `{"event_id":"01930000-0000-7000-8000-000000000000","kind":"ledger.heartbeat",` +
    `"timestamp":"2026-11-23T14:00:00.123456Z","v":1,"writer":{"epoch":1,"id":"${'a'.repeat(16)}",` +
    `"log":"standard/2026q4","prev":"${'0'.repeat(64)}","seq":7}}`
  const found: string[] = []
  const claims = { where: 'w', log: 'standard/2026q4', writerId: 'a'.repeat(16), ...change }
  const read = createFactsReader(claims, (finding) => found.push(finding.what))
  const [parcel] = pack([{ entry: Buffer.from(text), leafIndex: 0 }])
  expect(parcel && read(parcel).count).toBe(1)
  expect(found.join()).toContain(what)
})
