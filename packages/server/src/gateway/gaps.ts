/**
 * What passed unrecorded while `fail_open` was in force: counted here, one gap per application, and
 * told of in the ledger by a `capture.gap` entry when the store is open again.
 *
 * Invariant: a count is dropped only when its entry is sequenced; what is counted while an entry is
 * being written makes the next one.
 *
 * @module
 */
import {
  canonicalize,
  newEventId,
  type AuditErrorCode,
  type CaptureGapBody,
} from '@affidavit/format'
import { formatMicros, type Clock } from '@affidavit/sdk/capture'
import { errorFields, type Log } from '../base/log.ts'
import type { EntryAppend } from './audit-store.ts'

/** One request that is about to pass unrecorded. */
export interface UnrecordedRequest {
  readonly applicationId: string
  readonly retentionClass: string
  readonly reason: AuditErrorCode
}

interface Gap extends UnrecordedRequest {
  readonly startedMicros: number
  endedMicros: number
  requests: number
}

type Append = (entry: EntryAppend) => Promise<unknown>

/** The gaps that are not written down yet. */
export interface Gaps {
  readonly count: number
  add(request: UnrecordedRequest): void
  /** Writes one entry per gap; those that could not be written stay. Never rejects. */
  write(append: Append): Promise<void>
  /** Writes shortly after, so that a burst makes one entry. */
  writeSoon(append: Append): void
}

/** Gaps at one time; applications beyond are counted together. */
export const gapsMax = 1024
const otherApplications = 'other'
const burstMs = 1000
const eventIdRandomBytes = 10

/** Makes an empty set of gaps. */
export function createGaps(options: {
  readonly clock: Clock
  readonly log: Log
  random(bytes: number): Uint8Array
  pause(ms: number, signal: AbortSignal): Promise<void>
}): Gaps {
  const { clock, log, random } = options
  const gaps = new Map<string, Gap>()
  let writing = Promise.resolve()
  let soon = false

  async function writeOne(key: string, gap: Gap, append: Append): Promise<void> {
    // Taken out first: requests that come during the write belong to the next gap.
    gaps.delete(key)
    const eventId = newEventId(Math.floor(clock.nowMicros() / 1000), random(eventIdRandomBytes))
    const body = canonicalize(entryOf(gap, eventId))
    try {
      await append({ retentionClass: gap.retentionClass, body })
      log.warn({ requests: gap.requests, code: gap.reason }, 'unrecorded requests told of')
    } catch (error) {
      merge(gaps, key, gap)
      log.warn({ requests: gap.requests, ...errorFields(error) }, 'gap entry not written yet')
    }
  }

  async function writeAll(append: Append): Promise<void> {
    // A copy: a gap that could not be written is put back, and is for the next time.
    for (const [key, gap] of Array.from(gaps)) await writeOne(key, gap, append)
  }

  function write(append: Append): Promise<void> {
    writing = writing.then(() => writeAll(append))
    return writing
  }

  return {
    get count() {
      let count = 0
      for (const gap of gaps.values()) count += gap.requests
      return count
    },
    add(request) {
      const now = clock.nowMicros()
      const named = gaps.size < gapsMax ? request : { ...request, applicationId: otherApplications }
      const key = `${named.applicationId}\n${named.retentionClass}`
      merge(gaps, key, { ...named, startedMicros: now, endedMicros: now, requests: 1 })
    },
    write,
    writeSoon(append) {
      if (soon) return
      soon = true
      void options.pause(burstMs, new AbortController().signal).then(() => {
        soon = false
        return write(append)
      })
    },
  }
}

function merge(gaps: Map<string, Gap>, key: string, gap: Gap): void {
  const known = gaps.get(key)
  if (known === undefined) {
    gaps.set(key, gap)
    return
  }
  gaps.set(key, {
    ...known,
    startedMicros: Math.min(known.startedMicros, gap.startedMicros),
    endedMicros: Math.max(known.endedMicros, gap.endedMicros),
    requests: known.requests + gap.requests,
  })
}

function entryOf(gap: Gap, eventId: string): CaptureGapBody {
  return {
    v: 1,
    kind: 'capture.gap',
    event_id: eventId,
    timestamp: formatMicros(gap.startedMicros),
    ended_at: formatMicros(gap.endedMicros),
    application_id: gap.applicationId,
    retention_class: gap.retentionClass,
    requests: gap.requests,
    reason: gap.reason,
  }
}
