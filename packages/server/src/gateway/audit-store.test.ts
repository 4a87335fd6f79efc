import { AuditError } from '@affidavit/format'
import { systemClock } from '@affidavit/sdk/capture'
import { describe, expect, test } from 'vitest'
import { silentLog } from '../base/log.ts'
import { openAuditStore, type AuditStore, type OpenedStore } from './audit-store.ts'
import { gapsMax } from './gaps.ts'
import { FakeLog, fakeRing } from './testing.ts'

interface Bench {
  readonly store: AuditStore
  /** What the next openings give. */
  readonly next: (FakeLog | AuditError)[]
  readonly opened: FakeLog[]
  readonly closed: FakeLog[]
  readonly pauses: number[]
  /** Pauses wait until told. */
  readonly gate: { open(): void; shut(): void }
}

async function openBench(first: FakeLog = new FakeLog()): Promise<Bench> {
  const next: (FakeLog | AuditError)[] = [first]
  const opened: FakeLog[] = []
  const closed: FakeLog[] = []
  const pauses: number[] = []
  let isShut = false
  let waiting: (() => void)[] = []
  const store = await openAuditStore({
    open() {
      const log = next.shift() ?? new FakeLog()
      if (log instanceof AuditError) return Promise.reject(log)
      opened.push(log)
      const result: OpenedStore = {
        log,
        ring: fakeRing(),
        close() {
          closed.push(log)
          return Promise.resolve()
        },
      }
      return Promise.resolve(result)
    },
    clock: systemClock,
    log: silentLog,
    random: (bytes) => new Uint8Array(bytes),
    async pause(ms, signal) {
      pauses.push(ms)
      if (!isShut) return new Promise((resolve) => setImmediate(resolve))
      await new Promise<void>((resolve) => {
        waiting.push(resolve)
        signal.addEventListener('abort', () => resolve())
      })
    },
    reopenMsMax: 500,
  })
  const gate = {
    shut: () => {
      isShut = true
    },
    open: () => {
      isShut = false
      for (const resolve of waiting) resolve()
      waiting = []
    },
  }
  return { store, next, opened, closed, pauses, gate }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await new Promise((resolve) => setImmediate(resolve))
}

const entry = (id: string) => ({
  retentionClass: 'standard',
  body: `{"event_id":"${id}","kind":"control.event","retention_class":"standard"}`,
})

describe('while the store is closed', () => {
  test('appends and names are refused with the reason, and nothing waits', async () => {
    const bench = await openBench()
    bench.gate.shut()
    bench.opened[0]?.stop('ERR_LEDGER_DISK_FULL')
    expect(bench.store.closedBy).toBe('ERR_LEDGER_DISK_FULL')
    await expect(bench.store.append(entry('1'))).rejects.toMatchObject({
      code: 'ERR_LEDGER_DISK_FULL',
    })
    await expect(bench.store.subject('jane', 0)).rejects.toMatchObject({
      code: 'ERR_LEDGER_DISK_FULL',
    })
    await expect(bench.store.identifier('session', 'x', 0)).rejects.toMatchObject({
      code: 'ERR_LEDGER_DISK_FULL',
    })
    await bench.store.close()
  })

  test('it is closed before it is opened again, with pauses that double up to the limit', async () => {
    const bench = await openBench()
    const locked = new AuditError('ERR_LEDGER_LOCKED', 'held')
    bench.next.push(locked, locked, locked, locked)
    bench.opened[0]?.stop('ERR_LEDGER_WRITE_FAILED')
    await settle()
    expect(bench.pauses).toEqual([100, 200, 400, 500, 500])
    expect(bench.closed).toEqual([bench.opened[0]])
    expect(bench.store.closedBy).toBeUndefined()
    expect(bench.store.reopened).toBe(1)
    await bench.store.append(entry('2'))
    expect(bench.opened[1]?.entries).toHaveLength(1)
    await bench.store.close()
  })

  test('an opening that takes no entries is closed and tried again', async () => {
    const bench = await openBench()
    const readOnly = new FakeLog()
    readOnly.state = 'read-only'
    bench.next.push(readOnly)
    bench.opened[0]?.stop('ERR_LEDGER_WRITE_FAILED')
    await settle()
    expect(bench.closed).toContain(readOnly)
    expect(bench.store.closedBy).toBeUndefined()
    await bench.store.close()
  })

  test('a store that is read-only from the start refuses', async () => {
    const readOnly = new FakeLog()
    readOnly.state = 'read-only'
    const bench = await openBench(readOnly)
    expect(bench.store.closedBy).toBe('ERR_LEDGER_STOPPED')
    await bench.store.close()
  })

  test('closing ends the attempts', async () => {
    const bench = await openBench()
    bench.gate.shut()
    bench.opened[0]?.stop('ERR_LEDGER_WRITE_FAILED')
    await settle()
    await bench.store.close()
    expect(bench.opened).toHaveLength(1)
  })

  test('a failure that comes twice is one', async () => {
    const bench = await openBench()
    bench.opened[0]?.stop('ERR_LEDGER_WRITE_FAILED')
    bench.opened[0]?.stop('ERR_LEDGER_WRITE_FAILED')
    await settle()
    expect(bench.opened).toHaveLength(2)
    await bench.store.close()
  })
})

