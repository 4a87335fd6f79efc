/**
 * What a spool directory holds when a writer starts: segments of earlier starts, in order, with the
 * regions of them that cannot be read, and the starts that never ended.
 *
 * A torn tail (a write that never returned) is cut off. A bad region among good frames is left where
 * it is: `settleDamage` writes its loss down and keeps a copy before anything is removed.
 *
 * @module
 */
import { join } from 'node:path'
import { AuditError } from '@affidavit/format'
import { createFile, removeFile, temporarySuffix, type SpoolFolder } from './files.ts'
import { chainStart, scanFrames, type Damage, type Frame } from './frame.ts'
import { lostRecordsGap, readPayload, type GapDraft, type PayloadFacts } from './payload.ts'

/** One file of the spool. */
export interface Segment {
  readonly name: string
  readonly epoch: number
  /** Bytes that are on disk for certain. */
  durableBytes: number
}

/** A start without an end, and the segment whose removal would forget it. */
export interface OpenStart {
  readonly payload: Uint8Array
  segment: Segment
}

/** A region of a segment that held acknowledged records and does not any more. */
export interface DamagedRegion extends Damage {
  readonly segment: string
  /** Records lost at least, by the sequence numbers on both sides. */
  readonly recordsMin: number
  readonly before: PayloadFacts | undefined
  readonly after: PayloadFacts | undefined
}

export interface Recovered {
  readonly segments: Segment[]
  readonly opens: Map<string, OpenStart>
  readonly damages: readonly DamagedRegion[]
  readonly tornBytes: number
}

/** Copies of damaged segments that are kept; more is a broken disk, and a person must look. */
export const quarantinedFilesMax = 64
export const quarantineName = 'quarantine'

const segmentPattern = /^(\d{10})-\d{10}\.spool$/

/** File name of the `ordinal`-th segment of an epoch. Names sort in writing order. */
export function segmentName(epoch: number, ordinal: number): string {
  return `${String(epoch).padStart(10, '0')}-${String(ordinal).padStart(10, '0')}.spool`
}

/** Names of the segments in a folder, oldest first. */
export async function listSegments(folder: SpoolFolder): Promise<string[]> {
  const names = await folder.fs.list(folder.path)
  return names.filter((name) => segmentPattern.test(name)).sort()
}

/** The epoch in a segment's name. */
export function epochOf(name: string): number {
  return Number(segmentPattern.exec(name)?.[1] ?? 0)
}

/** Reads every segment, oldest first. Only the claimer of the directory's epoch may call this. */
export async function recoverSegments(folder: SpoolFolder): Promise<Recovered> {
  await removeTemporaries(folder)
  const segments: Segment[] = []
  const opens = new Map<string, OpenStart>()
  const damages: DamagedRegion[] = []
  let tornBytes = 0
  for (const name of await listSegments(folder)) {
    const bytes = await folder.fs.read(join(folder.path, name))
    const scan = scanFrames(bytes, chainStart)
    const durableBytes = bytes.length - scan.tornBytes
    if (scan.tornBytes > 0) await cutTail(folder, name, durableBytes)
    tornBytes += scan.tornBytes
    if (durableBytes === 0) {
      await removeFile(folder, name)
      continue
    }
    const segment = { name, epoch: epochOf(name), durableBytes }
    segments.push(segment)
    for (const frame of scan.frames) noteFrame(opens, segment, frame)
    for (const damage of scan.damages) damages.push(describeDamage(name, damage, scan.frames))
  }
  return { segments, opens, damages, tornBytes }
}

/** Follows one frame into the set of open starts. */
function noteFrame(opens: Map<string, OpenStart>, segment: Segment, frame: Frame): void {
  const { role, eventId } = readPayload(frame.payload)
  if (role === 'opens') opens.set(eventId, { payload: frame.payload, segment })
  if (role === 'closes') opens.delete(eventId)
}

/** Says what a damaged region held, as far as its neighbours tell. */
export function describeDamage(
  segment: string,
  damage: Damage,
  frames: readonly Frame[],
): DamagedRegion {
  const records = frames.filter((frame) => frame.kind === 'record')
  const before = records.findLast((frame) => frame.end <= damage.start)
  const after = records.find((frame) => frame.start >= damage.end)
  const isOneEpoch = before !== undefined && after !== undefined && before.epoch === after.epoch
  return {
    ...damage,
    segment,
    recordsMin: Math.max(1, isOneEpoch ? after.seq - before.seq - 1 : 1),
    before: before && readPayload(before.payload),
    after: after && readPayload(after.payload),
  }
}

/**
 * Writes a loss down, once: the gap goes through `append` and is durable before a copy of the whole
 * segment is kept in `quarantine/`. The copy's presence says that the gap is written. A crash between
 * the two repeats the gap under the same event id.
 *
 * @returns false when this region was settled before.
 */
export async function settleDamage(
  folder: SpoolFolder,
  region: DamagedRegion,
  options: { nowMicros: number; append(gap: GapDraft): Promise<void> },
): Promise<boolean> {
  const quarantine = { ...folder, path: join(folder.path, quarantineName) }
  await folder.fs.makeDirectory(quarantine.path)
  const kept = await folder.fs.list(quarantine.path)
  const name = `${region.segment}.${region.start}`
  if (kept.includes(name)) return false
  if (kept.length >= quarantinedFilesMax) {
    throw new AuditError(
      'ERR_SPOOL_CORRUPT',
      `the spool's quarantine folder holds ${kept.length} damaged segments: its disk loses data. Check the disk, keep a copy of the folder, empty it, and start again; readable records are kept`,
    )
  }
  const bytes = await folder.fs.read(join(folder.path, region.segment))
  const lost = { ...region, region: `${name} ${region.before?.eventId ?? ''}` }
  await options.append(lostRecordsGap(lost, options.nowMicros))
  await createFile(quarantine, name, bytes)
  return true
}

/** Keeps a record that the gateway refuses for good, so that a person can look at it. */
export async function keepRefused(
  folder: SpoolFolder,
  name: string,
  payload: Uint8Array,
): Promise<void> {
  const quarantine = { ...folder, path: join(folder.path, quarantineName) }
  await folder.fs.makeDirectory(quarantine.path)
  await createFile(quarantine, name, payload)
}

/** Shortens a segment to what is certain; durable when it resolves. */
export async function cutTail(
  folder: SpoolFolder,
  name: string,
  durableBytes: number,
): Promise<void> {
  const file = await folder.fs.open(join(folder.path, name), 'update')
  try {
    await file.truncate(durableBytes)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function removeTemporaries(folder: SpoolFolder): Promise<void> {
  const names = await folder.fs.list(folder.path)
  for (const name of names.filter((each) => each.endsWith(temporarySuffix))) {
    await removeFile(folder, name)
  }
}
