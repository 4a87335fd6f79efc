/**
 * The writer's chain over all logs of an instance. A writer numbers its entries (epoch, seq) and each
 * carries the leaf hash of the one before, in whichever log that is; so merging the logs by (epoch, seq)
 * must give one unbroken chain, and an entry that was left out shows even if its log verifies.
 *
 * Invariants that are checked:
 * - `seq` counts 0, 1, 2, … within an epoch; epochs rise; the first entry of an epoch is `ledger.opened`
 * - `prev` is the leaf hash of the entry before, across epochs too; the very first has zeros
 * - each start has one end, each end one start. Starts that are open belong to the newest epoch, unless
 *   that epoch is still closing what the one before left open
 *
 * Memory is bounded by `openStartsMax` and one batch a log.
 *
 * @module
 */
import {
  type ChainKey,
  entryRoles,
  eventIdAt,
  eventIdKeyAt,
  eventIdOfKey,
  type FactsBatch,
  type FactsSource,
  hashBytes,
  keyAt,
} from './facts.ts'
import type { Finding } from './finding.ts'

/** Starts that may be open at once; a ledger bounds its own open set far lower. */
export const openStartsMax = 1_000_000

/** What the chain says about the writer. */
export interface ChainSummary {
  readonly entries: number
  readonly epochs: number
  /** Interactions whose start and end are both there. */
  readonly paired: number
  /** Starts without an end that may still get one: the writer is running, or has to recover. */
  readonly open: number
  readonly last: ChainLast | null
  /** Ends whose start was not seen: wrong in a whole directory, to be looked up in a range. */
  readonly unmatchedEnds: readonly Place[]
}

/** The last entry of a chain. */
export interface ChainLast extends ChainKey {
  readonly leafHash: string
}

export interface ChainOptions {
  readonly report: (finding: Finding) => void
  /** The merged part begins inside the chain: its first entry is taken as it is. */
  readonly startsInside?: boolean
  /**
   * Some logs of the writer are not among the sources, so numbers may be left out; neighbours must
   * still be linked, and the order must rise.
   */
  readonly isPartial?: boolean
  /** Ends may come after the merged part: starts that stay open are the caller's to judge. */
  readonly endsInside?: boolean
  readonly onProgress?: (entries: number) => void
}

interface Cursor {
  readonly source: FactsSource
  /** Undefined before the source is opened. */
  batch: FactsBatch | undefined
  index: number
  /** Place of the next entry; undefined at the end. */
  key: ChainKey | undefined
}

/** A start without an end. */
export interface OpenStart {
  readonly epoch: number
  readonly where: string
  readonly leafIndex: number
  /** Delivered by an application, which ends it in whatever epoch of this writer. */
  readonly isIngested: boolean
}

/** A chain that is being followed, in one part after another. */
export interface Chain {
  /** Merges `sources` by (epoch, seq) and follows them. Parts must not overlap in time. */
  merge(sources: readonly FactsSource[]): Promise<void>
  /** The last entry that was followed. */
  readonly last: ChainLast | null
  /** Where the starts are that have no end so far and that this writer has to end itself. */
  openStarts(): readonly (OpenStart & { readonly eventId: string })[]
  /** Judges the starts that are still open. */
  finish(): ChainSummary
}

/** Follows a writer's chain. */
export function createChain(options: ChainOptions): Chain {
  const state = createState(options)
  return {
    async merge(sources) {
      const cursors = await Promise.all(sources.map(openCursor))
      for (;;) {
        const [cursor, limit] = twoLeast(cursors)
        if (cursor === undefined) break
        if (cursor.batch === undefined) await advance(cursor)
        else {
          takeRun(state, cursor, limit?.key)
          if (cursor.index === cursor.batch.count) await advance(cursor)
          options.onProgress?.(state.entries)
        }
      }
    },
    get last() {
      return lastOf(state)
    },
    openStarts: () =>
      [...state.open]
        .filter(([, start]) => !start.isIngested)
        .map(([id, start]) => ({ ...start, eventId: eventIdOfKey(id) })),
    finish: () => summarize(state),
  }
}

async function openCursor(source: FactsSource): Promise<Cursor> {
  const cursor: Cursor = { source, batch: undefined, index: 0, key: source.first }
  if (cursor.key === undefined) await advance(cursor)
  return cursor
}

