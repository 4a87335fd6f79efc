/**
 * The ledger of one instance, and the whole life of an entry in it, top to bottom:
 *
 * ```
 * append → sequence → integrate → publish
 * ```
 *
 * Invariants:
 * - `append` resolves when the entry's frame is durable in the write-ahead log, in the order of the
 *   calls, and never otherwise.
 * - No checkpoint leaves the process before the head store has accepted it; the head store accepts one
 *   only when everything under it is durable.
 * - The first failed write, sync or swap stops the ledger: every waiting caller gets the reason,
 *   nothing is tried again, no file is touched any more. Opening it anew is a recovery.
 * - Waiting and unintegrated entries are bounded in bytes (the first by refusing, the second by
 *   waiting), open interactions in number.
 *
 * What each step leaves when the process dies at it is said at the step; recover.ts reads it back and
 * goes on with the same functions.
 *
 * @module
 */
import { assert, signCheckpoint, utf8Encode, type AuditError } from '@affidavit/format'
import { join } from 'node:path'
import {
  addEntry,
  closeBatch,
  hashInPlace,
  openBatch,
  releaseBatch,
  sealBatch,
  SequencedEntry,
  type Batch,
  type Sequenced,
  type WrittenBatch,
} from './batch.ts'
import type { Core, LedgerState } from './core.ts'
import { busyFailure, stoppedFailure, writeFailure } from './failure.ts'
import { formatHead, type Head, type WriterState } from './head.ts'
import type { Log } from './logs.ts'
import { settingsOf, type LedgerOptions } from './options.ts'
import { heartbeatBody, interruptedBody, openedBody, ownRetentionClass } from './own-entries.ts'
import { publishCheckpoints, removePartials } from './publish.ts'
import type { RecoveryReport } from './recover.ts'
import { finishStamp } from './stamp.ts'
import { recoverCore, type OpenInteraction } from './start.ts'
import type { OpenStart } from './tail.ts'
import { listSegments } from './wal-scan.ts'
import { parseSegmentName } from './wal.ts'

export type { Sequenced } from './batch.ts'
export type { LedgerState } from './core.ts'
export type { LedgerOptions } from './options.ts'
export type { RecoveryReport } from './recover.ts'

/** An entry to be recorded. */
export interface Append {
  /** Chooses the log, with the quarter: up to 64 of a-z, 0-9 and inner hyphens. */
  readonly retentionClass: string
  /** Canonical JSON text of an `EntryBody`, without `writer`. */
  readonly body: string
  /** `event_id` of the `interaction.started` that this is. */
  readonly opens?: string | undefined
  /** `event_id` of the interaction that this ends. */
  readonly closes?: string | undefined
}

/** An open ledger. All calls may overlap. */
export interface Ledger {
  /** 16 hex digits, from the instance's key. */
  readonly writerId: string
  readonly epoch: number
  readonly deployment: string
  readonly instance: string
  readonly state: LedgerState
  /**
   * Records an entry. Resolves when it is *sequenced*: durable, and with a place in a log that it
   * keeps. Entries are in the logs in the order of the calls.
   *
   * A rejection with an error that stops the ledger (`ERR_LEDGER_WRITE_FAILED`,
   * `ERR_LEDGER_DISK_FULL`, `ERR_HEAD_CONFLICT`) leaves open until the next opening whether the entry
   * is recorded. After any other it is not, and never will be.
   *
   * @throws AuditError `ERR_ENTRY_TOO_LARGE`, `ERR_LEDGER_BUSY` (try again later),
   *   `ERR_LEDGER_STOPPED`, `ERR_LEDGER_WRITE_FAILED`, `ERR_LEDGER_DISK_FULL`, `ERR_HEAD_CONFLICT`,
   *   `ERR_CONFIG_INVALID` for a malformed retention class.
   */
  append(append: Append): Promise<Sequenced>
  /** Integrates and publishes everything appended before the call. Rejects as `append` does. */
  publish(): Promise<void>
  /** Calls `listener` when the ledger stops, with the reason if it was not `close`. */
  onStateChange(listener: (state: LedgerState, error?: AuditError) => void): () => void
  /**
   * Refuses new entries, publishes everything, and gives up the lock. On a ledger that has stopped it
   * waits until nothing of it runs any more: from then on it can be opened again.
   */
  close(): Promise<void>
}

