import { describe, expect, test } from 'vitest'
import type { Outcome } from '../store/testing.ts'
import { createWorld, expectSound, runScenario, type World } from './testing.ts'

async function countSteps(): Promise<number> {
  const world = createWorld(1)
  const mount = world.mount()
  await runScenario(world, mount)
  await expectSound(world)
  return mount.steps()
}

const steps = await countSteps()

type Survival = (world: World) => () => boolean
const nothing: Survival = () => () => false
const everything: Survival = () => () => true
const chance: Survival = (world) => () => world.random() < 0.5

async function crashAt(step: number, outcome: Outcome, survival: Survival) {
  const world = createWorld(step)
  const mount = world.mount({ decide: (it) => (it.step === step ? outcome : 'ok') })
  await Promise.race([runScenario(world, mount), mount.died])
  // What has not answered by now never will.
  mount.kill()
  world.disk.reboot(survival(world))
  await expectSound(world).catch((cause: unknown) => {
    throw new Error(`crash at step ${step}`, { cause })
  })
}

async function crashEverywhere(how: (step: number) => readonly [Outcome, Survival]) {
  for (let step = 1; step <= steps; step++) await crashAt(step, ...how(step))
}

describe(`a crash at each of ${steps} steps loses nothing acknowledged and contradicts nothing shown`, () => {
  test('when nothing survives that was not synced', async () => {
    await expect(crashEverywhere(() => ['crash-before', nothing])).resolves.toBeUndefined()
  }, 120_000)

  test('when a write is torn in the middle, and any or all unsynced names survive', async () => {
    const survivals = [chance, everything] as const
    const how = (step: number) => ['crash-torn', survivals[step % 2] ?? chance] as const
    await expect(crashEverywhere(how)).resolves.toBeUndefined()
  }, 120_000)
})
