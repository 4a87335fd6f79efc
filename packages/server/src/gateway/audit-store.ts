/**
 * The audit store as exchanges see it: the ledger and the key ring, opened together, reopened in the
 * background when either fails, and the count of what passed unrecorded meanwhile.
 *
 * Invariants:
 * - While the store is not open every append is refused at once; nothing queues for a store that may
 *   not come back.
 * - A failed write is never repeated on the same store: what is on disk is only known after a full
 *   recovery, so the store is closed and opened again, with pauses that double up to a limit.
 * - A request that passed unrecorded (`fail_open`) is counted before it is forwarded, and the count is
 *   dropped only when the entry that tells of it is sequenced. A process that dies with a count in
 *   memory loses it: `fail_open` is a promise given up, and docs/operate/gateway.md says so.
 *
 * @module
 */
import { AuditError, isAuditError, type AuditErrorCode } from '@affidavit/format'
import type { Clock } from '@affidavit/sdk/capture'
import { errorFields, type Log } from '../base/log.ts'
import type { NameRing } from './callers.ts'
import { createGaps, type UnrecordedRequest } from './gaps.ts'

/** One entry to write; `opens` and `closes` name the interaction that it starts or ends. */
export interface EntryAppend {
  readonly retentionClass: string
  /** Canonical text of the entry's body. */
  readonly body: string
  readonly opens?: string
  readonly closes?: string
}

/** The ledger, as far as the gateway needs it. */
export interface EntryLog {
  readonly state: 'open' | 'stopped' | 'read-only'
  /** Resolves when the entry's frame is on disk. */
  append(append: EntryAppend): Promise<unknown>
  onStateChange(listener: (state: EntryLog['state'], error?: AuditError) => void): () => void
}

/** What one opening gives. */
export interface OpenedStore {
  readonly log: EntryLog
  readonly ring: NameRing & { readonly open: boolean }
  /** Closes everything that was opened, the ledger last: its lock guards the rest. */
  close(): Promise<void>
}

export interface AuditStoreOptions {
  /** Opens ledger and key ring with full recovery. */
  open(): Promise<OpenedStore>
  readonly clock: Clock
  readonly log: Log
  random(bytes: number): Uint8Array
  /** Waits; ends early, without an error, when `signal` aborts. */
  pause(ms: number, signal: AbortSignal): Promise<void>
  readonly reopenMsMax: number
}

/** The store; appends and names fail with an AuditError while it is not open. */
export interface AuditStore extends NameRing {
  /** `undefined` while open, else why it is not. */
  readonly closedBy: AuditErrorCode | undefined
  /** The ledger of now; `undefined` between two. */
  readonly ledger: EntryLog | undefined
  append(append: EntryAppend): Promise<unknown>
  /** Counts a request that is about to pass unrecorded. */
  countUnrecorded(gap: UnrecordedRequest): void
  /** Requests that passed unrecorded and are not told of in the ledger yet. */
  readonly unrecorded: number
  /** Times that the store was opened again. */
  readonly reopened: number
  close(): Promise<void>
}

const reopenMsMin = 100

/**
 * Opens the store.
 *
 * @throws AuditError as `options.open` does: a store that cannot be opened at the start is for the
 *   operator to see.
 */
export async function openAuditStore(options: AuditStoreOptions): Promise<AuditStore> {
  return createStore(options, await options.open())
}

function createStore(options: AuditStoreOptions, first: OpenedStore): AuditStore {
  const gaps = createGaps(options)
  const keeper = keepOpen(options, first, () => void gaps.write(append))

  function append(entry: EntryAppend): Promise<unknown> {
    const { opened } = keeper
    if (opened === undefined) return Promise.reject(unavailable(keeper.closedBy))
    return opened.log.append(entry)
  }

  function name(find: (ring: NameRing) => string | Promise<string>): string | Promise<string> {
    const { opened } = keeper
    if (opened === undefined) return Promise.reject(unavailable(keeper.closedBy))
    const found = find(opened.ring)
    if (typeof found === 'string') return found
    return found.catch((error: unknown) => {
      if (!opened.ring.open) keeper.fail(opened, 'ERR_AUDIT_UNAVAILABLE')
      throw error
    })
  }

  return {
    get closedBy() {
      return keeper.closedBy
    },
    get ledger() {
      return keeper.opened?.log
    },
    get reopened() {
      return keeper.reopened
    },
    get unrecorded() {
      return gaps.count
    },
    append,
    subject: (user, atMicros) => name((ring) => ring.subject(user, atMicros)),
    identifier: (kind, value, atMicros) => name((ring) => ring.identifier(kind, value, atMicros)),
    countUnrecorded(gap) {
      gaps.add(gap)
      // The ledger may be open all the while, only too busy for one request.
      if (keeper.opened !== undefined) gaps.writeSoon(append)
    },
    async close() {
      await keeper.stop(() => gaps.write(append))
    },
  }
}

