/**
 * The instruments: upstream, load generator and raw-disk probe. Compiled from C where a compiler is
 * found, so that they are not the bottleneck; else the Node versions, whose processor-time figures
 * hold but whose rates and latencies include the instrument's own.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { accepting, familyOf, freePort, runForJson, start } from './processes.mjs'

const bench = fileURLToPath(new URL('..', import.meta.url))
const names = ['upstream', 'load', 'disk']

/**
 * Prepares the three instruments.
 *
 * @param {string} work the bench's scratch directory
 */
export function prepareInstruments(work) {
  const commands = process.env.AFFIDAVIT_BENCH_NODE === '1' ? undefined : compile(work)
  return {
    native: commands !== undefined,
    commands:
      commands ??
      Object.fromEntries(
        names.map((name) => [name, [process.execPath, join(bench, 'node', `${name}.mjs`)]]),
      ),
  }
}

function compile(work) {
  const directory = join(work, 'bin')
  mkdirSync(directory, { recursive: true })
  const commands = {}
  for (const name of names) {
    const source = join(bench, 'native', `${name}.c`)
    const program = join(directory, name)
    if (!isNewer(program, [source, join(bench, 'native/common.h')])) {
      const built = spawnSync('cc', ['-O2', '-o', program, source], { encoding: 'utf8' })
      if (built.status !== 0) return undefined
    }
    commands[name] = [program]
  }
  return commands
}

function isNewer(program, sources) {
  try {
    const built = statSync(program).mtimeMs
    return sources.every((source) => statSync(source).mtimeMs < built)
  } catch {
    return false
  }
}

/** Starts the upstream; `shape` sets the streams that begin from then on. */
export async function startUpstream({ commands }) {
  const port = await freePort()
  const started = start('instrument', [...commands.upstream, String(port)])
  await accepting(started, port)
  const url = `http://127.0.0.1:${port}`
  return {
    ...started,
    port,
    url,
    shape: async ({ deltas, intervalMs }) => {
      const query = `deltas=${deltas}&interval_us=${Math.round(intervalMs * 1000)}`
      await (await fetch(`${url}/control?${query}`)).text()
    },
    stats: async () => (await fetch(`${url}/stats`)).json(),
  }
}

/**
 * Runs the load generator against one subject.
 *
 * @param {{ commands: Record<string, string[]> }} instruments
 * @param {{ port: number, pid?: number, path?: string, headerFile?: string }} subject
 * @param {Record<string, string | number>} options as the generator's own: body, rate, seconds, …
 * @param {readonly string[]} [tolerated] kinds of failure that are part of the scenario
 * @throws when a request failed: a figure that leaves requests out would mislead
 */
export async function runLoad({ commands }, subject, options, tolerated = []) {
  const all = {
    port: subject.port,
    ...(subject.path ? { path: subject.path } : {}),
    ...(subject.headerFile ? { headers: subject.headerFile } : {}),
    ...(subject.pid ? { pids: familyOf(subject.pid).join(',') } : {}),
    ...options,
  }
  const parameters = Object.entries(all).map(([key, value]) => `${key}=${value}`)
  const result = await runForJson('instrument', [...commands.load, ...parameters])
  if (result.requests === 0 && tolerated.length === 0) throw new Error('no request was answered')
  const failures = Object.entries(result.errors).filter(
    ([kind, count]) => count > 0 && !tolerated.includes(kind),
  )
  if (failures.length > 0) {
    const list = failures.map(([kind, count]) => `${count} ${kind}`).join(', ')
    throw new Error(`${list} of ${result.requests} requests`)
  }
  return result
}

/** Measures durable 600-byte appends to the disk that holds `directory`; microseconds. */
export async function probeDisk({ commands }, directory, { seconds, rate }) {
  const file = join(directory, 'disk-probe')
  const parameters = [`file=${file}`, `seconds=${seconds}`, `rate=${rate}`]
  return runForJson('subject', [...commands.disk, ...parameters])
}
