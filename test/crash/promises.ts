/**
 * What must hold after any crash, checked from three independent sides: what callers were given, what
 * reached the upstream, and what the ledger holds.
 *
 * 1. An acknowledged exchange has its `started` and its `completed`.
 * 2. Nothing was forwarded that lacks a `started`.
 * 3. Every start has exactly one end once the gateway has been started again; interrupted ones say so.
 * 4. No end without a start, no event twice.
 * 5. The writer's chain has no gap: `seq` rises by one within an epoch, epochs rise.
 *
 * @module
 */
import type { CallerRecord } from './load.ts'

/** What these checks need to know of one entry. */
export interface Fact {
  readonly kind: string
  readonly eventId: string
  /** The caller's own id, on interactions. */
  readonly sessionId: string | null
  readonly epoch: number
  readonly seq: number
}

/** The three sides. */
export interface Evidence {
  readonly facts: readonly Fact[]
  readonly callers: readonly CallerRecord[]
  readonly forwarded: ReadonlySet<string>
}

/**
 * Everything that contradicts the promises, as sentences; empty when all hold.
 *
 * @param settled whether a gateway has run to its orderly end since the last crash: then no start may
 *   be without an end
 */
export function findBrokenPromises(evidence: Evidence, settled: boolean): string[] {
  const { facts, callers, forwarded } = evidence
  const started = facts.filter(({ kind }) => kind === 'interaction.started')
  const completed = facts.filter(({ kind }) => kind === 'interaction.completed')
  const interrupted = facts.filter(({ kind }) => kind === 'interaction.interrupted')
  const ends = [...completed, ...interrupted]
  const startIds = new Set(started.map((fact) => fact.eventId))
  const completedIds = new Set(completed.map((fact) => fact.eventId))
  const endIds = new Set(ends.map((fact) => fact.eventId))
  const startedSessions = new Set(started.map((fact) => fact.sessionId))

  const broken: string[] = []
  for (const { id, eventId } of callers.filter((caller) => caller.acknowledged)) {
    if (eventId === undefined || !startIds.has(eventId)) broken.push(`${id}: answered, no started`)
    else if (!completedIds.has(eventId)) broken.push(`${id}: answered, no completed`)
  }
  for (const id of forwarded) {
    if (!startedSessions.has(id)) broken.push(`${id}: forwarded without a started`)
  }
  if (startIds.size < started.length) broken.push('two starts of one event')
  if (endIds.size < ends.length) broken.push('two ends of one event')
  for (const { eventId: id } of ends) if (!startIds.has(id)) broken.push(`${id}: end, no start`)
  if (settled) {
    for (const { eventId: id } of started) if (!endIds.has(id)) broken.push(`${id}: never closed`)
  }
  return [...broken, ...findGaps(facts)]
}

/** Gaps and repetitions in the writer's own count, over all logs. */
function findGaps(facts: readonly Fact[]): string[] {
  const byEpoch = new Map<number, number[]>()
  for (const { epoch, seq } of facts) {
    const counts = byEpoch.get(epoch)
    if (counts === undefined) byEpoch.set(epoch, [seq])
    else counts.push(seq)
  }
  const broken: string[] = []
  for (const [epoch, counts] of byEpoch) {
    const wrong = counts.toSorted((a, b) => a - b).findIndex((seq, position) => seq !== position)
    if (wrong >= 0) broken.push(`epoch ${epoch}: no single entry ${wrong}`)
  }
  return broken
}

/** How often each thing happened: a test that saw none of something proved nothing about it. */
export interface Tally {
  readonly acknowledged: number
  readonly refused: number
  readonly cutOff: number
  readonly forwarded: number
  readonly interrupted: number
  readonly entries: number
}

/** Counts what the promises were checked against. */
export function tally({ facts, callers, forwarded }: Evidence): Tally {
  return {
    acknowledged: callers.filter((caller) => caller.acknowledged).length,
    refused: callers.filter((caller) => caller.status === 503).length,
    cutOff: callers.filter((caller) => !caller.acknowledged && caller.status !== 503).length,
    forwarded: forwarded.size,
    interrupted: facts.filter((fact) => fact.kind === 'interaction.interrupted').length,
    entries: facts.length,
  }
}
