/**
 * Foreign test vectors: other people's logs, notes and hashes. test/fixtures/README.md names the
 * source of each.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as format from './index.ts'

interface Vectors {
  tessera: {
    vkey: string
    skey: string
    leaves: string[]
    checkpoints: string[]
    bundle15_hex: string
    tile15_hex: string
  }
  notes: { src: string; vkey: string; note: string; skey?: string }[]
  rfc6962: {
    leaf_inputs_hex: string[]
    roots_hex: string[]
    leaf_L123456: string
    node_N123_N456: string
  }
  tile_paths: [number, number | string, number, string][]
  partials_70000: number[]
  witness: { origin: string; vkey: string }
  derived_cosignature_v1: { time: number; cosig_vkey: string; key: string; line: string }
  derived_tlog_proof_and_add_checkpoint: string
}

const vectors: Vectors = JSON.parse(
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
  })

  const readable = vectors.tile_paths.filter(([, index]) => typeof index === 'number')
  it.each(readable)('level %s index %s width %s is read from %s', (level, index, width, path) => {
    expect(format.parseTilePath(path)).toEqual({ level, index, width: width === 0 ? 256 : width })
  })

  it('an index beyond 2^53 - 1 is written but not read', () => {
    expect(() => format.parseTilePath(vectors.tile_paths.at(-1)?.[3] ?? '')).toThrow(
      expect.objectContaining({ code: 'ERR_TILE_MALFORMED' }),
    )
  })

  it('a log of 70,000 entries has partial tiles of the given widths', () => {
    const partials = [...format.tilesForSize(70_000)].filter(({ width }) => width < 256)
    expect(partials.map(({ width }) => width)).toEqual(vectors.partials_70000)
  })
})

describe('the key of the witness test log', () => {
  it('has the id that its name and public key give', () => {
    const key = format.parseVerifierKey(vectors.witness.vkey)
    expect(key.name).toBe(vectors.witness.origin)
    expect(format.formatVerifierKey(key)).toBe(vectors.witness.vkey)
  })
})

describe('the cosignature', () => {
  const { time, cosig_vkey, key, line } = vectors.derived_cosignature_v1
  const signed = tessera.checkpoints[15] ?? ''
  const cosigned = format.parseNote(signed + line)

  it('is made by us to the same bytes', () => {
    const privateKey = /PRIVATE\+KEY\+[^)]+/.exec(key)?.[0] ?? ''
    const cosigner = format.createCosigner(format.parsePrivateKey(privateKey))
    expect(cosigner.vkey).toBe(cosig_vkey)
    expect(format.formatSignatureLine(cosigner.cosign(cosigned.text, time))).toBe(line)
  })

  it('verifies, at its time', () => {
    const verifiers = [format.createCosignatureVerifier(cosig_vkey)]
    const [cosignature] = format.verifySignatures(cosigned, verifiers)
    expect(format.cosignatureTime(cosignature?.signature ?? new Uint8Array())).toBe(time)
  })
})

describe('the receipt and the consistency proof', () => {
  const [receipt = '', request = ''] =
    vectors.derived_tlog_proof_and_add_checkpoint.split(/\nsha256\([^\n]*\n/)
  const hashes = tesseraLeaves.map(format.leafHash)
  const readHash = (level: number, index: number) =>
    format.rootOf(hashes.slice(index * 2 ** level, (index + 1) * 2 ** level))

  it('are the files of which the digests are given', () => {
    expect(format.sha256Hex(receipt)).toMatch(/^25d90ac4/)
    expect(format.sha256Hex(request)).toMatch(/^694775bc/)
  })

  it('are made by us to the same bytes', async () => {
    const proof = await format.inclusionProof(readHash, { leafIndex: 6, treeSize: 15 })
    const checkpoint = tessera.checkpoints[15] ?? ''
    expect(format.formatProof({ index: 6, hashes: proof, checkpoint })).toBe(receipt)
    const consistency = await format.consistencyProof(readHash, { oldSize: 7, newSize: 15 })
    const lines = consistency.map((hash) => `${format.toBase64(hash)}\n`).join('')
    expect(`old 7\n${lines}\n${checkpoint}`).toBe(request)
  })

  it('the receipt verifies for its entry and for no other', () => {
    const policy = format.policyForLogs(tessera.vkey)
    const [seven, eight] = hashes.slice(6)
    if (seven === undefined || eight === undefined) throw new Error('the log has 15 leaves')
    expect(format.verifyProof(receipt, { leafHash: seven, policy }).leafIndex).toBe(6)
    expect(() => format.verifyProof(receipt, { leafHash: eight, policy })).toThrow(
      expect.objectContaining({ code: 'ERR_PROOF_INVALID' }),
    )
  })
})
