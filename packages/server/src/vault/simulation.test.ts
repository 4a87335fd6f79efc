import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { scanRows } from './ring-rows.ts'
import type { KeyRing } from './subjects.ts'
import { december, FakeRingFile, november, openTestRing } from './testing.ts'

/**
 * A ring lives through whatever comes: users that return, writes that fail with bytes lost or kept,
 * crashes at any point, restarts, the end of a month. After every step the promises of subjects.ts hold.
 */
type Step =
  | { readonly kind: 'ask'; readonly users: readonly number[]; readonly at: number }
  | { readonly kind: 'fail'; readonly fate: 'lost' | 'half' | 'kept'; readonly user: number }
  | { readonly kind: 'restart' }
  | { readonly kind: 'crash'; readonly user: number; readonly keptShare: number }

const user = fc.nat({ max: 7 })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      users: fc.array(user, { minLength: 1, maxLength: 5 }),
      at: fc.constantFrom(november, december),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('fail' as const),
      fate: fc.constantFrom('lost' as const, 'half' as const, 'kept' as const),
      user,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('crash' as const),
      user,
      keptShare: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
)

/** A world with one ring, and what its callers were told. */
class World {
  file = new FakeRingFile()
  ring: KeyRing
  now = november
  /** `user month` → the handle that was handed out. */
  readonly told = new Map<string, string>()
  /** Promises that did not hold. */
  readonly broken: string[] = []

  constructor(ring: KeyRing, file: FakeRingFile) {
    this.ring = ring
    this.file = file
  }

  async reopen(file: FakeRingFile): Promise<void> {
    this.file = file
    this.ring = await openTestRing(file, { nowMicros: this.now })
  }

  async ask(who: number, at: number): Promise<void> {
    const handle = await this.ring.subject(`user-${who}`, at)
    const key = `${who} ${at}`
    const before = this.told.get(key)
    this.must(before === undefined || handle === before, 'a user has one handle a month')
    this.told.set(key, handle)
  }

  async run(next: Step): Promise<void> {
    if (next.kind === 'ask') {
      this.now = Math.max(this.now, next.at)
      await Promise.all(next.users.map((who) => this.ask(who, this.now)))
    } else if (next.kind === 'fail') {
      await this.askWhileFailing(next.user, next.fate)
    } else if (next.kind === 'restart') {
      await this.ring.close()
      await this.reopen(this.file.reopened())
    } else {
      await this.crash(next.user, next.keptShare)
    }
  }

  /** A write fails; callers are refused until the ring is opened again. */
  async askWhileFailing(who: number, fate: 'lost' | 'half' | 'kept'): Promise<void> {
    this.file.failNext = fate
    const known = this.told.has(`${who} ${this.now}`)
    const result = await Promise.allSettled([this.ask(who, this.now)])
    this.file.failNext = undefined
    this.must(!known || result[0]?.status === 'fulfilled', 'a known name needs no write')
    if (!this.ring.open) await this.reopen(this.file.reopened())
  }

  /** The process dies while a row is written; a part of it may be on the disk. */
  async crash(who: number, keptShare: number): Promise<void> {
    const before = this.file.bytes.length
    const probe = new FakeRingFile(this.file.bytes)
    const other = await openTestRing(probe, { nowMicros: this.now })
    await other.subject(`user-${who}`, this.now)
    const written = probe.bytes.length - before
    const kept = before + Math.floor(written * keptShare)
    await this.reopen(new FakeRingFile(probe.bytes.subarray(0, kept)))
  }

  /** Every handle that anybody was told is in the file, once, and means one user and month. */
  async check(): Promise<void> {
    const handles = new Set<string>()
    const scan = await scanRows(this.file, (row) => handles.add(row.handle))
    this.must(scan.damagedRows === 0 && scan.tornBytes === 0, 'the file is whole rows')
    this.must(handles.size === scan.rows, 'a handle stands in one row')
    for (const handle of this.told.values()) this.must(handles.has(handle), 'a handle is on disk')
    this.must(new Set(this.told.values()).size === this.told.size, 'a handle means one user')
  }

  must(holds: boolean, promise: string): void {
    if (!holds) this.broken.push(promise)
  }
}

test('whatever happens, a handle that was handed out stays that user’s, and is on disk', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const file = new FakeRingFile()
      const world = new World(await openTestRing(file), file)
      for (const next of steps) {
        await world.run(next)
        await world.check()
      }
      expect(world.broken).toEqual([])
    }),
    { numRuns: 100 },
  )
})
