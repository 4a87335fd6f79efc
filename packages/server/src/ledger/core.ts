/**
 * The state of a running ledger. ledger.ts is the only file that changes it.
 *
 * @module
 */
import type { AuditError } from '@affidavit/format'
import type { DurableFiles } from '../store/durable.ts'
import type { HeadStore } from '../store/head-store.ts'
import type { FileLock, GuardedFs } from '../store/ledger-fs.ts'
import type { Batch, BatchMemory, WrittenBatch } from './batch.ts'
import type { Head } from './head.ts'
import type { LogTable } from './logs.ts'
import type { Settings } from './options.ts'
import type { OpenStart } from './tail.ts'
import type { WalWriter } from './wal.ts'

/** A ledger that does not open is not an object; one that has stopped never opens again. */
export type LedgerState = 'open' | 'stopped'

/** Everything a running ledger knows. */
export interface Core {
  readonly settings: Settings
  readonly guard: GuardedFs
  readonly lock: FileLock
  readonly headStore: HeadStore
  readonly files: DurableFiles
  readonly memory: BatchMemory
  readonly logs: LogTable
  readonly wal: WalWriter
  readonly listeners: Set<(state: LedgerState, error?: AuditError) => void>

  state: 'open' | 'closing' | 'stopped'
  failure: AuditError | undefined
  endTicks: () => void
  closing: Promise<void> | undefined
  ended: Promise<void> | undefined

  readonly writerId: string
  readonly epoch: number
  /** Sequence number of the next entry, and the leaf hash that it names as its predecessor. */
  seq: number
  prev: string
  /** Sequence number after the last entry that is durable. */
  writtenSeq: number
  /** Being filled; full and waiting; being written. */
  batch: Batch | undefined
  readonly ready: Batch[]
  writing: Batch | undefined
  sequencing: Promise<void> | undefined
  queuedBytes: number
  /** When the batch that is being filled was begun. */
  nowMicros: number
  lastEntryMs: number
  readonly openIds: Set<string>

  head: Head
  headBytes: Uint8Array
  readonly backlog: WrittenBatch[]
  backlogEntries: number
  backlogBytes: number
  readonly integratedOpen: Map<string, OpenStart>
  pass: Promise<void> | undefined
}
