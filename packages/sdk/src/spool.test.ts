import { isAuditError } from '@affidavit/format'
import { describe, expect, test } from 'vitest'
import { openSpool, type Spool, type SpoolEvent, type SpoolOptions } from './spool.ts'
import {
  createFakeClock,
  createFakeFs,
  createFakeGateway,
  createFakeProcess,
  createSeeded,
  endPayload,
  ProcessDeath,
  startPayload,
  type FakeFs,
  type FakeGateway,
  type FaultEffect,
} from './spool/testing.ts'

function setup(limits: SpoolOptions['limits'] = {}) {
  const fs = createFakeFs()
  const clock = createFakeClock()
  const events: SpoolEvent[] = []
  const alive = new Set<number>()
  let pid = 100
  let process = createFakeProcess(pid, alive)
  const open = (more: Partial<SpoolOptions> = {}) =>
    openSpool({
      directory: '/spool',
      fs,
      clock,
      process,
      random: createSeeded(pid),
      limits: { segmentBytes: 400, ...limits },
      report: (event) => void events.push(event),
      ...more,
    })
  const die = (survivors: 'lost' | 'kept') => {
    alive.clear()
    fs.crash(survivors)
    process = createFakeProcess(++pid, alive)
  }
  return { fs, events, open, die }
}

/** What a caller was told is safe. */
interface Told {
  readonly starts: string[]
  readonly ends: string[]
}

/** A day in the life of an application: overlapping exchanges, a shipment, an unfinished one. */
async function live(spool: Spool, gateway: FakeGateway, told: Told, prefix: string): Promise<void> {
  const start = async (name: string) => {
    await spool.append(startPayload(prefix + name))
    told.starts.push(prefix + name)
  }
  const end = async (name: string) => {
    await spool.append(endPayload(prefix + name))
    told.ends.push(prefix + name)
  }
  await start('a')
  await Promise.all([start('b'), start('c'), end('a')])
  await gateway.drain(spool)
  await start('d')
  await end('b')
  await gateway.drain(spool)
  await end('d')
}

function expectNothingLost(gateway: FakeGateway, told: Told): void {
  for (const eventId of told.starts) {
    const kinds = gateway.kindsOf(eventId)
    expect(kinds.filter((kind) => kind === 'interaction.started')).toHaveLength(1)
    const ends = kinds.filter((kind) => kind !== 'interaction.started')
    expect(ends).toHaveLength(1)
    expect(ends).toEqual(told.ends.includes(eventId) ? ['interaction.completed'] : ends)
  }
}

describe('normal life', () => {
  test('what is appended is shipped in order, once, and leaves no segment behind', async () => {
    const { fs, open } = setup()
    const spool = await open()
    const gateway = createFakeGateway()
    for (let at = 0; at < 20; at++) {
      await spool.append(startPayload(`e${at}`))
      await spool.append(endPayload(`e${at}`))
    }
    await gateway.drain(spool)
    expect([...gateway.records.keys()]).toEqual(
      Array.from({ length: 40 }, (_, seq) => `${spool.writerId}/1/${seq}`),
    )
    await spool.close()
    expect(fs.names()).toEqual(['/spool/0000000001.epoch'])
  })

  test('records come again until they are settled, and never before they are durable', async () => {
    const { fs, open } = setup()
    const spool = await open()
    await spool.append(startPayload('a'))
    const limits = { records: 10, bytes: 10_000 }
    const first = await spool.next(limits)
    expect(first.map(({ seq }) => seq)).toEqual([0])
    const appended = spool.append(startPayload('b'))
    expect(await spool.next(limits)).toEqual(first)
    await appended
    await spool.settle()
    // `b` was not part of what was offered, or is offered now: never skipped.
    const rest = await spool.next(limits)
    expect(rest.map(({ seq }) => seq)).toEqual([1])
    fs.crash('lost')
  })

  test('records of two epochs are not mixed in one batch', async () => {
    const { open, die } = setup()
    await (await open()).append(startPayload('a'))
    die('lost')
    const spool = await open()
    const batch = await spool.next({ records: 10, bytes: 10_000 })
    expect(batch.map(({ epoch }) => epoch)).toEqual([1])
    await spool.settle()
    expect((await spool.next({ records: 10, bytes: 10_000 })).map(({ epoch }) => epoch)).toEqual([
      2,
    ])
  })

  test('a start that outlives its segment is still closed after a crash', async () => {
    const { open, die, fs } = setup()
    const gateway = createFakeGateway()
    const spool = await open()
    await spool.append(startPayload('long'))
    for (let at = 0; at < 9; at++) {
      await spool.append(startPayload(`e${at}`))
      await spool.append(endPayload(`e${at}`))
      await gateway.drain(spool)
    }
    expect(fs.names()).not.toContain('/spool/0000000001-0000000000.spool')
    die('lost')
    await gateway.drain(await open())
    expect(gateway.kindsOf('long')).toEqual(['interaction.started', 'interaction.interrupted'])
  })
})

