/**
 * What a ledger is opened with: options, their defaults and limits.
 *
 * @module
 */
import type { Clock } from '@affidavit/sdk/capture'
import { posixFs } from '../store/posix-fs.ts'
import type { LedgerFs } from '../store/ledger-fs.ts'
import { settingFailure } from './failure.ts'
import { ledgerPaths, type LedgerPaths } from './layout.ts'

export interface LedgerOptions {
  /** The instance's directory, `<dataDir>/<instance>`; the ledger is in its subfolder `ledger`. */
  readonly directory: string
  /** Where the head is kept when it is on another volume. */
  readonly headDirectory?: string
  /** Name of the deployment, e.g. `audit.acme.example`: the first part of every origin. */
  readonly deployment: string
  /** Name of this writer within the deployment, e.g. `gw-1`. */
  readonly instance: string
  readonly clock: Clock
  /** Cryptographically random bytes. */
  readonly random: (bytes: number) => Uint8Array
  readonly fs?: LedgerFs
  /** Size of a write-ahead segment. Default 64 MiB. */
  readonly segmentBytes?: number
  /** Integrates and publishes this often while there is something new. Default 1,000. */
  readonly integrateIntervalMs?: number
  /** Integrates and publishes at once when this many entries wait for it. Default 4,096. */
  readonly integrateEntries?: number
  /** Writes a heartbeat after this long without an entry. Default 60,000. */
  readonly heartbeatMs?: number
  /** Refuses entries while this many bytes wait to be written. Default 32 MiB. */
  readonly queueBytesMax?: number
  /**
   * Holds entries back while this many bytes wait to be integrated: what a recovery has to read, and the
   * memory of a ledger that is written to faster than its disk integrates. Default 64 MiB.
   */
  readonly backlogBytesMax?: number
  /** Refuses starts while this many interactions are open. Default 65,536. */
  readonly openInteractionsMax?: number
  /**
   * Whether an interaction that an earlier opening left open is still being handled, because it is this
   * process that opens the ledger again: it is left open for its end to come. Default: none is.
   */
  readonly isAlive?: (eventId: string) => boolean
  /** Told facts worth a log line; never content. */
  readonly log?: (fact: string, fields: Readonly<Record<string, string | number>>) => void
  /** Calls `run` again and again; returns what ends that. Default: an unreferenced `setInterval`. */
  readonly every?: (intervalMs: number, run: () => void) => () => void
}

/** Options with every default filled in. */
export type Settings = Required<Omit<LedgerOptions, 'headDirectory'>> & {
  readonly paths: LedgerPaths
}

// Part of a key's name, of an origin and of a path: no `/`, no `+`, no space.
const namePattern = /^[a-z0-9](?:[a-z0-9.-]{0,98}[a-z0-9])?$/
// One frame header and the smallest entry; real ones are megabytes.
const segmentBytesMin = 4096

/**
 * Fills in the defaults.
 *
 * @throws AuditError `ERR_CONFIG_INVALID`
 */
export function settingsOf(options: LedgerOptions): Settings {
  const { directory, headDirectory, deployment, instance } = options
  for (const name of [deployment, instance]) {
    if (!namePattern.test(name)) {
      throw settingFailure(`"${name}" is no name: up to 100 of a-z, 0-9, inner dots and hyphens`)
    }
  }
  const settings = {
    fs: posixFs,
    segmentBytes: 64 << 20,
    integrateIntervalMs: 1000,
    integrateEntries: 4096,
    heartbeatMs: 60_000,
    queueBytesMax: 32 << 20,
    backlogBytesMax: 64 << 20,
    openInteractionsMax: 65_536,
    isAlive: () => false,
    log: () => undefined,
    every: repeat,
    ...options,
    paths: ledgerPaths(directory, headDirectory),
  }
  if (settings.segmentBytes < segmentBytesMin) {
    throw settingFailure(`segments of less than ${segmentBytesMin} bytes hold nothing`)
  }
  return settings
}

function repeat(intervalMs: number, run: () => void): () => void {
  const timer = setInterval(run, intervalMs)
  // A ledger that is open keeps no process alive; whoever serves does.
  timer.unref()
  return () => clearInterval(timer)
}
