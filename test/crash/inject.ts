/**
 * One fault at every system call by which the gateway changes its data, one run each: the process dies
 * there, or the call fails. Then the gateway is started again and the promises are checked.
 *
 * @module
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { findDamage, readFacts } from './evidence.ts'
import { createHome, startGateway } from './gateway.ts'
import type { GatewayHome } from './gateway.ts'
import { startCallers } from './load.ts'
import type { CallerRecord } from './load.ts'
import { findBrokenPromises, tally } from './promises.ts'
import type { Tally } from './promises.ts'
import { createRandom } from './random.ts'
import type { Random } from './random.ts'
import { faultsTouching, injectFault, recordCalls, tracedEnv } from './strace.ts'
import type { Injection } from './strace.ts'
import { startUpstream } from './upstream.ts'
import type { CrashUpstream } from './upstream.ts'

const requestsPerRun = 8
const concurrency = 3
/** Longer than the ledger's interval, so that a run integrates and publishes. */
const settleMs = 150
/** Runs at a time: a run mostly waits. */
const lanes = 2
/** So many are made even when the time is over. */
const runsMin = 12

/** Where a run begins: nothing on disk yet, or what a killed gateway left, recovery first. */
export type Beginning = 'new' | 'killed'

/** One run to make. */
export interface InjectionCase extends Injection {
  readonly beginning: Beginning
}

/** What all runs came to. */
export interface InjectionReport {
  readonly cases: number
  readonly done: number
  /** Runs in which the process died or gave up before the workload was over. */
  readonly died: number
  readonly sum: Tally
  /** Sentences about runs that broke a promise. */
  readonly broken: readonly string[]
}

/** Makes as many runs as fit before `deadlineMs`, in an order drawn from `random`. */
export async function runInjections(options: {
  readonly random: Random
  readonly deadlineMs: number
}): Promise<InjectionReport> {
  const work = mkdtempSync(join(tmpdir(), 'affidavit-inject-'))
  const upstream = await startUpstream(options.random)
  const state = { begun: 0, done: 0, died: 0, sum: emptyTally, broken: [] as string[] }
  try {
    const template = await makeKilled(work, upstream)
    const cases = shuffle(await listCases(work, { upstream, template }), options.random)
    const waiting = cases.map((one, number) => ({ one, number }))
    const lane = async () => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        if (performance.now() > options.deadlineMs && state.begun >= runsMin) return
        state.begun++
        const directory = join(work, `run-${next.number}`)
        const result = await runCase({ ...next.one, directory, template, upstream })
        rmSync(directory, { recursive: true, force: true })
        state.done++
        if (result.died) state.died++
        state.sum = addTallies(state.sum, result.counts)
        const { call, when, fault, beginning } = next.one
        const title = `${beginning}, ${call} ${when}, ${fault}`
        for (const sentence of result.broken) state.broken.push(`${title}: ${sentence}`)
      }
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    const { done, died, sum, broken } = state
    return { cases: cases.length, done, died, sum, broken }
  } finally {
    await upstream.close()
    rmSync(work, { recursive: true, force: true })
  }
}

/** A data directory whose gateway was killed under load: the start of every `killed` run. */
async function makeKilled(work: string, upstream: CrashUpstream): Promise<Template> {
  const home = createHome(join(work, 'template'))
  const gateway = await startGateway({ home, upstream: upstream.url })
  if (!(await gateway.ready)) throw new Error(`the gateway does not start\n${gateway.log()}`)
  const random = createRandom(1)
  const callers = startCallers({ port: gateway.port, random, concurrency: 8, prefix: 'before' })
  await sleep(400)
  await gateway.kill()
  await callers.stop()
  return { home, callers: callers.records, forwarded: new Set(upstream.forwarded) }
}

interface Template {
  readonly home: GatewayHome
  readonly callers: readonly CallerRecord[]
  readonly forwarded: ReadonlySet<string>
}

