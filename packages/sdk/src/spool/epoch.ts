/**
 * The epoch file: lock of a spool directory and number of this start, in one.
 *
 * `<epoch, 10 digits>.epoch` says who started the writer for the epoch-th time. The highest number
 * is the holder. Claiming the next number is one atomic `link`, so of two processes that both find
 * the holder dead exactly one gets it, and no two processes ever write under one epoch, even where
 * the judgement that the holder is dead was wrong. A clean end marks the file released.
 *
 * @module
 */
import { hostname } from 'node:os'
import { readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { AuditError, utf8Decode, utf8Encode } from '@affidavit/format'
import type { Clock } from '../capture/clock.ts'
import { createFile, errnoOf, removeFile, replaceFile, type SpoolFolder } from './files.ts'

/** What tells this process from every other, and whether another still runs. */
export interface ProcessIdentity {
  readonly pid: number
  readonly host: string
  /** Changes when the machine starts; '' if the system does not tell. */
  readonly boot: string
  /** Two processes of one boot and one pid namespace can judge each other's pid. */
  readonly pidNamespace: string
  /** Distinguishes two processes that had the same pid one after the other. */
  readonly startedAt: string
  isAlive(pid: number, startedAt: string): boolean
  /** Claims that this very process holds now: its own pid alone does not say so. */
  readonly held: Set<string>
}

/** A claimed epoch; held until `release`. */
export interface EpochClaim {
  readonly writerId: string
  readonly epoch: number
  /**
   * Says that the holder lives. Call it every `heartbeatIntervalMs`.
   *
   * @throws AuditError `ERR_SPOOL_LOCKED` when another process took the directory over.
   */
  beat(): Promise<void>
  /** Gives the directory free within this process, without touching the disk. */
  abandon(): void
  /** Gives the directory free for everybody. */
  release(): Promise<void>
}

/** How often the holder must show that it lives. */
export const heartbeatIntervalMs = 10_000
/** After this silence a holder that cannot be asked (another container or host) counts as dead. */
export const heartbeatSilenceMsMax = 60_000
// Each round lost means that another process claimed meanwhile; more than a few is a fault.
const claimRoundsMax = 8

interface EpochFile {
  readonly writer: string
  readonly pid: number
  readonly host: string
  readonly boot: string
  readonly pid_namespace: string
  readonly started_at: string
  readonly inode: string
  readonly released: boolean
}

const heldSymbol = Symbol.for('affidavit.spool.held')
const namePattern = /^(\d{10})\.epoch$/

/**
 * Claims the next epoch of a spool directory.
 *
 * `epochMin` is one more than the highest epoch seen in a segment's name.
 *
 * @throws AuditError `ERR_SPOOL_LOCKED` while another process holds it; `ERR_SPOOL_CORRUPT` when the
 *   newest epoch file cannot be read.
 */
export async function claimEpoch(
  folder: SpoolFolder,
  options: {
    process: ProcessIdentity
    clock: Clock
    random(bytes: number): Uint8Array
    epochMin: number
  },
): Promise<EpochClaim> {
  const { inode } = await folder.fs.stat(folder.path)
  for (let round = 0; round < claimRoundsMax; round++) {
    const epochs = await listEpochs(folder)
    const newest = epochs.at(-1)
    const holder = newest === undefined ? undefined : await readEpoch(folder, newest)
    if (newest !== undefined && holder !== undefined) {
      await refuseIfAlive(folder, newest, holder, options)
    }
    // A copied directory (an image, a snapshot) must not go on under the original's writer id: the
    // gateway would take the copy's records for repetitions.
    const isSame = holder?.inode === inode && holder.host === options.process.host
    const writer = isSame ? holder.writer : Buffer.from(options.random(8)).toString('hex')
    const epoch = Math.max((newest ?? 0) + 1, options.epochMin)
    const file: EpochFile = {
      writer,
      pid: options.process.pid,
      host: options.process.host,
      boot: options.process.boot,
      pid_namespace: options.process.pidNamespace,
      started_at: options.process.startedAt,
      inode,
      released: false,
    }
    if (!(await createFile(folder, nameOf(epoch), encode(file)))) continue
    // Another process may have claimed a higher number while the one before ours was being removed.
    if ((await listEpochs(folder)).at(-1) !== epoch) {
      await removeFile(folder, nameOf(epoch))
      continue
    }
    for (const older of epochs) await removeFile(folder, nameOf(older))
    return claim(folder, epoch, file, options.process.held)
  }
  throw new AuditError(
    'ERR_SPOOL_LOCKED',
    'several processes keep claiming this spool directory; give each process a directory of its own',
  )
}

/** This process, by pid, start time and pid namespace where the system tells them. */
export function thisProcess(): ProcessIdentity {
  return {
    pid: process.pid,
    host: hostname(),
    boot: readText('/proc/sys/kernel/random/boot_id'),
    pidNamespace: readPidNamespace(),
    startedAt: processStart(process.pid),
    isAlive(pid, startedAt) {
      try {
        process.kill(pid, 0)
      } catch (error) {
        if (errnoOf(error) === 'ESRCH') return false
      }
      return processStart(pid) === startedAt
    },
    held: heldHere(),
  }
}

/** One set for the process, also when two copies of this module were loaded. */
function heldHere(): Set<string> {
  const known: unknown = Reflect.get(globalThis, heldSymbol)
  if (known instanceof Set) return known
  const held = new Set<string>()
  Reflect.set(globalThis, heldSymbol, held)
  return held
}

async function refuseIfAlive(
  folder: SpoolFolder,
  epoch: number,
  holder: EpochFile,
  options: { process: ProcessIdentity; clock: Clock },
): Promise<void> {
  if (holder.released) return
  const { host, boot, pidNamespace } = options.process
  const isRebooted = holder.host === host && holder.boot !== boot
  if (isRebooted) return
  if (holder.host === host && holder.pid_namespace === pidNamespace) {
    if (!isHolding(holder, epoch, options.process)) return
    throw new AuditError(
      'ERR_SPOOL_LOCKED',
      `process ${holder.pid} already uses this spool directory; nothing was lost. Give each process a directory of its own, or end that process`,
    )
  }
  const { modifiedMs } = await folder.fs.stat(join(folder.path, nameOf(epoch)))
  const silenceMs = options.clock.nowMicros() / 1000 - modifiedMs
  if (silenceMs > heartbeatSilenceMsMax) return
  throw new AuditError(
    'ERR_SPOOL_LOCKED',
    `a process in another container or on another host used this spool directory ${Math.max(0, Math.round(silenceMs / 1000))} s ago; it counts as gone after ${heartbeatSilenceMsMax / 1000} s of silence. Nothing was lost`,
  )
}

function isHolding(holder: EpochFile, epoch: number, self: ProcessIdentity): boolean {
  if (holder.pid === self.pid && holder.started_at === self.startedAt) {
    return self.held.has(heldKey(holder.inode, epoch))
  }
  return self.isAlive(holder.pid, holder.started_at)
}

function heldKey(inode: string, epoch: number): string {
  return `${inode}/${epoch}`
}

function claim(folder: SpoolFolder, epoch: number, file: EpochFile, held: Set<string>): EpochClaim {
  const key = heldKey(file.inode, epoch)
  held.add(key)
  return {
    writerId: file.writer,
    epoch,
    async beat() {
      try {
        await folder.fs.touch(join(folder.path, nameOf(epoch)))
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error
        throw new AuditError(
          'ERR_SPOOL_LOCKED',
          'another process took this spool directory over after this one had been silent; what was acknowledged is kept and will be shipped',
          { cause: error },
        )
      }
    },
    abandon: () => void held.delete(key),
    async release() {
      held.delete(key)
      await replaceFile(folder, nameOf(epoch), encode({ ...file, released: true }))
    },
  }
}

async function listEpochs(folder: SpoolFolder): Promise<number[]> {
  const names = await folder.fs.list(folder.path)
  return names
    .map((name) => namePattern.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((left, right) => left - right)
}

async function readEpoch(folder: SpoolFolder, epoch: number): Promise<EpochFile | undefined> {
  let text: string
  try {
    text = utf8Decode(await folder.fs.read(join(folder.path, nameOf(epoch))))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw unreadable(epoch, error)
  }
  try {
    const value: unknown = JSON.parse(text)
    if (isEpochFile(value)) return value
  } catch (cause) {
    throw unreadable(epoch, cause)
  }
  throw unreadable(epoch, undefined)
}

function isEpochFile(value: unknown): value is EpochFile {
  if (typeof value !== 'object' || value === null) return false
  const file = value as Record<string, unknown>
  const texts = [file.host, file.boot, file.pid_namespace, file.started_at, file.inode]
  return (
    typeof file.writer === 'string' &&
    /^[0-9a-f]{16}$/.test(file.writer) &&
    Number.isSafeInteger(file.pid) &&
    texts.every((text) => typeof text === 'string') &&
    typeof file.released === 'boolean'
  )
}

function unreadable(epoch: number, cause: unknown): AuditError {
  return new AuditError(
    'ERR_SPOOL_CORRUPT',
    `the file ${nameOf(epoch)} of the spool directory cannot be read, so it is unknown whether another process uses it. If none does, delete that file and start again; records in the directory are kept`,
    { cause },
  )
}

function encode(file: EpochFile): Uint8Array {
  return utf8Encode(`${JSON.stringify(file)}\n`)
}

function nameOf(epoch: number): string {
  return `${String(epoch).padStart(10, '0')}.epoch`
}

function readPidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return ''
  }
}

/** Start time of a process in clock ticks since boot (proc(5), stat field 22); '' if not told. */
function processStart(pid: number): string {
  // The second field is the program's name in brackets and may hold spaces and brackets itself.
  return readText(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ')[19] ?? ''
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}
