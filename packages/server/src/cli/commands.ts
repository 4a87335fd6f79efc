/**
 * Every command and where it is. A command is loaded when it is named, so that `affidavit tail` does not
 * wait for the gateway's modules.
 *
 * @module
 */
import type { CommandTable } from './program.ts'

/** Commands in the order in which help lists them. */
export const commands: CommandTable = {
  start: () => import('./start.ts'),
  gateway: () => import('./gateway.ts'),
  simulate: () => import('./simulate.ts'),
  demo: () => import('./demo.ts'),
  tail: () => import('./tail.ts'),
  show: () => import('./show.ts'),
  verify: () => import('./verify.ts'),
  prove: () => import('./prove.ts'),
  keys: () => import('./keys.ts'),
  hash: () => import('./hash.ts'),
  doctor: () => import('./doctor.ts'),
  bench: () => import('./bench.ts'),
}
