/**
 * A file system that is stricter than a real one: what was not synced is gone after a crash, names
 * and contents apart; any operation can fail with its effect lost, kept or half done.
 *
 * @module
 */
import { dirname } from 'node:path'
import { utf8Encode } from '@affidavit/format'
import type { Clock } from '../capture/clock.ts'
import type { ProcessIdentity } from './epoch.ts'
import type { SpoolFile, SpoolFs } from './files.ts'
import type { Spool } from '../spool.ts'

interface Inode {
  cached: Uint8Array
  durable: Uint8Array
  modifiedMs: number
  readonly id: string
}

export type FaultEffect = 'lost' | 'kept' | 'half'

/** `error`: the operation fails. `death`: the process dies in it, and every later one fails too. */
export interface Fault {
  readonly at: number
  readonly effect: FaultEffect
  readonly kind: 'error' | 'death'
  readonly errno?: string
}

export interface FakeFs extends SpoolFs {
  fault: Fault | undefined
  /** Operations done since the last reset. */
  operations: number
  /** Forgets what was not synced (`lost`), or keeps everything that was written (`kept`). */
  crash(survivors: 'lost' | 'kept'): void
  /** Bytes of a file as a reader sees them, to be changed in place. */
  bytesOf(path: string): Uint8Array
  names(): string[]
  nowMs: number
}

export class ProcessDeath extends Error {}

export function createFakeFs(): FakeFs {
  let names = new Map<string, Inode>()
  let durableNames = new Map<string, Inode>()
  let inodes = 0
  let isDead = false

  async function step(perform: (effect: 'whole' | 'half') => void): Promise<void> {
    await Promise.resolve()
    if (isDead) throw new ProcessDeath('the process is dead')
    fake.operations++
    const { fault } = fake
    if (fault?.at !== fake.operations) return perform('whole')
    if (fault.effect === 'kept') perform('whole')
    if (fault.effect === 'half') perform('half')
    if (fault.kind === 'death') {
      isDead = true
      throw new ProcessDeath('killed here')
    }
    throw Object.assign(new Error('injected'), { code: fault.errno ?? 'EIO' })
  }

  function find(path: string): Inode {
    const inode = names.get(path)
    if (inode === undefined) throw Object.assign(new Error(path), { code: 'ENOENT' })
    return inode
  }

  function fileOf(inode: Inode): SpoolFile {
    return {
      write: (bytes, position) =>
        step((effect) => {
          const part = effect === 'half' ? bytes.subarray(0, bytes.length >> 1) : bytes
          const whole = new Uint8Array(Math.max(inode.cached.length, position + part.length))
          whole.set(inode.cached)
          whole.set(part, position)
          inode.cached = whole
          inode.modifiedMs = fake.nowMs
        }),
      sync: () =>
        step((effect) => {
          const half = (inode.durable.length + inode.cached.length) >> 1
          inode.durable = effect === 'half' ? inode.cached.slice(0, half) : inode.cached.slice()
        }),
      truncate: (bytes) =>
        step(() => {
          inode.cached = inode.cached.slice(0, bytes)
        }),
      close: async () => undefined,
    }
  }

  const fake: FakeFs = {
    fault: undefined,
    operations: 0,
    nowMs: Date.UTC(2026, 10, 23),
    async open(path, how) {
      let opened: Inode | undefined
      await step(() => {
        if (how === 'update') {
          opened = find(path)
          return
        }
        if (names.has(path)) throw Object.assign(new Error(path), { code: 'EEXIST' })
        opened = {
          cached: new Uint8Array(0),
          durable: new Uint8Array(0),
          modifiedMs: fake.nowMs,
          id: String(++inodes),
        }
        names.set(path, opened)
      })
      return fileOf(opened ?? find(path))
    },
    async read(path, range) {
      await step(() => void find(path))
      const { cached } = find(path)
      return range === undefined ? cached.slice() : cached.slice(range.from, range.to)
    },
    async list(directory) {
      const inside = [...names.keys()].filter((path) => dirname(path) === directory)
      return inside.map((path) => path.slice(directory.length + 1))
    },
    makeDirectory: async () => undefined,
    rename: (from, to) =>
      step(() => {
        names.set(to, find(from))
        names.delete(from)
      }),
    link: (from, to) =>
      step(() => {
        if (names.has(to)) throw Object.assign(new Error(to), { code: 'EEXIST' })
        names.set(to, find(from))
      }),
    unlink: (path) =>
      step(() => {
        find(path)
        names.delete(path)
      }),
    syncDirectory: (directory) =>
      step(() => {
        for (const path of durableNames.keys()) {
          if (dirname(path) === directory) durableNames.delete(path)
        }
        for (const [path, inode] of names) {
          if (dirname(path) === directory) durableNames.set(path, inode)
        }
      }),
    async touch(path) {
      find(path).modifiedMs = fake.nowMs
    },
    async stat(path) {
      const { modifiedMs = 0, id = `inode of ${path}` } = names.get(path) ?? {}
      return { modifiedMs, inode: id }
    },
    crash(survivors) {
      isDead = false
      fake.fault = undefined
      fake.operations = 0
      if (survivors === 'kept') {
        durableNames = new Map(names)
        for (const inode of names.values()) inode.durable = inode.cached.slice()
        return
      }
      names = new Map(durableNames)
      for (const inode of names.values()) inode.cached = inode.durable.slice()
    },
    bytesOf: (path) => find(path).cached,
    names: () => [...names.keys()].sort(),
  }
  return fake
}

