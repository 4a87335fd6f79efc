import { expect, test } from 'vitest'
import { createRandom } from './random.ts'
import { runKills } from './kills.ts'

const seed = Number(process.env.AFFIDAVIT_TEST_SEED ?? Math.trunc(performance.timeOrigin) % 2 ** 31)
const killTimeMs = 30_000
const killsMin = 10

test('no kill of a gateway under load loses a record or leaves the log unverifiable', async () => {
  const deadlineMs = performance.now() + killTimeMs
  const random = createRandom(seed)
  const report = await runKills({ random, kills: 40, killsMin, deadlineMs })
  console.log(`seed ${seed}: ${JSON.stringify(report)}`)
  // A run that hit nothing would prove nothing.
  expect(report.kills).toBeGreaterThanOrEqual(killsMin)
  expect(report.acknowledged).toBeGreaterThan(50)
  expect(report.interrupted).toBeGreaterThan(0)
}, 150_000)
