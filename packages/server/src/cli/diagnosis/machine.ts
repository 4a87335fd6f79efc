/**
 * What the machine gives the ledger: room, a disk that keeps what it confirms, descriptors, a clock and
 * a Node that works. The judgements are pure; reading the machine is apart from them.
 *
 * @module
 */
import { constants } from 'node:fs'
import { open, readFile, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '@affidavit/sdk/capture'
import { readableBytes } from '../terminal.ts'
import { type Diagnosis, fine, problem, quantile, warning } from './diagnosis.ts'

const gibibyte = 1024 ** 3
const freeBytesProblem = gibibyte
const freeBytesWarning = 10 * gibibyte
const freeInodesShareMin = 0.05
const openFilesMin = 4096
const nodeMin = [20, 19] as const

// A synced 4 KiB write that is faster than this did not reach a device of any kind.
const syncMsSuspicious = 0.015
const syncMsP50Warning = 5
const syncMsP99Warning = 50
/** Synced writes of one measurement. */
export const syncSamples = 200
const sampleBytes = 4096

// Any machine that runs this has been set up after the first release.
const earliestMicros = Date.UTC(2026, 0, 1) * 1000
/** A newest record that is this much later than now means that a clock was wrong. */
const futureMsMax = 5 * 60 * 1000

/** Room on the file system that holds the data. */
export function judgeSpace(facts: {
  freeBytes: number
  freeInodes: number
  inodes: number
}): Diagnosis[] {
  const { freeBytes, freeInodes, inodes } = facts
  const found = `${readableBytes(freeBytes)} free where the data is`
  const advice = 'Free space or move the data directory: a full disk stops all traffic.'
  const space =
    freeBytes < freeBytesProblem
      ? problem('disk-space', found, advice)
      : freeBytes < freeBytesWarning
        ? warning('disk-space', found, advice)
        : fine('disk-space', found)
  // Some file systems make inodes as they need them and report none.
  if (inodes === 0) return [space]
  const share = freeInodes / inodes
  const inodesFound = `${Math.round(share * 100)} % of the inodes are free`
  const inodesAdvice =
    'Remove small files, or use a file system with more inodes: a log has many files.'
  return [
    space,
    share < freeInodesShareMin
      ? problem('inodes', inodesFound, inodesAdvice)
      : fine('inodes', inodesFound),
  ]
}

/** How long a durable write takes; `timesMs` has one value a write. */
export function judgeSync(timesMs: readonly number[]): Diagnosis {
  const [p50, p99] = [quantile(timesMs, 0.5), quantile(timesMs, 0.99)]
  const found = `a durable 4 KiB write takes ${p50.toFixed(2)} ms (p50), ${p99.toFixed(2)} ms (p99)`
  if (p50 < syncMsSuspicious) {
    const advice =
      'That is faster than any device: this may be memory, or a layer that confirms too early. ' +
      'Do not keep records here.'
    return warning('fsync', found, advice)
  }
  if (p50 > syncMsP50Warning || p99 > syncMsP99Warning) {
    const advice = 'Every request waits for this write. Use a faster disk, or one with fewer users.'
    return warning('fsync', found, advice)
  }
  return fine('fsync', found)
}

/** Whether the clock can be right. `newestMs`: time of the newest record, if there is one. */
export function judgeClock(clock: Clock, newestMs: number | undefined): Diagnosis {
  const nowMicros = clock.nowMicros()
  const now = new Date(nowMicros / 1000).toISOString()
  const advice = 'Set the clock and keep it right with NTP: records carry this time.'
  if (nowMicros < earliestMicros) return problem('clock', `the clock says ${now}`, advice)
  if (newestMs !== undefined && newestMs - nowMicros / 1000 > futureMsMax) {
    const newest = new Date(newestMs).toISOString()
    return problem('clock', `the clock says ${now}, but the newest record is of ${newest}`, advice)
  }
  return fine('clock', `the clock says ${now}`)
}

/** The version of Node, as `process.version` gives it. */
export function judgeNode(version: string): Diagnosis {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  const isNew = major > nodeMin[0] || (major === nodeMin[0] && minor >= nodeMin[1])
  const advice = `Install Node ${nodeMin.join('.')} or newer.`
  return isNew ? fine('node', `Node ${version}`) : problem('node', `Node ${version}`, advice)
}

/** The limit of open files, from the text of `/proc/self/limits`; undefined where there is none. */
export function judgeOpenFiles(limits: string | undefined): Diagnosis | undefined {
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits ?? '')?.[1]
  if (soft === undefined) return undefined
  const found = `${soft} files may be open`
  const advice = `Raise it (ulimit -n ${openFilesMin * 4}): each caller takes two descriptors.`
  return soft !== 'unlimited' && Number(soft) < openFilesMin
    ? warning('open-files', found, advice)
    : fine('open-files', found)
}

/** Looks at the machine. `directory` is on the file system of the data, and exists. */
export async function examineMachine(options: {
  directory: string
  clock: Clock
  newestMs: number | undefined
}): Promise<Diagnosis[]> {
  const { directory, clock, newestMs } = options
  const { bavail, bsize, ffree, files } = await statfs(directory)
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => undefined)
  const openFiles = judgeOpenFiles(limits)
  return [
    judgeNode(process.version),
    judgeClock(clock, newestMs),
    ...judgeSpace({ freeBytes: bavail * bsize, freeInodes: ffree, inodes: files }),
    await examineSync(directory, clock),
    ...(openFiles === undefined ? [] : [openFiles]),
  ]
}

async function examineSync(directory: string, clock: Clock): Promise<Diagnosis> {
  try {
    return judgeSync(await measureSync({ directory, clock, samples: syncSamples }))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'an error'
    const advice = 'Make it writable for the user that runs the gateway.'
    return problem('fsync', `no file can be written in the data directory (${code})`, advice)
  }
}

/** Times of `samples` durable 4 KiB writes in a file of its own, as the ledger makes them. */
export async function measureSync(options: {
  directory: string
  clock: Clock
  samples: number
}): Promise<number[]> {
  const { directory, clock, samples } = options
  const path = join(directory, `.doctor-${process.pid}`)
  const { O_CREAT, O_TRUNC, O_WRONLY, O_DSYNC } = constants
  const file = await open(path, O_CREAT | O_TRUNC | O_WRONLY | (O_DSYNC ?? 0), 0o600)
  try {
    await file.write(Buffer.alloc(sampleBytes * samples), 0)
    const block = Buffer.alloc(sampleBytes, 1)
    const timesMs: number[] = []
    for (let sample = 0; sample < samples; sample += 1) {
      const startedMs = clock.monotonicMs()
      await file.write(block, 0, sampleBytes, sample * sampleBytes)
      if (O_DSYNC === undefined) await file.datasync()
      timesMs.push(clock.monotonicMs() - startedMs)
    }
    return timesMs
  } finally {
    await file.close()
    await rm(path, { force: true })
  }
}
