/**
 * `affidavit tail`: follows the records of every instance as they are written, one line each.
 *
 * @module
 */
import { setTimeout } from 'node:timers/promises'
import { systemClock } from '@affidavit/sdk/capture'
import type { Command } from 'commander'
import { CommandError } from './exit.ts'
import {
  type FedEntry,
  type FeedStart,
  type InstanceFeed,
  openFeed,
} from './following/instance-feed.ts'
import { createSelector, parseSince, type Selection, writtenMs } from './following/selection.ts'
import { createLineFormat } from './record-line.ts'
import { dataDirOf, dataDirOption, findInstances, jsonOption } from './settings.ts'
import { processTerminal, visible } from './terminal.ts'

const pollMs = 200
const linesDefault = 10
const linesMax = 100_000
// For a few lines, this many entries at the end of each log are looked at first; more if they are few.
const lookBackMin = 1024
const lookBackMax = 1 << 20

const examples = `
One line an interaction, when it has ended. Facts of the ledger itself (a start of the gateway, a gap) have
lines too unless a filter is given. --json prints each record as it stands in its log, one a line.

Examples:
  affidavit tail
  affidavit tail --application billing-bot --status error --since 2h
  affidavit tail --since 2026-11-23T14:00:00Z --no-follow --json > records.ndjson
  affidavit tail -n 100 --no-follow`

interface TailOptions extends Selection {
  readonly dataDir?: string
  readonly json?: boolean
  readonly since?: string
  readonly lines?: string
  readonly follow: boolean
}

/** Adds the command. */
export function register(program: Command): void {
  program
    .command('tail')
    .description('follow records as they are written')
    .option('--user-handle <sub_…>', 'records of one subject handle')
    .option('--application <id>', 'records of one application')
    .option('--session <id>', 'records of one session')
    .option('--status <status>', 'success, error, incomplete or blocked, or an end state')
    .option('--since <time>', 'begin in the past: 90s, 10m, 2h, 7d, or a time in ISO 8601')
    .option('-n, --lines <count>', `lines from the past to begin with (default: ${linesDefault})`)
    .option('--all', 'starts and heartbeats too')
    .option('--no-follow', 'end when everything up to now has been shown')
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(options: TailOptions): Promise<void> {
  const isShown = createSelector(options)
  const nowMs = systemClock.nowMicros() / 1000
  const sinceMs = options.since === undefined ? undefined : parseSince(options.since, nowMs)
  const count = parseLines(options.lines)
  const isSelected = ({ entry }: FedEntry) =>
    isShown(entry) && (sinceMs === undefined || writtenMs(entry) >= sinceMs)
  const places = await findInstances(await dataDirOf(options))
  const write = createWriter(options)
  const feeds: InstanceFeed[] = []
  for (const place of places) {
    if (sinceMs !== undefined) {
      feeds.push(await openFeed(place, { kind: 'since', timeMs: sinceMs }))
      continue
    }
    const { feed, past } = await lookBack(place, count, isSelected)
    feeds.push(feed)
    for (const fed of past) await write(fed)
  }
  do {
    for (const feed of feeds) {
      for await (const fed of feed.next()) if (isSelected(fed)) await write(fed)
    }
    if (options.follow) await setTimeout(pollMs)
  } while (options.follow)
  for (const feed of feeds) await feed.close()
}

/** The last `count` entries that are selected, and the feed that goes on after them. */
async function lookBack(
  place: Parameters<typeof openFeed>[0],
  count: number,
  isSelected: (fed: FedEntry) => boolean,
): Promise<{ feed: InstanceFeed; past: readonly FedEntry[] }> {
  for (let entriesPerLog = lookBackMin; ; entriesPerLog *= 8) {
    const start: FeedStart = { kind: 'last', entriesPerLog }
    const feed = await openFeed(place, start)
    let [past, seen]: [FedEntry[], number] = [[], 0]
    for await (const fed of feed.next()) {
      seen += 1
      if (isSelected(fed)) past.push(fed)
      if (past.length > 2 * count + 1) past = past.slice(-count)
    }
    const isAll = seen < entriesPerLog
    if (past.length >= count || isAll || entriesPerLog >= lookBackMax) {
      return { feed, past: count === 0 ? [] : past.slice(-count) }
    }
    await feed.close()
  }
}

function createWriter({ json }: TailOptions): (fed: FedEntry) => Promise<void> {
  const terminal = processTerminal()
  if (json === true) {
    return async ({ bytes }) => terminal.print(`${Buffer.from(bytes).toString('utf8')}\n`)
  }
  const format = createLineFormat({ columnsMax: terminal.columns, colours: terminal.colours })
  let isFirst = true
  return async ({ entry }) => {
    if (isFirst) await terminal.print(`${format.header}\n`)
    isFirst = false
    await terminal.print(`${format.line(entry)}\n`)
  }
}

function parseLines(text: string | undefined): number {
  const count = text === undefined ? linesDefault : Number(text)
  if (Number.isInteger(count) && count >= 0 && count <= linesMax) return count
  throw new CommandError(
    'usage',
    `${visible(text ?? '')} is not a number of lines. Nothing was read. Write 0 … ${linesMax}.`,
  )
}
