/**
 * The commit path of the spool: from a queued payload to a frame on disk, in durability order.
 *
 * @module
 */
import { join } from 'node:path'
import { AuditError } from '@affidavit/format'
import type { EpochClaim } from './epoch.ts'
import { errnoOf, type SpoolFile, type SpoolFolder } from './files.ts'
import {
  chainStart,
  encodeFrame,
  frameOverheadBytes,
  payloadBytesMax,
  type FrameKind,
} from './frame.ts'
import { readPayload, type PayloadRole } from './payload.ts'
import { segmentName, type OpenStart, type Segment } from './recover.ts'

export interface SpoolLimits {
  /** All segments together, and room reserved for the ends of open starts. */
  readonly bytesMax: number
  /** A segment is closed when it has this many bytes. */
  readonly segmentBytes: number
  /** Records waiting in memory for the disk. */
  readonly queueBytesMax: number
}

/** What a spool knows while it is open. Changed by the functions of this folder only. */
export interface SpoolState {
  readonly folder: SpoolFolder
  readonly claim: EpochClaim
  readonly limits: SpoolLimits
  /** Oldest first; the last one is `active` if that is set. */
  readonly segments: Segment[]
  /** Starts without an end, by event id. */
  readonly opens: Map<string, OpenStart>
  readonly queue: Waiting[]
  readonly listeners: (() => void)[]
  readonly onStop: (error: AuditError) => void
  queuedBytes: number
  queuedStarts: number
  segmentBytes: number
  active: ActiveSegment | undefined
  ordinal: number
  seq: number
  phase: 'open' | 'stopped' | 'closed'
  failure: AuditError | undefined
  committing: Promise<void> | undefined
}

interface ActiveSegment {
  readonly segment: Segment
  readonly file: SpoolFile
  /** Hash of the last frame. */
  prev: Uint8Array
}

interface Waiting {
  readonly kind: FrameKind
  readonly payload: Uint8Array
  readonly role: PayloadRole
  readonly eventId: string
  resolve(): void
  reject(error: AuditError): void
}

/** One write; keeps a group's latency bounded when many records wait. */
export const groupBytesMax = 1024 * 1024
const endReserveBytes = payloadBytesMax + frameOverheadBytes

/**
 * Queues a payload; resolves when its frame is on disk.
 *
 * @throws AuditError `ERR_SPOOL_FULL`, `ERR_ENTRY_TOO_LARGE`, or the error that stopped the spool.
 */
export async function enqueue(
  state: SpoolState,
  kind: FrameKind,
  payload: Uint8Array,
): Promise<void> {
  if (state.failure !== undefined) throw state.failure
  if (payload.length > payloadBytesMax) throw tooLarge(payload.length)
  const { role, eventId } = readPayload(payload)
  const bytes = payload.length + frameOverheadBytes
  if (kind === 'record' && role !== 'closes') refuseIfFull(state, bytes, role)
  if (kind === 'record' && role === 'opens') state.queuedStarts++
  state.queuedBytes += bytes
  const durable = new Promise<void>((resolve, reject) => {
    state.queue.push({ kind, payload, role, eventId, resolve, reject })
  })
  state.committing ??= commit(state).finally(() => {
    state.committing = undefined
  })
  await durable
}

/** Writes group after group until the queue is empty; what queues meanwhile is the next group. */
async function commit(state: SpoolState): Promise<void> {
  while (state.queue.length > 0) {
    const group = takeGroup(state.queue)
    try {
      await writeGroup(state, group)
    } catch (error) {
      stop(state, asSpoolError(error, 'written'), group)
      return
    }
    // On disk. From here on a crash loses nothing of this group.
    for (const waiting of group) waiting.resolve()
    for (const listener of state.listeners) listener()
  }
}

async function writeGroup(state: SpoolState, group: readonly Waiting[]): Promise<void> {
  const isFull = (state.active?.segment.durableBytes ?? 0) >= state.limits.segmentBytes
  if (isFull) await seal(state)
  // A crash after this line leaves an empty segment, which the next start removes.
  const active = (state.active ??= await createSegment(state))
  const { bytes, prev } = encodeGroup(state, group, active.prev)
  // A crash in the write or before the sync leaves a torn tail or whole frames; nobody was told.
  await active.file.write(bytes, active.segment.durableBytes)
  await active.file.sync()
  active.segment.durableBytes += bytes.length
  active.prev = prev
  state.segmentBytes += bytes.length
  for (const waiting of group) noteWritten(state, waiting, active.segment)
}

