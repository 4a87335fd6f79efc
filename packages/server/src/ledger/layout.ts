/**
 * Where the files of an instance's ledger are, below the instance's directory.
 *
 * ```
 * ledger/lock       held while the ledger is open; process id and start time inside
 * ledger/key        signing key, owner only
 * ledger/wal/       write-ahead log
 * ledger/head/      head store, unless it is on another volume
 * ledger/logs/      <class>/<quarter>/{checkpoint,vkey,tile/…,cp/…}
 * ledger/staging/   files that are being written; meaningless after a crash
 * ```
 *
 * @module
 */
import { join } from 'node:path'

export interface LedgerPaths {
  readonly root: string
  readonly lock: string
  readonly key: string
  readonly wal: string
  readonly head: string
  readonly logs: string
  readonly staging: string
}

/** Paths of the ledger in an instance's directory. */
export function ledgerPaths(directory: string, headDirectory?: string): LedgerPaths {
  return pathsBelow(join(directory, 'ledger'), headDirectory)
}

/** Paths of a ledger whose folder is `root`, whatever its name. */
export function pathsBelow(root: string, headDirectory?: string): LedgerPaths {
  return {
    root,
    lock: join(root, 'lock'),
    key: join(root, 'key'),
    wal: join(root, 'wal'),
    head: headDirectory ?? join(root, 'head'),
    logs: join(root, 'logs'),
    staging: join(root, 'staging'),
  }
}