/** Moves on to the source's next batch. */
async function advance(cursor: Cursor): Promise<void> {
  cursor.batch = await cursor.source.next()
  cursor.index = 0
  cursor.key = cursor.batch === undefined ? undefined : keyAt(cursor.batch, 0)
}

/** Where an entry is, in the words of a finding. */
export interface Place {
  readonly where: string
  readonly leafIndex: number
  readonly eventId: string
}

function isBefore(a: ChainKey, b: ChainKey): boolean {
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.seq < b.seq)
}

/** The cursor whose entry is next, and the one whose entry comes after all that the first can give. */
function twoLeast(cursors: readonly Cursor[]): readonly [Cursor | undefined, Cursor | undefined] {
  let least: Cursor | undefined
  let second: Cursor | undefined
  for (const cursor of cursors) {
    if (cursor.key === undefined) continue
    if (least?.key === undefined || isBefore(cursor.key, least.key)) {
      ;[least, second] = [cursor, least]
    } else if (second?.key === undefined || isBefore(cursor.key, second.key)) second = cursor
  }
  return [least, second]
}

interface ChainState {
  readonly options: ChainOptions
  readonly open: Map<string, OpenStart>
  readonly unmatchedEnds: Place[]
  readonly previousLeaf: Buffer
  /** -1 before the first entry. */
  epoch: number
  seq: number
  entries: number
  epochs: number
  paired: number
  /** The newest epoch has written more than recovery does. */
  settled: boolean
}

function createState(options: ChainOptions): ChainState {
  return {
    options,
    open: new Map(),
    unmatchedEnds: [],
    previousLeaf: Buffer.alloc(hashBytes),
    epoch: -1,
    seq: -1,
    entries: 0,
    epochs: 0,
    paired: 0,
    settled: false,
  }
}

/** Takes entries of `cursor` until its batch ends or another log has the next one. */
function takeRun(state: ChainState, cursor: Cursor, limit: ChainKey | undefined): void {
  const { batch, source } = cursor
  if (batch === undefined) return
  const { epochs, seqs, count } = batch
  const [limitEpoch, limitSeq] = [limit?.epoch ?? Infinity, limit?.seq ?? Infinity]
  do {
    takePlace(state, batch, cursor.index, source.where)
    takePair(state, batch, cursor.index, source.where)
    cursor.index += 1
    state.entries += 1
    const epoch = epochs[cursor.index] ?? 0
    if (epoch > limitEpoch) break
    if (epoch === limitEpoch && (seqs[cursor.index] ?? 0) >= limitSeq) break
  } while (cursor.index < count)
  if (cursor.index < count) cursor.key = keyAt(batch, cursor.index)
}

function takePlace(state: ChainState, batch: FactsBatch, index: number, where: string): void {
  const [epoch, seq] = [batch.epochs[index] ?? 0, batch.seqs[index] ?? 0]
  const at = index * hashBytes
  const isFirst = state.epoch === -1
  const isTaken = isFirst && state.options.startsInside === true
  const follows = epoch === state.epoch ? seq === state.seq + 1 : epoch > state.epoch && seq === 0
  if (!isTaken && !isExcused(state, { epoch, seq })) {
    if (!follows) reportGap(state, batch, index, where)
    else if (state.previousLeaf.compare(batch.prevs, at, at + hashBytes) !== 0) {
      reportBrokenLink(state, batch, index, where)
    }
  }
  if (epoch !== state.epoch) {
    state.epochs += 1
    state.settled = false
    if (seq === 0 && batch.roles[index] !== entryRoles.opened) {
      const what = 'the epoch does not begin with ledger.opened'
      state.options.report({ kind: 'gap', what, ...placeOf(batch, index, where) })
    }
  }
  state.epoch = epoch
  state.seq = seq
  state.previousLeaf.set(batch.leaves.subarray(at, at + hashBytes))
}

/** Without the other logs nobody can tell a number that is left out from one that is in another log. */
function isExcused(state: ChainState, { epoch, seq }: ChainKey): boolean {
  if (state.options.isPartial !== true) return false
  return epoch > state.epoch || (epoch === state.epoch && seq > state.seq + 1)
}

