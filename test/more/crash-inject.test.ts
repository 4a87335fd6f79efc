import { expect, test } from 'vitest'
import { runInjections } from '../crash/inject.ts'
import { createRandom } from '../crash/random.ts'
import { findStrace } from './tools.ts'

const timeMs = Number(process.env.AFFIDAVIT_SUITE_TIME_MS ?? 120_000)
const seed = Number(process.env.AFFIDAVIT_TEST_SEED ?? Math.trunc(performance.timeOrigin) % 2 ** 31)
const strace = findStrace()
if ('missing' in strace) console.log(`skipped because ${strace.missing}`)

test.skipIf('missing' in strace)(
  'the promises hold when any one system call kills the gateway or fails',
  async () => {
    const deadlineMs = performance.now() + timeMs
    const report = await runInjections({ random: createRandom(seed), deadlineMs })
    const { cases, done, died, sum } = report
    console.log(
      `seed ${seed}: ${done} of ${cases} faults injected, ${died} ended the process; ` +
        `${sum.acknowledged} exchanges acknowledged, ${sum.refused} refused, ` +
        `${sum.interrupted} closed as interrupted, ${sum.entries} entries verified`,
    )
    expect(report.broken).toEqual([])
    expect(done).toBeGreaterThan(10)
    expect(died).toBeGreaterThan(0)
  },
  timeMs + 100_000,
)
