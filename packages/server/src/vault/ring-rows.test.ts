import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { RingFile } from './ring-file.ts'
import { formatRow, parseRow, scanRows, type RingRow } from './ring-rows.ts'

const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`))
const base64 = fc
  .uint8Array({ minLength: 1, maxLength: 60 })
  .map((bytes) => Buffer.from(bytes).toString('base64'))

const row: fc.Arbitrary<RingRow> = fc.record(
  {
    kind: fc.constantFrom('user' as const, 'session' as const, 'application' as const),
    handle: fc.string({ minLength: 1, maxLength: 40 }),
    month: fc.constantFrom('2026-11', '2026-12', '1999-01'),
    lookup: hex(64),
    key: hex(16),
    sealed: base64,
    salt: base64,
  },
  { requiredKeys: ['kind', 'handle', 'month', 'lookup', 'key', 'sealed'] },
)

/** Gives the bytes in reads of at most `readBytes`. */
function reading(bytes: Uint8Array, readBytes: number): Pick<RingFile, 'read'> {
  return {
    read: (position, length) =>
      Promise.resolve(bytes.subarray(position, position + Math.min(length, readBytes))),
  }
}

async function rowsIn(bytes: Uint8Array, readBytes: number) {
  const rows: RingRow[] = []
  const scan = await scanRows(reading(bytes, readBytes), (it) => rows.push(it))
  return { rows, scan }
}

describe('rows', () => {
  test('any row is parsed from what it is formatted to, and has one form', () => {
    fc.assert(
      fc.property(row, (it) => {
        const line = formatRow(it)
        expect(line.at(-1)).toBe(0x0a)
        const parsed = parseRow(line.subarray(0, -1))
        expect(parsed).toEqual(it)
        expect(parsed === undefined ? undefined : formatRow(parsed)).toEqual(line)
      }),
    )
  })

  test('however the bytes are read, the same rows are found', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(row, { maxLength: 8 }),
        fc.integer({ min: 1, max: 500 }),
        async (rows, readBytes) => {
          const bytes = Buffer.concat(rows.map(formatRow))
          const found = await rowsIn(bytes, readBytes)
          expect(found.rows).toEqual(rows)
          expect(found.scan).toEqual({
            rows: rows.length,
            damagedRows: 0,
            tornBytes: 0,
            wholeBytes: bytes.length,
          })
        },
      ),
      { numRuns: 60 },
    )
  })

  test('a file cut anywhere has the rows that were whole before the cut, and a torn rest', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(row, { minLength: 1, maxLength: 5 }),
        fc.nat(),
        fc.integer({ min: 1, max: 400 }),
        async (rows, at, readBytes) => {
          const lines = rows.map(formatRow)
          const bytes = Buffer.concat(lines)
          const cut = at % bytes.length
          const { rows: found, scan } = await rowsIn(bytes.subarray(0, cut), readBytes)
          expect(found).toEqual(rows.slice(0, found.length))
          expect(scan.damagedRows).toBe(0)
          expect(scan.wholeBytes + scan.tornBytes).toBe(cut)
          expect(scan.wholeBytes).toBe(Buffer.concat(lines.slice(0, found.length)).length)
        },
      ),
      { numRuns: 100 },
    )
  })

  test('a flipped byte costs at most the two rows beside it, and is counted', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(row, { minLength: 3, maxLength: 5 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (rows, at, flip) => {
          const bytes = Buffer.concat(rows.map(formatRow))
          const place = at % bytes.length
          bytes[place] = (bytes[place] ?? 0) ^ flip
          const { rows: found, scan } = await rowsIn(bytes, 1000)
          const intact = rows.filter((it) => found.some((other) => sameRow(it, other)))
          expect(intact.length).toBeGreaterThanOrEqual(rows.length - 2)
          expect(scan.wholeBytes + scan.tornBytes).toBe(bytes.length)
        },
      ),
      { numRuns: 100 },
    )
  })

  test('an empty file has no rows', async () => {
    const { scan } = await rowsIn(new Uint8Array(0), 10)
    expect(scan).toEqual({ rows: 0, damagedRows: 0, tornBytes: 0, wholeBytes: 0 })
  })
})

function sameRow(left: RingRow, right: RingRow): boolean {
  return Buffer.from(formatRow(left)).equals(formatRow(right))
}
