/**
 * The Merkle tree of RFC 6962 section 2.1 over leaf hashes: roots, an append-only tree that holds one
 * hash a level, and the proofs of RFC 9162 sections 2.1.3 and 2.1.4.
 *
 * A node is named by (level, index): the root of the leaves from `index * 2^level` up to
 * `(index + 1) * 2^level`, always complete. Sizes and indices are integers up to 2^53 - 1, so shifts
 * are divisions here: `>>` would cut them to 32 bits.
 *
 * @module
 */
import { assert } from '../assert.ts'
import { equalBytes } from '../bytes.ts'
import { AuditError } from '../errors.ts'
import { emptyRoot, hashBytes, nodeHash } from '../hash.ts'

/** Hashes in one proof: a tree of 2^53 leaves has 53 levels, a consistency proof one hash more. */
export const proofHashesMax = 64

/** Gives the hash of a complete node. May read storage. */
export type ReadHash = (level: number, index: number) => Promise<Uint8Array> | Uint8Array

/** Root of the tree over `leafHashes`, by the definition. */
export function rootOf(leafHashes: readonly Uint8Array[]): Uint8Array {
  const [first] = leafHashes
  if (first === undefined) return emptyRoot
  if (leafHashes.length === 1) return first
  const middle = largestPowerOfTwoBelow(leafHashes.length)
  return nodeHash(rootOf(leafHashes.slice(0, middle)), rootOf(leafHashes.slice(middle)))
}

/** A tree that only grows and remembers no leaf: its `range` is all it needs to go on. */
export interface Tree {
  readonly size: number
  append(leafHash: Uint8Array): void
  /** Appends 2^level leaves at once, of which only the root is known. The size must be a multiple. */
  appendNode(level: number, hash: Uint8Array): void
  /** Root of what has been appended. Does not change the tree. */
  root(): Uint8Array
  /** Hashes of the complete subtrees that make up the tree, largest (leftmost) first. */
  range(): Uint8Array[]
}

/** What a tree starts from, and who is told of the nodes that it completes. */
export interface TreeOptions {
  readonly size?: number
  /** One hash for each bit that is set in `size`, as `Tree.range` gives them. */
  readonly range?: readonly Uint8Array[]
  /** Called for each inner node as its last leaf is appended, lowest level first. */
  readonly onNode?: (level: number, index: number, hash: Uint8Array) => void
}

/** Makes a tree: empty, or from the size and range of another. */
export function createTree({ size: start = 0, range = [], onNode }: TreeOptions = {}): Tree {
  let size = start
  const stack = [...range]
  assert(stack.length === rangeOf(size).length, 'a range has one hash for each set bit of the size')
  const appendNode = (level: number, node: Uint8Array): void => {
    assert(size % 2 ** level === 0, 'a node begins at a multiple of its size')
    let hash = node
    let height = level
    // Every trailing one bit is a complete left sibling that the new node closes.
    for (let rest = size / 2 ** level; rest % 2 === 1; rest = (rest - 1) / 2) {
      const left = stack.pop()
      assert(left !== undefined, 'the stack holds a hash for each set bit')
      hash = nodeHash(left, hash)
      height += 1
      onNode?.(height, (rest - 1) / 2, hash)
    }
    stack.push(hash)
    size += 2 ** level
  }
  return {
    get size() {
      return size
    },
    append: (leafHash) => appendNode(0, leafHash),
    appendNode,
    root: () => joinRange(stack),
    range: () => [...stack],
  }
}

/** Root of a tree from its `range` (complete subtrees, largest first). */
export function joinRange(range: readonly Uint8Array[]): Uint8Array {
  let root = range.at(-1)
  if (root === undefined) return emptyRoot
  for (let at = range.length - 2; at >= 0; at--) {
    const left = range[at]
    assert(left !== undefined, 'the loop stays inside the range')
    root = nodeHash(left, root)
  }
  return root
}

