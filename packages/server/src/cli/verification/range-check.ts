/**
 * Verifies a part of one log: that its entries are under the signed root, that the writer's chain runs
 * through them unbroken (over the other logs of the writer too, where they are there), and that starts
 * and ends are paired, also when one of the two is outside of the part.
 *
 * @module
 */
import { join } from 'node:path'
import { isAuditError, parseBundle, parseEntry, readTile, tileWidth } from '@affidavit/format'
import { openLedgerReader } from '../../ledger/read.ts'
import { CommandError } from '../exit.ts'
import { type Chain, type ChainSummary, createChain, type Place } from './chain.ts'
import { type ChainKey, type FactsSource, keyAt } from './facts.ts'
import type { Finding, FindingList } from './finding.ts'
import { readHead } from './head-state.ts'
import { createFactsReader } from './log-facts.ts'
import { readAtMost } from './log-files.ts'
import { translate } from './log-findings.ts'
import { type LogPlan, planLogs } from './log-plan.ts'
import { startLog } from './log-stream.ts'
import type { LedgerPlace, Target } from './places.ts'
import { factsOfOne } from './scan.ts'
import type { Trust } from './trust.ts'

/** Starts and ends whose other half is looked up outside of the part. */
export const lookupsMax = 10_000

const bundleBytesMax = tileWidth * (2 + 65_535)

/** Entries from `from` up to, and not including, `to`. */
export interface Range {
  readonly from: number
  readonly to: number
}

/** What was verified of a part. */
export interface RangeSummary extends Range {
  readonly origin: string
  readonly treeSize: number
  /** Entries of the part, and of other logs between its first and its last. */
  readonly chain: ChainSummary
  readonly isPartial: boolean
}

export interface RangeCheckOptions {
  readonly trust: Trust
  readonly findings: FindingList
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * Verifies `range` of the log named `log`: `<class>/<quarter>`, its origin, or undefined when there is
 * one log only.
 */
export async function checkRange(
  target: Target,
  { log, range }: { log: string | undefined; range: Range },
  options: RangeCheckOptions,
): Promise<RangeSummary> {
  const { ledger, plans, plan } = await chooseLog(target, log, options.trust)
  const { from } = range
  const to = Math.min(range.to, plan.entries)
  if (from >= to) {
    throw new CommandError(
      'usage',
      `${plan.path} has ${plan.entries} entries, so there is nothing from ${from} to ${range.to}. ` +
        'Nothing was verified. The first entry has number 0, and the end is not included.',
    )
  }
  const report = (finding: Finding) => options.findings.add(finding)
  const total = to - from
  const chain = createChain({
    report,
    startsInside: true,
    endsInside: true,
    isPartial: ledger.isPartial,
    onProgress: (done) => options.onProgress?.(Math.min(done, total), total),
  })
  const own = runRange(plan, { from, to }, report)
  const others = plans.filter((other) => other !== plan)
  const first = await keyOfLeaf(plan, from)
  const last = await keyOfLeaf(plan, to - 1)
  const between = await Promise.all(others.map((other) => rangeBetween(other, first, last)))
  const runs = others.flatMap((other, index) => {
    const part = between[index]
    return part === undefined || part.from >= part.to ? [] : [runRange(other, part, report)]
  })
  await chain.merge([own, ...runs].map(({ source }) => source))
  for (const run of [own, ...runs]) await run.judge()
  const summary = chain.finish()
  await lookUpOthers(ledger, { chain, unmatchedEnds: summary.unmatchedEnds }, report)
  const { origin = plan.path } = plan
  return { from, to, origin, treeSize: plan.entries, chain: summary, isPartial: ledger.isPartial }
}

async function chooseLog(target: Target, log: string | undefined, trust: Trust) {
  const found: { ledger: LedgerPlace; plans: readonly LogPlan[]; plan: LogPlan }[] = []
  const names: string[] = []
  for (const ledger of target.ledgers) {
    const head = ledger.paths === undefined ? undefined : await readHead(ledger.paths)
    const plans = await planLogs(ledger, { head, trust })
    for (const plan of plans) {
      names.push(plan.origin ?? plan.path)
      if (log === undefined || log === plan.path || log === plan.origin) {
        found.push({ ledger, plans, plan })
      }
    }
  }
  const [only, ...more] = found
  if (only !== undefined && more.length === 0) return only
  const what = only === undefined ? 'No log has that name' : 'Several logs have that name'
  throw new CommandError(
    'usage',
    `${what}. Nothing was verified. Name one with --log: ${names.join(', ')}.`,
  )
}

function runRange(plan: LogPlan, range: Range, report: (finding: Finding) => void) {
  const { place, path, vkeys, added, writerId } = plan
  if (vkeys.length === 0) {
    throw new CommandError(
      'signature',
      `There is no trusted key for ${path}. Nothing was verified. Give its key with --vkey or --policy.`,
    )
  }
  const job = { directory: place.directory, vkeys, heldCheckpoints: [], added, range }
  const stream = startLog(job, { entries: range.to - range.from })
  const toFacts = createFactsReader({ where: place.where, log: path, writerId }, report)
  const source: FactsSource = {
    where: place.where,
    first: undefined,
    async next() {
      for (;;) {
        const parcel = await stream.next()
        if (parcel === undefined) return undefined
        const batch = toFacts(parcel)
        if (batch.count > 0) return batch
      }
    },
  }
  const judge = async () => {
    const outcome = await stream.outcome
    if ('unreadable' in outcome) {
      const what = `a file of the log cannot be read (${outcome.unreadable.reason})`
      report({ kind: 'unreadable', what, where: place.where })
    } else for (const it of translate(place, outcome.report.findings).findings) report(it)
  }
  return { source, judge }
}

/** Entries of another log that the writer wrote between two of this one. */
async function rangeBetween(
  plan: LogPlan,
  first: ChainKey | undefined,
  last: ChainKey | undefined,
): Promise<Range | undefined> {
  if (first === undefined || last === undefined) return undefined
  const [from, to] = [await countBefore(plan, first), await countBefore(plan, last)]
  return { from, to }
}

/** How many entries of a log the writer wrote before `key`, by bisection. */
async function countBefore(plan: LogPlan, key: ChainKey): Promise<number> {
  let [low, high] = [0, plan.entries]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const there = await keyOfLeaf(plan, middle)
    // What cannot be read is taken for later; its own log's verification says what is wrong with it.
    const isEarlier =
      there !== undefined &&
      (there.epoch < key.epoch || (there.epoch === key.epoch && there.seq < key.seq))
    if (isEarlier) low = middle + 1
    else high = middle
  }
  return low
}

