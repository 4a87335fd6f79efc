/**
 * `affidavit prove`: a receipt that anyone can check without us, and the bytes that it is about.
 *
 * @module
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Command } from 'commander'
import { CommandError } from './exit.ts'
import { faultOfReceipt, leafHashHex, makeReceipt } from './inclusion.ts'
import { dataDirOption, jsonOption } from './settings.ts'
import { processTerminal } from './terminal.ts'
import { findRecord, lastEntry } from './verification/record-file.ts'

// The gateway publishes every second; a longer silence means that it does not run.
const waitSecondsDefault = 5
const waitSecondsMax = 3600
const pollMs = 250

const examples = `
Writes <event_id>.tlog-proof (c2sp.org/tlog-proof) and <event_id>.entry.json (the entry, byte for byte).
The entry is the end of the interaction; --start takes its start. Nothing is published.

Examples:
  affidavit prove 01935d4c-8f2e-7c3a-9d1e-0123456789ab
  affidavit prove 01935d4c-8f2e-7c3a-9d1e-0123456789ab --out evidence --json
  affidavit verify --record <event_id>.entry.json --proof <event_id>.tlog-proof

Exit codes: 0 written, 4 no such record, 8 not integrated yet.`

interface ProveOptions {
  readonly dataDir?: string
  readonly json?: boolean
  readonly out: string
  readonly start?: boolean
  readonly wait: string
}

/** Adds the command. */
export function register(program: Command): void {
  program
    .command('prove')
    .description('write a receipt for one record, to be checked by anyone')
    .argument('<event_id>', 'id of the interaction')
    .option('--out <folder>', 'where to write the two files', '.')
    .option('--start', 'prove the start of the interaction, not its end')
    .option(
      '--wait <seconds>',
      'wait for a record that is not integrated yet',
      String(waitSecondsDefault),
    )
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(eventId: string, options: ProveOptions): Promise<void> {
  const { placed, log } = await findIntegrated(eventId, options)
  const receipt = await makeReceipt(placed, log)
  const fault = faultOfReceipt(placed, receipt, { log, trust: { kind: 'own' } })
  if (fault !== undefined) {
    throw new CommandError(
      'altered',
      `The receipt does not verify: ${fault}. Nothing was written. Run \`affidavit verify\` to see what is wrong.`,
    )
  }
  await mkdir(options.out, { recursive: true })
  const proofPath = join(options.out, `${eventId}.tlog-proof`)
  const entryPath = join(options.out, `${eventId}.entry.json`)
  await writeFile(entryPath, placed.entry)
  await writeFile(proofPath, receipt)
  const terminal = processTerminal()
  if (options.json === true) {
    const place = { origin: log.origin, leaf_index: placed.leafIndex, tree_size: log.size }
    const files = { proof: proofPath, entry: entryPath, leaf_hash: leafHashHex(placed.entry) }
    const facts = { event_id: eventId, kind: placed.parsed.kind, ...place, ...files }
    await terminal.print(`${JSON.stringify({ ...facts, vkey: log.vkey ?? null })}\n`)
    return
  }
  await terminal.print(`${proofPath}\n${entryPath}\n`)
  terminal.note(
    `Entry ${placed.leafIndex} of ${log.origin}, in its tree of ${log.size}. Whoever checks it needs ` +
      `the log's key from a place that they trust:\n${log.vkey ?? '(its vkey file is missing)'}\n`,
  )
}

/** Finds the entry and its log; waits a moment for an entry that is sequenced only. */
async function findIntegrated(eventId: string, options: ProveOptions) {
  const waitMs = Number(options.wait) * 1000
  if (!(waitMs >= 0 && waitMs <= waitSecondsMax * 1000)) {
    throw new CommandError('usage', `--wait is 0 … ${waitSecondsMax} seconds. Nothing was written.`)
  }
  for (let waitedMs = 0; ; waitedMs += pollMs) {
    const found = await findRecord(eventId, options)
    const start = found.entries.find(({ parsed }) => parsed.kind === 'interaction.started')
    const placed = options.start === true ? start : lastEntry(found)
    if (placed === undefined) {
      throw new CommandError(
        'notFound',
        'The record has no start. Nothing was written. Leave --start out.',
      )
    }
    const log = found.logs.find(({ path }) => path === placed.log)
    if (log !== undefined && placed.leafIndex < log.size) return { placed, log }
    if (waitedMs >= waitMs) {
      throw new CommandError(
        'pending',
        'The record is sequenced, and no checkpoint covers it yet. It is safe on disk; nothing was ' +
          'written. A running gateway integrates every second: start it, and try again.',
      )
    }
    await setTimeout(pollMs)
  }
}
