/**
 * Reads the records of one run back from the ledger's files.
 *
 * @module
 */
import { parseEntry } from '@affidavit/format'
import { openLedgerReader } from '../ledger/read.ts'
import { type CompletedRecord } from './summary.ts'

/** Records of a run, and whether all of them are under a signed checkpoint. */
export interface RunRecords {
  readonly records: readonly CompletedRecord[]
  readonly published: boolean
}

/** Finished interactions in the ledgers of `instanceDirectories` whose session begins with `runId`. */
export async function readRunRecords(
  instanceDirectories: readonly string[],
  runId: string,
): Promise<RunRecords> {
  const records = new Map<string, CompletedRecord>()
  let published = true
  const add = (bytes: Uint8Array, integrated: boolean) => {
    const entry = parseEntry(bytes)
    if (entry.kind !== 'interaction.completed') return
    if (entry.session_id?.startsWith(`${runId}-`) !== true) return
    records.set(entry.event_id, entry)
    published &&= integrated
  }
  for (const directory of instanceDirectories) {
    const reader = await openLedgerReader(directory)
    // The tail first: what is published between the two reads is then seen twice, and never missed.
    for await (const { entry } of reader.readUnintegrated()) add(entry, false)
    for (const log of await reader.logs()) {
      for await (const { entry } of reader.readEntries(log)) add(entry, true)
    }
  }
  return { records: [...records.values()], published }
}
