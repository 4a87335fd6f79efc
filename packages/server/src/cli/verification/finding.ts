/**
 * What verification finds wrong, as data: the smallest evidence that a person or a program can check
 * again by hand. Nothing in a finding quotes content of an entry beyond its `event_id`.
 *
 * @module
 */
import type { Evidence } from '@affidavit/format'
import { type ExitName, exits } from '../exit.ts'

/** Classes of findings; each has an exit code of its own (see `exits`). */
export type FindingKind = Extract<
  ExitName,
  | 'signature'
  | 'altered'
  | 'inconsistent'
  | 'missing'
  | 'gap'
  | 'unpaired'
  | 'malformed'
  | 'wal'
  | 'unreadable'
>

/** One thing that is wrong. */
export interface Finding {
  readonly kind: FindingKind
  /** One sentence: what is wrong. */
  readonly what: string
  /** File, relative to the path that was verified, or the origin of a log. */
  readonly where: string
  readonly byteOffset?: number
  readonly leafIndex?: number
  readonly eventId?: string
  readonly expected?: string
  readonly actual?: string
  /** What proves it to somebody who has the log's key, where there is such a thing. */
  readonly evidence?: Evidence
}

/** Findings kept of each kind; the ones after that are only counted. */
export const findingsPerKindMax = 20

/** Collects findings up to `findingsPerKindMax`, and counts all of them. */
export interface FindingList {
  add(finding: Finding): void
  readonly kept: readonly Finding[]
  readonly counts: ReadonlyMap<FindingKind, number>
}

/** Makes an empty list. */
export function createFindingList(): FindingList {
  const kept: Finding[] = []
  const counts = new Map<FindingKind, number>()
  return {
    kept,
    counts,
    add(finding) {
      const count = (counts.get(finding.kind) ?? 0) + 1
      counts.set(finding.kind, count)
      if (count <= findingsPerKindMax) kept.push(finding)
    },
  }
}

/** The exit of a verification: `ok`, or the found kind with the lowest code. */
export function exitOfFindings(counts: ReadonlyMap<FindingKind, number>): ExitName {
  const kinds = [...counts.keys()].sort((a, b) => exits[a].code - exits[b].code)
  return kinds[0] ?? 'ok'
}
