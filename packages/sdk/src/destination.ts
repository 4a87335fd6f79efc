/**
 * Where records go from inside an application: to a gateway by way of a durable local spool, or into
 * a ledger in the same process.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { AuditError, encodeBody, isAuditError, utf8Encode } from '@affidavit/format'
import { systemClock, type Clock } from './capture/clock.ts'
import { SpoolKeeper } from './keeper.ts'
import { ingestPath, type IngestEndpoint, type ShipEvent } from './ship.ts'
import { nodeFs, type SpoolFs } from './spool/files.ts'
import type { SpoolLimits } from './spool/commit.ts'
import type { CompletedDraft, Draft, GapDraft, StartedDraft } from './spool/payload.ts'
import type { SpoolEvent } from './spool.ts'
import { systemTimers, type Timers } from './timers.ts'

/** Takes the records of the doors. Each call resolves when its draft is durable. Calls may overlap. */
export interface AuditDestination {
  started(draft: StartedDraft): Promise<void>
  /** Every `started` that resolved is followed by one `completed`. */
  completed(draft: CompletedDraft): Promise<void>
  /** Says that requests passed unrecorded. */
  gap?(draft: GapDraft): Promise<void>
  /** Ships what it can in its time limit and lets go of everything it holds. */
  close(): Promise<void>
}

export type DestinationEvent = SpoolEvent | ShipEvent

export interface GatewayDestinationOptions {
  /** Base URL of the gateway, e.g. `https://audit.example`. */
  readonly url: string
  /** A gateway key (`affidavit keys create`). It names the application; it is never written down. */
  readonly key: string
  /** A folder on a local disk, for this process alone. Made if missing. */
  readonly spoolDirectory: string
  readonly limits?: Partial<SpoolLimits>
  /** How long `close` waits for the gateway; 5,000 unless set. */
  readonly closeMsMax?: number
  /** Hears what an operator should know. Process warnings unless set. */
  readonly report?: (event: DestinationEvent) => void
  readonly fetch?: typeof fetch
  /** For tests. */
  readonly dependencies?: Partial<DestinationDependencies>
}

export interface DestinationDependencies {
  readonly fs: SpoolFs
  readonly clock: Clock
  readonly timers: Timers
  readonly random: (bytes: number) => Uint8Array
}

const closeMsDefault = 5_000

/**
 * Records are durable in `spoolDirectory` when `started` and `completed` resolve, and are shipped to
 * the gateway in order, again and again until it has acknowledged them, across restarts of the
 * process. Starts that a crash left open are closed as interrupted by the next start.
 *
 * After a disk error the calls under way fail; the spool is opened again with the next call.
 *
 * @throws AuditError `ERR_CONFIG_INVALID` for a URL or key that cannot be one. The calls of the
 *   destination fail with the codes of `Spool.append` and `openSpool`.
 */
export function gatewayDestination(options: GatewayDestinationOptions): AuditDestination {
  const endpoint: IngestEndpoint = {
    url: ingestUrl(options.url),
    key: checkedKey(options.key),
    fetch: options.fetch ?? globalThis.fetch,
  }
  const dependencies: DestinationDependencies = {
    fs: nodeFs,
    clock: systemClock,
    timers: systemTimers,
    random: (bytes) => randomBytes(bytes),
    ...options.dependencies,
  }
  const keeper = new SpoolKeeper({
    directory: options.spoolDirectory,
    limits: options.limits ?? {},
    endpoint,
    closeMsMax: options.closeMsMax ?? closeMsDefault,
    report: options.report ?? warn,
    ...dependencies,
  })
  // What an earlier start left is shipped without waiting for the first call. A failure is told to
  // that call, which tries again.
  keeper.spool().catch(() => undefined)
  return {
    async started(draft) {
      keeper.begin(draft.event_id)
      try {
        await (await keeper.spool()).append(encode(draft))
      } catch (error) {
        keeper.end(draft.event_id)
        throw error
      }
    },
    async completed(draft) {
      try {
        await appendEnd(keeper, encode(draft))
      } finally {
        keeper.end(draft.event_id)
      }
    },
    async gap(draft) {
      await (await keeper.spool()).append(encode(draft))
    },
    close: () => keeper.close(),
  }
}

