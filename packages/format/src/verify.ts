/**
 * Verification without trust in whoever kept the files: one record with its receipt, a range of a log,
 * a whole log. Nothing here parses an entry; entries are bytes, and `visitEntry` sees them.
 *
 * A log is intact when its report has no finding but notices. What that proves: every entry, tile and
 * stored checkpoint is under the root of the largest checkpoint that the log's key signed and that is
 * here, or held by the caller. What it cannot prove: that no larger checkpoint was ever signed. For
 * that, hand in the newest one that somebody else holds.
 *
 * @module
 */
import { assert } from './assert.ts'
import { equalBytes, utf8Encode } from './bytes.ts'
import { leafHash } from './hash.ts'
import { createAnyVerifier } from './tlog/cosignature.ts'
import type { Policy } from './tlog/policy.ts'
import { verifyProof, type VerifiedProof } from './tlog/proof.ts'
import { tileWidth } from './tlog/tile.ts'
import { openCheckpoints, type Checkpoints } from './verify/checkpoints.ts'
import { proveRow, readFile, type LogFiles, type Verification } from './verify/context.ts'
import { createFindings, type Finding } from './verify/finding.ts'
import { checkLeftovers } from './verify/leftovers.ts'
import { checkRow, readRow, type VisitEntry } from './verify/rows.ts'
import { walkLog, type Progress } from './verify/walk.ts'

/**
 * Verifies one record: its bytes, exactly as they stand in the log, its receipt, and whom to trust.
 *
 * @throws AuditError as `verifyProof` does; `ERR_PROOF_INVALID` when the record is not what the log
 *   holds at that index.
 */
export function verifyReceipt(
  record: Uint8Array,
  receipt: string | Uint8Array,
  policy: Policy,
): VerifiedProof {
  return verifyProof(receipt, { leafHash: leafHash(record), policy })
}

/** What to verify, and whom to tell. */
export interface VerifyLogOptions {
  /** Called in order for every entry that is there, also one that a finding is about. */
  readonly visitEntry?: VisitEntry
  readonly onProgress?: (progress: Progress) => void
  /**
   * Signed checkpoints of this log from elsewhere: an earlier copy, a receipt, a witness. The log must
   * begin with each of them.
   */
  readonly heldCheckpoints?: readonly string[]
  /**
   * Entries below it may be gone, in whole bundles and tiles, by the log's published retention policy
   * (c2sp.org/tlog-tiles, Pruning). 0 by default: nothing may be gone.
   */
  readonly minimumIndex?: number
  /** Origin to expect of a foreign log whose key has another name. */
  readonly origin?: string
}

/** Outcome of a verification. */
export interface LogReport {
  /** Whether there is a signed tree and no finding but notices. */
  readonly intact: boolean
  /** The signed tree that the log was held to; absent when it has no checkpoint that is signed. */
  readonly origin?: string
  readonly treeSize?: number
  readonly rootHash?: Uint8Array
  /** Its signed checkpoint. */
  readonly checkpoint?: string
  /** Entries read and hashed. */
  readonly entriesHashed: number
  /** Other checkpoints whose root was compared with the tree's at their size. */
  readonly checkpointsCompared: number
  /** Whether the directory was listed: else stored checkpoints and foreign files were not looked for. */
  readonly listed: boolean
  /** In the order of discovery, at most `findingsMax` of each sort. */
  readonly findings: readonly Finding[]
  readonly brokenCount: number
  readonly noticeCount: number
}

/**
 * Verifies a whole log: the signature of its checkpoint, every entry against its tile, every tile
 * against the one above, the root, every stored checkpoint against the tree at its size, and every
 * other file against what it claims to be. Reads each file once (leftovers twice); memory does not grow
 * with the log but for eight bytes a stored checkpoint.
 *
 * @param vkeys the log's verifier key, or several after a change of keys
 * @throws AuditError `ERR_KEY_MALFORMED`; and whatever `files` throws
 */
export async function verifyLog(
  files: LogFiles,
  vkeys: string | readonly string[],
  options: VerifyLogOptions = {},
): Promise<LogReport> {
  const verification = startVerification(files, vkeys, options)
  await checkKeyFile(verification, vkeys)
  const checkpoints = await openCheckpoints(verification, options.heldCheckpoints ?? [])
  if (checkpoints === undefined) return reportOf(verification, undefined, nothingWalked)
  const { visitEntry, onProgress } = options
  const walked = await walkLog(verification, checkpoints, { visitEntry, onProgress })
  await checkLeftovers(verification, checkpoints.target.treeSize)
  return reportOf(verification, checkpoints, walked)
}

