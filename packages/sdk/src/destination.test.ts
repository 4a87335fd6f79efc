import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEntry, stampEntry, utf8Encode } from '@affidavit/format'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  gatewayDestination,
  ledgerDestination,
  type DestinationEvent,
  type GatewayDestinationOptions,
} from './destination.ts'
import { auditFetch } from './fetch.ts'
import { nodeFs, type SpoolFs } from './spool/files.ts'
import type { CompletedDraft, StartedDraft } from './spool/payload.ts'
import {
  createMemoryDestination,
  startFakeClaude,
  startFakeIngest,
  type FakeClaude,
  type FakeIngest,
} from './testing.ts'

let directory: string
let gateway: FakeIngest
let claude: FakeClaude

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'affidavit-spool-'))
  gateway = await startFakeIngest()
  claude = await startFakeClaude()
})
afterEach(async () => {
  await gateway.close()
  await claude.close()
  await rm(directory, { recursive: true })
})

function destinationOf(options: Partial<GatewayDestinationOptions> = {}) {
  const events: DestinationEvent[] = []
  const destination = gatewayDestination({
    url: gateway.url,
    key: gateway.key,
    spoolDirectory: directory,
    report: (event) => void events.push(event),
    ...options,
  })
  return { destination, events }
}

/** Two drafts as the doors make them. */
async function draftsOf(): Promise<{ started: StartedDraft; completed: CompletedDraft }> {
  const memory = createMemoryDestination()
  const send = auditFetch({ destination: memory, identity: () => ({ user: 'alice@example.com' }) })
  const body = JSON.stringify({ model: 'm', max_tokens: 1, messages: [] })
  await (await send(`${claude.url}/v1/messages`, { method: 'POST', body })).text()
  const [started] = memory.starts
  const [completed] = await memory.ended(1)
  if (started === undefined || completed === undefined) throw new Error('no drafts')
  return { started, completed }
}

describe('gatewayDestination', () => {
  test('what is recorded reaches the gateway, and the directory is left clean', async () => {
    const { destination } = destinationOf()
    const { started, completed } = await draftsOf()
    await destination.started(started)
    await destination.completed(completed)
    await destination.close()
    expect([...gateway.records.values()]).toEqual([
      { ...started, subject_claim: 'alice@example.com' },
      { ...completed, subject_claim: 'alice@example.com' },
    ])
    expect((await readdir(directory)).filter((name) => name.endsWith('.spool'))).toEqual([])
  })

  test('records that the gateway did not take are shipped by the next start', async () => {
    gateway.status = 503
    const { started, completed } = await draftsOf()
    const first = destinationOf({ closeMsMax: 1 }).destination
    await first.started(started)
    await first.completed(completed)
    await first.close()
    expect(gateway.records.size).toBe(0)
    gateway.status = 200
    await destinationOf().destination.close()
    expect(gateway.kindsOf(started.event_id)).toEqual([
      'interaction.started',
      'interaction.completed',
    ])
  })

  test('a second destination on the same directory is refused, also in one process', async () => {
    const { started } = await draftsOf()
    const first = destinationOf().destination
    await first.started(started)
    const second = destinationOf().destination
    await expect(second.started(started)).rejects.toMatchObject({ code: 'ERR_SPOOL_LOCKED' })
    await first.close()
    await second.close()
  })

  test('after a disk error the spool is opened again, and running exchanges end as they should', async () => {
    const disk = failingDisk()
    const clock = { nowMicros: () => Date.now() * 1000, monotonicMs: () => ++ticks * 10_000 }
    let ticks = 0
    const { destination, events } = destinationOf({ dependencies: { fs: disk.fs, clock } })
    const [a, b] = [await draftsOf(), await draftsOf()]
    await destination.started(a.started)
    disk.isFailing = true
    await expect(destination.started(b.started)).rejects.toMatchObject({
      code: 'ERR_SPOOL_WRITE_FAILED',
      message: expect.stringContaining('disk is full'),
    })
    // The disk is still full: the spool cannot be opened either.
    await expect(destination.started(b.started)).rejects.toMatchObject({
      code: 'ERR_SPOOL_WRITE_FAILED',
    })
    disk.isFailing = false
    await destination.completed(a.completed)
    await destination.close()
    expect(gateway.kindsOf(a.started.event_id)).toEqual([
      'interaction.started',
      'interaction.completed',
    ])
    expect(gateway.kindsOf(b.started.event_id)).toEqual([])
    expect(events.map((event) => event.kind)).toContain('spool_stopped')
  })

  test('an outcome survives the very write that fails', async () => {
    const disk = failingDisk()
    const { destination } = destinationOf({ dependencies: { fs: disk.fs } })
    const { started, completed } = await draftsOf()
    await destination.started(started)
    disk.failNext = true
    await destination.completed(completed)
    await destination.close()
    expect(gateway.kindsOf(started.event_id)).toEqual([
      'interaction.started',
      'interaction.completed',
    ])
  })

  test('close waits for exchanges that run, and takes no new ones', async () => {
    const { destination } = destinationOf()
    const { started, completed } = await draftsOf()
    await destination.started(started)
    const closed = destination.close()
    await expect(destination.started(started)).rejects.toMatchObject({
      code: 'ERR_AUDIT_UNAVAILABLE',
    })
    await destination.completed(completed)
    await closed
    expect(gateway.kindsOf(started.event_id)).toEqual([
      'interaction.started',
      'interaction.completed',
    ])
  })

  test('after close everything is refused', async () => {
    const { destination } = destinationOf()
    await destination.close()
    await destination.close()
    const { started } = await draftsOf()
    await expect(destination.started(started)).rejects.toMatchObject({
      code: 'ERR_AUDIT_UNAVAILABLE',
    })
  })

  test.each([
    { url: 'gateway:8787' },
    { url: '' },
    { url: 'ftp://gateway' },
    { key: '' },
    { key: 'two words' },
  ])('options that cannot be right are refused: %j', (options) => {
    expect(() => destinationOf(options)).toThrow(
      expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }),
    )
  })

  test('without a listener the operator is warned by the process', async () => {
    const warnings: string[] = []
    const listener = ({ message }: Error) => void warnings.push(message)
    process.on('warning', listener)
    const disk = failingDisk()
    const { report: _, ...silent } = { report: undefined, dependencies: { fs: disk.fs } }
    const destination = gatewayDestination({
      url: gateway.url,
      key: gateway.key,
      spoolDirectory: directory,
      ...silent,
    })
    const { started } = await draftsOf()
    await destination.started(started)
    disk.isFailing = true
    await destination.started(started).catch(() => undefined)
    disk.isFailing = false
    await destination.close()
    await new Promise(setImmediate)
    process.off('warning', listener)
    expect(warnings.join()).toContain('disk is full')
  })
})

