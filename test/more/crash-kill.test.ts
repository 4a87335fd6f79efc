import { expect, test } from 'vitest'
import { runKills } from '../crash/kills.ts'
import type { KillReport } from '../crash/kills.ts'
import { createRandom } from '../crash/random.ts'

const killsMax = 1000
/** Kills on one data directory before the next begins with an empty one. */
const killsPerDirectory = 25
const lanes = 2
const timeMs = Number(process.env.AFFIDAVIT_SUITE_TIME_MS ?? 120_000)
const seed = Number(process.env.AFFIDAVIT_TEST_SEED ?? Math.trunc(performance.timeOrigin) % 2 ** 31)

test(
  `no acknowledged record is lost in up to ${killsMax} random kills under load`,
  async () => {
    const deadlineMs = performance.now() + timeMs
    const reports: KillReport[] = []
    const left = { kills: killsMax }
    const lane = async (number: number) => {
      for (let round = 0; left.kills > 0 && performance.now() < deadlineMs; round++) {
        const kills = Math.min(killsPerDirectory, left.kills)
        left.kills -= kills
        const random = createRandom(seed + number * 7919 + round)
        reports.push(await runKills({ random, kills, deadlineMs }))
      }
    }
    await Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)))
    const sum = (key: keyof KillReport) => reports.reduce((total, one) => total + one[key], 0)
    console.log(
      `seed ${seed}: ${sum('kills')} of ${killsMax} kills in ${Math.round(timeMs / 1000)} s ` +
        `(${sum('killsDuringStart')} during start-up); ${sum('acknowledged')} exchanges ` +
        `acknowledged, ${sum('cutOff')} cut off, ${sum('interrupted')} closed as interrupted, ` +
        `${sum('entries')} entries verified`,
    )
    expect(sum('acknowledged')).toBeGreaterThan(sum('kills'))
    expect(sum('interrupted')).toBeGreaterThan(0)
  },
  timeMs + 100_000,
)
