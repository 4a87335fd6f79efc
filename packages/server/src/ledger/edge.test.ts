import {
  encodeBundle,
  encodeTile,
  leafHash,
  rootOf,
  tilePath,
  tilesForSize,
  tileWidth,
  toHex,
  utf8Encode,
} from '@affidavit/format'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createEdge, loadEdge, type Edge } from './edge.ts'
import { failureOf } from './testing.ts'

const entries = Array.from({ length: 1200 }, (_, at) =>
  utf8Encode(`entry ${at} ${'.'.repeat(at % 9)}`),
)
const hashes = entries.map(leafHash)

/** A store of files, as the disk would have them. */
function createFiles() {
  const files = new Map<string, Uint8Array>()
  return {
    files,
    put: (made: readonly { path: string; bytes: Uint8Array }[]) => {
      for (const { path, bytes } of made) files.set(path, bytes.slice())
    },
    read: (tile: Parameters<typeof tilePath>[0]) => Promise.resolve(files.get(tilePath(tile))),
  }
}

function grow(edge: Edge, to: number, put: (made: ReturnType<Edge['partials']>) => void): void {
  while (edge.size < to) {
    const entry = entries[edge.size % entries.length]
    const hash = hashes[edge.size % entries.length]
    if (entry === undefined || hash === undefined) throw new Error('out of entries')
    put(edge.append(entry, hash))
  }
  put(edge.partials())
}

describe('an edge', () => {
  test('has the root and the files of the definition, however it grows', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 5 }),
        (steps) => {
          const edge = createEdge()
          const { files, put } = createFiles()
          let size = 0
          for (const step of steps) {
            size = Math.min(entries.length, size + step)
            grow(edge, size, put)
          }
          expect(toHex(edge.root())).toBe(toHex(rootOf(hashes.slice(0, size))))
          for (const [path, bytes] of expectedFiles(size)) {
            expect(files.get(path) && toHex(files.get(path) ?? bytes)).toBe(toHex(bytes))
          }
        },
      ),
      { numRuns: 20 },
    )
  })

  test('of nothing has no files and the root of nothing', () => {
    const edge = createEdge()
    expect(edge.partials()).toEqual([])
    expect(toHex(edge.root())).toBe(toHex(rootOf([])))
  })

  test('fills tiles of three levels', () => {
    const edge = createEdge()
    const { files, put } = createFiles()
    const size = tileWidth * tileWidth + 3
    grow(edge, size, put)
    expect([...files.keys()].filter((path) => !/^tile\/(0|entries)\//.test(path))).toEqual([
      'tile/1/000',
      'tile/2/000.p/1',
    ])
    const level1 = files.get('tile/1/000') ?? new Uint8Array()
    const tops = Array.from({ length: tileWidth }, (_, at) =>
      level1.subarray(at * 32, at * 32 + 32),
    )
    expect(files.get('tile/2/000.p/1')).toEqual(Uint8Array.from(rootOf(tops)))
  })

  test.each([0, 1, 2, 255, 256, 257, 511, 512, 700, 1200])(
    'of %i entries is loaded from its files and goes on as if it had never left',
    async (size) => {
      const edge = createEdge()
      const { put, read } = createFiles()
      grow(edge, size, put)
      const loaded = await loadEdge({ size, root: edge.root(), where: 'log x' }, read)
      const after = createFiles()
      const reference = createFiles()
      for (const more of [1, 255, 300]) {
        grow(edge, size + more, reference.put)
        grow(loaded, size + more, after.put)
      }
      expect(toHex(loaded.root())).toBe(toHex(edge.root()))
      expect(after.files).toEqual(reference.files)
    },
  )

  test.each([1, 255, 256, 257, 512, 700])(
    'of %i entries is not loaded when one of the files is changed, cut, or gone',
    async (size) => {
      const edge = createEdge()
      const { files, put, read } = createFiles()
      grow(edge, size, put)
      const target = { size, root: edge.root(), where: 'log x' }
      const needed = new Set<string>()
      await loadEdge(target, (tile) => {
        needed.add(tilePath(tile))
        return read(tile)
      })
      const [bundle] = [...needed].filter((path) => path.includes('entries'))
      expect(bundle).toBeDefined()
      for (const path of needed) {
        const bytes = files.get(path) ?? new Uint8Array()
        const last = bytes.length - 1
        const changed = [flip(bytes, 0), flip(bytes, last), flip(bytes, last >> 1), bytes.slice(1)]
        for (const damaged of changed) {
          files.set(path, damaged)
          expect((await failureOf(loadEdge(target, read))).code).toBe('ERR_LEDGER_CORRUPT')
        }
        files.delete(path)
        expect((await failureOf(loadEdge(target, read))).code).toBe('ERR_LEDGER_CORRUPT')
        files.set(path, bytes)
      }
    },
  )

  test('under another root is not loaded', async () => {
    const edge = createEdge()
    const { put, read } = createFiles()
    grow(edge, 300, put)
    const other = loadEdge({ size: 300, root: rootOf(hashes.slice(0, 299)), where: 'log x' }, read)
    expect((await failureOf(other)).code).toBe('ERR_LEDGER_CORRUPT')
  })

  test('does not keep the buffers alive that entries came in', () => {
    const edge = createEdge()
    const arrived = utf8Encode('will be overwritten')
    edge.append(arrived, leafHash(arrived))
    const [before] = edge.partials()
    arrived.fill(0)
    const [after] = edge.partials()
    expect(after?.bytes.slice()).toEqual(before?.bytes.slice())
  })
})

/** Full files and the partial ones of the last size, made from the definition. */
function* expectedFiles(size: number): Generator<[string, Uint8Array]> {
  for (const tile of tilesForSize(size)) {
    const span = tileWidth ** tile.level
    const row = Array.from({ length: tile.width }, (_, at) => {
      const first = (tile.index * tileWidth + at) * span
      return rootOf(hashes.slice(first, first + span))
    })
    yield [tilePath(tile), encodeTile(row)]
    if (tile.level > 0) continue
    const first = tile.index * tileWidth
    const bundle = encodeBundle(entries.slice(first, first + tile.width))
    yield [tilePath({ ...tile, level: 'entries' }), bundle]
  }
}

function flip(bytes: Uint8Array, at: number): Uint8Array {
  const changed = bytes.slice()
  changed[at] = (changed[at] ?? 0) ^ 1
  return changed
}
