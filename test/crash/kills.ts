/**
 * Kills the real gateway at random moments under load, starts it again, and checks the promises after
 * every kill.
 *
 * @module
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readFacts, verify } from './evidence.ts'
import { createHome, startGateway } from './gateway.ts'
import type { GatewayHome } from './gateway.ts'
import { startCallers } from './load.ts'
import type { CallerRecord, Callers } from './load.ts'
import { findBrokenPromises, tally } from './promises.ts'
import type { Tally } from './promises.ts'
import type { Random } from './random.ts'
import { startUpstream } from './upstream.ts'

const concurrency = 8
/**
 * A kill falls when so many exchanges have ended, and a moment later. Counting exchanges instead of
 * time makes a slow machine's kills as good as a fast one's.
 */
const exchangesMax = 80
const momentMsMax = 15
/** A gateway that answers nothing for so long has failed. */
const exchangesMsMax = 20_000
/** One kill in this many falls into the start-up, where the recovery is at work. */
const startKillEvery = 6
const startKillMsMax = 350

/** What a series of kills came to. */
export interface KillReport extends Tally {
  readonly kills: number
  /** Kills that fell before the gateway accepted connections. */
  readonly killsDuringStart: number
}

/** Settings of `runKills`. */
export interface KillOptions {
  readonly random: Random
  readonly kills: number
  /** So many are made even when the time is over. */
  readonly killsMin?: number
  /** No new kill after this moment (`performance.now()`); what was begun is checked to its end. */
  readonly deadlineMs: number
  readonly config?: readonly string[]
}

/**
 * Kills one gateway `kills` times on one data directory, then lets it run to an orderly end.
 *
 * @throws Error naming every broken promise, with the seed
 */
export async function runKills(options: KillOptions): Promise<KillReport> {
  const work = mkdtempSync(join(tmpdir(), 'affidavit-crash-'))
  mkdirSync(work, { recursive: true })
  const upstream = await startUpstream(options.random)
  const run = {
    ...options,
    home: createHome(work, options.config),
    upstream,
    callers: [] as CallerRecord[],
    killsDuringStart: 0,
  }
  let kills = 0
  try {
    const { killsMin = 0, deadlineMs } = options
    while (kills < options.kills && (kills < killsMin || performance.now() < deadlineMs)) {
      await killOnce(run, kills++)
      await check(run, { settled: false })
    }
    await endInOrder(run)
    const facts = await check(run, { settled: true })
    const counts = tally({ facts, callers: run.callers, forwarded: upstream.forwarded })
    return { kills, killsDuringStart: run.killsDuringStart, ...counts }
  } finally {
    await upstream.close()
    rmSync(work, { recursive: true, force: true })
  }
}

interface Run extends KillOptions {
  readonly home: GatewayHome
  readonly upstream: Awaited<ReturnType<typeof startUpstream>>
  readonly callers: CallerRecord[]
  killsDuringStart: number
}

async function killOnce(run: Run, number: number): Promise<void> {
  const { random, home, upstream } = run
  const gateway = await startGateway({ home, upstream: upstream.url })
  if (random.below(startKillEvery) === 0) {
    await sleep(random.below(startKillMsMax))
    await gateway.kill()
    run.killsDuringStart++
    return
  }
  if (!(await gateway.ready)) throw new Error(`kill ${number}: no start after it\n${gateway.log()}`)
  const prefix = `k${number}`
  const callers = startCallers({ port: gateway.port, random, concurrency, prefix })
  await untilEnded(callers, random.below(exchangesMax))
  await sleep(random.below(momentMsMax))
  await gateway.kill()
  await callers.stop()
  run.callers.push(...callers.records)
}

async function untilEnded({ records }: Callers, count: number): Promise<void> {
  const deadlineMs = performance.now() + exchangesMsMax
  while (records.length < count) {
    if (performance.now() > deadlineMs) throw new Error('the gateway no longer answers')
    await sleep(1)
  }
}

/** One more start, a few more requests and SIGTERM: every start must be closed after that. */
async function endInOrder(run: Run): Promise<void> {
  const { random, home, upstream } = run
  const gateway = await startGateway({ home, upstream: upstream.url })
  if (!(await gateway.ready)) throw new Error(`the last start failed\n${gateway.log()}`)
  const callers = startCallers({ port: gateway.port, random, concurrency, prefix: 'end' })
  await untilEnded(callers, concurrency)
  await callers.stop()
  run.callers.push(...callers.records)
  const code = await gateway.stop()
  if (code !== 0) throw new Error(`SIGTERM ended it with ${code}\n${gateway.log()}`)
  const { status, text } = verify(home)
  if (status !== 0) throw new Error(`affidavit verify: ${status}\n${text}`)
}

async function check(run: Run, { settled }: { readonly settled: boolean }) {
  const { callers, upstream } = run
  const facts = await readFacts(run.home)
  const evidence = { facts, callers, forwarded: upstream.forwarded }
  const broken = findBrokenPromises(evidence, settled)
  if (broken.length > 0) {
    throw new Error(`seed ${run.random.seed}:\n${broken.slice(0, 20).join('\n')}`)
  }
  return facts
}