/**
 * Opens the ledger of an instance, or makes it: takes the lock, recovers, starts a new epoch, records
 * that it did, and closes as `interaction.interrupted` what the last run left open. All of that is
 * durable when it resolves. When it rejects, nothing is held or running any more.
 *
 * @throws AuditError `ERR_LEDGER_LOCKED`; `ERR_LEDGER_CORRUPT` and `ERR_ROLLBACK_SUSPECTED`, which
 *   leave every file as it was, readable with `openLedgerReader`; `ERR_KEY_MALFORMED`;
 *   `ERR_LEDGER_DISK_FULL` and `ERR_LEDGER_WRITE_FAILED`; `ERR_CONFIG_INVALID`.
 */
export async function openLedger(
  options: LedgerOptions,
): Promise<{ ledger: Ledger; recovery: RecoveryReport }> {
  const settings = settingsOf(options)
  const { core, recovery, interrupted } = await recoverCore(settings).catch((error: unknown) => {
    throw writeFailure(error)
  })
  const ledger = ledgerOf(core)
  const { recoveredEntries, tornBytes } = recovery
  const found = { recoveredEntries, tornBytes, interrupted: recovery.interrupted }
  try {
    await append(
      core,
      { retentionClass: ownRetentionClass, body: openedBody(settings, found) },
      'own',
    )
    await closeInterrupted(core, interrupted)
  } catch (error) {
    stop(core, error)
    await core.ended
    throw writeFailure(error)
  }
  core.endTicks = settings.every(settings.integrateIntervalMs, () => tick(core))
  if (core.backlogEntries >= settings.integrateEntries) void runPass(core)
  settings.log('ledger opened', { epoch: recovery.epoch, ...found })
  return { ledger, recovery }
}

/** A crash between two of these leaves the rest open; the next opening finds them as this one did. */
async function closeInterrupted(
  core: Core,
  interrupted: AsyncIterable<OpenInteraction>,
): Promise<void> {
  let waiting: Promise<unknown>[] = []
  for await (const { eventId, fields, retentionClass } of interrupted) {
    const body = interruptedBody(core.settings, fields)
    waiting.push(append(core, { retentionClass, body, closes: eventId }, 'own'))
    if (waiting.length < interruptedTogether) continue
    await Promise.all(waiting)
    waiting = []
  }
  await Promise.all(waiting)
}

// Interactions closed in one frame at an opening.
const interruptedTogether = 64
// Memory of one pass, and how long `publish` may wait behind one.
const passEntriesMax = 65_536

// ── append ──────────────────────────────────────────────────────────────────────────────────────

/**
 * Gives an entry its place and puts it in line to be written. The ledger's own entries are few, and are
 * not refused: a ledger that has recovered must be able to say so.
 */
function append(
  core: Core,
  { retentionClass, body, opens, closes }: Append,
  whose: 'callers' | 'own' = 'callers',
): Promise<Sequenced> {
  const { clock } = core.settings
  try {
    if (core.state !== 'open') throw stoppedFailure(core.failure)
    if (whose === 'callers') refuseOverload(core, opens)
    // Recovery reads starts and ends from the bodies; a caller that says otherwise has a bug.
    assert(body.includes(opens ?? '') && body.includes(closes ?? ''), 'a body has its event id')
    // One look at the clock for a frame is enough to know the quarter.
    if (!core.batch?.entries.length) core.nowMicros = clock.nowMicros()
    const log = core.logs.logFor(retentionClass, core.nowMicros)
    const { batch, start } = place(core, body, finishStamp(log.stampBegun, core.prev, core.seq))
    // Nothing above has changed anything: an entry that does not fit leaves no gap in the chain.
    const { slab, payloadEnd: end } = batch.space
    const hash = hashInPlace(slab.bytes, start, end)
    const leafIndex = log.sequenced++
    const entry = new SequencedEntry({ log, leafIndex, slab, start, end, hash, opens, closes })
    core.seq += 1
    core.prev = hash
    core.queuedBytes += end - start
    if (opens !== undefined) core.openIds.add(opens)
    if (closes !== undefined) core.openIds.delete(closes)
    batch.entries.push(entry)
    // A crash before the frame is written loses the entry, and no caller has been told otherwise.
    return new Promise((resolve, reject) => {
      entry.waiter = { resolve, reject }
      core.sequencing ??= sequenceSoon(core)
    })
  } catch (error) {
    return Promise.reject(error)
  }
}

function refuseOverload(core: Core, opens: string | undefined): void {
  const { queueBytesMax, openInteractionsMax } = core.settings
  if (core.queuedBytes > queueBytesMax) {
    throw busyFailure(`${core.queuedBytes} bytes wait to be written`)
  }
  if (opens !== undefined && core.openIds.size >= openInteractionsMax) {
    throw busyFailure(`${core.openIds.size} interactions are open at once`)
  }
}

