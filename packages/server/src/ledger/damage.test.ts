import { describe, expect, test } from 'vitest'
import { frameHashOf, readFrame } from './frame.ts'
import {
  createWorld,
  expectSound,
  failureOf,
  interactionEntry,
  ledgerDirectory,
  plainEntry,
  verifyEverything,
  type World,
} from './testing.ts'

const wal = `${ledgerDirectory}/wal`

/** A ledger that was killed with `tail` after the last publication. */
async function killedWith(
  tail: (append: (number: number, pad?: number) => Promise<unknown>) => Promise<unknown>,
  { segmentBytes = 8192 } = {},
): Promise<World> {
  const world = createWorld(1)
  const mount = world.mount()
  const { ledger } = await world.open(mount, { segmentBytes })
  await world.append(ledger, plainEntry(1))
  await world.append(ledger, interactionEntry('started', 2))
  await ledger.publish()
  await tail((number, pad) => world.append(ledger, plainEntry(number, pad)))
  mount.kill()
  world.disk.reboot(() => false)
  return world
}

function segmentsOf(world: World): string[] {
  return world.disk.files().filter((path) => path.startsWith(wal))
}

function onlySegment(world: World): string {
  const [path, ...others] = segmentsOf(world)
  if (path === undefined || others.length > 0) throw new Error('not one segment')
  return path
}

/** Where each frame of a segment is. */
function framesOf(world: World, path: string): { start: number; end: number }[] {
  const bytes = world.disk.read(path) ?? new Uint8Array()
  const frames = []
  for (let at = 0; ;) {
    const frame = readFrame(bytes, at)
    if (frame === undefined) return frames
    frames.push({ start: at, end: at + frame.bytes.length })
    at += frame.bytes.length
  }
}

function copyOf(world: World): World {
  const disk = world.disk.clone()
  return { ...createWorld(2), disk, witness: world.witness, ...openersOf(world, disk) }
}

/** The world's own functions, on another disk. */
function openersOf(world: World, disk: World['disk']): Pick<World, 'mount'> {
  return { mount: (options) => disk.mount(options) }
}

async function openOn(world: World) {
  return await world.open(world.mount(), { segmentBytes: 8192 })
}

describe('a byte of the write-ahead log that is flipped', () => {
  test('in any frame that is not integrated, the last one too, is never accepted', async () => {
    const world = await killedWith(async (append) => {
      await append(10)
      await append(11, 700)
      await append(12)
    })
    const path = onlySegment(world)
    const frames = framesOf(world, path)
    const tail = frames.slice(-3)
    const [first, last] = [tail[0]?.start ?? 0, tail.at(-1)?.end ?? 0]
    for (let at = first; at < last; at++) {
      const copy = copyOf(world)
      copy.disk.damage(path, (bytes) => flipped(bytes, at))
      const before = copy.disk.files()
      const { code } = await failureOf(openOn(copy))
      if (code !== 'ERR_LEDGER_CORRUPT') throw new Error(`${code} at byte ${at}`)
      expect(copy.disk.files()).toEqual(before)
    }
  })

  test('after the last frame is cut off as torn, and told', async () => {
    const world = await killedWith((append) => append(10))
    const path = onlySegment(world)
    const { end = 0 } = framesOf(world, path).at(-1) ?? {}
    for (const distance of [0, 1, 600, 3000]) {
      const copy = copyOf(world)
      copy.disk.damage(path, (bytes) => flipped(bytes, end + distance))
      const { ledger, recovery } = await openOn(copy)
      expect(recovery.tornBytes).toBe(distance + 1)
      await ledger.close()
      await expectSound(copy)
    }
  })

  test('in the hash that the head remembers is found; before it, nothing depends on it', async () => {
    const world = await killedWith((append) => append(10))
    const path = onlySegment(world)
    const integrated = framesOf(world, path).at(-2)
    if (integrated === undefined) throw new Error('no frame')
    const inHash = copyOf(world)
    inHash.disk.damage(path, (bytes) => flipped(bytes, integrated.end - 1))
    expect((await failureOf(openOn(inHash))).code).toBe('ERR_LEDGER_CORRUPT')
    const before = copyOf(world)
    before.disk.damage(path, (bytes) => flipped(bytes, integrated.end - 40))
    const { ledger } = await openOn(before)
    await ledger.close()
    await expectSound(before)
  })
})

