/**
 * `affidavit demo`: real conversations, replayed through the official SDK against a gateway with the
 * simulator behind it; then what was recorded, and proof that nothing of it was changed.
 *
 * @module
 */
import { resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { systemClock } from '@affidavit/sdk/capture'
import { type Command, InvalidArgumentError } from 'commander'
import type { Config } from '../base/config.ts'
import { type PlannedConversation, planTraffic } from '../demo/plan.ts'
import { readRunRecords } from '../demo/records.ts'
import { type AnthropicConstructor, replay, type ReplayResult } from '../demo/replay.ts'
import { buildStage, rentStage, type Stage, upstreamBehind } from '../demo/stage.ts'
import { isComplete, jsonOf, type Report, textOf } from '../demo/report.ts'
import { type CompletedRecord, summarize } from '../demo/summary.ts'
import { openLibrary } from '../simulate/library.ts'
import { CommandError, exits } from './exit.ts'
import { createProgress } from './progress.ts'
import { findInstances, jsonOption, readConfig } from './settings.ts'
import { processTerminal, type Terminal, visible } from './terminal.ts'
import { createFindingList, exitOfFindings, type FindingList } from './verification/finding.ts'
import { checkLedger, type LedgerSummary } from './verification/ledger-check.ts'
import { findTarget } from './verification/places.ts'
import { createTrust } from './verification/trust.ts'

/** Records of a demo are kept apart: they cannot be taken out of a ledger again. */
export const demoDataDir = './.affidavit-demo'
const conversationsMax = 100_000
const usersMax = 10_000
/** How long another process's gateway gets to publish; it does so every second. */
const publishMsMax = 30_000
const publishPollMs = 200

interface DemoOptions {
  readonly conversations: number
  readonly users: number
  readonly rate: number
  readonly seed: string
  readonly gateway?: string
  readonly dataDir?: string
  readonly json?: boolean
}

const examples = `
Without --gateway the demo starts a simulator and a gateway of its own, on free ports, and writes to
${demoDataDir}. With --gateway it uses one that runs, refuses if a real Claude is behind it, and reads
that gateway's records from its data directory.

Examples:
  affidavit demo
  affidavit demo --conversations 1000 --users 200 --json
  affidavit simulate & AFFIDAVIT_UPSTREAM_ANTHROPIC=http://127.0.0.1:9797 affidavit start &
  affidavit demo --gateway http://127.0.0.1:8787`

/** Adds the command. */
export function register(program: Command): void {
  program
    .command('demo')
    .description('replay real conversations through a gateway, show and verify the records')
    .option('--conversations <count>', 'conversations to replay', upTo(conversationsMax), 60)
    .option('--users <count>', 'users that have them', upTo(usersMax), 24)
    .option('--rate <count>', 'conversations begun in a second; 0 is no limit', upTo(10_000, 0), 0)
    .option('--seed <text>', 'what is drawn from it is the same each time', 'affidavit')
    .option('--gateway <url>', 'a gateway that runs already, with a simulator behind it')
    .option('--data-dir <path>', `where the records are (default: ${demoDataDir})`)
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(options: DemoOptions): Promise<void> {
  const terminal = processTerminal()
  const Client = await loadSdk()
  const config = await configFor(options)
  const runId = `demo${Math.floor(systemClock.nowMicros() / 1000).toString(36)}`
  const plan = planTraffic({
    seed: options.seed,
    runId,
    conversations: openLibrary().conversations,
    count: options.conversations,
    users: options.users,
  })
  const stage = await openStage(config, options)
  let played: ReplayResult
  try {
    played = await play(stage, { plan, Client, terminal, rate: options.rate })
  } finally {
    await stage.close()
  }
  const records = await publishedRecords(config, { runId, turns: played.turns })
  const { ledgers, findings } = await verify(config.dataDir)
  const report: Report = {
    conversations: options.conversations,
    dataDir: config.dataDir,
    played,
    received: stage.received(),
    summary: summarize(records),
    eventId: records.at(-1)?.event_id,
    entriesVerified: ledgers.reduce((sum, { chain }) => sum + chain.entries, 0),
    isIntact: findings.counts.size === 0,
  }
  const text = options.json === true ? `${jsonOf(report)}\n` : textOf(report, terminal.colours)
  await terminal.print(text)
  process.exitCode = exits[isComplete(report) ? exitOfFindings(findings.counts) : 'failed'].code
}

async function loadSdk(): Promise<AnthropicConstructor> {
  try {
    return (await import('@anthropic-ai/sdk')).default
  } catch (cause) {
    throw new CommandError(
      'failed',
      'The demo calls Claude through @anthropic-ai/sdk, which is not installed here. Nothing was ' +
        'sent and nothing was recorded. Run `npm install @anthropic-ai/sdk`, then try again.',
      { cause },
    )
  }
}

async function configFor({ gateway, dataDir }: DemoOptions): Promise<Config> {
  const named = dataDir ?? (gateway === undefined ? demoDataDir : undefined)
  const config = await readConfig(named === undefined ? {} : { dataDir: resolve(named) })
  // Facts of the gateway would interrupt the progress bar; what goes wrong still shows.
  return { ...config, log: { ...config.log, level: 'warn' } }
}

async function openStage(config: Config, { gateway, seed }: DemoOptions): Promise<Stage> {
  if (gateway === undefined) return buildStage(config, seed)
  const upstream = await upstreamBehind(gateway)
  if (upstream === 'simulator') return rentStage(gateway)
  throw new CommandError(
    upstream === 'real' ? 'refused' : 'unreachable',
    upstream === 'real'
      ? `Behind ${visible(gateway)} is no simulator. No conversation was sent, so that none is ` +
          'paid for. Set AFFIDAVIT_UPSTREAM_ANTHROPIC to the address of `affidavit simulate`.'
      : `Nothing answers at ${visible(gateway)}. Nothing was sent. Start the gateway, or leave ` +
          '--gateway out.',
  )
}

async function play(
  stage: Stage,
  parts: {
    plan: readonly PlannedConversation[]
    Client: AnthropicConstructor
    terminal: Terminal
    rate: number
  },
): Promise<ReplayResult> {
  const { plan, Client, terminal, rate } = parts
  const total = plan.reduce((sum, { turns }) => sum + turns.length, 0)
  const progress = createProgress({
    terminal,
    clock: systemClock,
    label: 'replaying',
    unit: 'turns',
    total,
  })
  const onTurn = (done: number) => progress.update(done)
  const result = await replay({
    plan,
    baseUrl: stage.gatewayUrl,
    Client,
    rate,
    onTurn,
    pause,
    clock: systemClock,
  })
  progress.end()
  return result
}

/** The run's records once they are published, or as they are when that takes too long. */
async function publishedRecords(
  { dataDir }: Config,
  { runId, turns }: { runId: string; turns: number },
): Promise<readonly CompletedRecord[]> {
  const directories = (await findInstances(dataDir)).map(({ directory }) => directory)
  const deadlineMs = systemClock.monotonicMs() + publishMsMax
  for (;;) {
    const { records, published } = await readRunRecords(directories, runId)
    // A turn is one request at least.
    const isWhole = published && records.length >= turns
    if (isWhole || systemClock.monotonicMs() > deadlineMs) return records
    await pause(publishPollMs)
  }
}

async function verify(
  dataDir: string,
): Promise<{ ledgers: LedgerSummary[]; findings: FindingList }> {
  const findings = createFindingList()
  const { root, ledgers: places } = await findTarget(dataDir)
  const trust = createTrust({ policy: undefined, vkeys: [] })
  const ledgers: LedgerSummary[] = []
  for (const place of places) {
    ledgers.push(await checkLedger(place, { root, trust, held: [], findings }))
  }
  return { ledgers, findings }
}

function upTo(max: number, min = 1): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (Number.isInteger(value) && value >= min && value <= max) return value
    throw new InvalidArgumentError(`A whole number from ${min} to ${max}.`)
  }
}
