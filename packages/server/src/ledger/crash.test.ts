import { describe, expect, test } from 'vitest'
import type { Mount, Outcome } from '../store/testing.ts'
import { createWorld, expectSound, interactionEntry, plainEntry, type World } from './testing.ts'

/**
 * Two logs, three integrations, a full tile, a rotation of segments, interactions open over all of
 * them. Every call may be the last: each is awaited or raced against the end of the process.
 */
async function scenario(world: World, mount: Mount): Promise<void> {
  const { ledger } = await world.open(mount)
  const append = (entry: Parameters<World['append']>[1]) => world.append(ledger, entry)
  await append(interactionEntry('started', 1))
  await Promise.all([append(interactionEntry('started', 2, 'long')), append(plainEntry(3))])
  await ledger.publish()
  await Promise.all(Array.from({ length: 254 }, (_, at) => append(plainEntry(100 + at))))
  await append(interactionEntry('completed', 2, 'long'))
  await ledger.publish()
  await append(plainEntry(4, 9000, 'long'))
  await append(interactionEntry('started', 5))
  await append(plainEntry(6, 9000))
  await ledger.publish()
  await append(interactionEntry('completed', 1))
  await append(plainEntry(7))
  await ledger.close()
}

async function countSteps(): Promise<number> {
  const world = createWorld(1)
  const mount = world.mount()
  await scenario(world, mount)
  await expectSound(world)
  return mount.steps()
}

const steps = await countSteps()

/** Runs the scenario with one outcome at one step; true if the step was reached. */
async function runWith(world: World, step: number, outcome: Outcome): Promise<void> {
  const mount = world.mount({ decide: (it) => (it.step === step ? outcome : 'ok') })
  await Promise.race([scenario(world, mount).catch(() => undefined), mount.died])
  mount.kill()
}

describe(`a crash at each of ${steps} steps`, () => {
  test.each([
    ['before it, nothing unsynced survives', 'crash-before', () => () => false],
    ['before it, everything unsynced survives', 'crash-before', () => () => true],
    ['in the middle of it, unsynced names survive by chance', 'crash-torn', chance],
  ] as const)(
    '%s: nothing acknowledged is lost, nothing shown is contradicted',
    async (_, outcome, survival) => {
      for (let step = 1; step <= steps; step++) {
        const world = createWorld(step)
        await runWith(world, step, outcome)
        world.disk.reboot(survival(world))
        await expectSound(world).catch((error: unknown) => {
          throw new Error(`crash at step ${step}`, { cause: error })
        })
      }
    },
  )
})

function chance(world: World): () => boolean {
  return () => world.random() < 0.5
}
