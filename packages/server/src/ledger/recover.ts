/**
 * Recovery: from what is on disk to a ledger that can go on, or to the reason why it must not.
 *
 * Invariants:
 * - Until everything has been read and verified nothing on disk is changed.
 * - Frames that are not integrated are copied into segments of the new epoch and durable there before
 *   they count: a read may have shown bytes that only the page cache has.
 * - The new epoch is in the head store before anything is written in its name.
 * - What a crash during recovery leaves is what the next recovery starts from: the same head, the same
 *   frames, and segments of an epoch that the head does not know, which are removed.
 *
 * @module
 */
import {
  createVerifier,
  equalBytes,
  openCheckpoint,
  readTile,
  signCheckpoint,
  writerIdOf,
} from '@affidavit/format'
import { join } from 'node:path'
import type { HeadStore } from '../store/head-store.ts'
import type { LedgerFs } from '../store/ledger-fs.ts'
import type { WrittenBatch } from './batch.ts'
import { loadEdge } from './edge.ts'
import { corruptFailure, rollbackFailure } from './failure.ts'
import { firstFrameHash } from './frame.ts'
import { formatHead, parseHead, type Head, type HeadLog } from './head.ts'
import type { InstanceKey } from './key.ts'
import type { LedgerPaths } from './layout.ts'
import { createLogTable, type Log, type LogTable } from './logs.ts'
import { createTailReader, type OpenStart } from './tail.ts'
import { listSegments, scanWal, type WalEnd } from './wal-scan.ts'
import { segmentName, type WalPosition, type WalWriter } from './wal.ts'

/** What recovery found, for the operator and for the ledger's first entry. */
export interface RecoveryReport {
  readonly epoch: number
  /** Whether the ledger was made by this opening. */
  readonly created: boolean
  /** Entries that were durable and not integrated yet. */
  readonly recoveredEntries: number
  /** Starts without an end, closed by this opening. */
  readonly interrupted: number
  /** Bytes of an unfinished, never acknowledged frame that were cut off. */
  readonly tornBytes: number
  /** Logs whose published checkpoint was not the agreed one, and was written again. */
  readonly republished: readonly string[]
}

/** What a ledger goes on with. */
export interface Recovered {
  readonly head: Head
  readonly headBytes: Uint8Array
  readonly logs: LogTable
  readonly wal: WalWriter
  /** Frames that are durable and not integrated. */
  readonly backlog: readonly WrittenBatch[]
  /** Starts without an end as of the head, and as of the end of the write-ahead log. */
  readonly integratedOpen: Map<string, OpenStart>
  readonly openStarts: ReadonlyMap<string, OpenStart>
  readonly report: Omit<RecoveryReport, 'republished' | 'interrupted'>
}

export interface RecoverOptions {
  readonly fs: LedgerFs
  readonly paths: LedgerPaths
  readonly headStore: HeadStore
  readonly deployment: string
  readonly instance: string
  readonly key: InstanceKey
  /** Opens a writer for segments of `epoch`. */
  openWal(epoch: number, start: { index: number; frameHash: Uint8Array }): Promise<WalWriter>
}

/** Reads the head, or decides that there is no ledger here yet. Changes nothing. */
export async function loadHead(options: {
  fs: LedgerFs
  paths: LedgerPaths
  headStore: HeadStore
  deployment: string
  instance: string
}): Promise<Head | undefined> {
  const { fs, paths, headStore, deployment, instance } = options
  const bytes = await headStore.load()
  if (bytes === undefined) {
    await refuseHeadless(fs, paths)
    return undefined
  }
  const head = parseHead(bytes)
  if (head.deployment !== deployment || head.instance !== instance) {
    throw corruptFailure(`its head is that of ${head.deployment}/${head.instance}`)
  }
  return head
}

/** Verifies everything that the next entry will build on, then starts a new epoch. */
export async function recover(
  options: RecoverOptions,
  found: Head | undefined,
): Promise<Recovered> {
  const { fs, paths, headStore } = options
  const old = found ?? emptyHead(options)
  if (old.writer.id !== writerIdOf(options.key.publicKey)) {
    throw corruptFailure('its head was written with another signing key')
  }
  const logs = await loadLogs(options, old)
  const tail = await createTailReader({ fs, paths, head: old, logs })
  const end: WalEnd =
    found === undefined
      ? { position: old.wal, tornBytes: 0 }
      : await scanWal(fs, paths.wal, old.wal, (frame) => tail.add(frame))

  // From here on the disk is changed. A crash before the swap below leaves segments of an epoch that
  // no head knows; the next recovery comes to the same frames in the old ones and removes these.
  const epoch = old.epoch + 1
  await removeSegments(fs, paths.wal, (segment) => segment.epoch > old.epoch)
  const { index, frameHash } = old.wal
  const wal = await options.openWal(epoch, { index, frameHash })
  try {
    const start = wal.position
    const backlog = await tail.copyTo(wal)

    const head: Head = { ...old, epoch, wal: start }
    const headBytes = formatHead(head)
    // A crash after this leaves the new epoch without an entry, which is an epoch like any other.
    await headStore.swap(found === undefined ? undefined : formatHead(found), headBytes)
    await removeSegments(fs, paths.wal, (segment) => segment.epoch < epoch)

    const { integratedOpen, openStarts } = tail
    const report = {
      epoch,
      created: found === undefined,
      recoveredEntries: backlog.reduce((count, batch) => count + batch.entries.length, 0),
      tornBytes: end.tornBytes,
    }
    return { head, headBytes, logs, wal, backlog, integratedOpen, openStarts, report }
  } catch (error) {
    await wal.close()
    throw error
  }
}

