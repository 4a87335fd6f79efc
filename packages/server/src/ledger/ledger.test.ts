import { canonicalize, parseEntry, utf8Decode } from '@affidavit/format'
import { describe, expect, test } from 'vitest'
import type { LedgerFs } from '../store/ledger-fs.ts'
import type { Outcome } from '../store/testing.ts'
import type { LedgerOptions } from './ledger.ts'
import {
  createWorld,
  eventIdOf,
  expectAcknowledged,
  expectSound,
  expectUnbrokenChain,
  failureOf,
  interactionEntry,
  ledgerDirectory,
  plainEntry,
  verifyEverything,
  type World,
} from './testing.ts'

const noHeartbeat = { heartbeatMs: Number.POSITIVE_INFINITY }

async function openIn(world: World, overrides: Partial<LedgerOptions> = {}) {
  const mount = world.mount()
  return { mount, ...(await world.open(mount, overrides)) }
}

/** A timer that the test fires. */
function createTicks() {
  let run: (() => void) | undefined
  return {
    every: (_: number, tick: () => void) => {
      run = tick
      return () => {
        run = undefined
      }
    },
    fire: () => run?.(),
    isRunning: () => run !== undefined,
  }
}

/** Holds up, once armed, the sync of a directory whose path matches, until it is released. */
function createBlock(pattern: RegExp) {
  let isArmed = false
  let reach: () => void = () => undefined
  let release: () => void = () => undefined
  const reached = new Promise<void>((resolve) => {
    reach = resolve
  })
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  return {
    reached,
    arm: () => {
      isArmed = true
    },
    release: () => release(),
    wrap: (fs: LedgerFs): LedgerFs => ({
      ...fs,
      async syncDirectory(path) {
        if (isArmed && pattern.test(path)) {
          reach()
          await released
        }
        await fs.syncDirectory(path)
      },
    }),
  }
}

function checkpointOf(world: World, path: string): string {
  const bytes = world.disk.read(`${ledgerDirectory}/logs/${path}/checkpoint`)
  return bytes === undefined ? '' : utf8Decode(bytes)
}

