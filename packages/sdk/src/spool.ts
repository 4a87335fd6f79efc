/**
 * The durable spool: what an application has recorded and its gateway has not acknowledged yet.
 *
 * ```text
 * <directory>/0000000007.epoch               lock, and number of this start (spool/epoch.ts)
 * <directory>/0000000007-0000000000.spool    segments: frames in order (spool/frame.ts)
 * <directory>/quarantine/                    what could not be read or was refused, for a person
 * ```
 * Invariants:
 * - `append` resolves only when the record's frame is on disk. One group is written and synced at a
 *   time; what queues meanwhile is the next group; there is no timer (spool/commit.ts).
 * - A failed write or sync is never repeated: every waiter fails and the spool stops for good. A new
 *   `openSpool` reads the directory again, under a new epoch.
 * - Bytes are bounded. Every open start has room reserved for its end, so that what was begun can
 *   always be finished; a start that does not fit is refused.
 * - A segment is removed only when the gateway has acknowledged all of it, and starts in it that have
 *   not ended are carried over first (spool/outgoing.ts).
 *
 * @module
 */
import { AuditError } from '@affidavit/format'
import type { Clock } from './capture/clock.ts'
import {
  asSpoolError,
  enqueue,
  seal,
  stop,
  type SpoolLimits,
  type SpoolState,
} from './spool/commit.ts'
import { claimEpoch, type EpochClaim, type ProcessIdentity } from './spool/epoch.ts'
import { removeFile, type SpoolFolder, type SpoolFs } from './spool/files.ts'
import {
  createOutgoing,
  type BatchLimits,
  type Outgoing,
  type SpooledRecord,
} from './spool/outgoing.ts'
import { interruptedPayload } from './spool/payload.ts'
import {
  cutTail,
  epochOf,
  keepRefused,
  listSegments,
  recoverSegments,
  type Recovered,
} from './spool/recover.ts'

export const defaultSpoolLimits: SpoolLimits = {
  bytesMax: 256 * 1024 * 1024,
  segmentBytes: 4 * 1024 * 1024,
  queueBytesMax: 16 * 1024 * 1024,
}

/** Facts for the operator; none holds content. */
export type SpoolEvent =
  | {
      readonly kind: 'spool_recovered'
      readonly epoch: number
      readonly segments: number
      readonly interrupted: number
      readonly tornBytes: number
    }
  | {
      readonly kind: 'spool_damaged'
      readonly segment: string
      readonly start: number
      readonly end: number
      readonly recordsMin: number
    }
  | { readonly kind: 'spool_stopped'; readonly error: AuditError }

export interface SpoolOptions {
  readonly directory: string
  readonly fs: SpoolFs
  readonly clock: Clock
  random(bytes: number): Uint8Array
  readonly process: ProcessIdentity
  readonly limits?: Partial<SpoolLimits>
  /** Event ids whose exchanges still run in this process: recovery leaves their starts open. */
  readonly running?: ReadonlySet<string>
  /** Where a spool of this process stopped: what lies behind was never acknowledged and is cut off. */
  readonly stoppedAt?: SpoolTail
  report?(event: SpoolEvent): void
}

/** The segment that grew last, and its acknowledged length. */
export interface SpoolTail {
  readonly segment: string
  readonly durableBytes: number
}

export interface Spool {
  readonly writerId: string
  readonly epoch: number
  readonly phase: 'open' | 'stopped' | 'closed'
  /** Bytes in segments and in the queue. */
  readonly usedBytes: number
  /** For `stoppedAt` of the spool that follows this one. */
  readonly tail: SpoolTail | undefined
  /**
   * Resolves when the payload (JSON text of a draft) is on disk. Calls may overlap.
   *
   * @throws AuditError `ERR_SPOOL_FULL` for what does not fit and is not the end of a start;
   *   `ERR_SPOOL_WRITE_FAILED` when the disk failed, now or before; `ERR_SPOOL_LOCKED` when another
   *   process took over; `ERR_ENTRY_TOO_LARGE`; `ERR_AUDIT_UNAVAILABLE` after `close`.
   */
  append(payload: Uint8Array): Promise<void>
  /**
   * The oldest durable records that have not been settled, all of one writer and epoch; none when
   * everything is. The same records come again until `settle` is called. Calls must not overlap.
   */
  next(limits: BatchLimits): Promise<readonly SpooledRecord[]>
  /** The records of the last `next` need not be shipped again. */
  settle(): Promise<void>
  /** Keeps a record that the gateway refused for good; call it before `settle`. */
  quarantine(record: SpooledRecord): Promise<void>
  /** Calls `listener` after every group that reached the disk. */
  onDurable(listener: () => void): void
  /** Shows other processes that this one lives; see `heartbeatIntervalMs`. */
  beat(): Promise<void>
  /** Waits for the queue, then gives the directory free. What is not shipped stays for the next start. */
  close(): Promise<void>
}