/** Encodes an entry into the batch that is being filled, or into a new one. */
function place(core: Core, body: string, stamp: string): { batch: Batch; start: number } {
  assert(body.startsWith('{"') && body.endsWith('}'), 'a body is the text of a JSON object')
  const units = body.length + stamp.length
  const open = (core.batch ??= openBatch(core.memory, units))
  const start = addEntry(open, body, stamp)
  if (start !== undefined) return { batch: open, start }
  closeBatch(core.memory, open)
  core.ready.push(open)
  const next = (core.batch = openBatch(core.memory, units))
  const first = addEntry(next, body, stamp)
  assert(first !== undefined, 'a new batch has room for the entry that it was opened for')
  return { batch: next, start: first }
}

// ── sequence ────────────────────────────────────────────────────────────────────────────────────

/** Lets everything that arrives in this turn of the event loop into the first frame. */
async function sequenceSoon(core: Core): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
  await sequence(core)
}

/** Writes frame after frame, one write at a time, as long as something waits: no timer. */
async function sequence(core: Core): Promise<void> {
  for (let batch = takeBatch(core); batch !== undefined; batch = takeBatch(core)) {
    core.writing = batch
    // Callers wait, then, and are refused only when the queue is full too.
    while (isBacklogFull(core)) await runPass(core)
    if (isStopped(core)) return
    try {
      const frame = sealBatch(batch, core.wal.position, core.settings.clock.nowMicros())
      await core.wal.write(frame)
    } catch (error) {
      // The frame may be on disk, in part or whole. Whoever opens the ledger next will see.
      stop(core, error)
      return
    }
    core.writing = undefined
    // Stopped meanwhile by another failure: the callers have been told that they do not know.
    if (isStopped(core)) return
    // A crash from here on keeps the entries: recovery finds the frame and integrates it.
    acknowledge(core, batch)
    // Callers that go on at once with another entry get it into the next frame, not the one after.
    for (let hop = 0; hop < hopsBetweenFrames; hop++) await Promise.resolve()
  }
  // In the same turn in which nothing was left: an entry that comes later starts anew.
  core.sequencing = undefined
}

function isBacklogFull({ state, backlogBytes, settings }: Core): boolean {
  return state !== 'stopped' && backlogBytes > settings.backlogBytesMax
}

// Turns of the microtask queue: as many as `await` takes through a few layers of functions.
const hopsBetweenFrames = 4

function takeBatch(core: Core): Batch | undefined {
  if (core.state === 'stopped') return undefined
  const full = core.ready.shift()
  if (full !== undefined) return full
  const { batch } = core
  if (batch === undefined || batch.entries.length === 0) return undefined
  closeBatch(core.memory, batch)
  core.batch = undefined
  return batch
}

function acknowledge(core: Core, { entries, written, space }: Batch): void {
  let bytes = 0
  for (const { start, end } of entries) bytes += end - start
  core.queuedBytes -= bytes
  const writer = writerAfter(core, entries)
  core.backlog.push({ entries, bytes, end: core.wal.position, writer, slab: space.slab })
  core.backlogEntries += entries.length
  core.backlogBytes += bytes
  core.lastEntryMs = core.settings.clock.monotonicMs()
  for (const entry of entries) {
    entry.waiter?.resolve(entry)
    entry.waiter = undefined
  }
  for (const tell of written) tell()
  if (core.backlogEntries >= core.settings.integrateEntries) void runPass(core)
}

/** The writer's chain after entries that have just been written. */
function writerAfter(core: Core, entries: readonly SequencedEntry[]): WriterState {
  const last = entries.at(-1)
  assert(last !== undefined, 'a batch has an entry')
  core.writtenSeq += entries.length
  return { id: core.writerId, epoch: core.epoch, seq: core.writtenSeq, prev: last.hash }
}

/** Resolves when everything appended before the call is durable, or the ledger has stopped. */
function whenWritten(core: Core): Promise<void> {
  const filling = core.batch?.entries.length ? core.batch : undefined
  const last = filling ?? core.ready.at(-1) ?? core.writing
  if (last === undefined) return Promise.resolve()
  return new Promise((resolve) => last.written.push(resolve))
}

// ── integrate ───────────────────────────────────────────────────────────────────────────────────