async function keyOfLeaf(plan: LogPlan, leafIndex: number): Promise<ChainKey | undefined> {
  const index = Math.floor(leafIndex / tileWidth)
  const width = Math.min(tileWidth, plan.entries - index * tileWidth)
  const read = async (path: string) => readAtMost(join(plan.place.directory, path), bundleBytesMax)
  try {
    const bundle = await readTile(read, { level: 'entries', index, width })
    const entry = bundle && parseBundle(bundle, width)[leafIndex - index * tileWidth]
    const facts = entry && factsOfOne(entry)
    return facts && keyAt(facts, 0)
  } catch {
    return undefined
  }
}

/** Looks outside of the part for the other halves of what is unpaired in it. */
async function lookUpOthers(
  ledger: LedgerPlace,
  { chain, unmatchedEnds }: { chain: Chain; unmatchedEnds: readonly Place[] },
  report: (finding: Finding) => void,
): Promise<void> {
  if (ledger.paths === undefined) return
  const reader = await openLedgerReader(ledger.paths.root)
  const newestEpoch = (await readHead(ledger.paths))?.epoch ?? Infinity
  const isThere = async (eventId: string, wanted: (kind: string) => boolean) => {
    try {
      const found = await reader.findByEventId(eventId)
      return found.some(({ entry }) => wanted(parseEntry(entry).kind))
    } catch (error) {
      // Damage outside of the part hides the other half: then nobody can say that it is not there.
      if (isAuditError(error)) return true
      throw error
    }
  }
  for (const place of unmatchedEnds.slice(0, lookupsMax)) {
    if (await isThere(place.eventId, (kind) => kind === 'interaction.started')) continue
    report({ kind: 'unpaired', what: 'the interaction has an end but no start', ...place })
  }
  for (const { eventId, epoch, where, leafIndex } of chain.openStarts().slice(0, lookupsMax)) {
    // In the newest epoch it may still be running.
    if (epoch >= newestEpoch) continue
    if (await isThere(eventId, (kind) => kind !== 'interaction.started')) continue
    const what = 'the interaction was started in an earlier epoch and nothing ever ended it'
    report({ kind: 'unpaired', what, where, leafIndex, eventId })
  }
}
