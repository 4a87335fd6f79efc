/**
 * Which entries `affidavit tail` shows.
 *
 * @module
 */
import type { Entry } from '@affidavit/format'
import { CommandError } from '../exit.ts'
import { isInteraction } from '../record-line.ts'
import { visible } from '../terminal.ts'

/** What the command line asks for. */
export interface Selection {
  readonly userHandle?: string
  readonly application?: string
  readonly session?: string
  /** A `status` or an `end_state`. */
  readonly status?: string
  /** Starts and heartbeats too. */
  readonly all?: boolean
}

/** Makes the test that an entry must pass to be shown. */
export function createSelector(selection: Selection): (entry: Entry) => boolean {
  const { userHandle, application, session, status, all = false } = selection
  const isFiltered = [userHandle, application, session, status].some((value) => value !== undefined)
  return (entry) => {
    if (!isInteraction(entry)) return !isFiltered && (all || entry.kind !== 'ledger.heartbeat')
    if (entry.kind === 'interaction.started') {
      if (!all || status !== undefined) return false
    } else if (status !== undefined && status !== entry.status && status !== entry.end_state) {
      return false
    }
    return (
      (userHandle === undefined || entry.user_id === userHandle) &&
      (application === undefined || entry.application_id === application) &&
      (session === undefined || entry.session_id === session)
    )
  }
}

const unitMs: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/**
 * Milliseconds since the epoch of `90s`, `10m`, `2h`, `7d` (ago) or of a time in ISO 8601.
 *
 * @throws CommandError `usage`
 */
export function parseSince(text: string, nowMs: number): number {
  const [, count, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  if (count !== undefined && unit !== undefined) return nowMs - Number(count) * (unitMs[unit] ?? 0)
  const isIso = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/.test(text)
  const timeMs = isIso ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(timeMs)) return timeMs
  throw new CommandError(
    'usage',
    `${visible(text)} is not a time. Nothing was read. Write 10m, 2h, 7d, or 2026-11-23T14:00:00Z.`,
  )
}

/** When an entry was written, as far as it says so itself. */
export function writtenMs(entry: Entry): number {
  return Date.parse('logged_at' in entry ? entry.logged_at : entry.timestamp)
}
