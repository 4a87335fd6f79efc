/**
 * What comes before the first entry of an epoch: directories, lock, key, head, recovery, and the
 * checkpoints that the last run had agreed on and not published.
 *
 * @module
 */
import { formatMicros } from '@affidavit/sdk/capture'
import { dirname, join } from 'node:path'
import { clearStaging, createDurableFiles, makeDirectories } from '../store/durable.ts'
import { openPosixHeadStore, type HeadStore } from '../store/head-store.ts'
import { guardFs, type FileLock, type GuardedFs } from '../store/ledger-fs.ts'
import { createBatchMemory } from './batch.ts'
import type { Core } from './core.ts'
import { lockedFailure, stoppedFailure } from './failure.ts'
import type { Head } from './head.ts'
import { instanceKeyOf, keyMissing, loadKey, storeKey } from './key.ts'
import type { Settings } from './options.ts'
import { peekEntry } from './peek.ts'
import { publishCheckpoints, sweepPartials } from './publish.ts'
import {
  loadHead,
  recover,
  unpublishedLogs,
  type Recovered,
  type RecoveryReport,
} from './recover.ts'
import { createEntryReader, type OpenStart } from './tail.ts'
import { openWalWriter } from './wal.ts'

/** An interaction that the last run began and did not end. */
export interface OpenInteraction {
  readonly eventId: string
  /** The fields of its start. */
  readonly fields: Readonly<Record<string, unknown>>
  readonly retentionClass: string
}

export interface RecoveredCore {
  readonly core: Core
  readonly recovery: RecoveryReport
  readonly interrupted: AsyncIterable<OpenInteraction>
}

// Beside the write of a frame: the thread pool has four threads, and others need it too.
const backgroundOperationsMax = 2
const seedBytes = 32

/** Recovers a ledger up to its new epoch. When it rejects, nothing is held or running any more. */
export async function recoverCore(settings: Settings): Promise<RecoveredCore> {
  const { fs, paths } = settings
  const { root, wal, logs, staging } = paths
  for (const path of [settings.directory, root, wal, logs, staging]) {
    await makeDirectories(fs, path)
  }
  const lock = await takeLock(settings)
  const guard = guardFs(fs, { operationsMax: backgroundOperationsMax, stopped: stoppedFailure })
  try {
    return await recoverLocked(settings, lock, guard)
  } catch (error) {
    await guard.stop()
    await lock.release()
    throw error
  }
}

async function takeLock({ fs, paths, clock }: Settings): Promise<FileLock> {
  const holder = { pid: process.pid, started: formatMicros(clock.nowMicros()) }
  const lock = await fs.lock(paths.lock, `${JSON.stringify(holder)}\n`)
  if (typeof lock === 'string') throw lockedFailure(lock)
  return lock
}

async function recoverLocked(
  settings: Settings,
  lock: FileLock,
  guard: GuardedFs,
): Promise<RecoveredCore> {
  const { fs, paths, deployment, instance, segmentBytes } = settings
  const headStore = await openPosixHeadStore(guard.fs, paths.head)
  const found = await loadHead({ fs, paths, headStore, deployment, instance })
  const key = instanceKeyOf(await obtainSeed(settings, found !== undefined))
  await clearStaging(fs, paths.staging)
  const recovered = await recover(
    {
      fs,
      paths,
      headStore,
      deployment,
      instance,
      key,
      openWal: (epoch, start) =>
        openWalWriter({
          directory: paths.wal,
          staging: paths.staging,
          epoch,
          segmentBytes,
          start,
          fs,
          backgroundFs: guard.fs,
          onPrepareFailed: () => settings.log('write-ahead segment not prepared', { epoch }),
        }),
    },
    found,
  )
  const core = coreOf({ settings, lock, guard, headStore, recovered })
  try {
    const republished = await republish(core)
    const abandoned = [...recovered.openStarts].filter(([eventId]) => !settings.isAlive(eventId))
    const recovery = { ...recovered.report, interrupted: abandoned.length, republished }
    return { core, recovery, interrupted: readInterrupted(settings, recovered.head, abandoned) }
  } catch (error) {
    await recovered.wal.close()
    throw error
  }
}

