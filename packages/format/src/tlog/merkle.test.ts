/**
 * The tree against its definition, and proofs against every small tree there is.
 *
 * @module
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { equalBytes, toHex, utf8Encode } from '../bytes.ts'
import { isAuditError } from '../errors.ts'
import { emptyRoot, leafHash, nodeHash } from '../hash.ts'
import {
  consistencyProof,
  createTree,
  inclusionProof,
  joinRange,
  rangeOf,
  readRoot,
  rootFromInclusion,
  rootOf,
  verifyConsistency,
  verifyInclusion,
  type Consistency,
  type Inclusion,
} from './merkle.ts'

const invalid = expect.objectContaining({ code: 'ERR_PROOF_INVALID' })
const leavesMax = 40
const leaves = Array.from({ length: leavesMax }, (_, index) =>
  leafHash(utf8Encode(`leaf ${index}`)),
)

/** MTH of RFC 6962 section 2.1, word for word. */
function definedRoot(hashes: readonly Uint8Array[]): Uint8Array {
  const [first] = hashes
  if (first === undefined) return emptyRoot
  if (hashes.length === 1) return first
  let split = 1
  while (split * 2 < hashes.length) split *= 2
  return nodeHash(definedRoot(hashes.slice(0, split)), definedRoot(hashes.slice(split)))
}

/** PATH(m, D[n]) of RFC 6962 section 2.1.1, word for word. */
function definedPath(index: number, hashes: readonly Uint8Array[]): Uint8Array[] {
  if (hashes.length <= 1) return []
  let split = 1
  while (split * 2 < hashes.length) split *= 2
  const [left, right] = [hashes.slice(0, split), hashes.slice(split)]
  return index < split
    ? [...definedPath(index, left), definedRoot(right)]
    : [...definedPath(index - split, right), definedRoot(left)]
}

/** SUBPROOF(m, D[n], b) of RFC 6962 section 2.1.2, word for word. */
function definedProof(size: number, hashes: readonly Uint8Array[], known: boolean): Uint8Array[] {
  if (size === hashes.length) return known ? [] : [definedRoot(hashes)]
  let split = 1
  while (split * 2 < hashes.length) split *= 2
  const [left, right] = [hashes.slice(0, split), hashes.slice(split)]
  return size <= split
    ? [...definedProof(size, left, known), definedRoot(right)]
    : [...definedProof(size - split, right, false), definedRoot(left)]
}

const readHash = (level: number, index: number) =>
  definedRoot(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level))
const rootAt = (size: number) => definedRoot(leaves.slice(0, size))
const hex = (hashes: readonly Uint8Array[]) => hashes.map(toHex)
const leafAt = (index: number) => leaves[index] ?? emptyRoot

describe('roots', () => {
  it('are those of the definition, by each way to compute them, at every size', async () => {
    const tree = createTree()
    for (let size = 0; size <= leavesMax; size++) {
      const expected = toHex(rootAt(size))
      expect(toHex(rootOf(leaves.slice(0, size)))).toBe(expected)
      expect(toHex(tree.root())).toBe(expected)
      expect(toHex(await readRoot(readHash, size))).toBe(expected)
      expect(tree.size).toBe(size)
      tree.append(leafAt(size))
    }
  })

  it('of any leaves are those of the definition', () => {
    const hash = fc.uint8Array({ minLength: 32, maxLength: 32 })
    fc.assert(
      fc.property(fc.array(hash, { maxLength: 70 }), (hashes) => {
        const tree = createTree()
        for (const leaf of hashes) tree.append(leaf)
        expect(toHex(tree.root())).toBe(toHex(definedRoot(hashes)))
        expect(toHex(rootOf(hashes))).toBe(toHex(definedRoot(hashes)))
      }),
    )
  })
})

