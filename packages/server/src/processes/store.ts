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
import type { OpenedStore } from '../gateway/audit-store.ts'
import { openLedger, type Ledger, type LedgerOptions } from '../ledger/ledger.ts'
import { hashKeysFor, openLookupKey, openTenantHashKeys } from '../vault/hash-keys.ts'
import { ensureIdentityKeys, openIdentitySealer } from '../vault/identity-keys.ts'
import { ringPath } from '../vault/resolve.ts'
import { openRingFile } from '../vault/ring-file.ts'
import { openKeyRing, type KeyRing } from '../vault/subjects.ts'

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
  open(): Promise<OpenedStore & { readonly log: Ledger; readonly ring: KeyRing }>
}

/** Reads, or makes, the keys of digests; opens nothing else yet. */
export async function createStoreOpener(sources: StoreSources): Promise<StoreOpener> {
  const { config, random } = sources
  const tenant = openTenantHashKeys(config.dataDir, random)
  const identifierKeys = hashKeysFor('tenant', tenant, noSubjectKey)
  let ring: KeyRing | undefined
  const hashKeys = hashKeysFor(config.hashing.mode, tenant, (handle) =>
    ring === undefined ? noSubjectKey() : ring.subjectHashKey(handle),
  )
  return {
    hashKeys,
    async open() {
      const { ledger } = await openLedger(ledgerOptionsOf(sources))
      try {
        ring = await openRing(sources, identifierKeys)
        return { log: ledger, ring }
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

function noSubjectKey(): never {
  throw new Error('a subject hash key was asked for before the key ring is open')
}
