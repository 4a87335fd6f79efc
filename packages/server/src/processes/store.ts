/**
 * Opens what a gateway writes to: the ledger (whose lock keeps every other process out of the
 * instance's directory), then the key ring and the keys of digests.
 *
 * @module
 */
import { join } from 'node:path'
import type { Clock, HashKeys } from '@affidavit/sdk/capture'
import type { Config } from '../base/config.ts'
import type { Log, LogFields } from '../base/log.ts'
import { openMarksFile } from '../ingest/marks-file.ts'
import { openMarks, type Marks } from '../ingest/marks.ts'
import type { OpenedStore } from '../gateway/audit-store.ts'
import { openLedgerReader } from '../ledger/read.ts'
import { openLedger, type Ledger, type LedgerOptions } from '../ledger/ledger.ts'
import { hashKeysFor, openLookupKey, openTenantHashKeys } from '../vault/hash-keys.ts'
import { ensureIdentityKeys, openIdentitySealer } from '../vault/identity-keys.ts'
import { ringPath } from '../vault/resolve.ts'
import { openRingFile } from '../vault/ring-file.ts'
import { openKeyRing, type KeyRing } from '../vault/subjects.ts'

// A request of the ingest endpoint has at most 10,000 records, and few run at one time.
const newestEntriesPerLog = 16_384

export interface StoreSources {
  readonly config: Config
  readonly clock: Clock
  readonly log: Log
  random(bytes: number): Uint8Array
  /** Replaced by tests and tools, e.g. to put a file system of theirs under the ledger. */
  readonly ledgerOptions?: Partial<LedgerOptions>
}

/** Opens the store anew each time it is asked, and keeps the keys that outlive one opening. */
export interface StoreOpener {
  readonly hashKeys: HashKeys
  /** The ingest marks of the store that is open. */
  marks(): Marks | undefined
  open(): Promise<OpenedStore & { readonly log: Ledger }>
}

/** Reads, or makes, the keys of digests; opens nothing else yet. */
export async function createStoreOpener(sources: StoreSources): Promise<StoreOpener> {
  const { config, random } = sources
  const tenant = openTenantHashKeys(config.dataDir, random)
  const identifierKeys = hashKeysFor('tenant', tenant, noSubjectKey)
  let ring: KeyRing | undefined
  let marks: Marks | undefined
  const hashKeys = hashKeysFor(config.hashing.mode, tenant, (handle) =>
    ring === undefined ? noSubjectKey() : ring.subjectHashKey(handle),
  )
  return {
    hashKeys,
    marks: () => marks,
    async open() {
      const { ledger } = await openLedger(ledgerOptionsOf(sources))
      try {
        const opened = await openBeside(sources, identifierKeys)
        ring = opened.ring
        marks = opened.marks
        return { log: ledger, ring, close: () => closeAll(opened, ledger) }
      } catch (error) {
        await ledger.close()
        throw error
      }
    },
  }
}

function ledgerOptionsOf(sources: StoreSources): LedgerOptions {
  const { config, clock, log, random } = sources
  const { ledger, deployment, instance } = config
  return {
    directory: join(config.dataDir, instance),
    deployment,
    instance,
    clock,
    random,
    segmentBytes: ledger.segmentBytes,
    integrateIntervalMs: ledger.integrateIntervalMs,
    integrateEntries: ledger.integrateEntries,
    heartbeatMs: ledger.heartbeatMs,
    queueBytesMax: ledger.queueBytes,
    log: (fact: string, fields: LogFields) => log.info(fields, fact),
    ...sources.ledgerOptions,
  }
}

async function openRing(sources: StoreSources, identifierKeys: HashKeys): Promise<KeyRing> {
  const { config, clock, log, random } = sources
  const { dataDir, instance } = config
  await ensureIdentityKeys(dataDir)
  return openKeyRing({
    file: await openRingFile(ringPath(dataDir, instance)),
    sealer: await openIdentitySealer(dataDir),
    lookupKey: openLookupKey(join(dataDir, instance), random),
    identifierKeys,
    random,
    log,
    nowMicros: clock.nowMicros(),
  })
}

interface Beside {
  readonly ring: KeyRing
  readonly marks: Marks
}

/** What is kept beside the ledger, under its lock. */
async function openBeside(sources: StoreSources, identifierKeys: HashKeys): Promise<Beside> {
  const { dataDir, instance } = sources.config
  const ring = await openRing(sources, identifierKeys)
  try {
    return { ring, marks: await openIngestMarks(join(dataDir, instance)) }
  } catch (error) {
    await ring.close()
    throw error
  }
}

async function closeAll({ ring, marks }: Beside, ledger: Ledger): Promise<void> {
  try {
    await Promise.all([ring.close(), marks.close()])
  } finally {
    await ledger.close()
  }
}

async function openIngestMarks(directory: string): Promise<Marks> {
  const file = await openMarksFile(join(directory, 'keyring', 'ingest.jsonl'))
  return openMarks(file, newestEntries(directory))
}

/** The newest entries of every log: more than can have been ingested since the last mark. */
async function* newestEntries(directory: string): AsyncGenerator<Uint8Array> {
  const reader = await openLedgerReader(directory)
  for (const log of await reader.logs()) {
    const from = Math.max(0, log.size - newestEntriesPerLog)
    for await (const { entry } of reader.readEntries(log, from)) yield entry
  }
  for await (const { entry } of reader.readUnintegrated()) yield entry
}

function noSubjectKey(): never {
  throw new Error('a subject hash key was asked for before the key ring is open')
}
