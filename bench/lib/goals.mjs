/**
 * The goals, as ratios to what was measured in the same run. Absolute figures of a shared machine
 * say little; a ratio to the bare proxy, to a peer or to the disk's own fsync says something.
 *
 * @module
 */

/**
 * One goal and what was measured against it.
 *
 * @typedef {{ goal: string, limit: number, measured: number, unit: string, met: boolean | null }} Goal
 */

/**
 * Judges a run. A goal whose scenario was not run has `met: null`.
 *
 * @param {Record<string, any>} run the results by scenario, as run.mjs collects them
 * @returns {Goal[]}
 */
export function judge(run) {
  return [...judgeProcessor(run), ...judgeLatency(run), ...judgeStreams(run), ...judgeLedger(run)]
}

function judgeProcessor({ cpu1k, cpu100k }) {
  const perRequest = (name) => cpu1k?.[name]?.cpuMicros
  return [
    atMost('CPU of a 1 KB request, strict ÷ bare proxy', 2.6, {
      measured: perRequest('strict') / perRequest('bare'),
      unit: '×',
    }),
    atLeast('requests/s a core at 1 KB, strict ÷ Portkey (which stores nothing)', 6, {
      measured: perRequest('portkey') / perRequest('strict'),
      unit: '×',
    }),
    atLeast('requests/s a core at 100 KB, strict', 1600, {
      measured: cpu100k?.strict?.perCoreSecond,
      unit: '/s',
    }),
  ]
}

function judgeLatency({ latency }) {
  const added = (quantile) => latency?.strict?.[quantile] - latency?.bare?.[quantile]
  const disk = (quantile) => latency?.disk?.[quantile]
  return [
    atMost('added p50 at 500/s ≤ 3 × fsync p50 + 0.15 ms', 3 * disk('p50') + 150, {
      measured: added('p50'),
      unit: 'µs',
    }),
    atMost('added p99 at 500/s ≤ 3 × fsync p99 + 1 ms', 3 * disk('p99') + 1000, {
      measured: added('p99'),
      unit: 'µs',
    }),
  ]
}

function judgeStreams({ latency, burst, paced, memory1k, memory100k }) {
  const kilobytes = (memory, name) => memory?.[name]?.streamBytes / 1000
  return [
    atMost('first SSE byte later by ≤ one fsync + 0.5 ms', latency?.disk?.p50 + 500, {
      measured: paced?.strict?.firstByteP50 - paced?.bare?.firstByteP50,
      unit: 'µs',
    }),
    atMost('audit CPU a chunk', 2, {
      measured: burst?.strict?.eventCpuMicros - burst?.bare?.eventCpuMicros,
      unit: 'µs',
    }),
    atMost('memory an open stream, 1 KB request', 40, {
      measured: kilobytes(memory1k, 'strict'),
      unit: 'KB',
    }),
    atMost('the same with a 100 KB request, which is let go', 50, {
      measured: kilobytes(memory100k, 'strict'),
      unit: 'KB',
    }),
  ]
}

function judgeLedger({ ledger, restart }) {
  return [
    atLeast('records sequenced/s, 64 producers', 100_000, {
      measured: ledger?.sequencedPerSecond,
      unit: '/s',
    }),
    atMost('p99 of the same', 2000, { measured: ledger?.sequencedP99Micros, unit: 'µs' }),
    atLeast('records integrated and published/s', 50_000, {
      measured: ledger?.publishedPerSecond,
      unit: '/s',
    }),
    atLeast('entries verified/s, whole log', 200_000, {
      measured: restart?.verifiedPerSecond,
      unit: '/s',
    }),
    atMost('start-up after a crash with 1M entries', 2, {
      measured: restart?.startSeconds,
      unit: 's',
    }),
  ]
}

const atMost = (goal, limit, { measured, unit }) =>
  judged({ goal, limit, measured, unit, holds: measured <= limit, sign: '≤' })

const atLeast = (goal, limit, { measured, unit }) =>
  judged({ goal, limit, measured, unit, holds: measured >= limit, sign: '≥' })

function judged({ goal, limit, measured, unit, holds, sign }) {
  const known = Number.isFinite(measured) && Number.isFinite(limit)
  return { goal, sign, limit, measured: known ? measured : null, unit, met: known ? holds : null }
}
