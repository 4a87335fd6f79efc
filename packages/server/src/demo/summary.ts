/**
 * What the records of a run say, by application.
 *
 * @module
 */
import type { EndState, Entry } from '@affidavit/format'

/** The end of an interaction, as a record. */
export type CompletedRecord = Extract<Entry, { kind: 'interaction.completed' }>

/** Records of one application, or of all. */
export interface SummaryRow {
  readonly application: string
  readonly users: number
  readonly sessions: number
  readonly interactions: number
  readonly tokensIn: number
  readonly tokensOut: number
  readonly ends: Readonly<Partial<Record<EndState, number>>>
  readonly latencyMsP50: number
  readonly latencyMsP95: number
}

/** The rows of a table: applications by name, and their sum. */
export interface Summary {
  readonly applications: readonly SummaryRow[]
  readonly total: SummaryRow
}

/** Sums `records` up. */
export function summarize(records: readonly CompletedRecord[]): Summary {
  const groups = new Map<string, CompletedRecord[]>()
  for (const record of records) {
    const group = groups.get(record.application_id)
    if (group === undefined) groups.set(record.application_id, [record])
    else group.push(record)
  }
  return {
    applications: [...groups.keys()].toSorted().map((name) => rowOf(name, groups.get(name) ?? [])),
    total: rowOf('all', records),
  }
}

function rowOf(application: string, records: readonly CompletedRecord[]): SummaryRow {
  const ends: Partial<Record<EndState, number>> = {}
  for (const { end_state: end } of records) ends[end] = (ends[end] ?? 0) + 1
  const latencies = records.map(({ latency_ms: ms }) => ms).toSorted((a, b) => a - b)
  const at = (share: number) => latencies[Math.floor((latencies.length - 1) * share)] ?? 0
  return {
    application,
    users: distinct(records.map(({ user_id: id }) => id)),
    sessions: distinct(records.map(({ session_id: id }) => id)),
    interactions: records.length,
    tokensIn: sum(records.map(({ prompt_tokens: tokens }) => tokens ?? 0)),
    tokensOut: sum(records.map(({ completion_tokens: tokens }) => tokens ?? 0)),
    ends,
    latencyMsP50: at(0.5),
    latencyMsP95: at(0.95),
  }
}

function distinct(values: readonly (string | null)[]): number {
  return new Set(values.filter((value) => value !== null)).size
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