/** The complete subtrees of a tree of `size` leaves, largest first: what `range` holds hashes of. */
export function rangeOf(size: number): { level: number; index: number }[] {
  const nodes: { level: number; index: number }[] = []
  let rest = size
  for (let level = 0; rest > 0; level++) {
    if (rest % 2 === 1) nodes.unshift({ level, index: rest - 1 })
    rest = Math.floor(rest / 2)
  }
  return nodes
}

/** Root of the first `size` leaves of a log. */
export async function readRoot(readHash: ReadHash, size: number): Promise<Uint8Array> {
  return await subtreeRoot(readHash, 0, size)
}

/**
 * Inclusion proof of a leaf (RFC 9162 section 2.1.3.1): from its sibling up to a child of the root.
 */
export async function inclusionProof(
  readHash: ReadHash,
  { leafIndex, treeSize }: { leafIndex: number; treeSize: number },
): Promise<Uint8Array[]> {
  assert(leafIndex >= 0 && leafIndex < treeSize, 'a leaf is inside its tree')
  const proof: Uint8Array[] = []
  let start = 0
  let end = treeSize
  const siblings: { start: number; end: number }[] = []
  while (end - start > 1) {
    const middle = start + largestPowerOfTwoBelow(end - start)
    if (leafIndex < middle) {
      siblings.push({ start: middle, end })
      end = middle
    } else {
      siblings.push({ start, end: middle })
      start = middle
    }
  }
  for (const sibling of siblings.toReversed()) {
    proof.push(await subtreeRoot(readHash, sibling.start, sibling.end))
  }
  return proof
}

/** Consistency proof between two sizes of one log (RFC 9162 section 2.1.4.1); empty from size 0. */
export async function consistencyProof(
  readHash: ReadHash,
  { oldSize, newSize }: { oldSize: number; newSize: number },
): Promise<Uint8Array[]> {
  assert(oldSize >= 0 && oldSize <= newSize, 'a log only grows')
  if (oldSize === 0 || oldSize === newSize) return []
  const parts: { start: number; end: number }[] = []
  let start = 0
  let end = newSize
  while (oldSize !== end) {
    const middle = start + largestPowerOfTwoBelow(end - start)
    if (oldSize <= middle) {
      parts.push({ start: middle, end })
      end = middle
    } else {
      parts.push({ start, end: middle })
      start = middle
    }
  }
  // The old tree itself is known to the verifier when it is a complete left subtree.
  if (start > 0) parts.push({ start, end })
  const proof: Uint8Array[] = []
  for (const part of parts.toReversed()) {
    proof.push(await subtreeRoot(readHash, part.start, part.end))
  }
  return proof
}

/** The claim of an inclusion proof. */
export interface Inclusion {
  readonly leafIndex: number
  readonly treeSize: number
  readonly leafHash: Uint8Array
  readonly proof: readonly Uint8Array[]
}

/**
 * The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2).
 *
 * @throws AuditError `ERR_PROOF_INVALID` when the proof cannot fit that leaf and size.
 */
export function rootFromInclusion(inclusion: Inclusion): Uint8Array {
  const { leafIndex, treeSize, leafHash, proof } = inclusion
  if (!isSize(treeSize) || !isSize(leafIndex) || leafIndex >= treeSize) {
    throw invalid('the leaf is not inside the tree')
  }
  checkHashes([leafHash, ...proof])
  let index = leafIndex
  let last = treeSize - 1
  let root = leafHash
  for (const sibling of proof) {
    if (last === 0) throw invalid('the inclusion proof is too long')
    if (index % 2 === 1 || index === last) {
      root = nodeHash(sibling, root)
      while (index % 2 === 0 && index !== 0) {
        index /= 2
        last = half(last)
      }
    } else {
      root = nodeHash(root, sibling)
    }
    index = half(index)
    last = half(last)
  }
  if (last !== 0) throw invalid('the inclusion proof is too short')
  return root
}

