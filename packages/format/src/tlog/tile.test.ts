/**
 * Tiles and bundles: one path and one content for each, and proofs out of them.
 *
 * @module
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concatBytes, toHex, utf8Decode, utf8Encode } from '../bytes.ts'
import { leafHash } from '../hash.ts'
import { createTestLog, faultsOf, testEntries } from '../testing.ts'
import { consistencyProof, inclusionProof, readRoot, rootOf, verifyInclusion } from './merkle.ts'
import {
  encodeBundle,
  encodeTile,
  hashReader,
  parseBundle,
  parseTile,
  parseTilePath,
  readTile,
  tilePath,
  tilesBetween,
  tilesForSize,
  tileWidth,
  walkBundle,
  type TileId,
} from './tile.ts'

const tileMalformed = expect.objectContaining({ code: 'ERR_TILE_MALFORMED' })
const bundleMalformed = expect.objectContaining({ code: 'ERR_BUNDLE_MALFORMED' })

const tiles: fc.Arbitrary<TileId> = fc.record({
  level: fc.oneof(fc.constant('entries' as const), fc.integer({ min: 0, max: 63 })),
  index: fc.oneof(fc.nat(2_000), fc.maxSafeNat()),
  width: fc.integer({ min: 1, max: 256 }),
})

describe('paths', () => {
  it('of every tile are read as that tile', () => {
    fc.assert(
      fc.property(tiles, (tile) => {
        expect(parseTilePath(tilePath(tile))).toEqual(tile)
      }),
    )
  })

  it.each([
    ['tile/entries/000', { level: 'entries', index: 0, width: 256 }],
    ['tile/entries/x001/x234/067.p/8', { level: 'entries', index: 1_234_067, width: 8 }],
    ['tile/0/999', { level: 0, index: 999, width: 256 }],
    ['tile/0/x001/000', { level: 0, index: 1_000, width: 256 }],
    ['tile/63/x009/x007/x199/x254/x740/991.p/255', { level: 63, index: 2 ** 53 - 1, width: 255 }],
  ] as const)('%s names the tile', (path, tile) => {
    expect(tilePath(tile)).toBe(path)
    expect(parseTilePath(path)).toEqual(tile)
  })

  it.each([
    '',
    'checkpoint',
    'tile',
    'tile/',
    'tile/0',
    'tile/0/',
    'tile/0/0',
    'tile/0/00',
    'tile/0/0000',
    'tile/0/x000/000',
    'tile/0/x000/001',
    'tile/0/001/002',
    'tile/0/x001',
    'tile/0/x001/',
    'tile/0/x001/x234',
    'tile/0/X001/234',
    'tile/0/x01/234',
    'tile/0/000/',
    'tile/0//000',
    '/tile/0/000',
    'tile/00/000',
    'tile/01/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/+1/000',
    'tile/1e1/000',
    'tile/data/000',
    'tile/0/000.p',
    'tile/0/000.p/',
    'tile/0/000.p/0',
    'tile/0/000.p/01',
    'tile/0/000.p/256',
    'tile/0/000.p/999',
    'tile/0/000.p/1000',
    'tile/0/000.p/-1',
    'tile/0/000.p/1/',
    'tile/0/000.p/1\n',
    'tile/0/000.P/1',
    'tile/0/000.p/1.p/1',
    'tile/8/0/000',
    'tile/0/x009/x007/x199/x254/x740/992',
    'tile/0/x999/x999/x999/x999/x999/999',
    'tile/0/٠٠٠',
  ])('%j names none', (path) => {
    expect(() => parseTilePath(path)).toThrow(tileMalformed)
  })

  it.each(['tile/0/000', 'tile/entries/x001/234.p/9', 'tile/63/x123/x456/789.p/255'])(
    'no text one change away from %s is read as another path',
    (path) => {
      // A mutation that is no UTF-8 cannot be a path in the first place.
      const reformat = (bytes: Uint8Array) => utf8Encode(tilePath(parseTilePath(utf8Decode(bytes))))
      expect(faultsOf(utf8Encode(path), reformat)).toEqual([])
    },
  )

  it.each([
    { level: 64, index: 0, width: 1 },
    { level: -1, index: 0, width: 1 },
    { level: 0, index: -1, width: 1 },
    { level: 0, index: 0.5, width: 1 },
    { level: 0, index: 2 ** 53, width: 1 },
    { level: 0, index: 0, width: 0 },
    { level: 0, index: 0, width: 257 },
  ])('%o has none', (tile) => {
    expect(() => tilePath(tile)).toThrow('assertion failed')
  })
})

describe('the tiles of a log', () => {
  const listed = (tileIds: Iterable<TileId>) => [...tileIds].map(tilePath)

  it.each([
    [0, []],
    [1, ['tile/0/000.p/1']],
    [255, ['tile/0/000.p/255']],
    [256, ['tile/0/000', 'tile/1/000.p/1']],
    [257, ['tile/0/000', 'tile/0/001.p/1', 'tile/1/000.p/1']],
    [512, ['tile/0/000', 'tile/0/001', 'tile/1/000.p/2']],
  ])('of %i entries are %j', (size, paths) => {
    expect(listed(tilesForSize(size))).toEqual(paths)
  })

  it('of 70,000 entries are those of the specification', () => {
    const all = [...tilesForSize(70_000)]
    const count = (level: number, full: boolean) =>
      all.filter((tile) => tile.level === level && (tile.width === tileWidth) === full).length
    expect([count(0, true), count(0, false), count(1, true), count(1, false)]).toEqual([
      273, 1, 1, 1,
    ])
    expect(all.at(-1)).toEqual({ level: 2, index: 0, width: 1 })
  })

  it('that change between two sizes are those that one has and the other has not', () => {
    const sizes = fc.tuple(fc.nat(200_000), fc.nat(2_000))
    fc.assert(
      fc.property(sizes, ([oldSize, growth]) => {
        const before = new Set(listed(tilesForSize(oldSize)))
        const expected = listed(tilesForSize(oldSize + growth)).filter((path) => !before.has(path))
        expect(listed(tilesBetween(oldSize, oldSize + growth))).toEqual(expected)
      }),
      { numRuns: 40 },
    )
  })

  it('are all that a log in memory has', () => {
    for (const size of [1, 255, 256, 257, 600]) {
      const log = createTestLog({ entries: testEntries(size) })
      const hashTiles = [...log.files.keys()].filter((path) => /^tile\/\d/.test(path))
      expect(hashTiles.toSorted()).toEqual(listed(tilesForSize(size)).toSorted())
    }
  })

  it('do not shrink', () => {
    expect(() => [...tilesBetween(5, 4)]).toThrow('only grows')
  })
})

describe('tiles', () => {
  const hashes = testEntries(256).map(leafHash)

  it.each([1, 2, 255, 256])('of %i hashes hold them in order', (width) => {
    const bytes = encodeTile(hashes.slice(0, width))
    expect(bytes).toHaveLength(width * 32)
    expect(parseTile(bytes, width)).toEqual(hashes.slice(0, width))
  })

  it('of another length are refused', () => {
    const bytes = encodeTile(hashes.slice(0, 3))
    expect(() => parseTile(bytes, 2)).toThrow(tileMalformed)
    expect(() => parseTile(bytes, 4)).toThrow(tileMalformed)
    expect(() => parseTile(bytes.subarray(1), 3)).toThrow(tileMalformed)
    expect(() => parseTile(new Uint8Array(0), 1)).toThrow(tileMalformed)
  })

  it('are never empty, too wide, or of other hashes', () => {
    expect(() => encodeTile([])).toThrow('1 to 256')
    expect(() => encodeTile([...hashes, ...hashes])).toThrow('1 to 256')
    expect(() => encodeTile([new Uint8Array(31)])).toThrow('32-byte')
  })

  it('no content one change away is read as another tile', () => {
    const reformat = (bytes: Uint8Array) => encodeTile(parseTile(bytes, 2))
    expect(faultsOf(encodeTile(hashes.slice(0, 2)), reformat)).toEqual([])
  })
})

describe('bundles', () => {
  const entries = fc.array(fc.uint8Array({ maxLength: 400 }), { minLength: 1, maxLength: 256 })

  it('hold any entries in order, empty ones too', () => {
    fc.assert(
      fc.property(entries, (list) => {
        expect(parseBundle(encodeBundle(list), list.length)).toEqual(list)
      }),
    )
  })

  it('hold the largest entry and no larger one', () => {
    const largest = new Uint8Array(65_535).fill(1)
    expect(parseBundle(encodeBundle([largest]), 1)).toEqual([largest])
    expect(() => encodeBundle([new Uint8Array(65_536)])).toThrow(
      expect.objectContaining({ code: 'ERR_ENTRY_TOO_LARGE' }),
    )
  })

  it('are refused at any other width', () => {
    const bytes = encodeBundle(testEntries(5))
    for (const width of [1, 4, 6, 256]) {
      expect(() => parseBundle(bytes, width)).toThrow(bundleMalformed)
    }
  })

  it('are refused when cut anywhere', () => {
    const bytes = encodeBundle(testEntries(5))
    for (let at = 0; at < bytes.length; at++) {
      expect(() => parseBundle(bytes.subarray(0, at), 5)).toThrow(bundleMalformed)
    }
    expect(() => parseBundle(concatBytes(bytes, Uint8Array.of(0)), 5)).toThrow(bundleMalformed)
  })

  it('no content one change away is read as another bundle', () => {
    const list = testEntries(4)
    const reformat = (bytes: Uint8Array) => encodeBundle(parseBundle(bytes, 4))
    expect(faultsOf(encodeBundle(list), reformat)).toEqual([])
  })

  it('are walked by bounds and positions', () => {
    const bytes = encodeBundle([utf8Encode('ab'), utf8Encode(''), utf8Encode('c')])
    const seen: number[][] = []
    walkBundle(bytes, 3, (start, end, position) => seen.push([start, end, position]))
    expect(seen).toEqual([
      [2, 4, 0],
      [6, 6, 1],
      [8, 9, 2],
    ])
  })

  it('are never empty or too wide', () => {
    expect(() => encodeBundle([])).toThrow('1 to 256')
    expect(() => encodeBundle(Array.from({ length: 257 }, () => new Uint8Array(0)))).toThrow(
      '1 to 256',
    )
  })
})

describe('reading a tile', () => {
  const log = createTestLog({ entries: testEntries(256) })
  const asked: string[] = []
  const read = async (path: string) => {
    asked.push(path)
    return log.files.get(path)
  }

  it('cuts the full tile where the partial one is gone', async () => {
    const partial = await readTile(read, { level: 0, index: 0, width: 3 })
    expect(toHex(partial ?? new Uint8Array(0))).toBe(
      toHex(encodeTile(log.entries.slice(0, 3).map(leafHash))),
    )
    expect(asked.splice(0)).toEqual(['tile/0/000.p/3', 'tile/0/000'])
    const bundle = await readTile(read, { level: 'entries', index: 0, width: 3 })
    expect(parseBundle(bundle ?? new Uint8Array(0), 3)).toEqual(log.entries.slice(0, 3))
  })

  it('asks once for a full tile, and for nothing else', async () => {
    asked.splice(0)
    expect(await readTile(read, { level: 0, index: 0, width: 256 })).toHaveLength(8_192)
    expect(await readTile(read, { level: 0, index: 7, width: 256 })).toBeUndefined()
    expect(asked).toEqual(['tile/0/000', 'tile/0/007'])
    expect(await readTile(read, { level: 0, index: 7, width: 1 })).toBeUndefined()
  })

  it('does not cut a full file that is malformed', async () => {
    const broken = async (path: string) => (path.includes('.p/') ? undefined : new Uint8Array(100))
    const tile = { level: 0, index: 0, width: 3 }
    await expect(readTile(broken, tile)).rejects.toThrow(tileMalformed)
    await expect(readTile(broken, { ...tile, level: 'entries' })).rejects.toThrow(bundleMalformed)
  })
})

describe('proofs out of tiles', () => {
  const entries = testEntries(70_000)
  const leaves = entries.map(leafHash)
  const size = leaves.length
  let reads = 0
  const levels: Uint8Array[][] = [leaves]
  for (let row = leaves; row.length >= tileWidth; row = levels.at(-1) ?? []) {
    const above: Uint8Array[] = []
    for (let at = 0; at + tileWidth <= row.length; at += tileWidth) {
      above.push(rootOf(row.slice(at, at + tileWidth)))
    }
    levels.push(above)
  }
  const readHash = hashReader(size, ({ level, index, width }) => {
    reads += 1
    const row = levels[level] ?? []
    return encodeTile(row.slice(index * tileWidth, index * tileWidth + width))
  })
  const root = rootOf(leaves)

  it('the root is that of the leaves', async () => {
    expect(toHex(await readRoot(readHash, size))).toBe(toHex(root))
    expect(toHex(await readRoot(readHash, 65_537))).toBe(toHex(rootOf(leaves.slice(0, 65_537))))
  })

  it.each([0, 1, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999])(
    'leaf %i is included',
    async (leafIndex) => {
      const proof = await inclusionProof(readHash, { leafIndex, treeSize: size })
      const leaf = leaves[leafIndex] ?? root
      expect(() =>
        verifyInclusion({ leafIndex, treeSize: size, leafHash: leaf, proof, root }),
      ).not.toThrow()
    },
  )

  it('a consistency proof needs few tiles, each read once', async () => {
    reads = 0
    await consistencyProof(readHash, { oldSize: 12_345, newSize: size })
    await consistencyProof(readHash, { oldSize: 12_345, newSize: size })
    expect(reads).toBeLessThan(10)
  })

  it('a node that is not complete is not asked for', async () => {
    await expect(readHash(17, 0)).rejects.toThrow('only nodes that are complete')
    await expect(readHash(0, size)).rejects.toThrow('only nodes that are complete')
  })
})