/** Runs one pass over the backlog; joins the one that is running. Stops the ledger if it fails. */
function runPass(core: Core): Promise<void> {
  core.pass ??= integrate(core)
    .catch((error: unknown) => stop(core, error))
    .finally(() => {
      core.pass = undefined
      const isBehind = core.backlogEntries >= core.settings.integrateEntries
      if (isBehind && core.state !== 'stopped') void runPass(core)
    })
  return core.pass
}

/** Moves durable entries into the trees, agrees on the new head, and publishes it. */
async function integrate(core: Core): Promise<void> {
  const batches = takeBacklog(core)
  const last = batches.at(-1)
  if (last === undefined) return

  // A crash while tiles are written leaves files that no head speaks of. Recovery integrates the same
  // entries again and writes the same bytes under the same names.
  const grown = await writeTiles(core, batches)

  // Signing leaves no trace: a note that is lost before the swap has never left this process.
  const sizesBefore = new Map([...grown].map((log) => [log, log.publishedSize]))
  for (const log of grown) log.agreed = signRoot(log)
  core.logs.seal()
  for (const batch of batches) followOpen(core.integratedOpen, batch)
  const head: Head = { ...core.head, wal: last.end, writer: last.writer, ...headLogs(core) }
  const headBytes = formatHead(head)

  // A crash in the swap leaves the old head or the new one, both whole; everything under both is
  // durable, and nobody has seen the new one.
  await core.headStore.swap(core.headBytes, headBytes)
  core.head = head
  core.headBytes = headBytes

  await publish(core, grown, sizesBefore)
}

function takeBacklog(core: Core): WrittenBatch[] {
  let entries = 0
  let count = 0
  for (const batch of core.backlog) {
    if (count > 0 && entries + batch.entries.length > passEntriesMax) break
    entries += batch.entries.length
    count += 1
  }
  core.backlogEntries -= entries
  return core.backlog.splice(0, count)
}

/** Adds entries to their trees and writes every file that the new sizes need; durable at the end. */
async function writeTiles(core: Core, batches: readonly WrittenBatch[]): Promise<Set<Log>> {
  const grown = new Set<Log>()
  for (const batch of batches) {
    for (const entry of batch.entries) {
      const { log } = entry
      grown.add(log)
      for (const file of log.edge.append(entry.entry, entry.leafHash)) {
        // Waits while another file is being written, which also lets the event loop breathe.
        await core.files.put(join(log.directory, file.path), file.bytes)
      }
    }
  }
  for (const log of grown) {
    // Before any checkpoint that it verifies.
    if (log.agreed === undefined) await core.files.put(join(log.directory, 'vkey'), vkeyOf(log))
    for (const file of log.edge.partials()) {
      await core.files.put(join(log.directory, file.path), file.bytes)
    }
  }
  await core.files.settle()
  for (const { bytes, slab } of batches) {
    core.backlogBytes -= bytes
    if (slab !== undefined) releaseBatch(core.memory, slab)
  }
  return grown
}

function vkeyOf({ signer }: Log): Uint8Array {
  return utf8Encode(`${signer.vkey}\n`)
}

function signRoot({ origin, edge, signer }: Log): NonNullable<Log['agreed']> {
  const root = edge.root()
  const note = signCheckpoint({ origin, treeSize: edge.size, rootHash: root }, signer)
  return { size: edge.size, root, note }
}

function followOpen(open: Map<string, OpenStart>, { entries }: WrittenBatch): void {
  for (const { opens, closes, log, leafIndex } of entries) {
    if (opens !== undefined) open.set(opens, { log: log.path, leafIndex })
    if (closes !== undefined) open.delete(closes)
  }
}

function headLogs({ logs, integratedOpen }: Core): Pick<Head, 'logs' | 'sealed' | 'open'> {
  const agreed = new Map<string, NonNullable<Log['agreed']>>()
  for (const [path, log] of logs.active) if (log.agreed !== undefined) agreed.set(path, log.agreed)
  const open = new Map<string, number[]>()
  for (const { log, leafIndex } of integratedOpen.values()) {
    const indices = open.get(log)
    if (indices === undefined) open.set(log, [leafIndex])
    else indices.push(leafIndex)
  }
  return { logs: agreed, sealed: logs.sealed, open }
}

// ── publish ─────────────────────────────────────────────────────────────────────────────────────