describe('append', () => {
  test('entries stand in the log in the order of the calls, stamped one after another', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    const placed = await Promise.all([
      world.append(ledger, plainEntry(1)),
      world.append(ledger, plainEntry(2, 0, 'long')),
      world.append(ledger, plainEntry(3)),
    ])
    // Index 0 of `standard` is the entry that says the ledger was opened.
    expect(placed.map(({ origin, leafIndex }) => [origin, leafIndex])).toEqual([
      ['audit.example/gw-1/standard/2026q4', 1],
      ['audit.example/gw-1/long/2026q4', 0],
      ['audit.example/gw-1/standard/2026q4', 2],
    ])
    const stamps = placed.map(({ entry }) => parseEntry(entry).writer)
    expect(stamps.map(({ epoch, seq }) => [epoch, seq])).toEqual([
      [1, 1],
      [1, 2],
      [1, 3],
    ])
    expect(stamps[1]?.prev).toBe(Buffer.from(placed[0]?.leafHash ?? []).toString('hex'))
    expect(stamps.every(({ id }) => id === ledger.writerId)).toBe(true)
    await ledger.close()
    await expectSound(world)
  })

  test('an entry is the canonical text of its body with the stamp', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    const append = plainEntry(1)
    const { entry } = await ledger.append({
      ...append,
      body: append.body.replace('test', 'tést ✓'),
    })
    const { writer, ...body } = parseEntry(entry)
    expect(utf8Decode(entry)).toBe(canonicalize({ ...body, writer }))
    expect(utf8Decode(entry)).toContain('tést ✓')
    await ledger.close()
  })

  test('an entry of 65,535 bytes is taken, one byte more is refused and leaves no gap', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    const bytesWithout = (await world.append(ledger, plainEntry(1))).entry.length
    const largest = plainEntry(2, 65_535 - bytesWithout)
    const tooLarge = plainEntry(3, 65_536 - bytesWithout)
    expect((await failureOf(ledger.append(tooLarge))).code).toBe('ERR_ENTRY_TOO_LARGE')
    expect((await world.append(ledger, largest)).entry).toHaveLength(65_535)
    // Three bytes in UTF-8 for each character: the short cut by length does not apply.
    const wide = { ...tooLarge, body: tooLarge.body.replaceAll('x', '€') }
    expect((await failureOf(ledger.append(wide))).code).toBe('ERR_ENTRY_TOO_LARGE')
    await world.append(ledger, plainEntry(4))
    await ledger.close()
    await expectSound(world)
  })

  test('many large entries at once go into several frames, in order', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    await Promise.all(
      Array.from({ length: 40 }, (_, at) => world.append(ledger, plainEntry(at, 30_000))),
    )
    await ledger.close()
    const all = await expectSound(world)
    const ids = all.filter(({ kind }) => kind === 'control.event').map(({ event_id: id }) => id)
    expect(ids).toEqual(Array.from({ length: 40 }, (_, at) => eventIdOf(at)))
  })

  test.each(['', 'Standard', 'a/b', 'a_b', '-a', 'a-', 'x'.repeat(65)])(
    'a retention class %j is refused, and the ledger goes on',
    async (retentionClass) => {
      const world = createWorld(1)
      const { ledger } = await openIn(world)
      const refused = ledger.append({ ...plainEntry(1), retentionClass })
      expect((await failureOf(refused)).code).toBe('ERR_CONFIG_INVALID')
      await world.append(ledger, plainEntry(2))
      await ledger.close()
      await expectSound(world)
    },
  )

  test('a body that is no object, or not about what it opens or closes, is a bug of the caller', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    const append = plainEntry(1)
    for (const wrong of [
      { ...append, body: '' },
      { ...append, body: '{}' },
      { ...append, body: '[1]' },
      { ...append, body: `${append.body},` },
      { ...append, opens: eventIdOf(2) },
      { ...append, closes: eventIdOf(2) },
    ]) {
      await expect(ledger.append(wrong)).rejects.toThrow('assertion failed')
    }
    await world.append(ledger, append)
    await ledger.close()
    await expectSound(world)
  })

  test('a queue that is full refuses entries until it is written', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world, { queueBytesMax: 2000 })
    const first = world.append(ledger, plainEntry(1, 2000))
    const refused = await failureOf(ledger.append(plainEntry(2)))
    expect(refused.code).toBe('ERR_LEDGER_BUSY')
    await first
    await world.append(ledger, plainEntry(3))
    await ledger.close()
    await expectSound(world)
  })

  test('a backlog that is full holds entries back until it is integrated', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world, { backlogBytesMax: 2000 })
    const shown = () => world.witness.shown.size
    await world.append(ledger, plainEntry(1, 2000))
    expect(shown()).toBe(0)
    // Nobody asks for it, and no tick comes: the next entry needs the room.
    await world.append(ledger, plainEntry(2))
    expect(shown()).toBe(1)
    await Promise.all([3, 4, 5].map((number) => world.append(ledger, plainEntry(number, 3000))))
    await ledger.close()
    await expectSound(world)
  })

  test('an integration that fails while entries are held back fails them', async () => {
    const world = createWorld(1)
    let isArmed = false
    const mount = world.mount({
      decide: ({ name, path }) =>
        isArmed && name === 'rename' && path.includes('/tile/') ? 'fail-nothing' : 'ok',
    })
    const { ledger } = await world.open(mount, { backlogBytesMax: 2000 })
    await world.append(ledger, plainEntry(1, 2000))
    isArmed = true
    const codes = await Promise.all(
      [2, 3].map(async (number) => (await failureOf(ledger.append(plainEntry(number)))).code),
    )
    expect(codes).toEqual(['ERR_LEDGER_WRITE_FAILED', 'ERR_LEDGER_WRITE_FAILED'])
    isArmed = false
    await ledger.close()
    await expectSound(world)
  })

  test('starts beyond the limit of open interactions are refused; ends make room', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world, { openInteractionsMax: 1 })
    await world.append(ledger, interactionEntry('started', 1))
    const second = interactionEntry('started', 2)
    expect((await failureOf(ledger.append(second))).code).toBe('ERR_LEDGER_BUSY')
    await world.append(ledger, interactionEntry('completed', 1))
    await world.append(ledger, second)
    await ledger.close()
    await expectSound(world)
  })
})