describe('a frame that a crash tore', () => {
  test('is cut off whichever sectors are there, as long as one is missing', async () => {
    const world = await killedWith(async (append) => {
      await append(10)
      await append(11, 2500)
    })
    const path = onlySegment(world)
    const frame = framesOf(world, path).at(-1)
    if (frame === undefined) throw new Error('no frame')
    const sectors = sectorsOf(frame)
    expect(sectors.length).toBeGreaterThan(5)
    for (let kept = 0; kept < 2 ** sectors.length - 1; kept++) {
      const copy = copyOf(world)
      // The torn one was never acknowledged.
      copy.witness.acknowledged.length = world.witness.acknowledged.length
      copy.disk.damage(path, (bytes) => {
        const torn = Buffer.from(bytes)
        for (const [at, { start, end }] of sectors.entries()) {
          if ((kept & (1 << at)) === 0) torn.fill(0, start, end)
        }
        return torn
      })
      const { ledger, recovery } = await openOn(copy)
      expect(recovery.recoveredEntries).toBe(1)
      expect(recovery.tornBytes > 0).toBe(kept > 0)
      await ledger.close()
    }
  })

  test('before a frame that is whole was not torn: it was acknowledged', async () => {
    const world = await killedWith(async (append) => {
      await append(10, 2500)
      await append(11)
    })
    const path = onlySegment(world)
    const frame = framesOf(world, path).at(-2)
    if (frame === undefined) throw new Error('no frame')
    for (const { start, end } of sectorsOf(frame).slice(0, -1)) {
      const copy = copyOf(world)
      copy.disk.damage(path, (bytes) => Buffer.from(bytes).fill(0, start, end))
      const error = await failureOf(openOn(copy))
      expect(error.code).toBe('ERR_LEDGER_CORRUPT')
    }
  })

  test('with a later segment was not torn either', async () => {
    const world = await killedWith(async (append) => {
      await append(10, 2500)
      await append(11, 7000)
    })
    const [path, later] = segmentsOf(world)
    if (path === undefined || later === undefined) throw new Error('not two segments')
    const frame = framesOf(world, path).at(-1)
    if (frame === undefined) throw new Error('no frame')
    // Even an empty later segment: it was started when this frame had been acknowledged.
    world.disk.damage(later, (bytes) => Buffer.alloc(bytes.length))
    world.disk.damage(path, (bytes) => Buffer.from(bytes).fill(0, frame.start, frame.end - 1))
    expect((await failureOf(openOn(world))).code).toBe('ERR_LEDGER_CORRUPT')
  })
})

