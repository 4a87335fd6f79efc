/**
 * Head store: one value, replaced by compare-and-swap. It is the only thing that decides what the last
 * agreed state of a ledger is, so it is kept apart from what it describes, on another volume if there
 * is one: whoever restores an old copy of one of the two is found out by the other.
 *
 * Invariants:
 * - A value that `swap` accepted is what `load` returns after any crash, until the next `swap`.
 * - A swap that was not expected changes nothing.
 * - After a failed swap either value may be stored: only `load` in a new run can tell.
 *
 * @module
 */
import { AuditError, equalBytes } from '@affidavit/format'
import { join } from 'node:path'
import { makeDirectories, writeWhole } from './durable.ts'
import type { LedgerFs } from './ledger-fs.ts'

/** One value with compare-and-swap. Calls must not overlap. */
export interface HeadStore {
  /** The value; `undefined` before the first swap. */
  load(): Promise<Uint8Array | undefined>
  /**
   * Replaces `expected` (`undefined`: nothing stored yet) by `next`, durably.
   *
   * @throws AuditError `ERR_HEAD_CONFLICT` when something else is stored.
   */
  swap(expected: Uint8Array | undefined, next: Uint8Array): Promise<void>
}

/**
 * Opens a head store in `directory` of a POSIX file system, as the file `head.json`. Nothing here
 * excludes a second process: the ledger's lock does.
 */
export async function openPosixHeadStore(fs: LedgerFs, directory: string): Promise<HeadStore> {
  await makeDirectories(fs, directory)
  const path = join(directory, 'head.json')
  const staged = join(directory, 'head.json.tmp')
  const load = () => fs.readFile(path)
  return {
    load,
    async swap(expected, next) {
      const stored = await load()
      if (!isSame(stored, expected)) {
        throw new AuditError(
          'ERR_HEAD_CONFLICT',
          'Another process has changed the head of this ledger. Nothing was published by this one ' +
            'after that. Find and end the other process before starting this one again.',
        )
      }
      // A crash before the rename is durable leaves the old head; the temporary file has no meaning.
      await writeWhole(fs, { path, staged, bytes: next })
    },
  }
}

function isSame(stored: Uint8Array | undefined, expected: Uint8Array | undefined): boolean {
  if (stored === undefined || expected === undefined) return stored === expected
  return equalBytes(stored, expected)
}