/**
 * Proves that the leaf is in the tree with that root.
 *
 * @throws AuditError `ERR_PROOF_INVALID` when it does not.
 */
export function verifyInclusion(inclusion: Inclusion & { readonly root: Uint8Array }): void {
  if (!equalBytes(rootFromInclusion(inclusion), inclusion.root)) {
    throw invalid('the inclusion proof leads to another root')
  }
}

/** The claim of a consistency proof. */
export interface Consistency {
  readonly oldSize: number
  readonly newSize: number
  readonly oldRoot: Uint8Array
  readonly newRoot: Uint8Array
  readonly proof: readonly Uint8Array[]
}

/**
 * Proves that the new tree begins with the old one (RFC 9162 section 2.1.4.2). From size 0 the proof
 * is empty and the old root that of the empty tree (c2sp.org/tlog-witness).
 *
 * @throws AuditError `ERR_PROOF_INVALID` when it does not.
 */
export function verifyConsistency(consistency: Consistency): void {
  const { oldSize, newSize, oldRoot, newRoot, proof } = consistency
  if (!isSize(oldSize) || !isSize(newSize) || oldSize > newSize) {
    throw invalid('the old tree is larger than the new one')
  }
  checkHashes([oldRoot, newRoot, ...proof])
  if (oldSize === 0 || oldSize === newSize) {
    if (proof.length > 0) throw invalid('the consistency proof is too long')
    const expected = oldSize === 0 ? emptyRoot : newRoot
    if (!equalBytes(oldRoot, expected)) throw invalid('the old root is another')
    if (newSize === 0 && !equalBytes(newRoot, emptyRoot)) throw invalid('the new root is another')
    return
  }
  walkConsistency(consistency)
}

function walkConsistency({ oldSize, newSize, oldRoot, newRoot, proof }: Consistency): void {
  let index = oldSize - 1
  let last = newSize - 1
  while (index % 2 === 1) {
    index = half(index)
    last = half(last)
  }
  // A complete old tree is its own first node; the proof leaves it out.
  const nodes = index === 0 ? [oldRoot, ...proof] : proof
  const [first, ...others] = nodes
  if (first === undefined) throw invalid('the consistency proof is empty')
  let old = first
  let whole = first
  for (const node of others) {
    if (last === 0) throw invalid('the consistency proof is too long')
    if (index % 2 === 1 || index === last) {
      old = nodeHash(node, old)
      whole = nodeHash(node, whole)
      while (index % 2 === 0 && index !== 0) {
        index /= 2
        last = half(last)
      }
    } else {
      whole = nodeHash(whole, node)
    }
    index = half(index)
    last = half(last)
  }
  if (last !== 0) throw invalid('the consistency proof is too short')
  if (!equalBytes(old, oldRoot)) throw invalid('the consistency proof leads to another old root')
  if (!equalBytes(whole, newRoot)) throw invalid('the consistency proof leads to another new root')
}

/** Root of the leaves from `start` to `end`, where `start` is aligned as splits of a tree are. */
async function subtreeRoot(readHash: ReadHash, start: number, end: number): Promise<Uint8Array> {
  const hashes: Uint8Array[] = []
  for (const { level, index } of rangeOf(end - start)) {
    hashes.push(await readHash(level, start / 2 ** level + index))
  }
  return joinRange(hashes)
}

function largestPowerOfTwoBelow(size: number): number {
  assert(size > 1, 'only a tree of two leaves or more is split')
  let power = 1
  while (power * 2 < size) power *= 2
  return power
}

function half(value: number): number {
  return Math.floor(value / 2)
}

function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function checkHashes(hashes: readonly Uint8Array[]): void {
  if (hashes.length > proofHashesMax + 2) throw invalid('the proof is too long')
  if (hashes.some((hash) => hash.length !== hashBytes)) throw invalid('a hash is not 32 bytes long')
}

function invalid(why: string): AuditError {
  return new AuditError('ERR_PROOF_INVALID', why)
}
