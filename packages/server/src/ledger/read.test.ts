import { canonicalize, newEventId, parseEntry } from '@affidavit/format'
import { formatMicros } from '@affidavit/sdk/capture'
import { describe, expect, test } from 'vitest'
import type { LedgerFs } from '../store/ledger-fs.ts'
import { openLedgerReader, type LedgerReader, type PlacedEntry } from './read.ts'
import {
  createWorld,
  failureOf,
  instanceDirectory,
  ledgerDirectory,
  plainEntry,
  type World,
} from './testing.ts'

async function readerOf(world: World, directory = instanceDirectory): Promise<LedgerReader> {
  return await openLedgerReader(directory, { fs: world.mount().fs })
}

async function collect(entries: AsyncIterable<PlacedEntry>): Promise<PlacedEntry[]> {
  const all: PlacedEntry[] = []
  for await (const entry of entries) all.push(entry)
  return all
}

const numberOf = ({ entry }: PlacedEntry) => Number(parseEntry(entry).event_id.slice(-4))

/** An entry with an id of that moment, as a gateway makes them. */
function entryAt(
  world: World,
  kind: string,
  { ms, number }: { ms: number; number: number },
): { body: string; eventId: string; retentionClass: string } {
  const random = new Uint8Array(10)
  new DataView(random.buffer).setUint32(6, number)
  const eventId = newEventId(ms, random)
  const timestamp = formatMicros(ms * 1000)
  const logged =
    kind === 'interaction.completed' ? { logged_at: formatMicros(world.clock.nowMicros()) } : {}
  const body = canonicalize({ v: 1, kind, event_id: eventId, timestamp, ...logged })
  return { body, eventId, retentionClass: 'standard' }
}

