/**
 * What a demo says at its end, for people and for programs.
 *
 * @module
 */
import { type Colours, counted, visible } from '../cli/terminal.ts'
import { type ReplayResult } from './replay.ts'
import { type Summary } from './summary.ts'
import { tableOf } from './table.ts'

/** Everything that is known at the end of a demo. */
export interface Report {
  readonly conversations: number
  readonly dataDir: string
  readonly played: ReplayResult
  /** Requests that reached the simulator; `undefined` where it is another process's. */
  readonly received: number | undefined
  readonly summary: Summary
  /** A record to look at. */
  readonly eventId: string | undefined
  readonly entriesVerified: number
  readonly isIntact: boolean
}

/** Whether there is a record for every request that reached the simulator, and for no other. */
export function isComplete({ received, summary }: Report): boolean {
  return received === undefined || received === summary.total.interactions
}

/** The report as one line of JSON. Members are never renamed; new ones may come. */
export function jsonOf(report: Report): string {
  const { dataDir, played, received, summary, eventId } = report
  return JSON.stringify({
    data_dir: dataDir,
    turns: played.turns,
    answered: played.answered,
    failed: played.failed,
    received_by_simulator: received ?? null,
    recorded: summary.total.interactions,
    complete: isComplete(report),
    applications: summary.applications.map(rowJson),
    total: rowJson(summary.total),
    entries_verified: report.entriesVerified,
    intact: report.isIntact,
    event_id: eventId ?? null,
  })
}

function rowJson(row: Summary['total']) {
  return {
    application: row.application,
    users: row.users,
    sessions: row.sessions,
    interactions: row.interactions,
    tokens_in: row.tokensIn,
    tokens_out: row.tokensOut,
    end_states: row.ends,
    latency_ms_p50: row.latencyMsP50,
    latency_ms_p95: row.latencyMsP95,
  }
}

/** The report as a page. */
export function textOf(report: Report, colours: Colours): string {
  const { conversations, dataDir, played, summary, eventId } = report
  const [titles = '', ...rows] = tableOf(summary)
  const failed = Object.entries(played.failed).map(([name, count]) => `${count} × ${name}`)
  const seen = failed.length === 0 ? '' : ` Callers saw ${failed.join(', ')}.`
  const place = visible(dataDir)
  const lines = [
    `Sent ${counted(played.turns, 'turn')} of ${counted(conversations, 'conversation')}.${seen}`,
    '',
    colours.dim(titles),
    ...rows,
    '',
    completeness(report, colours),
    report.isIntact
      ? `${counted(report.entriesVerified, 'entry', 'entries')} verified: ` +
        colours.good('nothing was changed.')
      : colours.bad('The log does not verify; `affidavit verify` says where.'),
    '',
    'Next:',
    ...(eventId === undefined ? [] : [`  affidavit show ${eventId} --data-dir ${place}`]),
    `  affidavit tail --data-dir ${place}`,
    `  affidavit verify ${place}`,
  ]
  return `${lines.join('\n')}\n`
}

function completeness(report: Report, colours: Colours): string {
  const { received, summary } = report
  const recorded = summary.total.interactions
  if (received === undefined) return `${counted(recorded, 'interaction')} recorded.`
  const verdict = isComplete(report)
    ? colours.good('nothing escaped.')
    : colours.bad('they differ.')
  return `${counted(received, 'request')} reached the simulator, ${counted(recorded, 'record')} tell of them: ${verdict}`
}
