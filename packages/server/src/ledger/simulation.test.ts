import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Outcome } from '../store/testing.ts'
import type { Ledger } from './ledger.ts'
import {
  createRandom,
  createWorld,
  expectSound,
  interactionEntry,
  plainEntry,
  type World,
} from './testing.ts'

// `AFFIDAVIT_SIMULATIONS=100000` looks for what a few seconds do not find.
const numRuns = Number(process.env['AFFIDAVIT_SIMULATIONS'] ?? 150)
const timeLimitMs = numRuns > 150 ? numRuns * 1000 : 60_000
// A process does some hundred changes to the disk; a step beyond them is a process that ends well.
const stepMax = 400
const outcomes: readonly Outcome[] = [
  'ok',
  'crash-before',
  'crash-torn',
  'crash-after',
  'fail-nothing',
  'fail-cached',
  'fail-torn',
  'fail-kept',
]

/** One life of the process: what it does, and what ends it. */
interface Life {
  readonly actions: readonly Action[]
  readonly outcome: Outcome
  readonly step: number
  /** Whether the machine reboots after it, and how much of what was unsynced survives. */
  readonly reboot: boolean
  readonly survival: number
  /** Operations take up to so many turns, so that others overtake them. */
  readonly delayMax: number
  readonly segmentBytes: number
  readonly integrateEntries: number
  readonly backlogBytesMax: number
}

type Action =
  | { readonly kind: 'burst'; readonly count: number; readonly pad: number; readonly cls: string }
  | { readonly kind: 'start'; readonly cls: string }
  | { readonly kind: 'end'; readonly cls: string }
  | { readonly kind: 'publish' }
  | { readonly kind: 'rollover' }
  | { readonly kind: 'close' }

const classes = fc.constantFrom('standard', 'long', 'short')
const actions = fc.oneof(
  { weight: 4, arbitrary: burst() },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('start' as const), cls: classes }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('end' as const), cls: classes }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'publish' } as const) },
  { weight: 1, arbitrary: fc.constant({ kind: 'rollover' } as const) },
  { weight: 1, arbitrary: fc.constant({ kind: 'close' } as const) },
)

function burst() {
  return fc.record({
    kind: fc.constant('burst' as const),
    count: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constant(260)),
    pad: fc.constantFrom(0, 10, 700, 5000),
    cls: classes,
  })
}

const lives = fc.array(
  fc.record({
    actions: fc.array(actions, { minLength: 1, maxLength: 8 }),
    outcome: fc.constantFrom(...outcomes),
    step: fc.integer({ min: 1, max: stepMax }),
    reboot: fc.boolean(),
    survival: fc.constantFrom(0, 0.5, 1),
    delayMax: fc.constantFrom(1, 4, 20),
    segmentBytes: fc.constantFrom(4096, 30_000, 1 << 20),
    integrateEntries: fc.constantFrom(3, 50, Number.MAX_SAFE_INTEGER),
    backlogBytesMax: fc.constantFrom(500, 20_000, 64 << 20),
  }),
  { minLength: 1, maxLength: 4 },
)

interface Counters {
  entries: number
  quarters: number
  readonly open: number[]
}

async function act(world: World, ledger: Ledger, action: Action, counters: Counters) {
  const { open } = counters
  if (action.kind === 'publish') return await ledger.publish()
  if (action.kind === 'close') return await ledger.close()
  if (action.kind === 'rollover') {
    counters.quarters += 1
    const year = 2027 + Math.floor(counters.quarters / 4)
    return world.clock.set(
      `${year}-${String((counters.quarters % 4) * 3 + 1).padStart(2, '0')}-01T00:00:00Z`,
    )
  }
  if (action.kind === 'start') {
    open.push(++counters.entries)
    return await world.append(ledger, interactionEntry('started', counters.entries, action.cls))
  }
  if (action.kind === 'end') {
    const number = open.pop()
    if (number === undefined) return undefined
    return await world.append(ledger, interactionEntry('completed', number, action.cls))
  }
  const { count, pad, cls } = action
  const numbers = Array.from({ length: count }, () => ++counters.entries)
  return await Promise.all(numbers.map((it) => world.append(ledger, plainEntry(it, pad, cls))))
}

/** Runs one life to its end, whatever that is. Nothing may come of it but what an AuditError says. */
async function live(world: World, life: Life, counters: Counters, random: () => number) {
  const mount = world.mount({
    decide: ({ step }) => (step === life.step ? life.outcome : 'ok'),
    delay: () => 1 + Math.floor(random() * life.delayMax),
  })
  const { segmentBytes, integrateEntries, backlogBytesMax } = life
  const work = async () => {
    const { ledger } = await world.open(mount, {
      segmentBytes,
      integrateEntries,
      backlogBytesMax,
    })
    // An interaction is of one process: recovery has closed what was open.
    counters.open.length = 0
    for (const action of life.actions) await act(world, ledger, action, counters)
  }
  const ended = await Promise.race([
    work().then(
      () => undefined,
      (error: unknown) => error,
    ),
    mount.died,
  ])
  mount.kill()
  if (life.reboot) world.disk.reboot(() => random() < life.survival)
  return ended
}

const expectedCodes = [
  undefined,
  'ERR_LEDGER_WRITE_FAILED',
  // After a `close`, or after a failure.
  'ERR_LEDGER_STOPPED',
]

describe('a ledger over several lives that end in every way', () => {
  test(
    'keeps every promise',
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.integer(), lives, async (seed, all) => {
          const random = createRandom(seed)
          const world = createWorld(seed)
          const counters: Counters = { entries: 0, quarters: 0, open: [] }
          for (const life of all) {
            const error: unknown = await live(world, life, counters, random)
            const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
            if (error instanceof Error && code === undefined) throw error
            expect(expectedCodes).toContain(code)
          }
          await expectSound(world)
        }),
        // On a failure fast-check prints the seed and the path that repeat it.
        { numRuns, interruptAfterTimeLimit: timeLimitMs, markInterruptAsFailure: false },
      )
    },
    timeLimitMs * 2,
  )
})
