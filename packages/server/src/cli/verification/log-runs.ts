/**
 * The verifications of a ledger's logs under way: each is started shortly before the chain needs its
 * first entry, so that at most a few are in memory, and its entries flow to the chain as facts.
 *
 * @module
 */
import { assert } from '@affidavit/format'
import type { FactsBatch, FactsSource } from './facts.ts'
import type { Finding } from './finding.ts'
import { createFactsReader } from './log-facts.ts'
import type { LogOutcome } from './log-job.ts'
import type { LogPlan } from './log-plan.ts'
import { type LogStream, startLog } from './log-stream.ts'

/** Logs that are hashed ahead of the one that has the next entry. */
const logsAheadMax = 2

/** All logs of a ledger. */
export interface LogRuns {
  readonly sources: readonly FactsSource[]
  /** How a log's own verification went. Resolves once its source is exhausted. */
  outcomeOf(plan: LogPlan): Promise<LogOutcome>
}

/** Prepares the verification of `plans`; starts none. */
export function createRuns(
  plans: readonly LogPlan[],
  options: { held: readonly string[]; report: (finding: Finding) => void },
): LogRuns {
  const ordered = plans.toSorted(byFirstPlace)
  const streams = new Map<LogPlan, LogStream>()
  const start = (plan: LogPlan): LogStream => {
    const known = streams.get(plan)
    if (known !== undefined) return known
    const { place, vkeys, added, origin, entries } = plan
    const job = {
      directory: place.directory,
      vkeys,
      heldCheckpoints: options.held.filter((note) => note.startsWith(`${origin}\n`)),
      added,
    }
    const stream = startLog(job, { entries })
    streams.set(plan, stream)
    return stream
  }
  const open = (plan: LogPlan): LogStream => {
    const stream = start(plan)
    const next = ordered.indexOf(plan) + 1
    for (const ahead of ordered.slice(next, next + logsAheadMax)) start(ahead)
    return stream
  }
  const isVerifiable = ({ vkeys, isUnpublished, added }: LogPlan) =>
    vkeys.length > 0 && !(isUnpublished && added === undefined)
  return {
    sources: ordered.filter(isVerifiable).map((plan) => sourceOf(plan, () => open(plan), options)),
    outcomeOf(plan) {
      assert(isVerifiable(plan), 'a log without a key has no verification')
      return start(plan).outcome
    },
  }
}

function sourceOf(
  plan: LogPlan,
  open: () => LogStream,
  { report }: { report: (finding: Finding) => void },
): FactsSource {
  const { place, path, writerId, entriesMax } = plan
  const toFacts = createFactsReader({ where: place.where, log: path, writerId }, report)
  return {
    where: place.where,
    first: plan.first,
    async next() {
      const stream = open()
      for (;;) {
        const parcel = await stream.next()
        if (parcel === undefined) return undefined
        const batch = upTo(toFacts(parcel), entriesMax)
        if (batch.count > 0) return batch
      }
    },
  }
}

/** Leaves out what has been integrated since the head was read: the tail has it already. */
function upTo(batch: FactsBatch, entriesMax: number): FactsBatch {
  let { count } = batch
  while (count > 0 && (batch.leafIndices[count - 1] ?? 0) >= entriesMax) count -= 1
  return count === batch.count ? batch : { ...batch, count }
}

function byFirstPlace(left: LogPlan, right: LogPlan): number {
  const [a, b] = [left.first, right.first]
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? -1 : 1
  return a.epoch - b.epoch || a.seq - b.seq
}
