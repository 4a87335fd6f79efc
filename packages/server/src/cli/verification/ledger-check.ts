/**
 * Verifies all logs of one writer together: each log by its signed tree, all of them by the writer's
 * chain, and the head and the write-ahead log against both.
 *
 * @module
 */
import { join } from 'node:path'
import { toHex } from '@affidavit/format'
import { type Chain, type ChainSummary, createChain } from './chain.ts'
import type { FactsSource } from './facts.ts'
import type { Finding, FindingList } from './finding.ts'
import { checkHeadLogs, checkHeadWriter, type VerifiedTree } from './head-check.ts'
import { type HeadState, readHeadState } from './head-state.ts'
import { type Notice, translate } from './log-findings.ts'
import type { LogOutcome } from './log-job.ts'
import { type LogPlan, planLogs, readVkeyFile } from './log-plan.ts'
import { createRuns, type LogRuns } from './log-runs.ts'
import { type LedgerPlace, whereOf } from './places.ts'
import { contradictKey, readSigningKey, type SigningKey } from './signing-key.ts'
import { quorumFault, type Trust } from './trust.ts'

/** What was verified of one log. */
export interface LogSummary {
  readonly origin: string
  readonly where: string
  readonly treeSize: number
  readonly rootHash: string
  /** Entries that were read and hashed. */
  readonly entries: number
  /** Checkpoints that the tree was found consistent with, its own included. */
  readonly checkpoints: number
  readonly intact: boolean
}

/** What was verified of one ledger. */
export interface LedgerSummary {
  readonly name: string
  readonly writerId: string | undefined
  readonly logs: readonly LogSummary[]
  readonly chain: ChainSummary
  readonly isPartial: boolean
  /** Undefined without a head: then only what is published was verified. */
  readonly tail: { readonly entries: number; readonly tornBytes: number } | undefined
  readonly notices: readonly Notice[]
}

export interface LedgerCheckOptions {
  /** What findings are relative to. */
  readonly root: string
  readonly trust: Trust
  /** Signed checkpoints from elsewhere; each is held against the log that it names. */
  readonly held: readonly string[]
  readonly findings: FindingList
  /** Told how many entries have been followed, and how many there seem to be. */
  readonly onProgress?: (done: number, total: number) => void
}

/** Verifies a ledger; what is wrong is added to `options.findings`. */
export async function checkLedger(
  place: LedgerPlace,
  options: LedgerCheckOptions,
): Promise<LedgerSummary> {
  const { root, findings } = options
  let broken = 0
  const report = (finding: Finding) => {
    broken += 1
    findings.add(finding)
  }
  const { paths, isPartial } = place
  const state = paths === undefined ? undefined : await readHeadState(paths, root)
  for (const finding of state?.findings ?? []) report(finding)
  const signing = readSigningKey(paths, root)
  const sources = { head: state?.head, trust: options.trust, signingKey: signing.key }
  const plans = await planLogs(place, sources)
  const writerId = plans.find((plan) => plan.writerId !== undefined)?.writerId
  const total = plans.reduce((sum, plan) => sum + plan.entries, 0)
  const onProgress = (done: number) => options.onProgress?.(done, total)
  const chain = createChain({ report, isPartial, onProgress })
  const runs = createRuns(plans, { held: options.held, report })
  await chain.merge(runs.sources)

  const judged: JudgedLog[] = []
  for (const plan of plans) judged.push(await judge(plan, runs, options.trust))
  for (const finding of judged.flatMap((log) => log.findings)) report(finding)
  for (const finding of checkSigningKey(place, signing, root)) report(finding)
  if (state?.head !== undefined && paths !== undefined) {
    const trees = new Map(judged.map(({ path, tree }) => [path, tree]))
    const { head } = state
    const vkeysOf = (path: string) => plans.find((plan) => plan.path === path)?.vkeys ?? []
    const contradictions = await checkHeadLogs({ head, paths, root, trees, vkeysOf })
    for (const finding of contradictions) report(finding)
    // Where entries are missing, the writer's place is wrong as well, which says nothing new.
    const where = whereOf(root, join(paths.head, 'head.json'))
    const misplaced = broken > 0 ? [] : checkHeadWriter({ head, chain, where, writerId })
    for (const finding of misplaced) report(finding)
    await chain.merge([tailSource(state, whereOf(root, paths.wal))])
  }
  return {
    name: place.name,
    writerId,
    logs: judged.flatMap((log) => log.summary ?? []),
    chain: finishChain(chain, isPartial, report),
    isPartial,
    tail: state?.head && tailSummary(state),
    notices: judged.flatMap((log) => log.notices),
  }
}

