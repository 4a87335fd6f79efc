import { isAuditError } from '@affidavit/format'
import { describe, expect, test } from 'vitest'
import type { Outcome } from '../store/testing.ts'
import { createWorld, expectSound, plainEntry, runScenario, type World } from './testing.ts'

async function countSteps(): Promise<number> {
  const world = createWorld(1)
  const mount = world.mount()
  await runScenario(world, mount)
  return mount.steps()
}

const steps = await countSteps()

const codes = { EIO: 'ERR_LEDGER_WRITE_FAILED', ENOSPC: 'ERR_LEDGER_DISK_FULL' } as const

async function failAt(step: number, outcome: Outcome, code: 'EIO' | 'ENOSPC') {
  const world = createWorld(step)
  const mount = world.mount({ code, decide: (it) => (it.step === step ? outcome : 'ok') })
  const error: unknown = await runScenario(world, mount).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  mount.kill()
  try {
    // Some failures are no reason to stop: those of the next segment's preparation, for one.
    if (error !== undefined && !isAuditError(error, codes[code])) throw error
    await goOn(world)
    await expectSound(world)
  } catch (cause) {
    throw new Error(`failure at step ${step}`, { cause })
  }
}

/** The process that comes next finds the page cache as it was, works for a while, and loses power. */
async function goOn(world: World): Promise<void> {
  const mount = world.mount()
  const { ledger } = await world.open(mount)
  await world.append(ledger, plainEntry(9001))
  await ledger.publish()
  await world.append(ledger, plainEntry(9002))
  mount.kill()
  world.disk.reboot(() => false)
}

async function failEverywhere(outcomes: readonly Outcome[], code: 'EIO' | 'ENOSPC') {
  for (let step = 1; step <= steps; step++) {
    await failAt(step, outcomes[step % outcomes.length] ?? 'ok', code)
  }
}

describe(`a failure at each of ${steps} steps stops the ledger, and the next one has everything acknowledged`, () => {
  test('when the bytes are lost: nothing was done, or only in the page cache', async () => {
    const failing = failEverywhere(['fail-nothing', 'fail-cached'], 'ENOSPC')
    await expect(failing).resolves.toBeUndefined()
  }, 120_000)

  test('when the bytes are kept: all of them, or some sectors', async () => {
    const failing = failEverywhere(['fail-kept', 'fail-torn'], 'EIO')
    await expect(failing).resolves.toBeUndefined()
  }, 120_000)
})