const pairedRoles: ReadonlySet<number> = new Set([
  entryRoles.start,
  entryRoles.ingestedStart,
  entryRoles.end,
])

function takePair(state: ChainState, batch: FactsBatch, index: number, where: string): void {
  const role = batch.roles[index]
  if (role === entryRoles.other) state.settled = true
  if (role === undefined || !pairedRoles.has(role)) return
  const id = eventIdKeyAt(batch, index)
  const isTaken =
    role === entryRoles.end ? takeEnd(state, id) : takeStart(state, id, batch, index, where)
  if (isTaken) return
  const place = placeOf(batch, index, where)
  if (role === entryRoles.end) state.unmatchedEnds.push(place)
  else {
    const what = state.open.has(id)
      ? 'the interaction is started twice'
      : 'more starts are open than a ledger allows'
    state.options.report({ kind: 'unpaired', what, ...place })
  }
}

function takeStart(
  state: ChainState,
  id: string,
  batch: FactsBatch,
  index: number,
  where: string,
): boolean {
  state.settled = true
  if (state.open.has(id) || state.open.size >= openStartsMax) return false
  const isIngested = batch.roles[index] === entryRoles.ingestedStart
  const leafIndex = batch.leafIndices[index] ?? 0
  state.open.set(id, { epoch: state.epoch, where, leafIndex, isIngested })
  return true
}

function takeEnd(state: ChainState, id: string): boolean {
  const start = state.open.get(id)
  if (start === undefined) return false
  // Closing what an earlier epoch left open is part of recovery; closing its own is not.
  if (start.epoch === state.epoch) state.settled = true
  state.open.delete(id)
  state.paired += 1
  return true
}

function summarize(state: ChainState): ChainSummary {
  let stillOpen = 0
  for (const [id, start] of state.open) {
    const mayEnd = start.isIngested || start.epoch === state.epoch || !state.settled
    // In part of the logs the end may be where nobody looked.
    const { isPartial = false, endsInside = false } = state.options
    if (mayEnd || isPartial || endsInside) stillOpen += 1
    else reportForgotten(state.options.report, id, start)
  }
  const { entries, epochs, paired, unmatchedEnds } = state
  return { entries, epochs, paired, open: stillOpen, last: lastOf(state), unmatchedEnds }
}

function lastOf({ epoch, seq, previousLeaf }: ChainState): ChainLast | null {
  return epoch === -1 ? null : { epoch, seq, leafHash: previousLeaf.toString('hex') }
}

function placeOf(batch: FactsBatch, index: number, where: string): Place {
  const eventId = eventIdAt(batch, index)
  return { where: where, leafIndex: batch.leafIndices[index] ?? 0, eventId }
}

function reportGap(state: ChainState, batch: FactsBatch, index: number, where: string): void {
  const isFirst = state.epoch === -1
  state.options.report({
    kind: 'gap',
    what: isFirst
      ? 'the first entry that is here is not the first that the writer wrote'
      : 'the entry does not follow the one that the writer wrote before it: some are missing or moved',
    ...placeOf(batch, index, where),
    expected: isFirst
      ? 'seq 0'
      : `epoch ${state.epoch} seq ${state.seq + 1}, or seq 0 of a later epoch`,
    actual: `epoch ${batch.epochs[index] ?? 0} seq ${batch.seqs[index] ?? 0}`,
  })
}

function reportBrokenLink(
  state: ChainState,
  batch: FactsBatch,
  index: number,
  where: string,
): void {
  const prev = batch.prevs.subarray(index * hashBytes, (index + 1) * hashBytes)
  state.options.report({
    kind: 'gap',
    what: 'the entry names another entry as its predecessor than the one that is there',
    ...placeOf(batch, index, where),
    expected: `prev ${state.previousLeaf.toString('hex')}`,
    actual: `prev ${Buffer.from(prev).toString('hex')}`,
  })
}

function reportForgotten(report: (finding: Finding) => void, id: string, start: OpenStart): void {
  report({
    kind: 'unpaired',
    what: 'the interaction was started in an earlier epoch and nothing ever ended it',
    where: start.where,
    leafIndex: start.leafIndex,
    eventId: eventIdOfKey(id),
    expected: 'interaction.completed or interaction.interrupted',
    actual: 'neither',
  })
}