/** Every step that touches the data, in a run from nothing and in one that recovers. */
async function listCases(
  work: string,
  { upstream, template }: { readonly upstream: CrashUpstream; readonly template: Template },
): Promise<InjectionCase[]> {
  const cases: InjectionCase[] = []
  for (const beginning of ['new', 'killed'] as const) {
    const directory = join(work, `record-${beginning}`)
    const home = prepare(directory, { beginning, template })
    const output = join(directory, 'strace')
    const prefix = `record-${beginning}`
    const { ready } = await workload({ home, upstream, wrapper: recordCalls(output), prefix })
    if (!ready) throw new Error('the gateway does not start under strace')
    for (const injection of faultsTouching(home.dataDirectory, output)) {
      cases.push({ ...injection, beginning })
    }
  }
  return cases
}

function prepare(
  directory: string,
  { beginning, template }: { readonly beginning: Beginning; readonly template: Template },
): GatewayHome {
  mkdirSync(directory, { recursive: true })
  const home = createHome(directory)
  if (beginning === 'killed') {
    cpSync(template.home.dataDirectory, home.dataDirectory, { recursive: true })
  }
  return home
}

interface CaseRun extends InjectionCase {
  readonly directory: string
  readonly template: Template
  readonly upstream: CrashUpstream
}

async function runCase(run: CaseRun) {
  const { directory, upstream, template, beginning } = run
  const home = prepare(directory, run)
  const prefix = directory.slice(directory.lastIndexOf('/') + 1)
  const wrapper = injectFault(run, join(directory, 'strace'))
  const first = await workload({ home, upstream, wrapper, prefix })
  const second = await workload({ home, upstream, prefix: `${prefix}-after` })

  const before = beginning === 'killed' ? template : undefined
  const callers = [...(before?.callers ?? []), ...first.records, ...second.records]
  const mine = [...upstream.forwarded].filter((id) => id.startsWith(`${prefix}-`))
  const forwarded = new Set([...(before?.forwarded ?? []), ...mine])
  const facts = await readFacts(home)
  const evidence = { facts, callers, forwarded }
  const broken = findBrokenPromises(evidence, true)
  if (!second.ready) broken.push(`no start after it: ${second.log.slice(-600)}`)
  else if (second.code !== 0) broken.push(`SIGTERM ended it with ${second.code}: ${second.log}`)
  broken.push(...(await findDamage(home)))
  return { broken, died: !first.ready || first.code !== 0, counts: tally(evidence) }
}

/** A start, a few requests, a pause in which the ledger publishes, and SIGTERM. */
async function workload(options: {
  readonly home: GatewayHome
  readonly upstream: CrashUpstream
  readonly prefix: string
  readonly wrapper?: readonly string[]
}) {
  const { home, upstream, prefix, wrapper } = options
  const gateway = await startGateway({
    home,
    upstream: upstream.url,
    env: tracedEnv,
    ...(wrapper === undefined ? {} : { wrapper }),
  })
  const ready = await gateway.ready
  const records: CallerRecord[] = []
  if (ready) {
    const callers = startCallers({
      port: gateway.port,
      random: createRandom(7),
      concurrency,
      prefix,
      requestsMax: requestsPerRun,
    })
    await callers.finished
    records.push(...callers.records)
    await sleep(settleMs)
  }
  const code = await gateway.stop()
  return { ready, code, records, log: gateway.log() }
}

function shuffle<T>(items: readonly T[], random: Random): T[] {
  const shuffled = [...items]
  for (let last = shuffled.length - 1; last > 0; last--) {
    const other = random.below(last + 1)
    const [a, b] = [shuffled[last], shuffled[other]]
    if (a !== undefined && b !== undefined) [shuffled[last], shuffled[other]] = [b, a]
  }
  return shuffled
}

const emptyTally: Tally = {
  acknowledged: 0,
  refused: 0,
  cutOff: 0,
  forwarded: 0,
  interrupted: 0,
  entries: 0,
}

function addTallies(a: Tally, b: Tally): Tally {
  return {
    acknowledged: a.acknowledged + b.acknowledged,
    refused: a.refused + b.refused,
    cutOff: a.cutOff + b.cutOff,
    forwarded: a.forwarded + b.forwarded,
    interrupted: a.interrupted + b.interrupted,
    entries: a.entries + b.entries,
  }
}