describe('a reader', () => {
  test('of nothing finds nothing', async () => {
    const world = createWorld(1)
    const reader = await readerOf(world)
    expect(await reader.logs()).toEqual([])
    expect(await collect(reader.readUnintegrated())).toEqual([])
    expect(await reader.findByEventId(newEventId(0, new Uint8Array(10)))).toEqual([])
  })

  test('lists logs with their checkpoints, by quarter and class, beside the writer', async () => {
    const world = createWorld(1)
    const { ledger } = await world.open(world.mount())
    await world.append(ledger, plainEntry(1, 0, 'long'))
    await ledger.publish()
    world.clock.set('2027-01-01T00:00:00Z')
    await world.append(ledger, plainEntry(2, 0, 'long'))
    await ledger.publish()
    await world.append(ledger, plainEntry(3, 0, 'long'))
    await ledger.publish()
    const reader = await readerOf(world)
    const logs = await reader.logs()
    expect(logs.map(({ path, size, origin }) => [path, size, origin])).toEqual([
      ['long/2026q4', 1, 'audit.example/gw-1/long/2026q4'],
      ['standard/2026q4', 1, 'audit.example/gw-1/standard/2026q4'],
      ['long/2027q1', 2, 'audit.example/gw-1/long/2027q1'],
    ])
    for (const log of logs) {
      expect(log.vkey).toMatch(new RegExp(`^${log.origin}\\+[0-9a-f]{8}\\+`))
      expect(log.checkpoint).toContain(`${log.origin}\n${log.size}\n`)
    }
    await ledger.close()
  })

  test('reads any range of a log, whatever bundles it spans', async () => {
    const world = createWorld(1)
    const { ledger } = await world.open(world.mount())
    const many = Array.from({ length: 600 }, (_, at) => world.append(ledger, plainEntry(at)))
    await Promise.all(many)
    await ledger.close()
    const reader = await readerOf(world)
    const [log] = await reader.logs()
    if (log === undefined) throw new Error('no log')
    for (const [from, to] of [
      [0, 601],
      [0, 1],
      [255, 257],
      [256, 512],
      [300, 300],
      [599, 900],
    ] as const) {
      const found = await collect(reader.readEntries(log, from, to))
      const expected = Array.from({ length: Math.min(to, 601) - from }, (_, at) => from + at)
      expect(found.map(({ leafIndex }) => leafIndex)).toEqual(expected)
      for (const { leafIndex, entry } of found) {
        if (leafIndex > 0)
          expect(parseEntry(entry).event_id.endsWith(String(leafIndex - 1))).toBe(true)
      }
    }
    expect(await collect(reader.readEntries(log))).toHaveLength(601)
  })

  test('reads what is not integrated yet, with the places that it will have', async () => {
    const world = createWorld(1)
    const { ledger } = await world.open(world.mount())
    await world.append(ledger, plainEntry(1))
    await ledger.publish()
    const placed = [
      await world.append(ledger, plainEntry(2, 9000)),
      await world.append(ledger, plainEntry(3, 9000, 'long')),
      await world.append(ledger, plainEntry(4, 9000)),
    ]
    const tail = await collect((await readerOf(world)).readUnintegrated())
    expect(tail.map(({ log, leafIndex }) => `audit.example/gw-1/${log} ${leafIndex}`)).toEqual(
      placed.map(({ origin, leafIndex }) => `${origin} ${leafIndex}`),
    )
    expect(tail.map(numberOf)).toEqual([2, 3, 4])
    await ledger.close()
    expect(await collect((await readerOf(world)).readUnintegrated())).toEqual([])
  })

  test('works on a copy of the ledger folder alone', async () => {
    const world = createWorld(1)
    const { ledger } = await world.open(world.mount())
    await world.append(ledger, plainEntry(1))
    const reader = await readerOf(world, ledgerDirectory)
    expect(await collect(reader.readUnintegrated())).toHaveLength(2)
    await ledger.close()
    const [log] = await reader.logs()
    expect(log?.size).toBe(2)
  })

  test('works on logs without a head', async () => {
    const world = createWorld(1)
    const { ledger } = await world.open(world.mount())
    await world.append(ledger, plainEntry(1))
    await ledger.close()
    world.disk.lose(`${ledgerDirectory}/head/head.json`)
    const reader = await readerOf(world)
    const [log] = await reader.logs()
    if (log === undefined) throw new Error('no log')
    expect(await collect(reader.readEntries(log))).toHaveLength(2)
    expect(await collect(reader.readUnintegrated())).toEqual([])
  })

  test('says so when a bundle is missing', async () => {
    const world = createWorld(1)
    const { ledger } = await world.open(world.mount())
    await ledger.close()
    world.disk.lose(`${ledgerDirectory}/logs/standard/2026q4/tile/entries/000.p/1`)
    const reader = await readerOf(world)
    const [log] = await reader.logs()
    if (log === undefined) throw new Error('no log')
    expect((await failureOf(collect(reader.readEntries(log)))).code).toBe('ERR_LEDGER_CORRUPT')
  })

  test('changes nothing', async () => {
    const world = createWorld(1)
    const { ledger } = await world.open(world.mount())
    await world.append(ledger, plainEntry(1))
    const mount = world.mount()
    const reader = await openLedgerReader(instanceDirectory, { fs: mount.fs })
    await reader.logs()
    await collect(reader.readUnintegrated())
    await reader.findByEventId(newEventId(0, new Uint8Array(10)))
    expect(mount.steps()).toBe(0)
    await ledger.close()
  })

  test('that meets a frame while it is written reads again', async () => {
    const world = createWorld(1)
    const { ledger } = await world.open(world.mount())
    await ledger.publish()
    await world.append(ledger, plainEntry(1, 3000))
    const { fs } = world.mount()
    let reads = 0
    const halfWritten: LedgerFs = {
      ...fs,
      async readFile(path, from) {
        const bytes = await fs.readFile(path, from)
        if (!path.endsWith('.wal') || bytes === undefined || ++reads > 2) return bytes
        // The last sector has arrived in part: neither torn nor whole.
        const end = bytes.findLastIndex((byte) => byte !== 0)
        return Buffer.from(bytes).fill(0, end - 5)
      },
    }
    const reader = await openLedgerReader(instanceDirectory, { fs: halfWritten })
    expect(await collect(reader.readUnintegrated())).toHaveLength(1)
    expect(reads).toBe(3)
    await ledger.close()
  })

  test('reports damage that stays', async () => {
    const world = createWorld(1)
    const mount = world.mount()
    const { ledger } = await world.open(mount)
    await ledger.publish()
    await world.append(ledger, plainEntry(1, 3000))
    mount.kill()
    const [segment = ''] = world.disk.files().filter((path) => path.endsWith('.wal'))
    world.disk.damage(segment, (bytes) => {
      const changed = Buffer.from(bytes)
      const last = changed.findLastIndex((byte) => byte !== 0)
      changed[last - 100] = 1
      return changed
    })
    const reader = await readerOf(world)
    const error = await failureOf(collect(reader.readUnintegrated()))
    expect(error.code).toBe('ERR_LEDGER_CORRUPT')
  })
})