describe('publish', () => {
  test('covers everything appended before the call, acknowledged or not', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    void world.append(ledger, plainEntry(1))
    await ledger.publish()
    expect(checkpointOf(world, 'standard/2026q4')).toContain('\n2\n')
    await ledger.close()
  })

  test('a log that did not grow is not signed again', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    await world.append(ledger, plainEntry(1, 0, 'long'))
    await ledger.publish()
    const before = checkpointOf(world, 'long/2026q4')
    await world.append(ledger, plainEntry(2))
    await ledger.publish()
    expect(checkpointOf(world, 'long/2026q4')).toBe(before)
    expect(world.witness.shown.get('audit.example/gw-1/standard/2026q4')?.size).toBe(2)
    await ledger.close()
  })

  test('happens at each tick with something new, and at once when enough has come', async () => {
    const world = createWorld(1)
    const ticks = createTicks()
    const { ledger } = await openIn(world, {
      ...noHeartbeat,
      every: ticks.every,
      integrateEntries: 5,
    })
    const shown = () => world.witness.shown.get('audit.example/gw-1/standard/2026q4')?.size ?? 0
    await world.append(ledger, plainEntry(1))
    expect(shown()).toBe(0)
    ticks.fire()
    await ledger.publish()
    expect(shown()).toBe(1)
    ticks.fire()
    await ledger.publish()
    expect(shown()).toBe(1)
    await Promise.all([2, 3, 4, 5, 6].map((number) => world.append(ledger, plainEntry(number))))
    // Nothing is asked for here: five entries were enough. This only waits for the pass that runs.
    while (shown() < 2) await new Promise((resolve) => setImmediate(resolve))
    await ledger.close()
    expect(ticks.isRunning()).toBe(false)
    await expectSound(world)
  })

  test('partial files go when the full ones are published, and not before', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    const partials = () => world.disk.files().filter((path) => path.includes('.p/'))
    await world.append(ledger, plainEntry(1))
    await ledger.publish()
    await world.append(ledger, plainEntry(2))
    await ledger.publish()
    expect(partials().filter((path) => path.includes('tile/0/'))).toHaveLength(2)
    const many = Array.from({ length: 253 }, (_, at) => world.append(ledger, plainEntry(10 + at)))
    await Promise.all(many)
    await ledger.publish()
    expect(partials().map((path) => path.slice(path.indexOf('tile/')))).toEqual(['tile/1/000.p/1'])
    await ledger.close()
    await expectSound(world)
  })

  test('segments go when every frame in them is published; the newest stays', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    const segments = () => world.disk.files().filter((path) => path.endsWith('.wal')).length
    for (let number = 1; number <= 8; number++) {
      await world.append(ledger, plainEntry(number, 5000))
    }
    expect(segments()).toBeGreaterThan(2)
    await ledger.publish()
    expect(segments()).toBe(1)
    await ledger.close()
    await expectSound(world)
  })

  test('the history keeps one checkpoint in ten minutes', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    const kept = () => world.disk.files().filter((path) => path.includes('/cp/')).length
    for (let number = 1; number <= 20; number++) {
      await world.append(ledger, plainEntry(number))
      await ledger.publish()
      world.clock.advance(60_000)
    }
    expect(kept()).toBe(2)
    await ledger.close()
    await expectSound(world)
  })
})