test('a store that cannot be opened at the start is the caller’s to see', async () => {
  const failing = openAuditStore({
    open: () => Promise.reject(new AuditError('ERR_LEDGER_LOCKED', 'held by 17')),
    clock: systemClock,
    log: silentLog,
    random: (bytes) => new Uint8Array(bytes),
    pause: () => Promise.resolve(),
    reopenMsMax: 500,
  })
  await expect(failing).rejects.toMatchObject({ code: 'ERR_LEDGER_LOCKED' })
})

describe('gaps', () => {
  const gap = (applicationId: string) => ({
    applicationId,
    retentionClass: 'standard',
    reason: 'ERR_LEDGER_STOPPED' as const,
  })

  test('are counted while the store is closed and written when it is open, one entry each', async () => {
    const bench = await openBench()
    bench.gate.shut()
    bench.opened[0]?.stop('ERR_LEDGER_WRITE_FAILED')
    for (const name of ['a', 'b', 'a', 'a']) bench.store.countUnrecorded(gap(name))
    expect(bench.store.unrecorded).toBe(4)
    bench.gate.open()
    await settle()
    expect(bench.opened[1]?.ofKind('capture.gap')).toMatchObject([
      { application_id: 'a', requests: 3, reason: 'ERR_LEDGER_STOPPED' },
      { application_id: 'b', requests: 1 },
    ])
    expect(bench.store.unrecorded).toBe(0)
    await bench.store.close()
  })

  test('that cannot be written are kept for the next time', async () => {
    const bench = await openBench()
    const failing = new FakeLog()
    failing.failingKinds.set('capture.gap', 'ERR_LEDGER_WRITE_FAILED')
    bench.next.push(failing)
    bench.gate.shut()
    bench.opened[0]?.stop('ERR_LEDGER_WRITE_FAILED')
    bench.store.countUnrecorded(gap('a'))
    bench.gate.open()
    await settle()
    expect(bench.store.unrecorded).toBe(1)
    failing.stop('ERR_LEDGER_WRITE_FAILED')
    await settle()
    expect(bench.opened[2]?.ofKind('capture.gap')).toMatchObject([{ requests: 1 }])
    await bench.store.close()
  })

  test('of more applications than are told apart are counted together', async () => {
    const bench = await openBench()
    bench.gate.shut()
    bench.opened[0]?.stop('ERR_LEDGER_WRITE_FAILED')
    for (let at = 0; at < gapsMax + 10; at++) bench.store.countUnrecorded(gap(`app-${at}`))
    expect(bench.store.unrecorded).toBe(gapsMax + 10)
    bench.gate.open()
    while (bench.store.unrecorded > 0) await settle()
    const entries = bench.opened[1]?.ofKind('capture.gap') ?? []
    expect(entries).toHaveLength(gapsMax + 1)
    expect(entries.find((it) => it.application_id === 'other')).toMatchObject({ requests: 10 })
    await bench.store.close()
  })

  test('are written by an orderly close', async () => {
    const bench = await openBench()
    bench.gate.shut()
    bench.store.countUnrecorded(gap('a'))
    await bench.store.close()
    expect(bench.opened[0]?.ofKind('capture.gap')).toHaveLength(1)
    expect(bench.closed).toHaveLength(1)
  })
})