/** A clock that stands still until it is moved. */
export function createFakeClock(): Clock & { advanceMs(by: number): void } {
  let nowMs = Date.UTC(2026, 10, 23)
  return {
    nowMicros: () => nowMs * 1000,
    monotonicMs: () => nowMs,
    advanceMs(by) {
      nowMs += by
    },
  }
}

/** Bytes that look random and are the same in every run. */
export function createSeeded(seed: number): (bytes: number) => Uint8Array {
  let state = seed >>> 0 || 1
  return (count) =>
    Uint8Array.from({ length: count }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return state >>> 24
    })
}

/** A process that can be told to be dead. */
export function createFakeProcess(
  pid: number,
  alive: Set<number> = new Set(),
): ProcessIdentity & { alive: Set<number> } {
  alive.add(pid)
  return {
    pid,
    host: 'host-a',
    boot: 'boot-1',
    pidNamespace: 'pid:[1]',
    startedAt: `start of ${pid}`,
    isAlive: (other) => alive.has(other),
    held: new Set(),
    alive,
  }
}

let drafts = 0

/** Payload of a start, with an event id of its own; `extra` bytes make it longer. */
export function startPayload(eventId: string, extra = 0): Uint8Array {
  return payloadOf({ kind: 'interaction.started', event_id: eventId, x: 'x'.repeat(extra) })
}

export function endPayload(eventId: string): Uint8Array {
  return payloadOf({ kind: 'interaction.completed', event_id: eventId, status: 'success' })
}

function payloadOf(fields: object): Uint8Array {
  const common = {
    v: 1,
    timestamp: `2026-11-23T00:00:00.${String(drafts++ % 1_000_000).padStart(6, '0')}Z`,
    application_id: 'app',
    retention_class: 'standard',
  }
  return utf8Encode(JSON.stringify({ ...common, ...fields }))
}

/** What a gateway that counts each (writer, epoch, seq) once has received. */
export interface FakeGateway {
  readonly records: Map<string, string>
  /** Ships everything that `spool` has. */
  drain(spool: Spool): Promise<void>
  /** Kinds received for an event id. */
  kindsOf(eventId: string): string[]
}

export function createFakeGateway(): FakeGateway {
  const records = new Map<string, string>()
  return {
    records,
    async drain(spool) {
      for (;;) {
        const batch = await spool.next({ records: 3, bytes: 100_000 })
        if (batch.length === 0) return
        for (const { writerId, epoch, seq, payload } of batch) {
          const key = `${writerId}/${epoch}/${seq}`
          const text = new TextDecoder().decode(payload)
          const known = records.get(key)
          if (known !== undefined && known !== text)
            throw new Error(`two records are called ${key}`)
          records.set(key, text)
        }
        await spool.settle()
      }
    },
    kindsOf: (eventId) =>
      [...records.values()]
        .map((text) => JSON.parse(text) as { kind: string; event_id: string })
        .filter((body) => body.event_id === eventId)
        .map((body) => body.kind),
  }
}
