/**
 * `affidavit bench`: what this machine and this disk can do, in a few seconds, where the records would
 * be. The comparison with other gateways is `npm run bench` in the repository.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { canonicalize, newEventId } from '@affidavit/format'
import { formatMicros, systemClock } from '@affidavit/sdk/capture'
import type { Command } from 'commander'
import { openLedger } from '../ledger/ledger.ts'
import { quantile } from './diagnosis/diagnosis.ts'
import { measureSync } from './diagnosis/machine.ts'
import { CommandError } from './exit.ts'
import { dataDirOf, dataDirOption, isDirectory, jsonOption } from './settings.ts'
import { grouped, processTerminal } from './terminal.ts'
import { createFindingList } from './verification/finding.ts'
import { checkLedger } from './verification/ledger-check.ts'
import { findTarget } from './verification/places.ts'

const producers = 64
const syncSamples = 400
const secondsDefault = 3
const secondsMax = 60
const fillerBytes = 700

const examples = `
Works in a folder of its own beside the records, on the same disk, and removes it. ${producers} producers append
records of about a kilobyte, each waiting until its record is durable; then the logs that came out are
verified. The figures are upper bounds of what a gateway on this machine can record.

Examples:
  affidavit bench
  affidavit bench --seconds 10 --json`

interface BenchOptions {
  readonly dataDir?: string
  readonly json?: boolean
  readonly seconds: string
}

/** Adds the command. */
export function register(program: Command): void {
  program
    .command('bench')
    .description('measure durable writes, recording and verification on this machine')
    .option('--seconds <count>', 'how long to append', String(secondsDefault))
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(options: BenchOptions): Promise<void> {
  const seconds = Number(options.seconds)
  if (!(seconds > 0 && seconds <= secondsMax)) {
    throw new CommandError('usage', `--seconds is 1 … ${secondsMax}. Nothing was measured.`)
  }
  const dataDir = await dataDirOf(options)
  const parent = (await isDirectory(dataDir)) ? dataDir : process.cwd()
  const directory = join(parent, `.bench-${process.pid}`)
  const terminal = processTerminal()
  await mkdir(directory, { mode: 0o700 })
  try {
    terminal.status('measuring durable writes …')
    const times = await measureSync({ directory, clock: systemClock, samples: syncSamples })
    terminal.status('recording …')
    const recording = await measureRecording(directory, seconds * 1000)
    terminal.status('verifying …')
    const verifying = await measureVerification(directory)
    terminal.status('')
    const figures = {
      fsync_ms: { p50: round(quantile(times, 0.5)), p99: round(quantile(times, 0.99)) },
      recording,
      verifying,
    }
    await terminal.print(options.json === true ? `${JSON.stringify(figures)}\n` : textOf(figures))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

type Figures = {
  readonly fsync_ms: { readonly p50: number; readonly p99: number }
  readonly recording: Awaited<ReturnType<typeof measureRecording>>
  readonly verifying: Awaited<ReturnType<typeof measureVerification>>
}

async function measureRecording(directory: string, durationMs: number) {
  const { ledger } = await openLedger({
    directory: join(directory, 'bench'),
    deployment: 'bench.local',
    instance: 'bench',
    clock: systemClock,
    random: (bytes) => randomBytes(bytes),
  })
  const [head, tail] = bodyTemplate()
  const startedMs = systemClock.monotonicMs()
  const times: number[] = []
  const produce = async () => {
    for (;;) {
      const beforeMs = systemClock.monotonicMs()
      if (beforeMs - startedMs >= durationMs) return
      const eventId = newEventId(Math.floor(systemClock.nowMicros() / 1000), randomBytes(10))
      await ledger.append({ retentionClass: 'standard', body: `${head}${eventId}${tail}` })
      times.push(systemClock.monotonicMs() - beforeMs)
    }
  }
  await Promise.all(Array.from({ length: producers }, produce))
  const sequencedMs = systemClock.monotonicMs() - startedMs
  await ledger.close()
  const publishedMs = systemClock.monotonicMs() - startedMs
  return {
    records: times.length,
    sequenced_per_second: Math.round((times.length * 1000) / sequencedMs),
    published_per_second: Math.round((times.length * 1000) / publishedMs),
    ms: { p50: round(quantile(times, 0.5)), p99: round(quantile(times, 0.99)) },
  }
}

/** A control event of about a kilobyte, before and after its event id. */
function bodyTemplate(): readonly [string, string] {
  const mark = '00000000-0000-0000-0000-000000000000'
  const text = canonicalize({
    v: 1,
    kind: 'control.event',
    event_id: mark,
    timestamp: formatMicros(systemClock.nowMicros()),
    retention_class: 'standard',
    action: 'bench',
    details: { filler: 'x'.repeat(fillerBytes) },
  })
  const [head = '', tail = ''] = text.split(mark)
  return [head, tail]
}

async function measureVerification(directory: string) {
  const target = await findTarget(directory)
  const findings = createFindingList()
  const startedMs = systemClock.monotonicMs()
  let entries = 0
  for (const place of target.ledgers) {
    const options = { root: directory, trust: { kind: 'own' }, held: [], findings } as const
    entries += (await checkLedger(place, options)).chain.entries
  }
  const elapsedMs = systemClock.monotonicMs() - startedMs
  const intact = findings.counts.size === 0
  return { entries, entries_per_second: Math.round((entries * 1000) / elapsedMs), intact }
}

function textOf({ fsync_ms: fsync, recording, verifying }: Figures): string {
  const rows = [
    ['durable 4 KiB write', `${fsync.p50} ms (p50)  ${fsync.p99} ms (p99)`],
    [
      'records sequenced',
      `${grouped(recording.sequenced_per_second)}/s from ${producers} producers`,
    ],
    ['  each after', `${recording.ms.p50} ms (p50)  ${recording.ms.p99} ms (p99)`],
    ['records published', `${grouped(recording.published_per_second)}/s`],
    ['entries verified', `${grouped(verifying.entries_per_second)}/s`],
  ]
  return rows.map(([label = '', value = '']) => `${label.padEnd(22)}${value}\n`).join('')
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000
}