describe('limits', () => {
  const one = startPayload('size').length + 100

  test('a start that does not fit is refused, what was begun can always end', async () => {
    const { open } = setup({ bytesMax: 4 * 69_000 })
    const spool = await open()
    const begun: string[] = []
    const errors: unknown[] = []
    for (let at = 0; at < 10; at++) {
      try {
        await spool.append(startPayload(`e${at}`))
        begun.push(`e${at}`)
      } catch (error) {
        errors.push(error)
      }
    }
    expect(begun.length).toBeLessThan(10)
    expect(errors.every((error) => isAuditError(error, 'ERR_SPOOL_FULL'))).toBe(true)
    for (const eventId of begun) await spool.append(endPayload(eventId))
    await spool.append(startPayload('again'))
    expect(spool.usedBytes).toBeLessThan(4 * 69_000)
  })

  test('what waits for the disk is bounded, also for starts that arrive at once', async () => {
    const { open } = setup({ queueBytesMax: 3 * one })
    const spool = await open()
    const results = await Promise.allSettled(
      Array.from({ length: 9 }, (_, at) => spool.append(startPayload(`e${at}`))),
    )
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(3)
  })

  test('shipping makes room again', async () => {
    const { open } = setup({ bytesMax: 69_000 + 3 * one })
    const spool = await open()
    const gateway = createFakeGateway()
    for (let at = 0; at < 30; at++) {
      await spool.append(startPayload(`e${at}`))
      await spool.append(endPayload(`e${at}`))
      await gateway.drain(spool)
    }
    expect(gateway.records.size).toBe(60)
  })

  test('a record that no ledger could hold is refused', async () => {
    const { open } = setup()
    const spool = await open()
    await expect(spool.append(startPayload('big', 70_000))).rejects.toMatchObject({
      code: 'ERR_ENTRY_TOO_LARGE',
    })
  })
})

describe('damage', () => {
  async function damaged(change: (bytes: Uint8Array) => void) {
    const { fs, events, open, die } = setup({ segmentBytes: 100_000 })
    const gateway = createFakeGateway()
    const spool = await open()
    for (const eventId of ['a', 'b', 'c']) await spool.append(startPayload(eventId))
    for (const eventId of ['a', 'b', 'c']) await spool.append(endPayload(eventId))
    die('lost')
    change(fs.bytesOf('/spool/0000000001-0000000000.spool'))
    await gateway.drain(await open())
    return { fs, events, gateway, open, die }
  }

  test('a bad region in the middle is written down as a gap, kept, and costs nothing else', async () => {
    const { fs, events, gateway, open, die } = await damaged((bytes) => {
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
    })
    const bodies = [...gateway.records.values()].map((text) => JSON.parse(text))
    expect(bodies.filter((body) => body.kind === 'capture.gap')).toMatchObject([
      { requests: 1, reason: 'spool_damaged', application_id: 'app' },
    ])
    // The end of `a` is what was lost, so its outcome is unknown.
    expect(gateway.kindsOf('a')).toEqual(['interaction.started', 'interaction.interrupted'])
    for (const eventId of ['b', 'c']) {
      expect(gateway.kindsOf(eventId)).toEqual(['interaction.started', 'interaction.completed'])
    }
    expect(events).toContainEqual(expect.objectContaining({ kind: 'spool_damaged', recordsMin: 1 }))
    expect(fs.names().filter((name) => name.includes('quarantine'))).toHaveLength(1)
    // The next start finds the same region again and does not report it twice.
    die('kept')
    await gateway.drain(await open())
    expect(events.filter((event) => event.kind === 'spool_damaged')).toHaveLength(1)
  })

  test('several lost records are counted by their sequence numbers', async () => {
    const { events } = await damaged((bytes) => bytes.fill(7, 300, bytes.length - 300))
    const [event] = events.filter((each) => each.kind === 'spool_damaged')
    expect(event?.kind === 'spool_damaged' && event.recordsMin).toBeGreaterThan(1)
  })

  test('a segment that turns bad while the process runs is written down too', async () => {
    const { fs, events, open } = setup({ segmentBytes: 100_000 })
    const spool = await open()
    for (const eventId of ['a', 'b', 'c']) await spool.append(startPayload(eventId))
    const bytes = fs.bytesOf('/spool/0000000001-0000000000.spool')
    bytes.fill(0, bytes.length - 20)
    const gateway = createFakeGateway()
    await gateway.drain(spool)
    expect(gateway.kindsOf('b')).toEqual(['interaction.started'])
    expect(events.map((event) => event.kind)).toContain('spool_damaged')
    expect([...gateway.records.values()].join()).toContain('capture.gap')
  })
})

