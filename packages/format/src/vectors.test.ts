/**
 * Foreign test vectors: other people's logs, notes and hashes. test/fixtures/README.md names the
 * source of each.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as format from './index.ts'

const vectors = JSON.parse(
  readFileSync(new URL('../../../test/fixtures/tlog-vectors.json', import.meta.url), 'utf8'),
)
const { tessera, rfc6962, notes } = vectors
const tesseraLeaves: Uint8Array[] = tessera.leaves.map(format.utf8Encode)

describe('RFC 6962 vectors', () => {
  const leaves: Uint8Array[] = rfc6962.leaf_inputs_hex.map(format.fromHex)

  it('gives the root of each size, by definition and by appending', () => {
    const tree = format.createTree()
    for (const [size, root] of rfc6962.roots_hex.entries()) {
      expect(format.toHex(format.rootOf(leaves.slice(0, size).map(format.leafHash)))).toBe(root)
      expect(format.toHex(tree.root())).toBe(root)
      const next = leaves[size]
      if (next !== undefined) tree.append(format.leafHash(next))
    }
  })

  it('gives the hash of a leaf and of a node', () => {
    const leaf = format.leafHash(format.utf8Encode('L123456'))
    expect(format.toHex(leaf)).toBe(rfc6962.leaf_L123456)
    // The vector joins texts, not hashes, so `nodeHash` refuses it: its definition is what it shows.
    const node = format.utf8Encode('\x01N123N456')
    expect(format.sha256Hex(node)).toBe(rfc6962.node_N123_N456)
  })
})

describe('the log of tessera', () => {
  const verifier = format.createVerifier(tessera.vkey)
  const hashes = tesseraLeaves.map(format.leafHash)

  it('has a checkpoint at each size that opens with its key and has our root', () => {
    expect(tessera.checkpoints).toHaveLength(16)
    for (const [size, signed] of tessera.checkpoints.entries()) {
      const checkpoint = format.openCheckpoint(signed, [verifier])
      expect(checkpoint.treeSize).toBe(size)
      expect(checkpoint.origin).toBe('example.com/log/testdata')
      expect(format.toHex(checkpoint.rootHash)).toBe(
        format.toHex(format.rootOf(hashes.slice(0, size))),
      )
    }
  })

  it('is signed by us to the same bytes', () => {
    const signer = format.createSigner(format.parsePrivateKey(tessera.skey))
    expect(signer.vkey).toBe(tessera.vkey)
    for (const [size, signed] of tessera.checkpoints.entries()) {
      const rootHash = format.rootOf(hashes.slice(0, size))
      const checkpoint = { origin: signer.name, treeSize: size, rootHash }
      expect(format.signCheckpoint(checkpoint, signer)).toBe(signed)
    }
  })

  it('has the bundle and the tile that we write', () => {
    expect(format.toHex(format.encodeBundle(tesseraLeaves))).toBe(tessera.bundle15_hex)
    expect(format.toHex(format.encodeTile(hashes))).toBe(tessera.tile15_hex)
    expect(format.parseBundle(format.fromHex(tessera.bundle15_hex), 15)).toEqual(tesseraLeaves)
    expect(format.parseTile(format.fromHex(tessera.tile15_hex), 15)).toEqual(hashes)
  })
})

describe('signed notes', () => {
  it.each(notes)('of $src open and keep their bytes', ({ vkey, note, skey }) => {
    const opened = format.openNote(note, [format.createVerifier(vkey)])
    expect(opened.verified).toHaveLength(1)
    expect(format.formatNote(format.parseNote(note))).toBe(note)
    if (skey === undefined) return
    expect(format.signNote(opened.text, format.createSigner(format.parsePrivateKey(skey)))).toBe(
      note,
    )
  })
})

describe('tile paths', () => {
  it.each(vectors.tile_paths)('level %s index %s width %s is %s', (level, index, width, path) => {
    const tile = { level, index: BigInt(index), width: width === 0 ? 256 : width }
    expect(format.tilePath(tile)).toBe(path)
    if (typeof index === 'number') {
      expect(format.parseTilePath(path)).toEqual({ ...tile, index })
    } else {
      expect(() => format.parseTilePath(path)).toThrow(format.AuditError)
    }
  })

  it('a log of 70,000 entries has partial tiles of the given widths', () => {
    const partials = [...format.tilesForSize(70_000)].filter(({ width }) => width < 256)
    expect(partials.map(({ width }) => width)).toEqual(vectors.partials_70000)
  })
})
