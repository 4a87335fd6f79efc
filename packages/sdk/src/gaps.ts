/**
 * Requests that passed unrecorded under `fail_open`: counted here, and written down as `capture.gap`
 * when the destination takes records again.
 *
 * Invariant: a count is dropped only when its record is durable. It does not survive the process;
 * `report` is told at once for that reason.
 *
 * @module
 */
import { isAuditError, newEventId } from '@affidavit/format'
import { formatMicros, type Clock } from './capture/clock.ts'
import type { AuditDestination } from './destination.ts'
import type { GapDraft } from './spool/payload.ts'
import type { Timers } from './timers.ts'

/** One request of which no record, or no outcome, could be made. */
export interface UnrecordedRequest {
  readonly applicationId: string
  readonly retentionClass: string
  readonly error: unknown
}

export interface GapKeeper {
  count(request: UnrecordedRequest): void
  /** Tries to write down what is counted. Never rejects. */
  flush(): Promise<void>
}

interface Gap {
  readonly applicationId: string
  readonly retentionClass: string
  readonly reason: string
  readonly startedMicros: number
  endedMicros: number
  requests: number
}

/** Applications and reasons counted apart; more are counted together. */
const gapsMax = 64
const retryMs = 5_000
const eventIdRandomBytes = 10

/** Makes an empty count. */
export function createGapKeeper(options: {
  destination: AuditDestination
  clock: Clock
  timers: Timers
  random(bytes: number): Uint8Array
}): GapKeeper {
  const { destination, clock, timers, random } = options
  const gaps = new Map<string, Gap>()
  let flushing: Promise<void> | undefined
  let isPlanned = false

  function count({ applicationId, retentionClass, error }: UnrecordedRequest): void {
    const reason = isAuditError(error) ? error.code : 'destination_failed'
    const isKnown = gaps.has(keyOf(applicationId, retentionClass, reason))
    const name = isKnown || gaps.size < gapsMax ? applicationId : 'other'
    const key = keyOf(name, retentionClass, reason)
    const now = clock.nowMicros()
    const gap = gaps.get(key)
    gaps.set(key, {
      applicationId: name,
      retentionClass,
      reason,
      startedMicros: gap?.startedMicros ?? now,
      endedMicros: now,
      requests: (gap?.requests ?? 0) + 1,
    })
    plan()
  }

  function plan(): void {
    if (isPlanned) return
    isPlanned = true
    timers.after(retryMs, () => {
      isPlanned = false
      void flush()
    })
  }

  async function flush(): Promise<void> {
    if (gaps.size === 0 || destination.gap === undefined) return
    await (flushing ??= writeAll().finally(() => {
      flushing = undefined
    }))
  }

  async function writeAll(): Promise<void> {
    for (const [key, gap] of Array.from(gaps)) {
      // What is counted while this is being written makes the next record.
      gaps.delete(key)
      try {
        await destination.gap?.(bodyOf(gap, random))
      } catch {
        putBack(key, gap)
        plan()
      }
    }
  }

  function putBack(key: string, gap: Gap): void {
    const since = gaps.get(key)
    gaps.set(key, {
      ...gap,
      endedMicros: since?.endedMicros ?? gap.endedMicros,
      requests: gap.requests + (since?.requests ?? 0),
    })
  }

  return { count, flush }
}

function bodyOf(gap: Gap, random: (bytes: number) => Uint8Array): GapDraft {
  return {
    v: 1,
    kind: 'capture.gap',
    event_id: newEventId(Math.floor(gap.startedMicros / 1000), random(eventIdRandomBytes)),
    timestamp: formatMicros(gap.startedMicros),
    ended_at: formatMicros(gap.endedMicros),
    application_id: gap.applicationId,
    retention_class: gap.retentionClass,
    requests: gap.requests,
    reason: gap.reason,
  }
}

function keyOf(...parts: readonly string[]): string {
  return JSON.stringify(parts)
}