describe('every operation fails once', () => {
  const operationsMin = 40
  const effects: readonly FaultEffect[] = ['lost', 'kept', 'half']

  /** Runs one life with a fault at operation `at`; false if there are not that many operations. */
  async function faulty(
    scene: ReturnType<typeof setup>,
    fault: NonNullable<FakeFs['fault']>,
    told: Told,
    gateway: FakeGateway,
  ): Promise<{ reached: boolean; spool: Spool | undefined }> {
    scene.fs.fault = fault
    let spool: Spool | undefined
    try {
      spool = await scene.open()
      await live(spool, gateway, told, 'x')
      await spool.close()
    } catch (error) {
      if (!(error instanceof ProcessDeath) && !isAuditError(error) && !isInjected(error))
        throw error
    }
    return { reached: scene.fs.operations >= fault.at, spool }
  }

  const isInjected = (error: unknown) => error instanceof Error && error.message === 'injected'

  test.each(
    effects.flatMap((effect) =>
      (['lost', 'kept'] as const).map((after) => [effect, after] as const),
    ),
  )('a process that dies in it (%s, then %s) loses nothing that it told', async (effect, after) => {
    let at = 1
    for (let isReached = true; isReached; at++) {
      const scene = setup()
      const told: Told = { starts: [], ends: [] }
      const gateway = createFakeGateway()
      const { reached } = await faulty(scene, { at, effect, kind: 'death' }, told, gateway)
      scene.die(after)
      const spool = await scene.open()
      await gateway.drain(spool)
      await live(spool, gateway, told, 'y')
      scene.die(after)
      await gateway.drain(await scene.open())
      expectNothingLost(gateway, told)
      expect(scene.events.filter((event) => event.kind === 'spool_damaged')).toEqual([])
      isReached = reached
    }
    expect(at).toBeGreaterThan(operationsMin)
  })

  test.each(effects)(
    'a disk error in it (%s) is told, and the same process goes on under a new epoch',
    async (effect) => {
      let at = 1
      for (let isReached = true; isReached; at++) {
        const scene = setup()
        const told: Told = { starts: [], ends: [] }
        const gateway = createFakeGateway()
        const fault = { at, effect, kind: 'error', errno: 'EIO' } as const
        const { reached, spool } = await faulty(scene, fault, told, gateway)
        scene.fs.fault = undefined
        if (spool?.phase === 'open') await spool.close().catch(() => undefined)
        const tail = spool?.phase === 'stopped' ? spool.tail : undefined
        const next = await scene.open(tail === undefined ? {} : { stoppedAt: tail })
        await gateway.drain(next)
        await live(next, gateway, told, 'y')
        scene.die('lost')
        await gateway.drain(await scene.open())
        expectNothingLost(gateway, told)
        // What was not acknowledged before the error is not shipped as if it had been forwarded.
        const known = [...gateway.records.values()].map((text) => JSON.parse(text).event_id)
        const untold = known.filter((id) => id.startsWith('x') && !told.starts.includes(id))
        expect(tail === undefined ? [] : untold).toEqual([])
        isReached = reached
      }
      expect(at).toBeGreaterThan(operationsMin)
    },
  )

  test('a full disk is named as such, and everything after it is refused until a new start', async () => {
    const { fs, open } = setup()
    const spool = await open()
    await spool.append(startPayload('a'))
    fs.fault = { at: fs.operations + 1, effect: 'lost', kind: 'error', errno: 'ENOSPC' }
    await expect(spool.append(startPayload('b'))).rejects.toThrow(/disk is full/)
    await expect(spool.append(startPayload('c'))).rejects.toMatchObject({
      code: 'ERR_SPOOL_WRITE_FAILED',
    })
    expect(spool.phase).toBe('stopped')
  })
})

test('a spool that another process took over stops', async () => {
  const { fs, open, events } = setup()
  const spool = await open()
  fs.crash('lost')
  for (const name of fs.names()) await fs.unlink(name)
  await spool.beat()
  await expect(spool.append(startPayload('a'))).rejects.toMatchObject({ code: 'ERR_SPOOL_LOCKED' })
  expect(events.map((event) => event.kind)).toContain('spool_stopped')
})

test('exchanges that still run in this process are not closed when it opens the spool again', async () => {
  const { fs, open } = setup()
  const first = await open()
  await first.append(startPayload('running'))
  await first.append(startPayload('gone'))
  fs.fault = { at: fs.operations + 1, effect: 'kept', kind: 'error' }
  await expect(first.append(startPayload('refused'))).rejects.toThrow(/EIO/)
  const { tail } = first
  const second = await open({ running: new Set(['running']), ...(tail && { stoppedAt: tail }) })
  const gateway = createFakeGateway()
  await gateway.drain(second)
  await second.append(endPayload('running'))
  await gateway.drain(second)
  expect(gateway.kindsOf('running')).toEqual(['interaction.started', 'interaction.completed'])
  expect(gateway.kindsOf('gone')).toEqual(['interaction.started', 'interaction.interrupted'])
  expect(gateway.kindsOf('refused')).toEqual([])
})
