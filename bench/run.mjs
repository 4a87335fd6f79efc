#!/usr/bin/env node
/**
 * `npm run bench`: measures Affidavit beside what it is judged by, in one run: the disk's own fsync,
 * no proxy at all, node:http alone, a bare proxy, and a peer. docs/performance.md says how to read it.
 *
 *     npm run bench [-- --quick] [-- --json] [-- --only NAME,…] [-- --no-peers] [-- --work DIR]
 *
 * --json writes one JSON object to standard output instead of tables. The exit code is 0 when the
 * run finished, whether or not a goal was met; --check makes a goal that was not met exit code 3.
 *
 * @module
 */
import { mkdirSync } from 'node:fs'
import { arch, cpus, loadavg, release } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { writeBodies } from './lib/bodies.mjs'
import { judge } from './lib/goals.mjs'
import { prepareInstruments, startUpstream } from './lib/instruments.mjs'
import { measureLedger, measureRestart } from './lib/ledger.mjs'
import { cores, stop, stopAll } from './lib/processes.mjs'
import { figure, printGoals, printScenario, printTable } from './lib/report.mjs'
import * as scenarios from './lib/scenarios.mjs'
import { removeData, startInspected, startSubjects } from './lib/subjects.mjs'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    'no-peers': { type: 'boolean', default: false },
    only: { type: 'string' },
    work: { type: 'string', default: fileURLToPath(new URL('.work', import.meta.url)) },
  },
})

const say = options.json ? () => {} : (text) => console.log(text)
const only = options.only?.split(',')

async function main() {
  mkdirSync(options.work, { recursive: true })
  removeData(options.work)
  const plan = options.quick ? scenarios.plans.quick : scenarios.plans.full
  const instruments = prepareInstruments(options.work)
  const machine = describeMachine(instruments)
  printMachine(machine)

  const results = await measureAll({ instruments, plan })
  const goals = judge(results)
  if (options.json) console.log(JSON.stringify({ machine, quick: options.quick, results, goals }))
  else printGoals(goals)
  return { goals }
}

/** Runs the scenarios that were asked for; those of the gateway share their processes. */
async function measureAll({ instruments, plan }) {
  const results = {}
  const wanted = (name) => only === undefined || only.some((part) => name.startsWith(part))
  if (['cpu1k', 'cpu100k', 'latency', 'burst', 'paced', 'memory'].some(wanted)) {
    const upstream = await startUpstream(instruments)
    const subjects = await startSubjects({
      work: options.work,
      upstream,
      wantPeers: !options['no-peers'],
    })
    const context = {
      instruments,
      upstream,
      plan,
      work: options.work,
      bodies: writeBodies(options.work),
    }
    await scenarios.warmUp(context, subjects)
    await measureGateway(context, { subjects, wanted, results })
    stopAll()
  }
  if (wanted('ledger')) {
    results.ledger = await measureLedger({ quick: options.quick, work: options.work })
    printLedger(results.ledger)
  }
  if (wanted('restart')) {
    results.restart = await measureRestart({ quick: options.quick, work: options.work })
    printRestart(results.restart)
  }
  return results
}

async function measureGateway(context, { subjects, wanted, results }) {
  const { direct, bare, strict, standard, portkey } = subjects
  const proxies = { bare, strict, standard }
  const peer = portkey ? { portkey } : {}
  const { static: nodeStatic } = subjects
  const steps = {
    cpu1k: () =>
      scenarios.processorTime(context, { static: nodeStatic, ...proxies, ...peer }, '1k'),
    cpu100k: () => scenarios.processorTime(context, { bare, strict, ...peer }, '100k'),
    latency: () => scenarios.latency(context, { direct, static: nodeStatic, ...proxies, ...peer }),
    burst: () => scenarios.burstStreams(context, { bare, strict }),
    paced: () => scenarios.pacedStreams(context, { direct, bare, strict }),
    memory1k: () => measureMemory(context, '1k'),
    memory100k: () => measureMemory(context, '100k'),
  }
  for (const [name, step] of Object.entries(steps)) {
    if (!wanted(name)) continue
    results[name] = await step()
    if (!options.json) printScenario(name, results[name])
  }
}

/** Each size gets processes of its own, so that the heap of one does not hide the other's growth. */
async function measureMemory(context, size) {
  const subjects = await startInspected(context)
  const result = await scenarios.openStreamMemory(context, subjects, size)
  for (const subject of Object.values(subjects)) await stop(subject)
  return result
}

function describeMachine(instruments) {
  const [cpu] = cpus()
  return {
    processor: cpu?.model ?? arch(),
    cores: cpus().length,
    system: `${process.platform} ${release()}`,
    node: process.version,
    instruments: instruments.native
      ? 'native (C)'
      : 'Node: rates and latencies are the generator’s',
    pinned: cores !== undefined,
    loadAverage: loadavg()[0],
  }
}

function printMachine(machine) {
  say(`${machine.processor}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}`)
  say(`instruments: ${machine.instruments}; ${machine.pinned ? 'pinned' : 'not pinned'} to cores`)
  if (machine.loadAverage > 0.5) {
    say(`load average ${figure(machine.loadAverage)}: something else runs; expect noise`)
  }
  if (options.quick) say('quick: shows that everything runs; do not quote these figures')
}

function printLedger(ledger) {
  if (options.json || !ledger) return
  printTable(
    'ledger alone',
    ['', ''],
    [
      ['sequenced/s, 64 producers', figure(ledger.sequencedPerSecond)],
      ['p50, p99 µs', `${figure(ledger.sequencedP50Micros)}, ${figure(ledger.sequencedP99Micros)}`],
      ['integrated and published/s', figure(ledger.publishedPerSecond)],
    ],
  )
}

function printRestart(restart) {
  if (options.json || !restart) return
  printTable(
    'restart and verify',
    ['', ''],
    [
      ['entries in the ledger', figure(restart.entries)],
      ['start to first connection, s', figure(restart.startSeconds)],
      ['affidavit verify, s', figure(restart.verifySeconds)],
      ['entries verified/s', figure(restart.verifiedPerSecond)],
    ],
  )
}

try {
  const { goals } = await main()
  if (options.check && goals.some(({ met }) => met === false)) process.exitCode = 3
} finally {
  stopAll()
  removeData(options.work)
}
process.exit()