describe('the clock', () => {
  test('a new quarter starts new logs; the old ones are complete and sealed', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    await world.append(ledger, plainEntry(1))
    world.clock.set('2026-12-31T23:59:59Z')
    await world.append(ledger, plainEntry(2))
    world.clock.set('2027-01-01T00:00:00Z')
    const { origin, leafIndex } = await world.append(ledger, plainEntry(3))
    expect([origin, leafIndex]).toEqual(['audit.example/gw-1/standard/2027q1', 0])
    await ledger.publish()
    await world.append(ledger, plainEntry(4))
    await ledger.publish()
    const head: unknown = JSON.parse(
      utf8Decode(world.disk.read(`${ledgerDirectory}/head/head.json`) ?? new Uint8Array()),
    )
    expect(head).toMatchObject({
      sealed: { 'standard/2026q4': { size: 3 } },
      logs: { 'standard/2027q1': { size: 2 } },
    })
    await ledger.close()
    await expectSound(world)
  })

  test('a clock that goes back to the last quarter does not reopen its logs', async () => {
    const world = createWorld(1)
    const first = await openIn(world)
    world.clock.set('2027-01-01T00:00:00Z')
    await world.append(first.ledger, plainEntry(1))
    world.clock.set('2026-12-31T23:00:00Z')
    const inRun = await world.append(first.ledger, plainEntry(2))
    expect(inRun.origin).toBe('audit.example/gw-1/standard/2027q1')
    await first.ledger.close()
    const second = await openIn(world)
    const afterStart = await world.append(second.ledger, plainEntry(3))
    expect(afterStart.origin).toBe('audit.example/gw-1/standard/2027q1')
    await second.ledger.close()
    await expectSound(world)
  })

  test('an entry that was refused does not stop the clock', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    expect((await failureOf(ledger.append(plainEntry(1, 70_000)))).code).toBe('ERR_ENTRY_TOO_LARGE')
    world.clock.set('2027-01-01T00:00:00Z')
    const { origin } = await world.append(ledger, plainEntry(2))
    expect(origin).toBe('audit.example/gw-1/standard/2027q1')
    await ledger.close()
    await expectSound(world)
  })

  test('a quiet minute gets a heartbeat', async () => {
    const world = createWorld(1)
    const ticks = createTicks()
    const { ledger } = await openIn(world, { every: ticks.every })
    world.clock.advance(59_999)
    ticks.fire()
    world.clock.advance(1)
    ticks.fire()
    world.clock.advance(30_000)
    ticks.fire()
    await ledger.close()
    const kinds = (await expectSound(world)).map(({ kind }) => kind)
    expect(kinds).toEqual(['ledger.opened', 'ledger.heartbeat', 'ledger.opened'])
  })
})

