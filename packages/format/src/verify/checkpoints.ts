/**
 * Chooses the signed tree that a log is held to, and gathers the sizes at which it must also have been
 * consistent: the checkpoints that it stored, and those that others hold.
 *
 * The log is held to the largest tree that it ever signed, not to what `checkpoint` says: whoever cuts
 * off the end of a log would put an older `checkpoint` back.
 *
 * @module
 */
import { assert } from '../assert.ts'
import { toHex } from '../bytes.ts'
import { AuditError, isAuditError } from '../errors.ts'
import { consistencyProof, readRoot, verifyConsistency } from '../tlog/merkle.ts'
import { hashReader } from '../tlog/tile.ts'
import {
  openOrFind,
  readFile,
  readTileOrFind,
  type SignedTree,
  type Verification,
} from './context.ts'
import { evidenceMax, type Evidence } from './finding.ts'

/** Checkpoints of its past that a log keeps. Eight bytes of memory each. */
export const storedCheckpointsMax = 20_000_000

const storedPattern = /^cp\/([0-9]{20})$/
const firstCapacity = 1_024

/** Path of the stored checkpoint of a tree of `size` leaves. */
export function storedCheckpointPath(size: number): string {
  assert(Number.isSafeInteger(size) && size >= 0, 'a tree size is a non-negative integer')
  return `cp/${String(size).padStart(20, '0')}`
}

/** The size in the path of a stored checkpoint; `undefined` for any other path. */
export function parseStoredCheckpointPath(path: string): number | undefined {
  const [, digits] = storedPattern.exec(path) ?? []
  if (digits === undefined) return undefined
  const size = Number(digits)
  return Number.isSafeInteger(size) ? size : undefined
}

/** The checkpoints of a log, smallest first, each visited once. */
export interface Checkpoints {
  /** The largest tree that the log signed: what its files must give. */
  readonly target: SignedTree
  /** Takes out the checkpoints of trees of at most `size` leaves that have not been taken. */
  takeUpTo(size: number): Promise<SignedTree[]>
}

/** Reads the checkpoints of a log. `undefined` when it has none that is signed: a finding says so. */
export async function openCheckpoints(
  verification: Verification,
  held: readonly string[],
): Promise<Checkpoints | undefined> {
  const { findings } = verification
  const current = await readCheckpoint(verification, 'checkpoint', undefined)
  const sizes = await listSizes(verification)
  const newest = await newestStored(verification, sizes, current?.treeSize ?? -1)
  const target = newest ?? current
  if (target === undefined) return undefined
  if (newest !== undefined && current !== undefined) {
    const [expected, actual] = [String(newest.treeSize), String(current.treeSize)]
    findings.add({ kind: 'behind', where: 'checkpoint', expected, actual })
  }
  const past = openHeld(verification, target, held)
  if (newest !== undefined && current !== undefined) {
    past.push(current)
  }
  past.sort((left, right) => left.treeSize - right.treeSize)
  return createCheckpoints(verification, { target, sizes, past })
}

function createCheckpoints(
  verification: Verification,
  { target, sizes, past }: { target: SignedTree; sizes: Float64Array; past: SignedTree[] },
): Checkpoints {
  let nextSize = 0
  let nextPast = 0
  return {
    target,
    async takeUpTo(size) {
      const reads: Promise<SignedTree | undefined>[] = []
      for (; (sizes[nextSize] ?? Infinity) <= size; nextSize++) {
        reads.push(readStored(verification, sizes[nextSize] ?? 0))
      }
      const taken = (await Promise.all(reads)).filter((checkpoint) => checkpoint !== undefined)
      for (; (past[nextPast]?.treeSize ?? Infinity) <= size; nextPast++) {
        const checkpoint = past[nextPast]
        if (checkpoint !== undefined) taken.push(checkpoint)
      }
      return taken.sort((left, right) => left.treeSize - right.treeSize)
    },
  }
}

