/**
 * From a command line to an exit code: loads the command that is named, runs it, turns what it threw
 * into one sentence.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { exitOf, exits, sentenceOf } from './exit.ts'

/** A command's file: adds its command, with options, help and action. */
export interface CommandModule {
  register(program: Command): void
}

/** Commands by name; each is loaded when it is named. */
export type CommandTable = Readonly<Record<string, () => Promise<CommandModule>>>

const description = `The audit trail for Claude: records every interaction so that the record can be relied on.

Results go to standard output, remarks to standard error. Every command takes --help and --json.`

const examples = `
Examples:
  affidavit start                     run the gateway; data in ./.affidavit
  affidavit tail                      follow records as they are written
  affidavit show <event_id>           one interaction, whole
  affidavit verify                    check every log of the data directory
  affidavit verify /media/copy        check a copy, on a machine that has nothing else

Exit codes are listed in docs/operate/cli.md.`

/**
 * Runs one command line.
 *
 * @param commands where each command's file is
 * @param parameters what follows the program's name
 * @returns the exit code; a command that keeps running resolves when it has ended
 */
export async function runCommandLine(
  commands: CommandTable,
  parameters: readonly string[],
): Promise<number> {
  const program = await createProgram(commands, parameters)
  try {
    await program.parseAsync([...parameters], { from: 'user' })
    return Number(process.exitCode ?? exits.ok.code)
  } catch (error) {
    if (error instanceof CommanderError) return codeOfCommander(error)
    report(error, parameters)
    return exits[exitOf(error)].code
  }
}

/**
 * Builds the program with the command that `parameters` name, or with all of them when they name none,
 * so that help can list them.
 */
export async function createProgram(
  commands: CommandTable,
  parameters: readonly string[],
): Promise<Command> {
  const program = new Command('affidavit')
  program.description(description).version(readVersion(), '--version', 'print the version')
  program.helpOption('-h, --help', 'show help').addHelpText('after', examples)
  program.configureHelp({ sortSubcommands: false, showGlobalOptions: false })
  program.exitOverride()
  program.configureOutput({
    outputError(text, write) {
      const sentence = text
        .replace(/^error: /, '')
        .trim()
        .replace(/\.$/, '')
      write(
        `affidavit: ${sentence}. Nothing was done. Add --help to see how the command is used.\n`,
      )
    },
  })
  const [first = ''] = parameters
  const named = commands[first]
  const all = first === '--version' ? [] : Object.values(commands)
  const loaders = named === undefined ? all : [named]
  for (const load of loaders) (await load()).register(program)
  for (const command of program.commands) inherit(command, program)
  return program
}

// commander copies these settings only to commands made by `.command()` before they were set.
function inherit(command: Command, parent: Command): void {
  command.copyInheritedSettings(parent)
  for (const child of command.commands) inherit(child, command)
}

function codeOfCommander(error: CommanderError): number {
  const asked = ['commander.helpDisplayed', 'commander.version']
  return asked.includes(error.code) ? exits.ok.code : exits.usage.code
}

function report(error: unknown, parameters: readonly string[]): void {
  const sentence = sentenceOf(error)
  const exit = exitOf(error)
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (parameters.includes('--json')) {
    const facts = { message: sentence, code, exit: exits[exit].code, kind: exit }
    process.stdout.write(`${JSON.stringify({ error: facts })}\n`)
  }
  process.stderr.write(`affidavit: ${sentence}\n`)
  if (process.env['AFFIDAVIT_DEBUG'] === '1' && error instanceof Error) {
    process.stderr.write(`${error.stack ?? ''}\n`)
  }
}

/** Version of this package. */
export function readVersion(): string {
  const file = new URL('../../package.json', import.meta.url)
  const found: unknown = JSON.parse(readFileSync(file, 'utf8'))
  const version =
    typeof found === 'object' && found !== null && 'version' in found ? found.version : undefined
  return typeof version === 'string' ? version : 'unknown'
}