/**
 * Opens a spool directory: claims it, reads what earlier starts left, cuts a torn tail, writes down
 * what cannot be read, and closes starts without an end as interrupted.
 *
 * @throws AuditError `ERR_SPOOL_LOCKED`, `ERR_SPOOL_CORRUPT`, `ERR_SPOOL_WRITE_FAILED`.
 */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const folder: SpoolFolder = {
    fs: options.fs,
    path: options.directory,
    token: Buffer.from(options.random(4)).toString('hex'),
  }
  let claim: EpochClaim | undefined
  try {
    await options.fs.makeDirectory(options.directory)
    claim = await claimNext(folder, options)
    // A crash anywhere below leaves the segments as they are, for the next start.
    if (options.stoppedAt !== undefined) await cutUnacknowledged(folder, options.stoppedAt)
    const recovered = await recoverSegments(folder)
    return await settleRecovered(recovered, createState(folder, claim, recovered, options), options)
  } catch (error) {
    claim?.abandon()
    throw asSpoolError(error, 'opened')
  }
}

async function claimNext(folder: SpoolFolder, options: SpoolOptions): Promise<EpochClaim> {
  const newest = (await listSegments(folder)).at(-1)
  const epochMin = newest === undefined ? 1 : epochOf(newest) + 1
  return claimEpoch(folder, { ...options, epochMin })
}

async function cutUnacknowledged(folder: SpoolFolder, tail: SpoolTail): Promise<void> {
  const names = await listSegments(folder)
  if (names.includes(tail.segment)) await cutTail(folder, tail.segment, tail.durableBytes)
}

function createState(
  folder: SpoolFolder,
  claim: EpochClaim,
  recovered: Recovered,
  options: SpoolOptions,
): SpoolState {
  const { segments, opens } = recovered
  return {
    folder,
    claim,
    limits: { ...defaultSpoolLimits, ...options.limits },
    segments,
    opens,
    queue: [],
    listeners: [],
    onStop: (error) => options.report?.({ kind: 'spool_stopped', error }),
    queuedBytes: 0,
    queuedStarts: 0,
    segmentBytes: segments.reduce((sum, segment) => sum + segment.durableBytes, 0),
    active: undefined,
    ordinal: 0,
    seq: 0,
    phase: 'open',
    failure: undefined,
    committing: undefined,
  }
}

async function settleRecovered(
  recovered: Recovered,
  state: SpoolState,
  options: SpoolOptions,
): Promise<Spool> {
  const { report } = options
  const segments = recovered.segments.length
  const outgoing = createOutgoing(state, {
    clock: options.clock,
    onDamage: ({ segment, start, end, recordsMin }) =>
      report?.({ kind: 'spool_damaged', segment, start, end, recordsMin }),
  })
  for (const damage of recovered.damages) await outgoing.settleRegion(damage)
  const isRunning = (eventId: string) => options.running?.has(eventId) ?? false
  const interrupted = [...state.opens].filter(([eventId]) => !isRunning(eventId))
  // A crash in the middle leaves the rest open, and the next start closes them.
  await Promise.all(
    interrupted.map(([, { payload }]) =>
      enqueue(state, 'record', interruptedPayload(payload, options.clock.nowMicros())),
    ),
  )
  report?.({
    kind: 'spool_recovered',
    epoch: state.claim.epoch,
    segments,
    interrupted: interrupted.length,
    tornBytes: recovered.tornBytes,
  })
  return spoolOf(state, outgoing)
}

function spoolOf(state: SpoolState, outgoing: Outgoing): Spool {
  return {
    writerId: state.claim.writerId,
    epoch: state.claim.epoch,
    get phase() {
      return state.phase
    },
    get usedBytes() {
      return state.segmentBytes + state.queuedBytes
    },
    get tail() {
      const last = state.segments.at(-1)
      return last && { segment: last.name, durableBytes: last.durableBytes }
    },
    async append(payload) {
      if (state.phase === 'closed') throw closedError()
      await enqueue(state, 'record', payload)
    },
    next: outgoing.next,
    settle: outgoing.settle,
    quarantine: ({ writerId, epoch, seq, payload }) =>
      keepRefused(state.folder, `refused-${writerId}-${epoch}-${seq}.json`, payload),
    onDurable: (listener) => void state.listeners.push(listener),
    async beat() {
      try {
        await state.claim.beat()
      } catch (error) {
        stop(state, asSpoolError(error, 'kept'))
      }
    },
    close: () => close(state, outgoing),
  }
}

async function close(state: SpoolState, outgoing: Outgoing): Promise<void> {
  if (state.phase === 'closed') return
  // After a failure the disk may refuse this too; other processes then wait for the heartbeat to end.
  if (state.phase === 'stopped') return state.claim.release().catch(() => undefined)
  state.phase = 'closed'
  await state.committing
  const isShipped =
    state.opens.size === 0 && (await outgoing.next({ records: 1, bytes: 1 })).length === 0
  await seal(state)
  const [last] = state.segments
  if (isShipped && last !== undefined) await removeFile(state.folder, last.name)
  await state.claim.release()
}

function closedError(): AuditError {
  return new AuditError(
    'ERR_AUDIT_UNAVAILABLE',
    'the audit destination has been closed; nothing recorded before was lost',
  )
}