describe('a tree', () => {
  it('goes on from the range of another as if it were the other', () => {
    for (let start = 0; start <= leavesMax; start++) {
      const first = createTree()
      for (const leaf of leaves.slice(0, start)) first.append(leaf)
      const second = createTree({ size: first.size, range: first.range() })
      expect(toHex(second.root())).toBe(toHex(first.root()))
      for (const leaf of leaves.slice(start)) second.append(leaf)
      expect(toHex(second.root())).toBe(toHex(rootAt(leavesMax)))
    }
  })

  it('has in its range the nodes that rangeOf names', () => {
    const tree = createTree()
    for (let size = 0; size < leavesMax; size++) {
      const expected = rangeOf(size).map(({ level, index }) => readHash(level, index))
      expect(hex(tree.range())).toEqual(hex(expected))
      expect(toHex(joinRange(expected))).toBe(toHex(rootAt(size)))
      tree.append(leafAt(size))
    }
  })

  it('hands out a range that is the caller’s', () => {
    const tree = createTree()
    tree.append(leafAt(0))
    tree.range().pop()
    expect(toHex(tree.root())).toBe(toHex(leafAt(0)))
  })

  it('tells of each inner node once, lowest level first', () => {
    const told: string[] = []
    const expected: string[] = []
    const tree = createTree({
      onNode: (level, index, hash) => told.push(`${level}/${index} ${toHex(hash)}`),
    })
    for (let size = 1; size <= leavesMax; size++) {
      tree.append(leafAt(size - 1))
      for (let level = 1; size % 2 ** level === 0; level++) {
        const index = size / 2 ** level - 1
        expected.push(`${level}/${index} ${toHex(readHash(level, index))}`)
      }
    }
    expect(told).toEqual(expected)
  })

  it('takes a whole subtree by its root', () => {
    const tree = createTree()
    tree.appendNode(4, readHash(4, 0))
    tree.appendNode(3, readHash(3, 2))
    tree.append(leafAt(24))
    expect(tree.size).toBe(25)
    expect(toHex(tree.root())).toBe(toHex(rootAt(25)))
    expect(() => tree.appendNode(1, leafAt(0))).toThrow('multiple of its size')
  })

  it('does not start from a range of another size', () => {
    expect(() => createTree({ size: 3, range: [leafAt(0)] })).toThrow('one hash for each set bit')
    expect(() => createTree({ range: [leafAt(0)] })).toThrow('one hash for each set bit')
  })

  it('at the largest size still counts exactly', () => {
    const size = 2 ** 53 - 2
    const range = rangeOf(size).map(() => leafAt(1))
    const tree = createTree({ size, range })
    expect(range).toHaveLength(52)
    tree.append(leafAt(0))
    expect(tree.size).toBe(Number.MAX_SAFE_INTEGER)
    expect(tree.range()).toHaveLength(53)
  })
})

