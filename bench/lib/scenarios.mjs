/**
 * The scenarios. Each runs its subjects in turn, round after round, so that a slow minute of the
 * machine falls on all of them, and reports the median round of every subject.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { openInspector } from './heap.mjs'
import { probeDisk, runLoad } from './instruments.mjs'
import { medians } from './stats.mjs'

/** How long and how often; `quick` shows that everything works, its figures are not for print. */
export const plans = {
  full: {
    rounds: 5,
    compileSeconds: 8,
    cpuSeconds: 2,
    rateSeconds: 5,
    streamSeconds: 6,
    warmup: 1,
    open: [300, 1500],
  },
  quick: {
    rounds: 1,
    compileSeconds: 2,
    cpuSeconds: 1,
    rateSeconds: 1,
    streamSeconds: 2,
    warmup: 0.5,
    open: [50, 250],
  },
}

const closedConnections = 32
const openRate = 500
const openConnections = 1024

async function interleave(rounds, subjects, measure) {
  const seen = Object.fromEntries(Object.keys(subjects).map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, subject] of Object.entries(subjects)) {
      const figures = await measure(subject, name).catch((error) => {
        throw new Error(`${name}: ${error.message}`, { cause: error })
      })
      seen[name].push(figures)
    }
  }
  return Object.fromEntries(Object.entries(seen).map(([name, all]) => [name, medians(all)]))
}

/** Lets every subject compile its hot paths and grow its heap before anything is measured. */
export async function warmUp({ instruments, upstream, bodies, plan }, subjects) {
  await upstream.shape({ deltas: 20, intervalMs: 0 })
  for (const subject of Object.values(subjects)) {
    for (const body of [bodies['1k'], ...(subject.streams ? [bodies['1k-stream']] : [])]) {
      const options = { body, connections: closedConnections, seconds: 0.1 }
      await runLoad(instruments, subject, { ...options, warmup: plan.compileSeconds }, [
        'unfinished',
      ])
    }
  }
}

/** Processor time per request in a closed loop, with a body of the given size. */
export async function processorTime({ instruments, upstream, bodies, plan }, subjects, size) {
  await upstream.shape({ deltas: 20, intervalMs: 0 })
  return interleave(plan.rounds, subjects, async (subject) => {
    const result = await runLoad(instruments, subject, {
      body: bodies[size],
      connections: closedConnections,
      seconds: plan.cpuSeconds,
      warmup: plan.warmup,
    })
    const cpuMicros = result.cpuMicros / result.requests
    return {
      cpuMicros,
      perCoreSecond: 1e6 / cpuMicros,
      perSecond: result.requests / result.seconds,
      p50: result.latency.p50,
      p99: result.latency.p99,
    }
  })
}

/** Latency at 500 requests a second, with the disk's own latency measured in the same rounds. */
export async function latency({ instruments, bodies, plan, work }, subjects) {
  const disk = { port: 0 }
  return interleave(plan.rounds, { ...subjects, disk, diskPaced: disk }, async (subject, name) => {
    if (subject === disk) {
      const rate = name === 'diskPaced' ? openRate : 0
      const probe = await probeDisk(instruments, work, { seconds: plan.rateSeconds / 2, rate })
      return pick(probe.micros)
    }
    const options = {
      body: bodies['1k'],
      connections: openConnections,
      rate: openRate,
      seconds: plan.rateSeconds,
      warmup: plan.warmup,
    }
    // A subject that cannot keep up is charged for what it left waiting; the run goes on.
    const result = await runLoad(instruments, subject, options, ['unfinished'])
    return { ...pick(result.latency), cpuMicros: result.cpuMicros / result.requests }
  })
}

const pick = ({ p50, p90, p99, p999 }) => ({ p50, p90, p99, p999 })

/**
 * Streams that arrive as a burst: processor time per stream of 20 and of 220 deltas. The difference
 * is what 200 more events cost, without what the request costs.
 */
export async function burstStreams({ instruments, upstream, bodies, plan }, subjects) {
  const lengths = [20, 220]
  const measured = []
  for (const deltas of lengths) {
    await upstream.shape({ deltas, intervalMs: 0 })
    measured.push(
      await interleave(plan.rounds, subjects, async (subject) => {
        const result = await runLoad(instruments, subject, {
          body: bodies['1k-stream'],
          connections: closedConnections,
          seconds: plan.cpuSeconds,
          warmup: plan.warmup,
        })
        return { cpuMicros: result.cpuMicros / result.requests }
      }),
    )
  }
  const [short, long] = measured
  return Object.fromEntries(
    Object.keys(subjects).map((name) => {
      const slope = (long[name].cpuMicros - short[name].cpuMicros) / (lengths[1] - lengths[0])
      const cpuMicros = short[name].cpuMicros
      return [name, { cpuMicros, longCpuMicros: long[name].cpuMicros, eventCpuMicros: slope }]
    }),
  )
}

/** Streams at a model's pace: first byte, delay of each chunk, processor time per chunk. */
export async function pacedStreams({ instruments, upstream, bodies, plan }, subjects) {
  const deltas = 50
  await upstream.shape({ deltas, intervalMs: 20 })
  return interleave(Math.min(plan.rounds, 3), subjects, async (subject) => {
    // 50 new streams a second, each 1 s long: about 50 open at a time, 2,500 chunks a second.
    const result = await runLoad(instruments, subject, {
      body: bodies['1k-stream'],
      connections: openConnections,
      rate: 50,
      seconds: plan.streamSeconds,
      warmup: plan.warmup + 1,
    })
    return {
      firstByteP50: result.firstByte.p50,
      firstByteP99: result.firstByte.p99,
      chunkP50: result.chunk.p50,
      chunkP99: result.chunk.p99,
      chunkCpuMicros: result.cpuMicros / (result.requests * deltas),
    }
  })
}

/**
 * Memory per open stream: the slope between a few and many streams that are open at once, after
 * garbage collection, so that what the process needs anyway does not count. The subjects are started
 * for this alone, with their inspector open.
 */
export async function openStreamMemory({ instruments, upstream, bodies, plan }, subjects, size) {
  const [few, many] = plan.open
  await upstream.shape({ deltas: 1000, intervalMs: 500 })
  const result = {}
  for (const [name, subject] of Object.entries(subjects)) {
    const inspector = await openInspector(subject)
    const streams = { instruments, subject, body: bodies[`${size}-stream`] }
    const before = await whileOpen({ ...streams, count: few }, () => inspector.memory())
    const after = await whileOpen({ ...streams, count: many }, () => inspector.memory())
    inspector.close()
    result[name] = {
      streamBytes: (after.resident - before.resident) / (many - few),
      heldBytes: (after.held - before.held) / (many - few),
    }
  }
  return result
}

const openSeconds = 4
const settleSeconds = 2

/** Opens `count` streams at a steady rate and calls `look` when all are open. */
async function whileOpen({ instruments, subject, body, count }, look) {
  // A stream lasts far longer than this run: none ends, none beyond `count` starts.
  const load = runLoad(
    instruments,
    subject,
    {
      body,
      connections: count,
      rate: count / openSeconds,
      warmup: openSeconds + settleSeconds + 2,
      seconds: 0.1,
      drain: 0,
    },
    ['unfinished'],
  )
  await sleep((openSeconds + settleSeconds) * 1000)
  const seen = await look()
  const { openConnections: open } = await load
  if (open < count) throw new Error(`${open} of ${count} streams stayed open`)
  await sleep(settleSeconds * 1000)
  return seen
}
