/**
 * The command line's entry. Commands are loaded when they are named, so that `affidavit tail` does not
 * wait for the gateway's modules.
 *
 * @module
 */
import { commands } from './commands.ts'
import { runCommandLine } from './program.ts'

// A reader that has seen enough (`affidavit tail | head`) closes the pipe: that is an end, not an error.
process.stdout.on('error', (error: Error & { code?: string }) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1)
})

process.exitCode = await runCommandLine(commands, process.argv.slice(2))