/** An end is worth a second try: the exchange happened, and its outcome exists nowhere else. */
async function appendEnd(keeper: SpoolKeeper, payload: Uint8Array): Promise<void> {
  try {
    await (await keeper.spool()).append(payload)
  } catch (error) {
    if (!isAuditError(error, 'ERR_SPOOL_WRITE_FAILED')) throw error
    // Not the failed write again: a spool opened anew, which has cut off what that write left.
    await (await keeper.spool()).append(payload)
  }
}

/** The ledger of this very process, as far as a destination needs it. */
export interface InProcessLedger {
  append(append: {
    retentionClass: string
    body: string
    opens?: string
    closes?: string
  }): Promise<unknown>
}

/**
 * Records go straight into a ledger that this process has opened. `subjectHandle` turns the
 * application's own user identifier into the handle that may stand in a ledger entry.
 *
 * @throws AuditError from the calls of the destination: `ERR_CONFIG_INVALID` when a record names a
 *   user and there is no `subjectHandle`; else what the ledger throws.
 */
export function ledgerDestination(
  ledger: InProcessLedger,
  options: {
    subjectHandle?: (user: string, timestamp: string) => string | Promise<string>
    close?: () => Promise<void>
  } = {},
): AuditDestination {
  async function bodyOf(draft: StartedDraft | CompletedDraft): Promise<string> {
    const { subject_claim: user, ...body } = draft
    if (user === undefined) return encodeBody(body)
    if (options.subjectHandle === undefined) throw handleMissing()
    return encodeBody({ ...body, user_id: await options.subjectHandle(user, draft.timestamp) })
  }
  return {
    async started(draft) {
      const body = await bodyOf(draft)
      await ledger.append({ retentionClass: draft.retention_class, body, opens: draft.event_id })
    },
    async completed(draft) {
      const body = await bodyOf(draft)
      await ledger.append({ retentionClass: draft.retention_class, body, closes: draft.event_id })
    },
    async gap(draft) {
      await ledger.append({ retentionClass: draft.retention_class, body: encodeBody(draft) })
    },
    close: options.close ?? (() => Promise.resolve()),
  }
}

function encode(draft: Draft): Uint8Array {
  return utf8Encode(JSON.stringify(draft))
}

function ingestUrl(base: string): string {
  if (!URL.canParse(base) || !/^https?:/.test(base)) {
    throw new AuditError(
      'ERR_CONFIG_INVALID',
      'the url of a gateway destination is not an http URL',
    )
  }
  return `${base.replace(/\/+$/, '')}${ingestPath}`
}

function checkedKey(key: string): string {
  if (/^[\x21-\x7e]+$/.test(key)) return key
  throw new AuditError(
    'ERR_CONFIG_INVALID',
    'the key of a gateway destination is empty or has characters that no gateway key has',
  )
}

function handleMissing(): AuditError {
  return new AuditError(
    'ERR_CONFIG_INVALID',
    'a record names a user, and ledgerDestination was given no subjectHandle: a ledger entry must not hold a plain user identifier',
  )
}

/** Without a listener, what an operator must know becomes a process warning; the rest is silent. */
function warn(event: DestinationEvent): void {
  const text = warningOf(event)
  if (text !== undefined) process.emitWarning(text, 'AffidavitWarning')
}

function warningOf(event: DestinationEvent): string | undefined {
  switch (event.kind) {
    case 'spool_damaged':
      return `${event.recordsMin} or more records of spool segment ${event.segment} cannot be read; the loss is recorded and a copy is in the quarantine folder`
    case 'spool_stopped':
      return event.error.message
    case 'ship_refused':
      return `the gateway refuses record ${event.epoch}/${event.seq} (${event.reason}); it is kept in the quarantine folder`
    case 'ship_retry':
      return event.attempt === 3
        ? `the gateway does not take records (${event.reason}); they are kept and will be sent again`
        : undefined
    default:
      return undefined
  }
}
