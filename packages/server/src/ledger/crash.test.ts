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

const modes: readonly (readonly [name: string, Outcome, (world: World) => () => boolean])[] = [
  ['before it, nothing unsynced survives', 'crash-before', () => () => false],
  ['before it, everything unsynced survives', 'crash-before', () => () => true],
  [
    'in the middle of it, unsynced names survive by chance',
    'crash-torn',
    (world) => () => world.random() < 0.5,
  ],
]

async function crashAt(step: number, outcome: Outcome, survival: (world: World) => () => boolean) {
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

describe(`a crash at each of ${steps} steps`, () => {
  test.each(modes)(
    '%s: nothing acknowledged is lost, nothing shown is contradicted',
    async (_, outcome, survival) => {
      const everyStep = async () => {
        for (let step = 1; step <= steps; step++) await crashAt(step, outcome, survival)
      }
      await expect(everyStep()).resolves.toBeUndefined()
    },
    // Seconds on a quiet machine.
    180_000,
  )
})