describe('inclusion proofs', () => {
  it('of every leaf of every small tree are those of the RFC, and verify', async () => {
    for (let treeSize = 1; treeSize <= leavesMax; treeSize++) {
      for (let leafIndex = 0; leafIndex < treeSize; leafIndex++) {
        const proof = await inclusionProof(readHash, { leafIndex, treeSize })
        expect(hex(proof)).toEqual(hex(definedPath(leafIndex, leaves.slice(0, treeSize))))
        const claim = { leafIndex, treeSize, leafHash: leafAt(leafIndex), proof }
        expect(() => verifyInclusion({ ...claim, root: rootAt(treeSize) })).not.toThrow()
      }
    }
  })

  const verifies = (claim: Inclusion & { root: Uint8Array }) => {
    try {
      verifyInclusion(claim)
      return true
    } catch (error) {
      return isAuditError(error, 'ERR_PROOF_INVALID') ? false : error
    }
  }

  it('hold for no other index, size, leaf or root', async () => {
    for (let treeSize = 1; treeSize <= 17; treeSize++) {
      for (let leafIndex = 0; leafIndex < treeSize; leafIndex++) {
        const proof = await inclusionProof(readHash, { leafIndex, treeSize })
        const root = rootAt(treeSize)
        const claim = { leafIndex, treeSize, leafHash: leafAt(leafIndex), proof, root }
        for (let other = 0; other < 20; other++) {
          const isIndex = verifies({ ...claim, leafIndex: other })
          expect({ leafIndex, treeSize, other, isIndex }).toMatchObject({
            isIndex: other === leafIndex,
          })
          expect(verifies({ ...claim, leafHash: leafAt(other) })).toBe(other === leafIndex)
          expect(verifies({ ...claim, root: rootAt(other) })).toBe(other === treeSize)
        }
      }
    }
  })

  it('with a hash changed, lost, added or moved do not verify', async () => {
    const [treeSize, leafIndex] = [23, 13]
    const proof = await inclusionProof(readHash, { leafIndex, treeSize })
    const claim = { leafIndex, treeSize, leafHash: leafAt(leafIndex), root: rootAt(treeSize) }
    for (let at = 0; at < proof.length; at++) {
      const changed = proof.with(at, leafAt(0))
      expect(verifies({ ...claim, proof: changed })).toBe(false)
      expect(verifies({ ...claim, proof: proof.toSpliced(at, 1) })).toBe(false)
      expect(verifies({ ...claim, proof: proof.toSpliced(at, 0, leafAt(0)) })).toBe(false)
    }
    expect(verifies({ ...claim, proof: proof.toReversed() })).toBe(false)
    expect(verifies({ ...claim, proof: [...proof, leafAt(0)] })).toBe(false)
    expect(verifies({ ...claim, proof: [] })).toBe(false)
  })

  it.each([
    ['an index at the size', { leafIndex: 1 }],
    ['a negative index', { leafIndex: -1 }],
    ['an index that is no integer', { leafIndex: 0.5 }],
    ['an empty tree', { treeSize: 0 }],
    ['a size that is no integer', { treeSize: 1.5 }],
    ['a size beyond 2^53', { treeSize: 2 ** 53 }],
    ['not a number', { treeSize: Number.NaN }],
    ['a short leaf hash', { leafHash: new Uint8Array(31) }],
    ['a short proof hash', { treeSize: 2, proof: [new Uint8Array(31)] }],
    [
      'a proof without end',
      { treeSize: 2 ** 52, proof: Array.from({ length: 70 }, () => leafAt(0)) },
    ],
  ])('refuse %s', (_, changes) => {
    const claim = { leafIndex: 0, treeSize: 1, leafHash: leafAt(0), proof: [] }
    expect(() => rootFromInclusion({ ...claim, ...changes })).toThrow(invalid)
  })

  it('work in a tree of 2^53 - 1 leaves, where 32 bits do not suffice', async () => {
    const treeSize = Number.MAX_SAFE_INTEGER
    // A tree of equal leaves: every complete node of a level is the same.
    const levels = [leafAt(0)]
    for (let level = 1; level <= 53; level++) {
      const below = levels[level - 1] ?? emptyRoot
      levels.push(nodeHash(below, below))
    }
    const readEqual = (level: number) => levels[level] ?? emptyRoot
    const root = await readRoot(readEqual, treeSize)
    for (const leafIndex of [0, 2 ** 32, 2 ** 52 - 1, 2 ** 52, treeSize - 2, treeSize - 1]) {
      const proof = await inclusionProof(readEqual, { leafIndex, treeSize })
      const claim = { leafIndex, treeSize, leafHash: leafAt(0), proof, root }
      expect(verifies(claim)).toBe(true)
      expect(verifies({ ...claim, leafHash: leafAt(1) })).toBe(false)
    }
  })

  it('are asked for inside of the tree only', async () => {
    await expect(inclusionProof(readHash, { leafIndex: 5, treeSize: 5 })).rejects.toThrow(
      'inside its tree',
    )
  })
})