/** Shows the agreed checkpoints, then removes what they make superfluous. */
async function publish(
  core: Core,
  grown: ReadonlySet<Log>,
  sizesBefore: ReadonlyMap<Log, number>,
): Promise<void> {
  const { settings, guard, files, head } = core
  // A crash here leaves some checkpoints older than the head; recovery publishes them again from it.
  await publishCheckpoints(grown, files, settings.clock.monotonicMs())
  await files.settle()

  // A crash from here on leaves files that are not needed; later passes and openings remove them.
  for (const log of grown) {
    const { size } = log.edge
    log.publishedSize = size
    await removePartials(guard.fs, log.directory, { from: sizesBefore.get(log) ?? 0, to: size })
  }
  await removeSegmentsBefore(core, head.wal.segment)
}

/** Removes segments of which every frame is integrated and published. */
async function removeSegmentsBefore({ guard, settings }: Core, current: string): Promise<void> {
  const kept = parseSegmentName(current)
  assert(kept !== undefined, 'the head names a segment')
  const { wal } = settings.paths
  for (const { name, firstIndex } of await listSegments(guard.fs, wal)) {
    if (firstIndex < kept.firstIndex) await guard.fs.unlink(join(wal, name))
  }
}

/** Integrates and publishes everything before entry `index`, pass after pass. */
async function publishBefore(core: Core, index: number): Promise<void> {
  while (core.state !== 'stopped' && core.head.wal.index < index) await runPass(core)
}

// ── stop ────────────────────────────────────────────────────────────────────────────────────────

/** Ends the ledger at its first failure. Nothing is tried again. */
function stop(core: Core, cause: unknown): void {
  if (core.state === 'stopped') return
  const failure = writeFailure(cause)
  core.failure = failure
  endLedger(core)
  const { batch, writing, ready } = core
  for (const { entries, written } of [writing, ...ready, batch].filter((it) => it !== undefined)) {
    for (const { waiter } of entries) waiter?.reject(failure)
    for (const tell of written) tell()
  }
  core.ready.length = 0
  core.batch = undefined
  core.settings.log('ledger stopped', { code: failure.code })
  for (const listener of core.listeners) listener('stopped', failure)
}

function endLedger(core: Core): void {
  core.state = 'stopped'
  core.endTicks()
  core.ended = release(core)
}

/** Waits until nothing of this ledger runs, then lets another one take its place. */
async function release(core: Core): Promise<void> {
  // A file that does not close any more holds nothing up: all that counts has been written or refused.
  const closeWal = () => core.wal.close().catch(() => undefined)
  // Closing gives back the prepared segment; a failure may leave it for the next opening to remove.
  if (core.failure === undefined) await closeWal()
  // Operations under way cannot be called back; their successors are refused by the guard.
  await core.guard.stop()
  await core.sequencing
  await core.pass
  if (core.failure !== undefined) await closeWal()
  // Should this fail, the next opening is refused and says who holds the lock.
  await core.lock.release().catch(() => undefined)
}

/** Ends an open ledger in good order. */
async function close(core: Core): Promise<void> {
  core.state = 'closing'
  await whenWritten(core)
  await publishBefore(core, core.wal.position.index)
  if (isStopped(core)) {
    await core.ended
    if (core.failure !== undefined) throw core.failure
    return
  }
  endLedger(core)
  for (const listener of core.listeners) listener('stopped')
  await core.ended
}

function isStopped(core: Core): boolean {
  return core.state === 'stopped'
}

// ── the object ──────────────────────────────────────────────────────────────────────────────────

function ledgerOf(core: Core): Ledger {
  const { settings } = core
  return {
    writerId: core.writerId,
    epoch: core.epoch,
    deployment: settings.deployment,
    instance: settings.instance,
    get state() {
      return core.state === 'open' ? 'open' : 'stopped'
    },
    append: (entry) => append(core, entry),
    async publish() {
      if (core.state !== 'open') throw stoppedFailure(core.failure)
      await whenWritten(core)
      await publishBefore(core, core.wal.position.index)
      if (core.failure !== undefined) throw core.failure
    },
    onStateChange(listener) {
      core.listeners.add(listener)
      return () => core.listeners.delete(listener)
    },
    async close() {
      // A ledger that has stopped by itself is only waited for.
      if (core.state === 'open') core.closing = close(core)
      await (core.closing ?? core.ended)
    },
  }
}

function tick(core: Core): void {
  const { settings, backlogEntries, lastEntryMs } = core
  if (backlogEntries > 0) void runPass(core)
  const nowMs = settings.clock.monotonicMs()
  if (nowMs - lastEntryMs < settings.heartbeatMs) return
  core.lastEntryMs = nowMs
  const beat = { retentionClass: ownRetentionClass, body: heartbeatBody(settings) }
  // A ledger that refuses it says so to its callers; there is nobody to tell twice.
  append(core, beat, 'own').catch(() => undefined)
}