describe('a ledger that stops', () => {
  /** Opens a ledger of which the first change to a path that matches fails. */
  async function openFailing(
    world: World,
    pattern: RegExp,
    outcome: Outcome = 'fail-nothing',
    wrap: { wrap: (fs: LedgerFs) => LedgerFs } = { wrap: (fs) => fs },
  ) {
    let isArmed = false
    let failures = 0
    const mount = world.mount({
      code: 'ENOSPC',
      decide({ path, name }) {
        if (!isArmed || !pattern.test(`${name} ${path}`)) return 'ok'
        failures += 1
        return outcome
      },
    })
    const { ledger } = await world.open(mount, { fs: wrap.wrap(mount.fs) })
    return {
      ledger,
      mount,
      failures: () => failures,
      arm: () => {
        isArmed = true
      },
      disarm: () => {
        isArmed = false
      },
    }
  }

  test('fails every waiting caller with the reason, and the next ones with ERR_LEDGER_STOPPED', async () => {
    const world = createWorld(1)
    const { ledger, arm, failures } = await openFailing(world, /write .*segment/)
    const states: unknown[] = []
    ledger.onStateChange((state, error) => states.push([state, error?.code]))
    arm()
    const waiting = [4, 5, 6].map((number) => failureOf(ledger.append(plainEntry(number, 60_000))))
    expect((await Promise.all(waiting)).map(({ code }) => code)).toEqual(
      Array.from({ length: 3 }, () => 'ERR_LEDGER_DISK_FULL'),
    )
    expect(ledger.state).toBe('stopped')
    expect(states).toEqual([['stopped', 'ERR_LEDGER_DISK_FULL']])
    const later = await failureOf(ledger.append(plainEntry(7)))
    expect(later.code).toBe('ERR_LEDGER_STOPPED')
    expect(later.message).toContain('disk of the ledger is full')
    expect((await failureOf(ledger.publish())).code).toBe('ERR_LEDGER_STOPPED')
    await ledger.close()
    // Nothing is tried again: not the write, not with another frame.
    expect(failures()).toBe(1)
  })

  test('can be opened again in the same process once close has resolved', async () => {
    const world = createWorld(1)
    const { ledger, mount, arm, disarm } = await openFailing(world, /sync .*head/, 'fail-cached')
    await world.append(ledger, plainEntry(1))
    arm()
    expect((await failureOf(ledger.publish())).code).toBe('ERR_LEDGER_DISK_FULL')
    disarm()
    await ledger.close()
    const again = await world.open(mount)
    expect(again.ledger.epoch).toBe(2)
    await world.append(again.ledger, plainEntry(2))
    await again.ledger.close()
    await expectSound(world)
  })

  test('touches no file any more', async () => {
    const world = createWorld(1)
    const { ledger, mount, arm, disarm } = await openFailing(world, /rename .*tile/)
    const appended = Array.from({ length: 300 }, (_, at) => world.append(ledger, plainEntry(at)))
    await Promise.all(appended)
    arm()
    await failureOf(ledger.publish())
    disarm()
    await ledger.close()
    const steps = mount.steps()
    await new Promise((resolve) => setImmediate(resolve))
    expect(mount.steps()).toBe(steps)
    await expectSound(world)
  })

  test('lets no integration go on that was under way', async () => {
    const world = createWorld(1)
    const blocked = createBlock(/standard$/)
    const { ledger, mount, arm } = await openFailing(
      world,
      /write .*segment/,
      'fail-nothing',
      blocked,
    )
    await world.append(ledger, plainEntry(1))
    const head = world.disk.read(`${ledgerDirectory}/head/head.json`)?.slice()
    blocked.arm()
    const publishing = failureOf(ledger.publish())
    await blocked.reached
    arm()
    const { code } = await failureOf(ledger.append(plainEntry(2)))
    expect(code).toBe('ERR_LEDGER_DISK_FULL')
    blocked.release()
    expect((await publishing).code).toBe('ERR_LEDGER_DISK_FULL')
    await ledger.close()
    mount.kill()
    expect(world.disk.read(`${ledgerDirectory}/head/head.json`)?.slice()).toEqual(head)
    expect(world.witness.shown.size).toBe(0)
    await expectSound(world)
  })

  test('a head that somebody else has changed stops it with ERR_HEAD_CONFLICT', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    await world.append(ledger, plainEntry(1))
    world.disk.damage(`${ledgerDirectory}/head/head.json`, (bytes) => Buffer.concat([bytes, bytes]))
    expect((await failureOf(ledger.publish())).code).toBe('ERR_HEAD_CONFLICT')
    expect(world.witness.shown.size).toBe(0)
    await ledger.close()
  })

  test('the next segment that cannot be prepared is no reason to stop until it is needed', async () => {
    const world = createWorld(1)
    let isFull = true
    const facts: string[] = []
    const mount = world.mount({
      code: 'ENOSPC',
      decide: ({ path, name }) =>
        isFull && name === 'write' && path.endsWith('segment-1') ? 'fail-nothing' : 'ok',
    })
    const { ledger } = await world.open(mount, { log: (fact) => facts.push(fact) })
    await world.append(ledger, plainEntry(1, 5000))
    expect(facts).toContain('write-ahead segment not prepared')
    isFull = false
    await world.append(ledger, plainEntry(2, 15_000))
    await world.append(ledger, plainEntry(3, 15_000))
    await ledger.close()
    await expectSound(world)
  })

  test('a failure while it closes is reported, and the lock is given up', async () => {
    const world = createWorld(1)
    const { ledger, mount, arm, disarm } = await openFailing(world, /sync .*head/)
    await world.append(ledger, plainEntry(1))
    arm()
    expect((await failureOf(ledger.close())).code).toBe('ERR_LEDGER_DISK_FULL')
    disarm()
    const again = await world.open(mount)
    await again.ledger.close()
    await expectSound(world)
  })

  test('an opening that fails holds nothing', async () => {
    const world = createWorld(1)
    let isArmed = true
    const mount = world.mount({
      decide: ({ path, name }) =>
        isArmed && name === 'write' && path.includes('segment') ? 'fail-nothing' : 'ok',
    })
    expect((await failureOf(world.open(mount))).code).toBe('ERR_LEDGER_WRITE_FAILED')
    isArmed = false
    const { ledger } = await world.open(mount)
    await ledger.close()
    await expectSound(world)
  })
})