interface Keeper {
  readonly opened: OpenedStore | undefined
  readonly closedBy: AuditErrorCode | undefined
  readonly reopened: number
  /** Closes `store` and starts to reopen, unless that has happened. */
  fail(store: OpenedStore, code: AuditErrorCode): void
  /** Runs `last` on an open store, closes it and opens no more. */
  stop(last: () => Promise<void>): Promise<void>
}

/** Keeps one store open: closes it when it fails, and opens it again until it stays open. */
function keepOpen(options: AuditStoreOptions, first: OpenedStore, onOpen: () => void): Keeper {
  const stopping = new AbortController()
  let opened: OpenedStore | undefined
  let closedBy: AuditErrorCode | undefined
  let recovering: Promise<void> | undefined
  let reopened = 0

  function enter(store: OpenedStore): void {
    opened = store
    closedBy = undefined
    store.log.onStateChange((state, error) => {
      if (state !== 'open') fail(store, error?.code ?? 'ERR_LEDGER_STOPPED')
    })
    if (store.log.state !== 'open') fail(store, 'ERR_LEDGER_STOPPED')
  }

  function fail(store: OpenedStore, code: AuditErrorCode): void {
    if (opened !== store || stopping.signal.aborted) return
    opened = undefined
    closedBy = code
    options.log.error({ code }, 'audit store closed')
    recovering = recover(store)
  }

  async function recover(failed: OpenedStore): Promise<void> {
    // The ledger's lock is free only when it is closed.
    await closeQuietly(failed, options.log)
    for (let pauseMs = reopenMsMin; ; pauseMs = Math.min(pauseMs * 2, options.reopenMsMax)) {
      await options.pause(pauseMs, stopping.signal)
      if (stopping.signal.aborted) return
      const next = await tryOpen(options)
      if (next instanceof AuditError) {
        closedBy = next.code
        options.log.error({ pauseMs, ...errorFields(next) }, 'audit store cannot be opened')
        continue
      }
      reopened++
      options.log.info({ reopened }, 'audit store open again')
      enter(next)
      onOpen()
      return
    }
  }

  enter(first)
  return {
    get opened() {
      return opened
    },
    get closedBy() {
      return closedBy
    },
    get reopened() {
      return reopened
    },
    fail,
    async stop(last) {
      stopping.abort()
      await recovering
      if (opened === undefined) return
      await last()
      const store = opened
      opened = undefined
      closedBy = 'ERR_LEDGER_STOPPED'
      await closeQuietly(store, options.log)
    },
  }
}

/** Opens a store that takes entries, or says why there is none. */
async function tryOpen(options: AuditStoreOptions): Promise<OpenedStore | AuditError> {
  try {
    const store = await options.open()
    if (store.log.state === 'open') return store
    await closeQuietly(store, options.log)
    return unavailable('ERR_LEDGER_STOPPED')
  } catch (cause) {
    if (isAuditError(cause)) return cause
    return new AuditError('ERR_AUDIT_UNAVAILABLE', 'The audit store cannot be opened.', { cause })
  }
}

async function closeQuietly(store: OpenedStore, log: Log): Promise<void> {
  try {
    await store.close()
  } catch (error) {
    log.warn(errorFields(error), 'audit store did not close cleanly')
  }
}

function unavailable(code: AuditErrorCode | undefined): AuditError {
  return new AuditError(
    code ?? 'ERR_LEDGER_STOPPED',
    'The audit store is not open. It is reopened by itself; recorded exchanges are not affected.',
  )
}