async function obtainSeed(settings: Settings, hasLedger: boolean): Promise<Uint8Array> {
  const { fs, paths, deployment, instance, random } = settings
  const name = `${deployment}/${instance}`
  const known = await loadKey(fs, { path: paths.key, name })
  if (known !== undefined) return known
  if (hasLedger) throw keyMissing(paths.key)
  const seed = random(seedBytes)
  await storeKey(fs, { path: paths.key, staged: join(paths.staging, 'key'), name, seed })
  return seed
}

function coreOf({
  settings,
  lock,
  guard,
  headStore,
  recovered,
}: {
  settings: Settings
  lock: FileLock
  guard: GuardedFs
  headStore: HeadStore
  recovered: Recovered
}): Core {
  const { head, headBytes, logs, wal, backlog, integratedOpen, openStarts } = recovered
  const { logs: root, staging } = settings.paths
  const { id, prev } = backlog.at(-1)?.writer ?? head.writer
  return {
    settings,
    guard,
    lock,
    headStore,
    files: createDurableFiles({ fs: guard.fs, root, staging }),
    memory: createBatchMemory(),
    logs,
    wal,
    listeners: new Set(),
    state: 'open',
    failure: undefined,
    endTicks: () => undefined,
    closing: undefined,
    ended: undefined,
    writerId: id,
    epoch: head.epoch,
    seq: 0,
    prev,
    writtenSeq: 0,
    batch: undefined,
    ready: [],
    writing: undefined,
    sequencing: undefined,
    queuedBytes: 0,
    nowMicros: 0,
    lastEntryMs: settings.clock.monotonicMs(),
    openIds: new Set(openStarts.keys()),
    head,
    headBytes,
    backlog: [...backlog],
    backlogEntries: backlog.reduce((sum, batch) => sum + batch.entries.length, 0),
    backlogBytes: backlog.reduce((sum, batch) => sum + batch.bytes, 0),
    integratedOpen,
    pass: undefined,
  }
}

/** Publishes what the head says was agreed and nobody was shown, and removes superfluous partials. */
async function republish({ settings, logs, files, guard }: Core): Promise<string[]> {
  const names = await unpublishedLogs(guard.fs, logs)
  const late = [...logs.active.values()].filter(({ path }) => names.includes(path))
  await publishCheckpoints(late, files, settings.clock.monotonicMs())
  await files.settle()
  for (const log of logs.active.values()) {
    const { size } = log.edge
    log.publishedSize = size
    if (size === 0) continue
    // A checkpoint that is there may be there in the page cache only, if the last run failed to sync
    // its name and the machine did not go down.
    await guard.fs.syncDirectory(log.directory)
    await sweepPartials(guard.fs, log.directory, size)
  }
  return names
}

async function* readInterrupted(
  { fs, paths }: Settings,
  head: Head,
  abandoned: readonly (readonly [eventId: string, OpenStart])[],
): AsyncGenerator<OpenInteraction> {
  const readers = new Map<string, (leafIndex: number) => Promise<Uint8Array>>()
  for (const [eventId, { log: path, leafIndex, entry }] of abandoned) {
    let read = readers.get(path)
    if (read === undefined) {
      // The size in the head, whose files are there: a pass may be growing the log meanwhile. It may
      // remove the partial bundle of this size, but only in favour of the full one.
      const size = (head.logs.get(path) ?? head.sealed.get(path))?.size ?? 0
      read = createEntryReader(fs, { directory: join(paths.logs, path), size })
      readers.set(path, read)
    }
    const { fields } = peekEntry(entry ?? (await read(leafIndex)))
    yield { eventId, fields, retentionClass: dirname(path) }
  }
}