interface JudgedLog {
  readonly path: string
  readonly findings: readonly Finding[]
  readonly notices: readonly Notice[]
  readonly tree: VerifiedTree | undefined
  readonly summary?: LogSummary
}

async function judge(plan: LogPlan, runs: LogRuns, trust: Trust): Promise<JudgedLog> {
  const { path, place, isUnpublished, vkeys, added } = plan
  if (isUnpublished && added === undefined) {
    const what =
      'the log has files of entries that were not agreed on; the next start writes them again'
    return { path, findings: [], notices: [{ what, where: place.where }], tree: undefined }
  }
  const judged = judgeLog(plan, vkeys.length === 0 ? undefined : await runs.outcomeOf(plan), trust)
  if (!isUnpublished) return judged
  const what = 'the log was agreed on and is not published yet'
  return { ...judged, notices: [{ what, where: place.where }, ...judged.notices] }
}

function checkSigningKey(place: LedgerPlace, signing: SigningKey, root: string): Finding[] {
  const { paths, logs } = place
  if (paths === undefined) return []
  const keys = logs.map(({ directory }) => readVkeyFile(directory))
  const published = keys.find((key) => key !== undefined)
  return [...signing.findings, ...contradictKey(signing.key, published, whereOf(root, paths.key))]
}

function judgeLog(plan: LogPlan, outcome: LogOutcome | undefined, trust: Trust): JudgedLog {
  const { path, place } = plan
  const none = { path, notices: [], tree: undefined }
  if (outcome === undefined) return { ...none, findings: [keyless(plan, trust)] }
  if ('unreadable' in outcome) {
    const what = `a file of the log cannot be read (${outcome.unreadable.reason})`
    return { ...none, findings: [{ kind: 'unreadable', what, where: place.where }] }
  }
  const { report } = outcome
  const { findings, notices } = translate(place, report.findings)
  const { origin, treeSize, rootHash, checkpoint } = report
  if (origin === undefined || treeSize === undefined || rootHash === undefined) {
    return { ...none, findings, notices }
  }
  const fault = checkpoint && quorumFault(trust, { origin, text: checkpoint })
  if (fault !== undefined) findings.push({ kind: 'signature', what: fault, where: place.where })
  if (!origin.endsWith(`/${path}`)) findings.push(inWrongFolder(plan, origin))
  const { where } = place
  const summary: LogSummary = {
    origin,
    where,
    treeSize,
    rootHash: toHex(rootHash),
    entries: report.entriesHashed,
    checkpoints: report.checkpointsCompared + 1,
    intact: report.intact && findings.length === 0,
  }
  return { path, findings, notices, tree: { where, treeSize, rootHash }, summary }
}

function keyless({ place, origin }: LogPlan, trust: Trust): Finding {
  const { where } = place
  if (origin === undefined) {
    return { kind: 'missing', what: 'the log has no checkpoint that can be read', where }
  }
  return trust.kind === 'own'
    ? { kind: 'missing', what: 'the log has no key file, and no sister log has its key', where }
    : { kind: 'signature', what: 'none of the trusted keys is for this log', where, actual: origin }
}

function inWrongFolder({ path, place }: LogPlan, origin: string): Finding {
  return {
    kind: 'inconsistent',
    what: 'the folder holds the log of another name',
    where: place.where,
    expected: `an origin that ends in /${path}`,
    actual: origin,
  }
}

function tailSource(state: HeadState, where: string): FactsSource {
  const batches = [...state.tail]
  return { where, first: undefined, next: async () => batches.shift() }
}

function tailSummary({ tail, tornBytes }: HeadState) {
  return { entries: tail.reduce((sum, { count }) => sum + count, 0), tornBytes }
}

/** In all logs of a writer an end has its start; in one log the start may be in another. */
function finishChain(
  chain: Chain,
  isPartial: boolean,
  report: (finding: Finding) => void,
): ChainSummary {
  const summary = chain.finish()
  if (isPartial) return summary
  for (const place of summary.unmatchedEnds) {
    const what = 'the interaction has an end but no start'
    report({ kind: 'unpaired', what, ...place })
  }
  return summary
}
