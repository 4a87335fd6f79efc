/**
 * The progress bar: drawn only for a person, only when the work takes longer than two seconds, and at
 * most ten times a second.
 *
 * @module
 */
import type { Clock } from '@affidavit/sdk/capture'
import { type Terminal, counted, grouped } from './terminal.ts'

/** Work that ends sooner shows no bar. */
export const patienceMs = 2000
const redrawMs = 100
const barColumns = 24

export interface Progress {
  /** Tells how much is done, 0 … total. Cheap: may be called for every entry. */
  update(done: number): void
  /** Removes the bar. */
  end(): void
}

/** Makes a bar for `total` units named `unit` (plural). A total of 0 means that it is unknown. */
export function createProgress(options: {
  terminal: Terminal
  clock: Clock
  label: string
  unit: string
  total: number
}): Progress {
  const { terminal, clock } = options
  const startedMs = clock.monotonicMs()
  let drawnMs = startedMs + patienceMs - redrawMs
  return {
    update(done) {
      const nowMs = clock.monotonicMs()
      if (nowMs - drawnMs < redrawMs) return
      drawnMs = nowMs
      terminal.status(line({ ...options, done, elapsedMs: nowMs - startedMs }))
    },
    end: () => terminal.status(''),
  }
}

function line(state: {
  label: string
  unit: string
  total: number
  done: number
  elapsedMs: number
}): string {
  const { label, unit, total, done, elapsedMs } = state
  const perSecond = elapsedMs <= 0 ? 0 : (done * 1000) / elapsedMs
  const rate = `${grouped(Math.round(perSecond))}/s`
  if (total <= 0) return `${label}  ${grouped(done)} ${unit}  ${rate}`
  const share = Math.min(1, done / total)
  const filled = Math.round(share * barColumns)
  const bar = '█'.repeat(filled) + '░'.repeat(barColumns - filled)
  const leftSeconds = perSecond === 0 ? 0 : Math.ceil((total - done) / perSecond)
  const left = counted(leftSeconds, 'second')
  return `${label}  ${bar} ${Math.floor(share * 100)} %  ${grouped(done)} ${unit}  ${rate}  ${left} left`
}