describe('consistency proofs', () => {
  const verifies = (claim: Consistency) => {
    try {
      verifyConsistency(claim)
      return true
    } catch (error) {
      return isAuditError(error, 'ERR_PROOF_INVALID') ? false : error
    }
  }
  const claimOf = async (oldSize: number, newSize: number) => ({
    oldSize,
    newSize,
    oldRoot: rootAt(oldSize),
    newRoot: rootAt(newSize),
    proof: await consistencyProof(readHash, { oldSize, newSize }),
  })

  it('between all small sizes are those of the RFC, and verify', async () => {
    for (let newSize = 0; newSize <= leavesMax; newSize++) {
      for (let oldSize = 0; oldSize <= newSize; oldSize++) {
        const claim = await claimOf(oldSize, newSize)
        const defined = oldSize === 0 ? [] : definedProof(oldSize, leaves.slice(0, newSize), true)
        expect(hex(claim.proof)).toEqual(hex(defined))
        expect({ oldSize, newSize, isValid: verifies(claim) }).toMatchObject({ isValid: true })
      }
    }
  })

  it('hold for no other size and no other root', async () => {
    for (let newSize = 1; newSize <= 12; newSize++) {
      for (let oldSize = 1; oldSize < newSize; oldSize++) {
        const claim = await claimOf(oldSize, newSize)
        for (let other = 1; other < 14; other++) {
          expect(verifies({ ...claim, oldRoot: rootAt(other) })).toBe(other === oldSize)
          expect(verifies({ ...claim, newRoot: rootAt(other) })).toBe(other === newSize)
          const isOld = verifies({ ...claim, oldSize: other })
          expect({ oldSize, newSize, other, isOld }).toMatchObject({ isOld: other === oldSize })
        }
      }
    }
  })

  it('with a hash changed, lost, added or moved do not verify', async () => {
    for (const [oldSize, newSize] of [
      [7, 15],
      [8, 15],
      [6, 8],
      [1, 2],
      [20, 33],
    ] as const) {
      const claim = await claimOf(oldSize, newSize)
      const { proof } = claim
      for (let at = 0; at < proof.length; at++) {
        expect(verifies({ ...claim, proof: proof.with(at, leafAt(39)) })).toBe(false)
        expect(verifies({ ...claim, proof: proof.toSpliced(at, 1) })).toBe(false)
        expect(verifies({ ...claim, proof: proof.toSpliced(at, 0, leafAt(39)) })).toBe(false)
      }
      expect(verifies({ ...claim, proof: [...proof, leafAt(39)] })).toBe(false)
    }
  })

  it('two histories that part ways are never consistent', async () => {
    const other = leaves.with(2, leafHash(utf8Encode('another')))
    const forked = (level: number, index: number) =>
      definedRoot(other.slice(index * 2 ** level, (index + 1) * 2 ** level))
    for (let oldSize = 3; oldSize <= 16; oldSize++) {
      const proof = await consistencyProof(forked, { oldSize, newSize: 16 })
      const newRoot = definedRoot(other.slice(0, 16))
      const claim = { oldSize, newSize: 16, newRoot, proof, oldRoot: rootAt(oldSize) }
      expect(equalBytes(newRoot, rootAt(16))).toBe(false)
      expect(verifies(claim)).toBe(false)
    }
  })

  it.each([
    ['a proof from size 0', { oldSize: 0, oldRoot: emptyRoot, proof: [leafAt(0)] }],
    ['a root of size 0 that is not empty', { oldSize: 0, oldRoot: leafAt(0), proof: [] }],
    ['a proof between equal sizes', { oldSize: 4, oldRoot: rootAt(4), proof: [leafAt(0)] }],
    ['other roots of equal sizes', { oldSize: 4, oldRoot: rootAt(3), proof: [] }],
    ['a shrinking log', { oldSize: 5, oldRoot: rootAt(5), proof: [] }],
    ['an empty proof between sizes', { oldSize: 2, oldRoot: rootAt(2), proof: [] }],
    ['a negative size', { oldSize: -1, proof: [] }],
    ['a short old root', { oldRoot: new Uint8Array(31), proof: [] }],
    ['empty trees with a root', { oldSize: 0, newSize: 0, oldRoot: leafAt(0), newRoot: leafAt(0) }],
    [
      'an empty tree with another new root',
      { oldSize: 0, newSize: 0, oldRoot: emptyRoot, newRoot: leafAt(0) },
    ],
  ])('refuse %s', (_, changes) => {
    const claim = { oldSize: 4, newSize: 4, oldRoot: rootAt(4), newRoot: rootAt(4), proof: [] }
    expect(() => verifyConsistency({ ...claim, ...changes })).toThrow(invalid)
  })

  it('are asked for from the smaller size only', async () => {
    await expect(consistencyProof(readHash, { oldSize: 5, newSize: 4 })).rejects.toThrow(
      'only grows',
    )
  })
})