async function createSegment(state: SpoolState): Promise<ActiveSegment> {
  const { folder, claim } = state
  const name = segmentName(claim.epoch, state.ordinal++)
  const file = await folder.fs.open(join(folder.path, name), 'create')
  // Without this a power cut could forget the name, and with it every record in the file.
  await folder.fs.syncDirectory(folder.path)
  const segment = { name, epoch: claim.epoch, durableBytes: 0 }
  state.segments.push(segment)
  return { segment, file, prev: chainStart }
}

function encodeGroup(
  state: SpoolState,
  group: readonly Waiting[],
  chain: Uint8Array,
): { bytes: Uint8Array; prev: Uint8Array } {
  const { writerId, epoch } = state.claim
  const frames: Uint8Array[] = []
  let prev = chain
  for (const { kind, payload } of group) {
    const seq = kind === 'record' ? state.seq++ : 0
    const { bytes, hash } = encodeFrame({ writerId, epoch, seq, kind, payload, prev })
    frames.push(bytes)
    prev = hash
  }
  return { bytes: Buffer.concat(frames), prev }
}

function noteWritten(state: SpoolState, waiting: Waiting, segment: Segment): void {
  const { kind, role, eventId, payload } = waiting
  state.queuedBytes -= payload.length + frameOverheadBytes
  if (role === 'opens' && kind === 'record') state.queuedStarts--
  // A carried start may have ended while it waited; its end then follows, and closes it again.
  if (role === 'opens') state.opens.set(eventId, { payload, segment })
  if (role === 'closes') state.opens.delete(eventId)
}

/** Closes the segment that grows; the next group begins a new one. */
export async function seal(state: SpoolState): Promise<void> {
  const file = state.active?.file
  state.active = undefined
  await file?.close()
}

/** Ends the spool for good: every waiter fails, nothing is tried again. */
export function stop(state: SpoolState, error: AuditError, group: readonly Waiting[] = []): void {
  if (state.phase === 'stopped') return
  state.phase = 'stopped'
  state.failure = error
  state.claim.abandon()
  for (const waiting of [...group, ...state.queue.splice(0)]) waiting.reject(error)
  state.active?.file.close().catch(() => undefined)
  state.onStop(error)
}

function takeGroup(queue: Waiting[]): Waiting[] {
  let bytes = 0
  let count = 0
  for (const { payload } of queue) {
    if (count > 0 && bytes + payload.length > groupBytesMax) break
    bytes += payload.length + frameOverheadBytes
    count++
  }
  return queue.splice(0, count)
}

function refuseIfFull(state: SpoolState, bytes: number, role: PayloadRole): void {
  const ends = state.opens.size + state.queuedStarts + (role === 'opens' ? 1 : 0)
  const used = state.segmentBytes + state.queuedBytes + bytes
  const fits = used + ends * endReserveBytes <= state.limits.bytesMax
  if (fits && state.queuedBytes + bytes <= state.limits.queueBytesMax) return
  throw new AuditError(
    'ERR_SPOOL_FULL',
    `the spool holds ${used} of at most ${state.limits.bytesMax} bytes and ${ends} unfinished exchanges: the gateway cannot be reached, or does not take records as fast as they are made. Nothing recorded was lost; new requests are refused until it does`,
  )
}

function tooLarge(bytes: number): AuditError {
  return new AuditError(
    'ERR_ENTRY_TOO_LARGE',
    `a record of ${bytes} bytes exceeds the ${payloadBytesMax} that the spool can hold`,
  )
}

/** Says what went wrong with the spool's files. `done` completes "could not be …". */
export function asSpoolError(cause: unknown, done: string): AuditError {
  if (cause instanceof AuditError) return cause
  const errno = errnoOf(cause) ?? 'unknown'
  const advice =
    errno === 'ENOSPC' || errno === 'EDQUOT'
      ? 'The disk is full: free some space'
      : 'Check the disk and the permissions of the directory'
  return new AuditError(
    'ERR_SPOOL_WRITE_FAILED',
    `the spool could not be ${done} (${errno}); records acknowledged before are kept. ${advice}`,
    { cause },
  )
}
