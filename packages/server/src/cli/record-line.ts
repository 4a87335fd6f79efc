/**
 * One interaction in one aligned line, for `affidavit tail`. Columns give way to a narrow terminal
 * from the least needed; the event id is always whole, because it is what the next command needs.
 *
 * @module
 */
import type { Entry } from '@affidavit/format'
import { type Colours, cut, grouped, pad, visible } from './terminal.ts'

/** What one line is about: the end of an interaction, a start that is shown alone, or a fact of ours. */
export type LineEntry = Entry

type Interaction = Extract<
  Entry,
  { kind: 'interaction.started' | 'interaction.completed' | 'interaction.interrupted' }
>

interface Column {
  readonly title: string
  readonly width: number
  /** Columns with a lower number leave first when the terminal is narrow. */
  readonly keep: number
  readonly align?: 'right'
  readonly text: (entry: Interaction) => string
}

const columns: readonly Column[] = [
  { title: 'TIME (UTC)', width: 12, keep: 9, text: (entry) => clockOf(entry.timestamp) },
  { title: 'OUTCOME', width: 15, keep: 8, text: outcomeOf },
  { title: 'MODEL', width: 22, keep: 6, text: modelOf },
  { title: 'TOKENS', width: 15, keep: 5, align: 'right', text: tokensOf },
  { title: 'TOOK', width: 8, keep: 4, align: 'right', text: latencyOf },
  { title: 'APPLICATION', width: 18, keep: 3, text: (entry) => entry.application_id },
  { title: 'USER', width: 12, keep: 2, text: (entry) => entry.user_id ?? '–' },
  { title: 'SESSION', width: 14, keep: 1, text: (entry) => entry.session_id ?? '–' },
]
const separator = '  '
const eventIdColumns = 36

/** Formats entries for one width of terminal. */
export interface LineFormat {
  /** Titles of the columns. */
  readonly header: string
  line(entry: LineEntry): string
}

/** Chooses the columns that fit. `columnsMax` is the width of the terminal. */
export function createLineFormat(options: { columnsMax: number; colours: Colours }): LineFormat {
  const { columnsMax, colours } = options
  const shown = fitting(columnsMax)
  const titles = shown.map((column) => place(column, column.title))
  return {
    header: colours.dim([...titles, 'EVENT ID'].join(separator)),
    line: (entry) =>
      isInteraction(entry)
        ? interactionLine(entry, shown, colours)
        : colours.dim(cut(factLine(entry), columnsMax)),
  }
}

/** Tells whether an entry is part of an interaction. */
export function isInteraction(entry: Entry): entry is Extract<Entry, Interaction> {
  return entry.kind.startsWith('interaction.')
}

function fitting(columnsMax: number): readonly Column[] {
  let shown = columns
  while (shown.length > 1 && widthOf(shown) > columnsMax) {
    const least = Math.min(...shown.map((column) => column.keep))
    shown = shown.filter((column) => column.keep !== least)
  }
  return shown
}

function widthOf(shown: readonly Column[]): number {
  return shown.reduce((sum, column) => sum + column.width + separator.length, eventIdColumns)
}

function interactionLine(entry: Interaction, shown: readonly Column[], colours: Colours): string {
  const parts = shown.map((column) => {
    const text = place(column, visible(column.text(entry)))
    return column.title === 'OUTCOME' ? paintOutcome(entry, text, colours) : text
  })
  return [...parts, colours.dim(visible(entry.event_id))].join(separator)
}

function place(column: Column, text: string): string {
  return column.align === 'right'
    ? cut(text, column.width).padStart(column.width)
    : pad(text, column.width)
}

function paintOutcome(entry: Interaction, text: string, colours: Colours): string {
  if (entry.kind === 'interaction.started') return colours.accent(text)
  if (entry.status === 'success') return colours.good(text)
  return entry.status === 'error' ? colours.bad(text) : colours.warn(text)
}

/** `14:03:21.123` of an RFC 3339 time. */
function clockOf(timestamp: string): string {
  return timestamp.slice(11, 23)
}

/** How the interaction ended, in the shortest words that keep the difference. */
export function outcomeOf(entry: Interaction): string {
  if (entry.kind === 'interaction.started') return 'started'
  if (entry.kind === 'interaction.interrupted') return 'interrupted'
  if (entry.end_state !== 'complete') return entry.end_state
  if (entry.status === 'success') return 'ok'
  return entry.http_status === null ? entry.status : `${entry.status} ${entry.http_status}`
}

function modelOf(entry: Interaction): string {
  const served = entry.kind === 'interaction.completed' ? entry.model_served : null
  return served ?? entry.model ?? entry.operation
}

function tokensOf(entry: Interaction): string {
  if (entry.kind !== 'interaction.completed') return '–'
  const count = (tokens: number | null) => (tokens === null ? '–' : grouped(tokens))
  return `${count(entry.prompt_tokens)} → ${count(entry.completion_tokens)}`
}

function latencyOf(entry: Interaction): string {
  return entry.kind === 'interaction.completed' ? readableMs(entry.latency_ms) : '–'
}

/** `834 ms`, `12.3 s`, `4 m 05 s`. */
export function readableMs(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`
  const seconds = Math.round(milliseconds / 1000)
  return `${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, '0')} s`
}

function factLine(entry: Exclude<Entry, Interaction>): string {
  const parts = [clockOf(entry.timestamp), entry.kind]
  if (entry.kind === 'control.event') parts.push(entry.action)
  if (entry.kind === 'capture.gap') {
    parts.push(`${grouped(entry.requests)} requests passed unrecorded until ${entry.ended_at}`)
  }
  if (entry.kind === 'ledger.opened') {
    parts.push(`epoch ${entry.writer.epoch}`, `${grouped(entry.interrupted)} interrupted`)
  }
  return visible([...parts, entry.event_id].join(separator))
}