/** The real file system, with a disk that can be full. */
function failingDisk(): { fs: SpoolFs; isFailing: boolean; failNext: boolean } {
  const disk = {
    isFailing: false,
    failNext: false,
    fs: {
      ...nodeFs,
      async open(path: string, how: 'create' | 'update') {
        const file = await nodeFs.open(path, how)
        return {
          ...file,
          async write(bytes: Uint8Array, position: number) {
            if (disk.isFailing || disk.failNext) {
              disk.failNext = false
              throw Object.assign(new Error('full'), { code: 'ENOSPC' })
            }
            await file.write(bytes, position)
          },
        }
      },
    },
  }
  return disk
}

describe('ledgerDestination', () => {
  test('drafts become canonical bodies with a handle in place of the user', async () => {
    const appended: { body: string; opens?: string; closes?: string; retentionClass: string }[] = []
    const destination = ledgerDestination(
      { append: async (entry) => void appended.push(entry) },
      { subjectHandle: (user) => `sub_of_${user.length}` },
    )
    const { started, completed } = await draftsOf()
    await destination.started(started)
    await destination.completed(completed)
    await destination.close()
    expect(appended).toMatchObject([
      { opens: started.event_id, retentionClass: 'standard' },
      { closes: started.event_id, retentionClass: 'standard' },
    ])
    for (const { body } of appended) {
      expect(body).not.toContain('alice')
      const writer = {
        epoch: 1,
        id: '0'.repeat(16),
        log: 'standard/2026q4',
        prev: '0'.repeat(64),
        seq: 0,
      }
      expect(parseEntry(utf8Encode(stampEntry(body, writer)))).toMatchObject({
        user_id: 'sub_of_17',
      })
    }
  })

  test('a user without a way to name it is refused', async () => {
    const destination = ledgerDestination({ append: () => Promise.resolve() })
    const { started } = await draftsOf()
    await expect(destination.started(started)).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' })
  })
})
