/**
 * The scenarios of the ledger: its own rates, a start after a crash, and the verification of all it
 * holds.
 *
 * @module
 */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runForLines, start } from './processes.mjs'
import { affidavitBin, startAffidavit } from './subjects.mjs'

const bench = fileURLToPath(new URL('..', import.meta.url))

/** Runs ledger.mjs, the ledger's own benchmark, on the disk of `work`. */
export async function measureLedger({ quick, work }) {
  const script = join(bench, 'ledger.mjs')
  const flags = ['--directory', work, '--seconds', quick ? '1' : '5', '--only', 'sequence,publish']
  const lines = await runForLines('free', [process.execPath, script, ...flags])
  const figures = Object.fromEntries(lines.map(({ figure, ...rest }) => [figure, rest]))
  const { sequence, publish } = figures
  return {
    sequencedPerSecond: sequence.entriesPerSecond,
    sequencedP50Micros: sequence.waitMs.p50 * 1000,
    sequencedP99Micros: sequence.waitMs.p99 * 1000,
    sequencedCpuMicros: sequence.cpuMicrosPerEntry,
    publishedPerSecond: publish.entriesPerSecond,
    publishedCpuMicros: publish.cpuMicrosPerEntry,
  }
}

/**
 * Fills a ledger, kills the process that filled it, and measures how long `affidavit gateway` takes
 * from its start to the first connection, then how long `affidavit verify` takes over all of it.
 */
export async function measureRestart({ quick, work }) {
  const entries = quick ? 20_000 : 1_000_000
  const name = 'restart'
  const dataDirectory = join(work, `affidavit-${name}`, 'data')
  const instanceDirectory = join(dataDirectory, 'gateway')
  await fillAndKill(instanceDirectory, entries)

  const began = performance.now()
  const upstream = 'http://127.0.0.1:9'
  const gateway = await startAffidavit({ work, upstream, delivery: 'strict', name })
  const startSeconds = (performance.now() - began) / 1000
  gateway.child.kill('SIGTERM')
  await gateway.exited

  const verifyBegan = performance.now()
  const command = [process.execPath, affidavitBin, 'verify', dataDirectory, '--json']
  const [verification] = await runForLines('free', command)
  const verifySeconds = (performance.now() - verifyBegan) / 1000
  const verified = verification.entries ?? entries
  return {
    entries,
    startSeconds,
    verifySeconds,
    verifiedPerSecond: verified / verifySeconds,
  }
}

async function fillAndKill(directory, entries) {
  const script = join(bench, 'subjects/fill-ledger.mjs')
  const filler = start('subject', [process.execPath, script, directory, String(entries)])
  let ended
  void filler.exited.then((result) => (ended = result))
  while (!filler.output.stdout.includes('\n')) {
    if (ended) throw new Error(`the ledger was not filled: ${filler.output.stderr.slice(-2000)}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  filler.child.kill('SIGKILL')
  await filler.exited
}