/** Names of the logs whose published checkpoint is not the agreed one. Changes nothing. */
export async function unpublishedLogs(fs: LedgerFs, logs: LogTable): Promise<string[]> {
  const names: string[] = []
  for (const log of logs.active.values()) {
    if (log.agreed === undefined) continue
    if ((await readPublished(fs, log)) !== log.agreed.note) names.push(log.path)
  }
  return names
}

/** The head of a ledger in which nothing has happened. */
function emptyHead({ deployment, instance, key }: RecoverOptions): Head {
  const wal: WalPosition = {
    segment: segmentName({ firstIndex: 0, epoch: 0 }),
    offset: 0,
    index: 0,
    frameHash: firstFrameHash,
  }
  const writer = { id: writerIdOf(key.publicKey), epoch: 0, seq: 0, prev: '0'.repeat(64) }
  const nothing = new Map<string, never>()
  const maps = { logs: nothing, sealed: nothing, open: nothing }
  return { deployment, instance, epoch: 0, wal, writer, ...maps }
}

/** Without a head there may be a key and empty segments (a first start that died), nothing more. */
async function refuseHeadless(fs: LedgerFs, paths: LedgerPaths): Promise<void> {
  const found = (await fs.list(paths.logs)) ?? []
  if (found.length > 0) throw rollbackFailure('its head is missing, but it has logs')
  for (const { name } of await listSegments(fs, paths.wal)) {
    const bytes = (await fs.readFile(join(paths.wal, name))) ?? new Uint8Array(0)
    // Frames follow a head in every order of events: the first byte tells.
    if (bytes[0] !== undefined && bytes[0] !== 0) {
      throw rollbackFailure(`its head is missing, but ${name} has entries`)
    }
  }
}

async function loadLogs(options: RecoverOptions, head: Head): Promise<LogTable> {
  const { fs, paths, key, deployment, instance } = options
  const table = createLogTable({
    name: `${deployment}/${instance}`,
    directory: paths.logs,
    epoch: head.epoch + 1,
    key,
    sealed: head.sealed,
  })
  for (const [path, agreed] of head.logs) {
    const directory = join(paths.logs, path)
    const edge = await loadEdge({ ...agreed, where: `log ${path}` }, (tile) =>
      readTile((file) => fs.readFile(join(directory, file)), tile),
    )
    const log = table.open(path, { edge, agreed })
    checkAgreed(log, agreed)
    await refuseNewerCheckpoint(fs, log, agreed)
  }
  return table
}

/** The note in the head must be what this key signs for what the head says: signing is deterministic. */
function checkAgreed({ origin, signer }: Log, { size, root, note }: HeadLog): void {
  if (signCheckpoint({ origin, treeSize: size, rootHash: root }, signer) === note) return
  throw corruptFailure(`the checkpoint of ${origin} in its head is not one that its key signed`)
}

/** A published checkpoint beyond the head means that the head is an old one. */
async function refuseNewerCheckpoint(fs: LedgerFs, log: Log, agreed: HeadLog): Promise<void> {
  const published = await readPublished(fs, log)
  if (published === undefined || published === agreed.note) return
  let opened
  try {
    opened = openCheckpoint(published, [createVerifier(log.signer.vkey)])
  } catch {
    // Not a checkpoint of ours: it is reported as republished, and written again from the head.
    return
  }
  const { size, root } = agreed
  const isFork = opened.treeSize === size && !equalBytes(opened.rootHash, root)
  if (opened.treeSize <= size && !isFork) return
  throw rollbackFailure(
    `the published checkpoint of ${log.origin} has ${opened.treeSize} entries, its head has ` +
      (isFork ? 'another tree of that size' : `only ${size}`),
  )
}

async function readPublished(fs: LedgerFs, { directory }: Log): Promise<string | undefined> {
  const bytes = await fs.readFile(join(directory, 'checkpoint'))
  // As bytes it may be anything; as text it is compared with what it should be.
  return bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()
}

async function removeSegments(
  fs: LedgerFs,
  directory: string,
  isObsolete: (segment: { epoch: number }) => boolean,
): Promise<void> {
  for (const segment of await listSegments(fs, directory)) {
    if (isObsolete(segment)) await fs.unlink(join(directory, segment.name))
  }
}