describe('a write-ahead log that does not go with its head', () => {
  test('is refused as rolled back when it ends before the head', async () => {
    const world = await killedWith((append) => append(10))
    const path = onlySegment(world)
    const { start = 0, end = 0 } = framesOf(world, path).at(-2) ?? {}
    const copy = copyOf(world)
    // As an older copy of the segment would be: the integrated frame is not there yet.
    copy.disk.damage(path, (bytes) => Buffer.from(bytes).fill(0, start))
    const error = await failureOf(openOn(copy))
    expect(error.code).toBe('ERR_ROLLBACK_SUSPECTED')
    expect(error.message).toContain(`before byte ${end}`)
    copy.disk.lose(path)
    expect((await failureOf(openOn(copy))).code).toBe('ERR_ROLLBACK_SUSPECTED')
  })

  test('is refused as rolled back when the head is an older copy', async () => {
    const world = createWorld(1)
    const head = `${ledgerDirectory}/head/head.json`
    const mount = world.mount()
    const { ledger } = await world.open(mount)
    const heads = [world.disk.read(head)?.slice()]
    await world.append(ledger, plainEntry(1))
    await ledger.publish()
    heads.push(world.disk.read(head)?.slice())
    await world.append(ledger, plainEntry(2))
    await ledger.publish()
    await ledger.close()
    const second = await world.open(world.mount())
    await world.append(second.ledger, plainEntry(3))
    await second.ledger.close()
    for (const old of heads) {
      const copy = copyOf(world)
      copy.disk.damage(head, () => old ?? new Uint8Array())
      expect((await failureOf(copy.open(copy.mount()))).code).toBe('ERR_ROLLBACK_SUSPECTED')
    }
    world.disk.lose(head)
    expect((await failureOf(world.open(world.mount()))).code).toBe('ERR_ROLLBACK_SUSPECTED')
  })

  test('is refused as rolled back when a later epoch has entries that the head does not know', async () => {
    const world = createWorld(1)
    const head = `${ledgerDirectory}/head/head.json`
    const mount = world.mount()
    const { ledger } = await world.open(mount)
    await world.append(ledger, plainEntry(1))
    mount.kill()
    const old = world.disk.read(head)?.slice() ?? new Uint8Array()
    const [segment = ''] = segmentsOf(world)
    const oldSegment = world.disk.read(segment)?.slice() ?? new Uint8Array()
    const second = world.mount()
    const next = await world.open(second)
    await world.append(next.ledger, plainEntry(2))
    second.kill()
    // Somebody brings back the head, and the segment that goes with it, but leaves the newer one.
    world.disk.damage(head, () => old)
    const [newer = ''] = segmentsOf(world)
    const copy = copyOf(world)
    await restore(copy, segment, oldSegment)
    const error = await failureOf(copy.open(copy.mount()))
    expect(error.code).toBe('ERR_ROLLBACK_SUSPECTED')
    expect(error.message).toContain(newer.slice(wal.length + 1))
  })

  test('with an entry that breaks the chain of its writer is refused, in a frame that is right', async () => {
    const changes: readonly (readonly [from: string, to: string])[] = [
      ['"seq":3}', '"seq":4}'],
      ['"prev":"', '"prev":"0'],
      ['"epoch":1', '"epoch":2'],
      ['"log":"standard', '"log":"Standard'],
    ]
    const world = await killedWith((append) => append(10))
    const path = onlySegment(world)
    const { start = 0, end = 0 } = framesOf(world, path).at(-1) ?? {}
    for (const [from, to] of changes) {
      const copy = copyOf(world)
      copy.disk.damage(path, (bytes) => {
        const changed = Buffer.from(bytes)
        const at = changed.indexOf(from, start)
        expect(at).toBeGreaterThan(start)
        changed.write(to, at)
        changed.set(frameHashOf(changed.subarray(start, end - 32)), end - 32)
        return changed
      })
      const error = await failureOf(openOn(copy))
      expect([from, error.code]).toEqual([from, 'ERR_LEDGER_CORRUPT'])
    }
  })

  test('is not refused for copies that a recovery made of what only the page cache had', async () => {
    const world = createWorld(1)
    let isArmed = false
    const first = world.mount({
      decide: ({ name, path }) =>
        isArmed && name === 'write' && path.includes('segment') ? 'fail-cached' : 'ok',
    })
    const { ledger } = await world.open(first)
    await world.append(ledger, plainEntry(1))
    isArmed = true
    await failureOf(ledger.append(plainEntry(2)))
    first.kill()
    // The next one reads the failed frame, copies it, and dies before the head knows of the copy.
    const second = world.mount({
      decide: ({ name, path }) =>
        name === 'rename' && path.endsWith('head.json') ? 'crash-before' : 'ok',
    })
    void world.open(second)
    await second.died
    world.disk.reboot(() => true)
    expect(segmentsOf(world)).toHaveLength(2)
    const all = await expectSound(world)
    expect(all.map(({ kind }) => kind)).toEqual(['ledger.opened', 'control.event', 'ledger.opened'])
  })

  test('is refused as damaged when a segment in the middle is missing', async () => {
    const world = await killedWith(async (append) => {
      for (let number = 10; number < 16; number++) await append(number, 5000)
    })
    const segments = segmentsOf(world)
    expect(segments.length).toBeGreaterThan(3)
    world.disk.lose(segments[2] ?? '')
    const error = await failureOf(openOn(world))
    expect(error.code).toBe('ERR_LEDGER_CORRUPT')
    expect(error.message).toContain('but goes on at entry')
  })

  test('with frames that are right in themselves but in the wrong order is refused', async () => {
    const world = await killedWith(async (append) => {
      await append(10)
      await append(11)
    })
    const path = onlySegment(world)
    const [a, b] = framesOf(world, path).slice(-2)
    if (a === undefined || b === undefined) throw new Error('not two frames')
    expect(a.end - a.start).toBe(b.end - b.start)
    world.disk.damage(path, (bytes) => {
      const swapped = Buffer.from(bytes)
      swapped.set(bytes.subarray(b.start, b.end), a.start)
      swapped.set(bytes.subarray(a.start, a.end), b.start)
      return swapped
    })
    expect((await failureOf(openOn(world))).code).toBe('ERR_LEDGER_CORRUPT')
  })

  test('with a frame that was made anew, though right in itself, is refused', async () => {
    const world = await killedWith(async (append) => {
      await append(10)
      await append(11)
    })
    const path = onlySegment(world)
    const forged = framesOf(world, path).at(-2)
    if (forged === undefined) throw new Error('no frame')
    world.disk.damage(path, (bytes) => {
      const changed = Buffer.from(bytes)
      // Another time in its header: no entry is touched, and its own hash is right.
      changed[forged.start + 31] = (changed[forged.start + 31] ?? 0) ^ 1
      const covered = changed.subarray(forged.start, forged.end - 32)
      changed.set(frameHashOf(covered), forged.end - 32)
      return changed
    })
    expect((await failureOf(openOn(world))).code).toBe('ERR_LEDGER_CORRUPT')
  })
})