describe('finding by event id', () => {
  const startMs = Date.parse('2026-11-23T14:00:00Z')

  /** A thousand interactions, a second apart, each ending a minute later; the last ones still open. */
  async function busyWorld() {
    const world = createWorld(1)
    const mount = world.mount()
    const { ledger } = await world.open(mount, { heartbeatMs: Number.POSITIVE_INFINITY })
    const ids: string[] = []
    const open: (() => ReturnType<typeof entryAt>)[] = []
    let waiting: Promise<unknown>[] = []
    for (let number = 0; number < 1000; number++) {
      world.clock.advance(1000)
      const ms = Math.floor(world.clock.nowMicros() / 1000)
      const { eventId, ...start } = entryAt(world, 'interaction.started', { ms, number })
      ids.push(eventId)
      waiting.push(ledger.append(start))
      open.push(() => entryAt(world, 'interaction.completed', { ms, number }))
      const ending = number >= 60 ? open[number - 60] : undefined
      if (ending !== undefined) waiting.push(ledger.append(ending()))
      if (number % 100 !== 99) continue
      await Promise.all(waiting)
      waiting = []
      if (number < 900) await ledger.publish()
    }
    return { world, ledger, ids }
  }

  test('gives start and end, integrated or not, without reading every bundle', async () => {
    const { world, ledger, ids } = await busyWorld()
    const { fs } = world.mount()
    let bundles = 0
    const counted: LedgerFs = {
      ...fs,
      readFile(path, from) {
        if (path.includes('/tile/entries/')) bundles += 1
        return fs.readFile(path, from)
      },
    }
    const reader = await openLedgerReader(instanceDirectory, { fs: counted })
    for (const number of [0, 130, 500, 870, 895, 950]) {
      bundles = 0
      const found = await reader.findByEventId(ids[number] ?? '')
      const kinds = found.map(({ entry }) => parseEntry(entry).kind)
      const isOpen = number > 939
      expect(kinds).toEqual(
        isOpen ? ['interaction.started'] : ['interaction.started', 'interaction.completed'],
      )
      // Bisection reads a few, the search some more; there are eight.
      expect(bundles).toBeLessThanOrEqual(12)
    }
    await ledger.close()
  })

  test('says that there is none after it has looked everywhere', async () => {
    const { world, ledger } = await busyWorld()
    const reader = await readerOf(world)
    for (const ms of [0, startMs, startMs + 500_000, startMs + 1e10]) {
      expect(await reader.findByEventId(newEventId(ms, new Uint8Array(10).fill(9)))).toEqual([])
    }
    await ledger.close()
  })

  test('finds an entry whose clock was far ahead', async () => {
    const world = createWorld(1)
    const { ledger } = await world.open(world.mount())
    await world.append(ledger, plainEntry(1))
    const ms = Date.parse('2028-01-01T00:00:00Z')
    const { eventId, ...append } = entryAt(world, 'control.event', { ms, number: 7 })
    await ledger.append(append)
    await ledger.close()
    const found = await (await readerOf(world)).findByEventId(eventId)
    expect(found).toMatchObject([{ log: 'standard/2026q4', leafIndex: 2, integrated: true }])
  })

  test('finds an interaction across quarters and classes', async () => {
    const world = createWorld(1)
    world.clock.set('2026-12-31T23:59:30Z')
    const { ledger } = await world.open(world.mount())
    const ms = Math.floor(world.clock.nowMicros() / 1000)
    const { eventId, ...start } = entryAt(world, 'interaction.started', { ms, number: 1 })
    await ledger.append(start)
    world.clock.set('2027-01-01T00:00:30Z')
    const { body } = entryAt(world, 'interaction.completed', { ms, number: 1 })
    await ledger.append({ body, retentionClass: 'long' })
    await ledger.close()
    const found = await (await readerOf(world)).findByEventId(eventId)
    expect(found.map(({ log }) => log)).toEqual(['standard/2026q4', 'long/2027q1'])
  })

  test('refuses what is no event id', async () => {
    const reader = await readerOf(createWorld(1))
    expect((await failureOf(reader.findByEventId('x'))).code).toBe('ERR_ENTRY_MALFORMED')
  })
})