describe('close', () => {
  test('publishes everything, refuses what comes later, and may be called twice', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    const states: unknown[] = []
    const unsubscribe = ledger.onStateChange((...change) => states.push(change))
    void world.append(ledger, plainEntry(1))
    const closing = ledger.close()
    expect(ledger.state).toBe('stopped')
    expect((await failureOf(ledger.append(plainEntry(2)))).code).toBe('ERR_LEDGER_STOPPED')
    await Promise.all([closing, ledger.close()])
    expect(states).toEqual([['stopped']])
    unsubscribe()
    expect(checkpointOf(world, 'standard/2026q4')).toContain('\n2\n')
    const entries = await verifyEverything(world)
    expectAcknowledged(world, entries)
    expectUnbrokenChain(entries)
  })

  test('leaves no temporary file', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    await world.append(ledger, plainEntry(1))
    await ledger.close()
    const staged = world.disk.files().filter((path) => path.includes('staging'))
    expect(staged).toEqual([])
  })
})

describe('opening', () => {
  test('a second opening is refused and names the process that has the ledger', async () => {
    const world = createWorld(1)
    const { ledger } = await openIn(world)
    const before = world.disk.files()
    const refused = await failureOf(openIn(world))
    expect(refused.code).toBe('ERR_LEDGER_LOCKED')
    expect(refused.message).toContain(`pid ${process.pid}, since 2026-11-23T14:00:00.`)
    expect(world.disk.files()).toEqual(before)
    await ledger.close()
    const { ledger: next } = await openIn(world)
    await next.close()
  })

  test.each([
    { deployment: 'Audit.example' },
    { deployment: '' },
    { instance: 'gw/1' },
    { instance: '../gw' },
    { segmentBytes: 100 },
  ])('%j is refused', async (overrides) => {
    const world = createWorld(1)
    expect((await failureOf(openIn(world, overrides))).code).toBe('ERR_CONFIG_INVALID')
    expect(world.disk.files()).toEqual([])
  })

  test('each opening is an epoch that begins with an entry about what was found', async () => {
    const world = createWorld(1)
    const { ledger, mount, recovery } = await openIn(world)
    expect(recovery).toMatchObject({ epoch: 1, created: true, recoveredEntries: 0, interrupted: 0 })
    await world.append(ledger, interactionEntry('started', 1))
    mount.kill()
    world.disk.reboot(() => false)
    const second = await openIn(world)
    expect(second.recovery).toEqual({
      epoch: 2,
      created: false,
      recoveredEntries: 2,
      interrupted: 1,
      tornBytes: 0,
      republished: [],
    })
    await second.ledger.close()
    const all = await expectSound(world)
    const opened = all.filter(({ kind }) => kind === 'ledger.opened')
    expect(opened).toMatchObject([
      { recovered_entries: 0, interrupted: 0, torn_bytes: 0, retention_class: 'standard' },
      { recovered_entries: 2, interrupted: 1, torn_bytes: 0 },
      { recovered_entries: 0, interrupted: 0 },
    ])
  })

  test('an interaction left open is closed with everything its start knew', async () => {
    const world = createWorld(1)
    const { ledger, mount } = await openIn(world)
    await world.append(ledger, interactionEntry('started', 1))
    await world.append(ledger, interactionEntry('started', 2, 'long'))
    await ledger.publish()
    await world.append(ledger, interactionEntry('started', 3, 'long'))
    await world.append(ledger, interactionEntry('completed', 1))
    mount.kill()
    const all = await expectSound(world)
    const interrupted = all.filter(({ kind }) => kind === 'interaction.interrupted')
    expect(interrupted).toMatchObject(
      [2, 3].map((number) => ({
        event_id: eventIdOf(number),
        application_id: 'app',
        retention_class: 'long',
        status: 'incomplete',
        end_state: 'abandoned',
        logged_at: expect.stringMatching(/^2026-11-23T14:00:00\.\d{6}Z$/),
        writer: { log: 'long/2026q4' },
      })),
    )
  })

  test('a start that came through the ingest endpoint is left to its application', async () => {
    const world = createWorld(1)
    const { ledger, mount } = await openIn(world)
    const { retentionClass, body } = interactionEntry('started', 1)
    const stamp = { epoch: 1, id: 'spool', key: 'key', seq: 0 }
    const value: unknown = JSON.parse(body)
    await ledger.append({
      retentionClass,
      body: canonicalize({ ...Object(value), ingest: stamp }),
    })
    mount.kill()
    const { recovery, ledger: next } = await openIn(world)
    expect(recovery.interrupted).toBe(0)
    await next.close()
  })

  test('an interaction that the process still handles is left open, over passes and openings', async () => {
    const world = createWorld(1)
    const first = await openIn(world)
    await world.append(first.ledger, interactionEntry('started', 1))
    await first.ledger.publish()
    await world.append(first.ledger, interactionEntry('started', 2))
    await world.append(first.ledger, interactionEntry('started', 3))
    first.mount.kill()
    const isAlive = (eventId: string) => eventId !== eventIdOf(3)
    const second = await openIn(world, { isAlive })
    expect(second.recovery.interrupted).toBe(1)
    await second.ledger.publish()
    second.mount.kill()
    const third = await openIn(world, { isAlive })
    expect(third.recovery.interrupted).toBe(0)
    await world.append(third.ledger, interactionEntry('completed', 2))
    third.mount.kill()
    const all = await expectSound(world)
    const ends = all.filter(({ kind }) => /completed|interrupted/.test(kind))
    expect(ends.map(({ kind, event_id: id }) => [kind, id])).toEqual([
      ['interaction.interrupted', eventIdOf(3)],
      ['interaction.completed', eventIdOf(2)],
      ['interaction.interrupted', eventIdOf(1)],
    ])
  })

  test('hundreds of open interactions are closed, across bundles', async () => {
    const world = createWorld(1)
    const { ledger, mount } = await openIn(world)
    const starts = Array.from({ length: 600 }, (_, at) => interactionEntry('started', at))
    await Promise.all(starts.slice(0, 500).map((start) => world.append(ledger, start)))
    await ledger.publish()
    await Promise.all(starts.slice(500).map((start) => world.append(ledger, start)))
    mount.kill()
    const all = await expectSound(world)
    expect(all.filter(({ kind }) => kind === 'interaction.interrupted')).toHaveLength(600)
  })

  test('an interaction open since a quarter that is sealed is closed in the present one', async () => {
    const world = createWorld(1)
    const { ledger, mount } = await openIn(world)
    await world.append(ledger, interactionEntry('started', 1))
    await ledger.publish()
    world.clock.set('2027-01-01T00:00:00Z')
    await world.append(ledger, plainEntry(2))
    await ledger.publish()
    await world.append(ledger, plainEntry(3))
    await ledger.publish()
    mount.kill()
    const all = await expectSound(world)
    const end = all.find(({ kind }) => kind === 'interaction.interrupted')
    expect(end).toMatchObject({ event_id: eventIdOf(1), writer: { log: 'standard/2027q1' } })
  })

  test('a published checkpoint whose name was never synced is not relied upon', async () => {
    const world = createWorld(1)
    let isArmed = false
    const mount = world.mount({
      decide: ({ name, path }) =>
        isArmed && name === 'sync' && path.endsWith('standard/2026q4') ? 'fail-nothing' : 'ok',
    })
    const first = await world.open(mount)
    await first.ledger.publish()
    isArmed = true
    await world.append(first.ledger, plainEntry(1))
    await failureOf(first.ledger.publish())
    isArmed = false
    await first.ledger.close()
    // The page cache shows the new checkpoint; the next quarter begins, and the log is done with.
    world.clock.set('2027-01-01T00:00:00Z')
    const second = await world.open(mount)
    await world.append(second.ledger, plainEntry(2))
    await second.ledger.publish()
    await world.append(second.ledger, plainEntry(3))
    await second.ledger.publish()
    mount.kill()
    world.disk.reboot(() => false)
    expect((await expectSound(world)).map(({ writer }) => writer.epoch)).toEqual([1, 1, 2, 2, 2, 3])
  })

  test('an agreed checkpoint that was not published is published', async () => {
    const world = createWorld(1)
    const mount = world.mount({
      decide: ({ name, path }) =>
        name === 'rename' && path.endsWith('/checkpoint') ? 'crash-before' : 'ok',
    })
    const { ledger } = await world.open(mount)
    await world.append(ledger, plainEntry(1))
    void ledger.publish()
    await mount.died
    world.disk.reboot(() => false)
    const { recovery, ledger: next } = await openIn(world)
    expect(recovery.republished).toEqual(['standard/2026q4'])
    expect(checkpointOf(world, 'standard/2026q4')).toContain('\n2\n')
    await next.close()
    await expectSound(world)
  })

  test('segments that a recovery which died has left are not mixed up with those of the next', async () => {
    const world = createWorld(1)
    const first = await openIn(world)
    for (let number = 0; number < 6; number++) {
      await world.append(first.ledger, plainEntry(number, 5000))
    }
    first.mount.kill()
    // Copies the frames to several small segments, and dies before the head knows of them.
    const second = world.mount({
      decide: ({ name, path }) =>
        name === 'rename' && path.includes('head') ? 'crash-before' : 'ok',
    })
    void world.open(second, { segmentBytes: 4096 })
    await second.died
    const left = world.disk.files().filter((path) => path.endsWith('-0000000002.wal'))
    expect(left.length).toBeGreaterThan(3)
    // The next one needs one segment for them, and one entry more.
    const third = await openIn(world, { segmentBytes: 100_000 })
    await world.append(third.ledger, plainEntry(10, 5000))
    third.mount.kill()
    await expectSound(world)
  })

  test('a backlog beyond its limit is recovered, integrated, and only then added to', async () => {
    const world = createWorld(1)
    const first = await openIn(world)
    for (let number = 0; number < 6; number++) {
      await world.append(first.ledger, plainEntry(number, 5000))
    }
    await world.append(first.ledger, interactionEntry('started', 50))
    first.mount.kill()
    const { ledger, recovery } = await openIn(world, { backlogBytesMax: 100, queueBytesMax: 1 })
    expect(recovery).toMatchObject({ recoveredEntries: 8, interrupted: 1 })
    // It was integrated before the first entry of the new epoch was written.
    expect(checkpointOf(world, 'standard/2026q4')).toContain('\n9\n')
    await world.append(ledger, plainEntry(61))
    await ledger.close()
    await expectSound(world)
  })

  test.each([
    ['no event id', '{"kind":"interaction.started","v":1}'],
    ['an event id that is none', '{"event_id":7,"kind":"interaction.started","v":1}'],
    ['not in canonical order', '{"v":1,"kind":"interaction.started","event_id":"x"}'],
    ['fractions and no JSON', '{"kind":"interaction.started","x":1.5,}'],
    ['half a character', '{"event_id":"y","kind":"interaction.started","x":"\\ud800"}'],
  ])(
    'an entry with %s, taken on the word of the caller, does not stop a recovery',
    async (_, body) => {
      const world = createWorld(1)
      const { ledger, mount } = await openIn(world)
      await ledger.append({ retentionClass: 'standard', body })
      await ledger.publish()
      await ledger.append({ retentionClass: 'standard', body })
      mount.kill()
      const next = await openIn(world)
      expect(next.recovery.recoveredEntries).toBe(1)
      await world.append(next.ledger, plainEntry(1))
      await next.ledger.close()
      const entries = await verifyEverything(world)
      expectAcknowledged(world, entries)
    },
  )

  test('larger segments than before, and smaller ones, hold what was recovered', async () => {
    const world = createWorld(1)
    const first = await openIn(world, { segmentBytes: 300_000 })
    const many = Array.from({ length: 30 }, (_, at) =>
      world.append(first.ledger, plainEntry(at, 9000)),
    )
    await Promise.all(many)
    first.mount.kill()
    const second = await openIn(world, { segmentBytes: 4096 })
    expect(second.recovery.recoveredEntries).toBe(31)
    await world.append(second.ledger, plainEntry(100, 9000))
    second.mount.kill()
    const third = await openIn(world, { segmentBytes: 1 << 20 })
    await third.ledger.close()
    await expectSound(world)
  })
})
