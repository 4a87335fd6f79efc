/**
 * The reading end of the spool: durable records in order, and the removal of segments that the
 * gateway has acknowledged.
 *
 * @module
 */
import { join } from 'node:path'
import type { Clock } from '../capture/clock.ts'
import { enqueue, seal, type SpoolState } from './commit.ts'
import { removeFile } from './files.ts'
import { chainStart, scanFrames, type Frame } from './frame.ts'
import { describeDamage, settleDamage, type DamagedRegion, type Segment } from './recover.ts'

/** A record as it is shipped. */
export type SpooledRecord = Pick<Frame, 'writerId' | 'epoch' | 'seq' | 'payload'>

/** Most records and payload bytes of one batch; a batch has at least one record. */
export interface BatchLimits {
  readonly records: number
  readonly bytes: number
}

export interface Outgoing {
  next(limits: BatchLimits): Promise<readonly SpooledRecord[]>
  settle(): Promise<void>
  settleRegion(region: DamagedRegion): Promise<void>
}

interface Position {
  readonly segment: Segment
  offset: number
}

/** Most bytes read at once. */
const readBytesMax = 1024 * 1024
/** A segment in which everything is shipped is closed early from here on, and so removed. */
const idleSegmentBytes = 64 * 1024

/** Calls of one reader must not overlap; `append` may run meanwhile. */
export function createOutgoing(
  state: SpoolState,
  options: { clock: Clock; onDamage(region: DamagedRegion): void },
): Outgoing {
  let position: Position | undefined
  let offeredEnd: number | undefined

  async function next(limits: BatchLimits): Promise<readonly SpooledRecord[]> {
    for (;;) {
      const [first] = state.segments
      if (first === undefined) return []
      if (position?.segment !== first) position = { segment: first, offset: 0 }
      if (position.offset >= first.durableBytes) {
        if (!(await removeSettled(state, position))) return []
        continue
      }
      const { frames, skipTo } = await readAhead(position)
      const batch = takeBatch(frames, limits)
      offeredEnd = batch.at(-1)?.end ?? skipTo
      const records = batch.filter((frame) => frame.kind === 'record')
      if (records.length > 0) return records
      await settle()
    }
  }

  async function settle(): Promise<void> {
    if (position === undefined || offeredEnd === undefined) return
    position.offset = offeredEnd
    offeredEnd = undefined
    const { segment, offset } = position
    const isIdle = segment === state.active?.segment && state.committing === undefined
    if (isIdle && offset >= segment.durableBytes && offset >= idleSegmentBytes) await seal(state)
    if (offset >= segment.durableBytes) await removeSettled(state, position)
  }

  /** Frames from `from` on, their positions counted in the segment. */
  async function readAhead(from: Position): Promise<{ frames: Frame[]; skipTo: number }> {
    const { segment, offset } = from
    const to = Math.min(segment.durableBytes, offset + readBytesMax)
    const path = join(state.folder.path, segment.name)
    const bytes = await state.folder.fs.read(path, { from: offset, to })
    const scan = scanFrames(bytes, offset === 0 ? chainStart : undefined)
    const shifted = scan.frames.map((frame) => shift(frame, offset))
    const damages = scan.damages.map((damage) => shift(damage, offset))
    // Where a slice ends inside a frame, the next slice begins with it. But nothing durable is torn,
    // and the file cannot have become shorter.
    const isLast = to === segment.durableBytes
    const lostAt = offset + bytes.length - scan.tornBytes
    if (isLast && lostAt < to) damages.push({ start: lostAt, end: to })
    for (const damage of damages) {
      await settleRegion(describeDamage(segment.name, damage, shifted))
    }
    return { frames: shifted, skipTo: Math.max(offset, ...damages.map((damage) => damage.end)) }
  }

  async function settleRegion(region: DamagedRegion): Promise<void> {
    const isNew = await settleDamage(state.folder, region, {
      nowMicros: options.clock.nowMicros(),
      append: (gap) => enqueue(state, 'record', Buffer.from(JSON.stringify(gap))),
    })
    if (isNew) options.onDamage(region)
  }

  return { next, settle, settleRegion }
}

/** Removes the oldest segment if nothing more will be written to it; false while it may grow. */
async function removeSettled(state: SpoolState, { segment }: Position): Promise<boolean> {
  if (segment === state.active?.segment || segment !== state.segments[0]) return false
  const carried = [...state.opens.values()].filter((start) => start.segment === segment)
  // A crash between the carrying and the removal leaves a start twice; recovery counts it once.
  await Promise.all(carried.map((start) => enqueue(state, 'carried', start.payload)))
  await removeFile(state.folder, segment.name)
  state.segments.shift()
  state.segmentBytes -= segment.durableBytes
  return true
}

/** The longest leading run of one writer and epoch within the limits, at least one frame. */
function takeBatch(frames: readonly Frame[], limits: BatchLimits): Frame[] {
  const batch: Frame[] = []
  let bytes = 0
  for (const frame of frames) {
    const [first] = batch
    if (first !== undefined) {
      const isSameWriter = frame.writerId === first.writerId && frame.epoch === first.epoch
      const fits = batch.length < limits.records && bytes + frame.payload.length <= limits.bytes
      if (!isSameWriter || !fits) break
    }
    batch.push(frame)
    bytes += frame.payload.length
  }
  return batch
}

function shift<T extends { readonly start: number; readonly end: number }>(
  region: T,
  by: number,
): T {
  return { ...region, start: region.start + by, end: region.end + by }
}