/** A part of a log: entries from `from` up to, not including, `to`. */
export interface VerifyRangeOptions extends Omit<VerifyLogOptions, 'minimumIndex'> {
  readonly from: number
  readonly to: number
}

/**
 * Verifies the entries of a range: each is under the log's signed root, by inclusion proofs out of its
 * tiles. Reads the range and its edges, not the log. `visitEntry` sees the entries of the range only.
 *
 * @throws AuditError as `verifyLog` does
 */
export async function verifyRange(
  files: LogFiles,
  vkeys: string | readonly string[],
  options: VerifyRangeOptions,
): Promise<LogReport> {
  const { from, to, visitEntry, onProgress } = options
  assert(from >= 0 && from <= to, 'a range goes from a lower to a higher index')
  const verification = startVerification(files, vkeys, options)
  const checkpoints = await openCheckpoints(verification, options.heldCheckpoints ?? [])
  if (checkpoints === undefined) return reportOf(verification, undefined, nothingWalked)
  const { target } = checkpoints
  if (to > target.treeSize) {
    const [expected, actual] = [`an index below ${target.treeSize}`, `${to - 1}`]
    verification.findings.add({ kind: 'missing', where: target.where, expected, actual })
  }
  const end = Math.min(to, target.treeSize)
  const isInside = (leafIndex: number) => leafIndex >= from && leafIndex < end
  let entriesHashed = 0
  for (let index = Math.floor(from / tileWidth); index * tileWidth < end; index++) {
    const row = await readRow(verification, { index, treeSize: target.treeSize })
    const hashes = await checkRow(verification, target, {
      row,
      visitEntry: (entry, leafIndex, hash) => {
        if (!isInside(leafIndex)) return
        entriesHashed += 1
        visitEntry?.(entry, leafIndex, hash)
      },
    })
    const leafIndex = index * tileWidth
    if (hashes !== undefined) {
      const proof = await proveRow(verification, target, { row: { index, hashes }, leafIndex })
      if (proof === undefined) {
        verification.findings.add({ kind: 'root', where: target.where, leafIndex })
      }
    }
    onProgress?.({
      entriesDone: Math.min(end, leafIndex + tileWidth) - from,
      entriesTotal: end - from,
    })
  }
  return reportOf(verification, checkpoints, { entriesHashed, checkpointsCompared: 0 })
}

const nothingWalked = { entriesHashed: 0, checkpointsCompared: 0 }

function startVerification(
  files: LogFiles,
  vkeys: string | readonly string[],
  { origin, minimumIndex = 0 }: Pick<VerifyLogOptions, 'origin' | 'minimumIndex'>,
): Verification {
  return {
    files,
    verifiers: keysOf(vkeys).map((vkey) => createAnyVerifier(vkey)),
    origin,
    logOrigin: origin,
    minimumIndex,
    findings: createFindings(),
    evidenceCount: 0,
  }
}

/** A log's directory may hold its key, for convenience only; if it does, it is the trusted one. */
async function checkKeyFile(
  verification: Verification,
  vkeys: string | readonly string[],
): Promise<void> {
  const bytes = await readFile(verification, 'vkey')
  if (bytes === undefined) return
  if (keysOf(vkeys).some((vkey) => equalBytes(bytes, utf8Encode(`${vkey}\n`)))) return
  verification.findings.add({ kind: 'vkey', where: 'vkey' })
}

function reportOf(
  { findings, files }: Verification,
  checkpoints: Checkpoints | undefined,
  walked: { entriesHashed: number; checkpointsCompared: number },
): LogReport {
  const { kept, brokenCount, noticeCount } = findings
  const counts = {
    entriesHashed: walked.entriesHashed,
    checkpointsCompared: walked.checkpointsCompared,
  }
  const listed = files.list !== undefined
  const rest = { ...counts, listed, findings: kept, brokenCount, noticeCount }
  if (checkpoints === undefined) return { intact: false, ...rest }
  const { origin, treeSize, rootHash, signed } = checkpoints.target
  return { intact: brokenCount === 0, origin, treeSize, rootHash, checkpoint: signed, ...rest }
}

function keysOf(vkeys: string | readonly string[]): readonly string[] {
  return typeof vkeys === 'string' ? [vkeys] : vkeys
}
