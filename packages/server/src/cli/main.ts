/**
 * The command line's entry. Commands are loaded when they are named, so that `affidavit tail` does not
 * wait for the gateway's modules.
 *
 * @module
 */
import { type CommandTable, runCommandLine } from './program.ts'

const commands: CommandTable = {
  start: () => import('./start.ts'),
  gateway: () => import('./gateway.ts'),
  simulate: () => import('./simulate.ts'),
  tail: () => import('./tail.ts'),
  show: () => import('./show.ts'),
  verify: () => import('./verify.ts'),
  prove: () => import('./prove.ts'),
  keys: () => import('./keys.ts'),
  hash: () => import('./hash.ts'),
  doctor: () => import('./doctor.ts'),
  bench: () => import('./bench.ts'),
}

// A reader that has seen enough (`affidavit tail | head`) closes the pipe: that is an end, not an error.
process.stdout.on('error', (error: Error & { code?: string }) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1)
})

process.exitCode = await runCommandLine(commands, process.argv.slice(2))
