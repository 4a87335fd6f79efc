/**
 * The summary of a run as a table.
 *
 * @module
 */
import { type Summary, type SummaryRow } from './summary.ts'

type Column = readonly [title: string, cell: (row: SummaryRow) => string]

const columns: readonly Column[] = [
  ['APPLICATION', ({ application }) => application],
  ['USERS', ({ users }) => grouped(users)],
  ['SESSIONS', ({ sessions }) => grouped(sessions)],
  ['INTERACTIONS', ({ interactions }) => grouped(interactions)],
  ['TOKENS IN', ({ tokensIn }) => grouped(tokensIn)],
  ['TOKENS OUT', ({ tokensOut }) => grouped(tokensOut)],
  ['COMPLETE', ({ ends }) => counted(ends.complete)],
  ['ERROR', ({ ends }) => counted(ends.upstream_error)],
  ['LEFT', ({ ends }) => counted(ends.client_abort)],
  ['CUT', ({ ends }) => counted(ends.upstream_cut)],
  ['P50', ({ latencyMsP50 }) => `${grouped(latencyMsP50)} ms`],
  ['P95', ({ latencyMsP95 }) => `${grouped(latencyMsP95)} ms`],
]

/** Lines of the table: titles, one row an application, their sum. */
export function tableOf({ applications, total }: Summary): string[] {
  const cells = [
    columns.map(([title]) => title),
    ...[...applications, total].map((row) => columns.map(([, cell]) => cell(row))),
  ]
  const widths = columns.map((_, at) => Math.max(...cells.map((row) => row[at]?.length ?? 0)))
  // Names to the left, numbers to the right.
  return cells.map((row) =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
}

function counted(count: number | undefined): string {
  return count === undefined ? '–' : grouped(count)
}

function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',')
}