/** Adds the finding that the log signed a tree which its present tree does not begin with. */
export async function findFork(
  verification: Verification,
  target: SignedTree,
  { past, prefixRoot }: { past: SignedTree; prefixRoot: Uint8Array },
): Promise<void> {
  const [expected, actual] = [toHex(prefixRoot), toHex(past.rootHash)]
  const finding = { kind: 'fork', where: past.where, expected, actual } as const
  const evidence = await forkEvidence(verification, target, past)
  verification.findings.add(evidence === undefined ? finding : { ...finding, evidence })
}

async function forkEvidence(
  verification: Verification,
  newer: SignedTree,
  older: SignedTree,
): Promise<Evidence | undefined> {
  if (verification.evidenceCount >= evidenceMax) return undefined
  verification.evidenceCount += 1
  const readHash = hashReader(newer.treeSize, async (tile) => {
    const bytes = await readTileOrFind(verification, tile)
    if (bytes === undefined) throw new AuditError('ERR_TILE_MALFORMED', 'tile is missing')
    return bytes
  })
  try {
    const sizes = { oldSize: older.treeSize, newSize: newer.treeSize }
    const proof = await consistencyProof(readHash, sizes)
    const prefixRoot = await readRoot(readHash, older.treeSize)
    const roots = { oldRoot: prefixRoot, newRoot: newer.rootHash }
    verifyConsistency({ ...sizes, ...roots, proof })
    const texts = { older: older.signed, newer: newer.signed }
    return { kind: 'fork', ...texts, prefixRoot: toHex(prefixRoot), proof: proof.map(toHex) }
  } catch (error) {
    if (isAuditError(error)) return undefined
    throw error
  }
}

async function readCheckpoint(
  verification: Verification,
  where: string,
  size: number | undefined,
): Promise<SignedTree | undefined> {
  const bytes = await readFile(verification, where)
  if (bytes === undefined) {
    verification.findings.add({ kind: 'missing', where })
    return undefined
  }
  const tree = openOrFind(verification, where, bytes)
  if (tree === undefined || size === undefined || tree.treeSize === size) return tree
  const [expected, actual] = [`tree size ${size}`, `tree size ${tree.treeSize}`]
  verification.findings.add({ kind: 'malformed', where, expected, actual })
  return undefined
}

async function readStored(
  verification: Verification,
  size: number,
): Promise<SignedTree | undefined> {
  return await readCheckpoint(verification, storedCheckpointPath(size), size)
}

/** The largest signed checkpoint in `cp/` that goes beyond `size`. */
async function newestStored(
  verification: Verification,
  sizes: Float64Array,
  size: number,
): Promise<SignedTree | undefined> {
  for (let at = sizes.length - 1; at >= 0; at--) {
    const stored = sizes[at] ?? 0
    if (stored <= size) return undefined
    const checkpoint = await readStored(verification, stored)
    if (checkpoint !== undefined) return checkpoint
  }
  return undefined
}

function openHeld(
  verification: Verification,
  target: SignedTree,
  held: readonly string[],
): SignedTree[] {
  const past: SignedTree[] = []
  for (const [at, signed] of held.entries()) {
    const where = `held checkpoint ${at + 1}`
    const tree = openOrFind(verification, where, signed)
    if (tree === undefined) continue
    if (tree.treeSize > target.treeSize) {
      const [expected, actual] = [`tree size ${tree.treeSize}`, `tree size ${target.treeSize}`]
      verification.findings.add({ kind: 'rolled-back', where, expected, actual })
    } else {
      past.push(tree)
    }
  }
  return past
}

/** Sizes of all stored checkpoints, ascending. Only numbers are kept: there may be millions. */
async function listSizes({ files, findings }: Verification): Promise<Float64Array> {
  let sizes = new Float64Array(firstCapacity)
  let count = 0
  for await (const path of files.list?.() ?? []) {
    const size = parseStoredCheckpointPath(path)
    if (size === undefined) continue
    if (count === storedCheckpointsMax) {
      const expected = `at most ${storedCheckpointsMax} stored checkpoints`
      findings.add({ kind: 'malformed', where: 'cp', expected })
      break
    }
    if (count === sizes.length) {
      const larger = new Float64Array(count * 2)
      larger.set(sizes)
      sizes = larger
    }
    sizes[count++] = size
  }
  return sizes.subarray(0, count).sort()
}
