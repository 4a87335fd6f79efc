/**
 * One log's verification as a job that runs in this thread or in another: everything that goes in and
 * comes out can be sent between threads.
 *
 * @module
 */
import {
  type Finding,
  type LogReport,
  verifyLog,
  type VerifyLogOptions,
  verifyRange,
} from '@affidavit/format'
import { type AddedCheckpoint, openLogFiles } from './log-files.ts'
import { createParcelWriter, type Parcel } from './parcels.ts'

/** What to verify. */
export interface LogJob {
  readonly directory: string
  readonly vkeys: readonly string[]
  readonly heldCheckpoints: readonly string[]
  readonly added?: AddedCheckpoint | undefined
  /** Only these entries, `from` up to and not including `to`; the whole log without it. */
  readonly range?: { readonly from: number; readonly to: number }
}

/** How it went: a report, or why there is none. */
export type LogOutcome =
  | { readonly report: LogReport }
  | { readonly unreadable: { readonly path: string; readonly reason: string } }

/** Whom a job tells while it runs. */
export interface LogJobEvents {
  parcel(parcel: Parcel): void
  /** Something to wait for before the next read, if the receiver of the parcels is behind. */
  gate(): Promise<void> | undefined
}

/** Findings of the verifier, whichever way they arrive. */
export type LogFinding = Finding

/** Runs a job. Does not throw for anything that is wrong with the files. */
export async function runLogJob(job: LogJob, events: LogJobEvents): Promise<LogOutcome> {
  const writer = createParcelWriter((parcel) => events.parcel(parcel))
  const files = openLogFiles(job.directory, { added: job.added, gate: () => events.gate() })
  try {
    const options: VerifyLogOptions = {
      heldCheckpoints: job.heldCheckpoints,
      visitEntry: (entry, leafIndex, leafHash) => writer.add(entry, leafIndex, leafHash),
    }
    const report =
      job.range === undefined
        ? await verifyLog(files, job.vkeys, options)
        : await verifyRange(files, job.vkeys, { ...options, ...job.range })
    return { report }
  } catch (error) {
    const unreadable = unreadableOf(error)
    if (unreadable === undefined) throw error
    return { unreadable }
  } finally {
    writer.flush()
  }
}

/** The file and the reason of an error of the operating system; undefined for any other error. */
export function unreadableOf(error: unknown): { path: string; reason: string } | undefined {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return undefined
  const path = 'path' in error && typeof error.path === 'string' ? error.path : ''
  return { path, reason: String(error.code) }
}
