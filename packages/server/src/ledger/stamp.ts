/**
 * The stamp that the ledger puts on every entry in place of the last brace of its body, in two steps:
 * most of it is the same for all entries of a log in one epoch.
 *
 * Invariant: the two steps give what `stampEntry` of `@affidavit/format` gives.
 *
 * @module
 */
import { stampEntry } from '@affidavit/format'

// A body that is stamped once per log, to see what the stamp looks like.
const shell = '{"":0}'
const tail = '","seq":0}}'

/** The stamp up to the hash of the entry before. */
export function beginStamp(writer: { epoch: number; id: string; log: string }): string {
  const stamped = stampEntry(shell, { ...writer, prev: '', seq: 0 })
  return stamped.slice(shell.length - 1, -tail.length)
}

/** The whole stamp. */
export function finishStamp(begun: string, prev: string, seq: number): string {
  return `${begun}${prev}","seq":${seq}}}`
}
