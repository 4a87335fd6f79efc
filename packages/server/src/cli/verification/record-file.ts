/**
 * The bytes of one record, exactly as they stand in its log: from a file, or from the log itself.
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  AuditError,
  type Entry,
  entryBytesMax,
  parseCheckpoint,
  parseEntry,
  parseNote,
  parseProof,
  type Policy,
} from '@affidavit/format'
import { type LogInfo, openLedgerReader, type PlacedEntry } from '../../ledger/read.ts'
import { dataDirOf, findInstances, type InstancePlace, isFile } from '../settings.ts'
import { visible } from '../terminal.ts'
import { keysFor, policyFor, readVkey, type Trust } from './trust.ts'

/** An entry with its parsed form. */
export interface LoadedRecord {
  readonly eventId: string
  readonly bytes: Uint8Array
  readonly entry: Entry
}

/** A record in an instance's ledger. */
export interface FoundRecord {
  readonly instance: InstancePlace
  /** Every entry about it, oldest first. */
  readonly entries: readonly (PlacedEntry & { readonly parsed: Entry })[]
  readonly logs: readonly LogInfo[]
}

const eventIdPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/**
 * Finds a record in the instances of a data directory.
 *
 * @throws AuditError `ERR_RECORD_NOT_FOUND`
 */
export async function findRecord(
  eventId: string,
  options: { dataDir?: string },
): Promise<FoundRecord> {
  const dataDir = await dataDirOf(options)
  if (!eventIdPattern.test(eventId)) {
    throw new AuditError(
      'ERR_RECORD_NOT_FOUND',
      `${visible(eventId)} is not an event id. Nothing was changed. The id of an interaction is in ` +
        'its x-audit-event-id response header, and in the last column of `affidavit tail`.',
    )
  }
  for (const instance of await findInstances(dataDir)) {
    const reader = await openLedgerReader(instance.directory)
    const found = await reader.findByEventId(eventId)
    if (found.length === 0) continue
    const entries = found.map((placed) => ({ ...placed, parsed: parseEntry(placed.entry) }))
    return { instance, entries, logs: await reader.logs() }
  }
  throw new AuditError(
    'ERR_RECORD_NOT_FOUND',
    `No log below ${dataDir} has a record ${eventId}. Nothing was changed. Check the id, and that ` +
      'this is the data directory of the gateway that answered.',
  )
}

/** The entry that says most about an interaction: its end if there is one, else its start. */
export function lastEntry(found: FoundRecord): FoundRecord['entries'][number] {
  const [first, ...more] = found.entries
  const last = more.at(-1) ?? first
  if (last === undefined) throw new AuditError('ERR_RECORD_NOT_FOUND', 'The record has no entry.')
  return last
}

/** Reads a record by the name of a file, or by its event id. */
export async function loadRecord(
  record: string,
  options: { dataDir?: string },
): Promise<LoadedRecord> {
  if (!(await isFile(record)) && eventIdPattern.test(record)) {
    const { entry: bytes, parsed } = lastEntry(await findRecord(record, options))
    return { eventId: record, bytes, entry: parsed }
  }
  const bytes = await readFile(record)
  if (bytes.length > entryBytesMax + 1) {
    throw new AuditError('ERR_ENTRY_MALFORMED', `${visible(record)} is too long for a record.`)
  }
  const entry = parseEntry(bytes)
  return { eventId: entry.event_id, bytes, entry }
}

/**
 * The policy to hold a receipt to. Without keys from elsewhere the log's own key file is used, if the
 * log is here.
 *
 * @throws AuditError `ERR_POLICY_UNSATISFIED` when there is no key to trust.
 */
export async function policyForReceipt(
  trust: Trust,
  receipt: Uint8Array,
  options: { dataDir?: string },
): Promise<Policy> {
  const { origin } = parseCheckpoint(parseNote(parseProof(receipt).checkpoint).text)
  const own = trust.kind === 'own' ? await ownKey(origin, options) : undefined
  if (keysFor(trust, origin, own).length > 0) return policyFor(trust, origin, own)
  throw new AuditError(
    'ERR_POLICY_UNSATISFIED',
    `There is no key to trust for ${visible(origin)}. Nothing was verified. Give the key with --vkey ` +
      'or --policy.',
  )
}

async function ownKey(origin: string, options: { dataDir?: string }) {
  const instances = await findInstances(await dataDirOf(options)).catch(() => [])
  for (const { directory } of instances) {
    const logs = await (await openLedgerReader(directory)).logs()
    const log = logs.find((one) => one.origin === origin)
    if (log === undefined) continue
    const text = await readFile(join(log.directory, 'vkey'), 'utf8').catch(() => undefined)
    return readVkey(text)
  }
  return undefined
}