describe('damage to what is integrated', () => {
  async function grown(): Promise<World> {
    const world = createWorld(1)
    const { ledger } = await world.open(world.mount())
    const many = Array.from({ length: 259 }, (_, at) => world.append(ledger, plainEntry(at)))
    await Promise.all(many)
    await ledger.close()
    return world
  }

  test('any flipped byte of a right-edge tile or bundle is found at the next opening', async () => {
    const world = await grown()
    const edge = world.disk.files().filter((path) => path.includes('.p/'))
    expect(edge.map((path) => path.slice(path.indexOf('tile/')))).toEqual([
      'tile/0/001.p/4',
      'tile/1/000.p/1',
      'tile/entries/001.p/4',
    ])
    for (const path of edge) {
      const length = world.disk.read(path)?.length ?? 0
      for (let at = 0; at < length; at += 7) {
        const copy = copyOf(world)
        copy.disk.damage(path, (bytes) => flipped(bytes, at))
        expect((await failureOf(openOn(copy))).code).toBe('ERR_LEDGER_CORRUPT')
      }
      const copy = copyOf(world)
      copy.disk.lose(path)
      expect((await failureOf(openOn(copy))).code).toBe('ERR_LEDGER_CORRUPT')
    }
  })

  test('any flipped byte of the head is found', async () => {
    const world = await grown()
    const head = `${ledgerDirectory}/head/head.json`
    const length = world.disk.read(head)?.length ?? 0
    for (let at = 0; at < length; at += 3) {
      const copy = copyOf(world)
      copy.disk.damage(head, (bytes) => flipped(bytes, at))
      const { code } = await failureOf(openOn(copy))
      expect(['ERR_LEDGER_CORRUPT', 'ERR_ROLLBACK_SUSPECTED']).toContain(code)
    }
  })

  test('a published checkpoint that was changed is written again, and told', async () => {
    const world = await grown()
    const path = `${ledgerDirectory}/logs/standard/2026q4/checkpoint`
    world.disk.damage(path, (bytes) => flipped(bytes, 40))
    const { ledger, recovery } = await openOn(world)
    expect(recovery.republished).toEqual(['standard/2026q4'])
    await ledger.close()
    await verifyEverything(world)
  })

  test('a lost signing key is not replaced; one of another name is refused', async () => {
    const world = await grown()
    const path = `${ledgerDirectory}/key`
    const copy = copyOf(world)
    copy.disk.lose(path)
    const lost = await failureOf(openOn(copy))
    expect(lost.code).toBe('ERR_KEY_MALFORMED')
    expect(lost.message).toContain('Restore the file')
    const other = copyOf(world)
    const renamed = failureOf(other.open(other.mount(), { instance: 'gw-2' }))
    expect((await renamed).code).toBe('ERR_LEDGER_CORRUPT')
    const foreign = createWorld(77)
    const { ledger } = await foreign.open(foreign.mount())
    await ledger.close()
    const foreignKey = foreign.disk.read(path) ?? new Uint8Array()
    world.disk.damage(path, () => foreignKey)
    expect((await failureOf(openOn(world))).code).toBe('ERR_LEDGER_CORRUPT')
  })
})

/** Puts a file back that is not there any more. */
async function restore(world: World, path: string, bytes: Uint8Array): Promise<void> {
  const { fs } = world.disk.mount()
  const file = await fs.create(path)
  await file.write(bytes, 0)
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const changed = Buffer.from(bytes)
  changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
  return changed
}

function sectorsOf({ start, end }: { start: number; end: number }) {
  const sectors = []
  for (let at = start; at < end;) {
    const next = Math.min(end, at - (at % 512) + 512)
    sectors.push({ start: at, end: next })
    at = next
  }
  return sectors
}
