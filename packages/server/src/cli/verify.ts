/**
 * `affidavit verify`: one record with its receipt, a range, a log, or everything below a directory;
 * offline, on the original or a copy.
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import { verifyReceipt } from '@affidavit/format'
import { systemClock } from '@affidavit/sdk/capture'
import type { Command } from 'commander'
import { CommandError, exits } from './exit.ts'
import { createProgress } from './progress.ts'
import { dataDirOf, dataDirOption, isFile, jsonOption } from './settings.ts'
import { counted, processTerminal, visible } from './terminal.ts'
import { createFindingList, exitOfFindings } from './verification/finding.ts'
import { checkLedger, type LedgerSummary } from './verification/ledger-check.ts'
import { findTarget } from './verification/places.ts'
import { checkRange, type Range, type RangeSummary } from './verification/range-check.ts'
import { loadRecord, policyForReceipt } from './verification/record-file.ts'
import { reportJson, reportText } from './verification/report.ts'
import { createTrust, type Trust } from './verification/trust.ts'

const examples = `
Levels:
  verify                               every log of the data directory
  verify <path>                        every log below a copy, an instance, or one log
  verify <path> --log standard/2026q4 --range 1000..2000
                                       entries 1000 to 1999: tree, writer's chain, starts and ends
  verify --record <event_id|file> --proof <file.tlog-proof>
                                       one record by its receipt; needs no log

Trust: without --vkey or --policy a log is held to the key file beside it, which proves integrity only
against that key. Give the key that you were handed to prove whose log it is. One key speaks for all
logs of its instance. --checkpoint proves that the log still contains what somebody saw earlier.

Examples:
  affidavit verify
  affidavit verify /media/copy --vkey 'audit.acme.example/gw-1/standard/2026q4+1f2e3d4c+AbC…' --json
  affidavit verify /media/copy --policy trust.policy --checkpoint seen-in-june.checkpoint
  affidavit verify --record 0193….entry.json --proof 0193….tlog-proof --policy trust.policy

Exit codes: 0 intact, 10 signature, 11 altered, 12 fork or rollback, 13 missing file, 14 gap in a chain,
15 start or end missing, 16 malformed entry, 17 write-ahead log, 18 unreadable; the lowest of several.`

interface VerifyOptions {
  readonly dataDir?: string
  readonly json?: boolean
  readonly policy?: string
  readonly vkey: readonly string[]
  readonly checkpoint: readonly string[]
  readonly record?: string
  readonly proof?: string
  readonly log?: string
  readonly range?: Range
}

/** Adds the command. */
export function register(program: Command): void {
  const collect = (value: string, values: readonly string[]) => [...values, value]
  program
    .command('verify')
    .description('prove that nothing was changed, or show the smallest evidence of what was')
    .argument('[path]', 'data directory, instance, logs or log (default: the data directory)')
    .option('--record <event_id|file>', 'verify one record: its id, or the file with its bytes')
    .option('--proof <file>', 'receipt of the record (.tlog-proof)')
    .option('--log <name>', 'log of the range, e.g. standard/2026q4')
    .option(
      '--range <from..to>',
      'entries from the first up to, not including, the second',
      parseRange,
    )
    .option('--vkey <key|file>', 'verifier key to trust; may be given again', collect, [])
    .option('--policy <file>', 'logs and witnesses to trust (c2sp.org/tlog-policy)')
    .option(
      '--checkpoint <file>',
      'checkpoint or receipt kept elsewhere; may be given again',
      collect,
      [],
    )
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(path: string | undefined, options: VerifyOptions): Promise<void> {
  const trust = await readTrust(options)
  if (options.record !== undefined || options.proof !== undefined) {
    await verifyRecord(options, trust)
    return
  }
  const target = await findTarget(path ?? (await dataDirOf(options)))
  const held = await Promise.all(options.checkpoint.map(readHeld))
  const findings = createFindingList()
  const terminal = processTerminal()
  let progress = createBar(0)
  let total = 0
  const onProgress = (done: number, ofTotal: number) => {
    if (ofTotal !== total) progress = createBar((total = ofTotal))
    progress.update(done)
  }
  const ledgers: LedgerSummary[] = []
  let range: RangeSummary | undefined
  if (options.range === undefined) {
    for (const place of target.ledgers) {
      const check = { root: target.root, trust, held, findings, onProgress }
      ledgers.push(await checkLedger(place, check))
    }
  } else {
    const part = { log: options.log, range: options.range }
    range = await checkRange(target, part, { trust, findings, onProgress })
  }
  progress.end()
  const { colours } = terminal
  await terminal.print(
    options.json === true
      ? `${reportJson({ path: target.root, trust, ledgers, range, findings })}\n`
      : reportText({ trust, ledgers, range, findings, colours }),
  )
  process.exitCode = exits[exitOfFindings(findings.counts)].code

  function createBar(ofTotal: number) {
    const label = 'verifying'
    return createProgress({ terminal, clock: systemClock, label, unit: 'entries', total: ofTotal })
  }
}

async function verifyRecord(options: VerifyOptions, trust: Trust): Promise<void> {
  const { record, proof } = options
  if (record === undefined || proof === undefined) {
    throw new CommandError(
      'usage',
      'One record is verified by two things. Nothing was verified. Give both --record and --proof; ' +
        '`affidavit prove <event_id>` writes them.',
    )
  }
  const entry = await loadRecord(record, options)
  const receipt = await readFile(proof)
  const policy = await policyForReceipt(trust, receipt, options)
  const { leafIndex, checkpoint } = verifyReceipt(entry.bytes, receipt, policy)
  const terminal = processTerminal()
  const { origin, treeSize, witnessed } = checkpoint
  if (options.json === true) {
    const place = { origin, leaf_index: leafIndex, tree_size: treeSize }
    const trusted = trust.kind === 'own' ? 'own-key' : 'given'
    const facts = { ok: true, verdict: 'ok', exit: 0, event_id: entry.eventId, ...place }
    await terminal.print(`${JSON.stringify({ ...facts, witnesses: witnessed, trust: trusted })}\n`)
    return
  }
  const witnesses =
    witnessed.length === 0
      ? ''
      : `, cosigned by ${counted(witnessed.length, 'witness', 'witnesses')}`
  await terminal.print(
    `${terminal.colours.good('ok')}  ${visible(entry.eventId)} is entry ${leafIndex} of ` +
      `${visible(origin)}, in its signed tree of ${counted(treeSize, 'entry', 'entries')}${witnesses}.\n`,
  )
}

function parseRange(text: string): Range {
  const [, from, to] = /^(\d{1,15})\.\.(\d{1,15})$/.exec(text) ?? []
  if (from === undefined || to === undefined || Number(from) >= Number(to)) {
    throw new CommandError(
      'usage',
      `${visible(text)} is not a range. Nothing was verified. Write it as 1000..2000.`,
    )
  }
  return { from: Number(from), to: Number(to) }
}

async function readTrust({ policy, vkey }: VerifyOptions): Promise<Trust> {
  const text = policy === undefined ? undefined : await readFile(policy, 'utf8')
  const keys: string[] = []
  for (const value of vkey) keys.push((await isFile(value)) ? await readFile(value, 'utf8') : value)
  return createTrust({ policy: text, vkeys: keys })
}

/** A checkpoint file, or the checkpoint inside a receipt. */
async function readHeld(path: string): Promise<string> {
  const text = await readFile(path, 'utf8')
  if (!text.startsWith('c2sp.org/tlog-proof')) return text
  return text.slice(text.indexOf('\n\n') + 2)
}
