/**
 * What verification finds, as data: enough for another program to show the contradiction again without
 * trusting this one.
 *
 * @module
 */

/**
 * What was seen.
 *
 * - `missing`: the signed tree needs a file that is not there.
 * - `malformed`: a file is not in its canonical form, so it cannot be compared.
 * - `unsigned`: a checkpoint is not signed by a trusted key of the log that it names.
 * - `entry-altered`: an entry is not the one that the signed tree holds; the tree is proven intact.
 * - `tile-altered`: a hash in a tile is not the one of the signed tree; the entries are proven intact.
 * - `mismatch`: two files contradict each other, and neither leads to the signed root.
 * - `root`: what the files give as a whole is not the signed root, or they do not reach it.
 * - `fork`: the log signed a tree that its present tree does not begin with.
 * - `rolled-back`: the log signed a larger tree than the one that is here.
 * - `leftover-altered`: a file that no longer counts differs from the one that took its place.
 * - `vkey`: the key file of the log is not the key that is trusted.
 *
 * Notices:
 * - `behind`: `checkpoint` is older than another signed checkpoint of the log, which was verified.
 * - `ahead`: a tile or bundle goes beyond the checkpoint, as while a log is being written.
 * - `unexpected`: a file that is no part of a log.
 */
export type FindingKind =
  | 'missing'
  | 'malformed'
  | 'unsigned'
  | 'entry-altered'
  | 'tile-altered'
  | 'mismatch'
  | 'root'
  | 'fork'
  | 'rolled-back'
  | 'leftover-altered'
  | 'vkey'
  | NoticeKind

/** Kinds that break nothing. */
export type NoticeKind = 'behind' | 'ahead' | 'unexpected'

/**
 * The smallest thing that proves a finding to a third party who has the log's key.
 *
 * - `inclusion`: a receipt by which the signed tree holds `leafHash` at that index. The entry that
 *   was found there hashes to something else.
 * - `fork`: two checkpoints signed by the log. The consistency `proof` shows that the newer tree begins
 *   with `prefixRoot` at the older one's size; the older one says otherwise. With equal sizes the two
 *   checkpoints alone are the contradiction.
 */
export type Evidence =
  | { readonly kind: 'inclusion'; readonly leafHash: string; readonly receipt: string }
  | {
      readonly kind: 'fork'
      readonly older: string
      readonly newer: string
      readonly prefixRoot: string
      /** Hashes in hex. */
      readonly proof: readonly string[]
    }

/** One thing that was found. */
export interface Finding {
  readonly kind: FindingKind
  /** Path inside the log's directory. */
  readonly where: string
  /** The entry, where the finding is about one. */
  readonly leafIndex?: number
  /** What the signed tree, or the format, asks for: a hash in hex, or words. */
  readonly expected?: string
  /** What is there. */
  readonly actual?: string
  readonly evidence?: Evidence
}

const noticeKinds: ReadonlySet<FindingKind> = new Set(['behind', 'ahead', 'unexpected'])

/** Whether a finding leaves the log intact. */
export function isNotice(finding: Finding): boolean {
  return noticeKinds.has(finding.kind)
}

/** Findings that a report keeps; more are counted. */
export const findingsMax = 1_000
/** Findings that get evidence made for them. */
export const evidenceMax = 16

/** Collects findings within `findingsMax`. */
export interface Findings {
  add(finding: Finding): void
  readonly kept: readonly Finding[]
  /** Findings that are no notices, kept or not. */
  readonly brokenCount: number
  readonly noticeCount: number
}

/** Makes an empty collection. */
export function createFindings(): Findings {
  const kept: Finding[] = []
  let brokenCount = 0
  let noticeCount = 0
  return {
    kept,
    get brokenCount() {
      return brokenCount
    },
    get noticeCount() {
      return noticeCount
    },
    add(finding) {
      if (isNotice(finding)) noticeCount += 1
      else brokenCount += 1
      // A flood of notices must not push out what is broken, and the other way round.
      const room = isNotice(finding) ? noticeCount : brokenCount
      if (room <= findingsMax) kept.push(finding)
    },
  }
}
