/**
 * What `affidavit doctor` says about one thing: how it is, and what to do about it.
 *
 * @module
 */

/** `ok`: nothing to do. `warning`: works, but not as it should. `problem`: records are at risk. */
export type Level = 'ok' | 'warning' | 'problem'

/** One thing that was looked at. */
export interface Diagnosis {
  /** Short constant name, e.g. `disk-space`. */
  readonly check: string
  readonly level: Level
  /** One sentence: what was found. */
  readonly found: string
  /** What to do; absent when there is nothing to do. */
  readonly advice?: string
}

/** A thing that is as it should be. */
export function fine(check: string, found: string): Diagnosis {
  return { check, level: 'ok', found }
}

/** A thing that works, but not as it should. */
export function warning(check: string, found: string, advice: string): Diagnosis {
  return { check, level: 'warning', found, advice }
}

/** A thing that puts records at risk, or keeps the gateway from starting. */
export function problem(check: string, found: string, advice: string): Diagnosis {
  return { check, level: 'problem', found, advice }
}

/** The value below which `share` (0 … 1) of `values` lie; 0 for none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}
