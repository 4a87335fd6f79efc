/**
 * The head of a ledger against its logs: sizes, roots, the writer's place, and what is open. The head
 * is not signed, so a contradiction says that one of the two is old or was changed, not which.
 *
 * @module
 */
import { join } from 'node:path'
import { createVerifier, equalBytes, isAuditError, openCheckpoint, toHex } from '@affidavit/format'
import type { Head } from '../../ledger/head.ts'
import type { LedgerPaths } from '../../ledger/layout.ts'
import type { Chain } from './chain.ts'
import type { Finding } from './finding.ts'
import { readHead } from './head-state.ts'
import { sizeInHead } from './log-plan.ts'
import { whereOf } from './places.ts'

/** The signed tree that a log was held to. */
export interface VerifiedTree {
  readonly where: string
  readonly treeSize: number
  readonly rootHash: Uint8Array
}

/** Compares the head with the trees of its logs, by `<class>/<quarter>`. */
export async function checkHeadLogs(options: {
  head: Head
  paths: LedgerPaths
  root: string
  /** `undefined` for a log that is there but has no signed tree: that has a finding already. */
  trees: ReadonlyMap<string, VerifiedTree | undefined>
  /** Keys that a log is held to; none for a log that is not here. */
  vkeysOf: (path: string) => readonly string[]
}): Promise<Finding[]> {
  const { head, paths, root, trees } = options
  const findings: Finding[] = []
  // What a running gateway has published since the head was read is no contradiction.
  const now = (await readHead(paths)) ?? head
  for (const [path, log] of [...head.logs, ...head.sealed]) {
    if (trees.has(path)) continue
    const where = whereOf(root, join(paths.logs, path))
    const what = 'a log that the head knows is missing'
    findings.push({ kind: 'missing', what, where, expected: `${log.size} entries` })
  }
  for (const [path, { note, size, root: rootHash }] of head.logs) {
    const vkeys = options.vkeysOf(path)
    const origin = `${head.deployment}/${head.instance}/${path}`
    const isSigned = vkeys.length === 0 || isCheckpointOf(note, { origin, size, rootHash, vkeys })
    const where = whereOf(root, join(paths.head, 'head.json'))
    const what = `the checkpoint of ${path} in the head is not the one that its log signed`
    if (!isSigned) findings.push({ kind: 'signature', what, where })
  }
  for (const [path, tree] of trees) {
    if (tree === undefined) continue
    const finding = compareTree(head, now, path, tree)
    if (finding !== undefined) findings.push(finding)
  }
  return findings
}

/** Tells whether `note` is signed and says what the head says beside it. */
function isCheckpointOf(
  note: string,
  expected: { origin: string; size: number; rootHash: Uint8Array; vkeys: readonly string[] },
): boolean {
  const { origin, size, rootHash, vkeys } = expected
  try {
    const opened = openCheckpoint(note, vkeys.map(createVerifier), { origin })
    return opened.treeSize === size && equalBytes(opened.rootHash, rootHash)
  } catch (error) {
    if (isAuditError(error)) return false
    throw error
  }
}

function compareTree(head: Head, now: Head, path: string, tree: VerifiedTree): Finding | undefined {
  const { treeSize, rootHash, where } = tree
  const agreed = head.logs.get(path) ?? head.sealed.get(path)
  if (treeSize > sizeInHead(now, path)) {
    return {
      kind: 'inconsistent',
      what: 'the head is older than what the log published: the head was rolled back',
      where,
      expected: `at least ${treeSize} entries in the head`,
      actual: `${sizeInHead(now, path)} entries in the head`,
    }
  }
  if (agreed === undefined || treeSize > agreed.size) return undefined
  if (treeSize < agreed.size) {
    return {
      kind: 'inconsistent',
      what: 'the log is older than the head: it was rolled back, or the head is not signed by its key',
      where,
      expected: `${agreed.size} entries`,
      actual: `${treeSize} entries`,
    }
  }
  if (equalBytes(agreed.root, rootHash)) return undefined
  return {
    kind: 'inconsistent',
    what: 'the head has another root for the log than the log itself',
    where,
    expected: toHex(rootHash),
    actual: toHex(agreed.root),
  }
}

/**
 * Compares the writer's place and the open starts of the head with what the entries say. `chain` has
 * followed the logs as far as the head, and not the tail.
 */
export function checkHeadWriter(options: {
  head: Head
  chain: Chain
  /** From the key of the logs. */
  writerId: string | undefined
  /** How the head's file is named in findings. */
  where: string
}): Finding[] {
  const { head, chain, where, writerId } = options
  const findings: Finding[] = []
  if (writerId !== undefined && head.writer.id !== writerId) {
    const what = 'the head names another writer than its ledger has'
    findings.push({ kind: 'inconsistent', what, where, expected: writerId, actual: head.writer.id })
  }
  const sizes = [...head.logs.values(), ...head.sealed.values()].map(({ size }) => size)
  const entries = sizes.reduce((sum, size) => sum + size, 0)
  if (entries !== head.wal.index) {
    const [expected, actual] = [`${entries} entries`, `${head.wal.index} entries`]
    const what = 'the head counts other entries in the write-ahead log than in the logs'
    findings.push({ kind: 'inconsistent', what, where, expected, actual })
  }
  const { epoch, seq, prev } = head.writer
  const { last } = chain
  const stated = `epoch ${epoch} seq ${seq} after ${prev}`
  const followed =
    last === null ? stated : `epoch ${last.epoch} seq ${last.seq + 1} after ${last.leafHash}`
  if (last !== null && stated !== followed) {
    const what = "the head has another place for the writer's next entry than the logs"
    findings.push({ kind: 'inconsistent', what, where, expected: followed, actual: stated })
  }
  const openInLogs = chain.openStarts().map((start) => `${logOf(start.where)} ${start.leafIndex}`)
  const openInHead = [...head.open].flatMap(([log, indices]) => indices.map((at) => `${log} ${at}`))
  const [expected, actual] = [openInLogs, openInHead].map((places) => places.toSorted().join(', '))
  if (expected !== actual) {
    const what = 'the head has other interactions open than the logs'
    const shown = { expected: shorten(expected), actual: shorten(actual) }
    findings.push({ kind: 'inconsistent', what, where, ...shown })
  }
  return findings
}

/** `<class>/<quarter>`: the last two parts of a log's folder. */
function logOf(where: string): string {
  return where.split(/[\\/]/).slice(-2).join('/')
}

function shorten(places: string | undefined): string {
  if (places === undefined || places === '') return 'none'
  return places.length > 200 ? `${places.slice(0, 200)}…` : places
}
