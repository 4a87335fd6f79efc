/**
 * `affidavit simulate`: a stand-in for Claude's API on this machine, for demos and tests.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { parseAddress } from '../base/config.ts'
import { type Mode, modes, parseMode, summaryOf } from '../simulate/modes.ts'
import { type SimulatedExchange } from '../simulate/recorder.ts'
import { cadenceNone, cadenceRealistic, startSimulator } from '../simulate/simulator.ts'
import { CommandError } from './exit.ts'
import { jsonOption } from './settings.ts'
import { type Terminal, pad, processTerminal, visible } from './terminal.ts'

interface SimulateOptions {
  readonly listen: string
  readonly seed: string
  readonly mode: Mode
  readonly cadence: 'realistic' | 'none'
  readonly listModes?: boolean
  readonly json?: boolean
}

const examples = `
The same request gets the same answer, byte for byte, as long as the seed stays. How a request is
answered is decided by, in this order: its header x-simulate-mode; the words USE_TOOL, SPAWN_AGENT or
SIMULATE:<mode> in its last user text; POST /simulate/mode {"mode": "…", "count": 1}; --mode.

Examples:
  affidavit simulate
  AFFIDAVIT_UPSTREAM_ANTHROPIC=http://127.0.0.1:9797 affidavit start
  affidavit simulate --list-modes
  curl -d '{"mode":"error_529","count":2}' http://127.0.0.1:9797/simulate/mode`

/** Adds the command. */
export function register(program: Command): void {
  program
    .command('simulate')
    .description('a stand-in for Claude’s API on this machine: every answer, error and mishap')
    .option('--listen <host:port>', 'where to listen; port 0 takes a free one', '127.0.0.1:9797')
    .option('--seed <text>', 'what answers are drawn from', 'affidavit')
    .addOption(
      new Option('--mode <mode>', 'mode of requests that ask for none')
        .argParser(readMode)
        .default('ok'),
    )
    .addOption(
      new Option('--cadence <pace>', 'pauses before and between the parts of an answer')
        .choices(['realistic', 'none'])
        .default('realistic'),
    )
    .option('--list-modes', 'print every mode and end')
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(options: SimulateOptions): Promise<void> {
  const terminal = processTerminal()
  if (options.listModes === true) return listModes(terminal, options)
  const { host, port } = parseAddress(options.listen)
  const simulator = await startSimulator({
    host,
    port,
    seed: options.seed,
    mode: options.mode,
    cadence: options.cadence === 'none' ? cadenceNone : cadenceRealistic,
    onExchange: (exchange) => void terminal.print(lineOf(exchange, options)),
  }).catch((cause: unknown) => {
    throw new CommandError(
      'failed',
      `Nothing can listen on ${options.listen}. Nothing was changed. Stop what uses the port, or ` +
        'choose another with --listen.',
      { cause },
    )
  })
  if (options.json === true) {
    await terminal.print(`${JSON.stringify({ listening: simulator.url, seed: options.seed })}\n`)
  } else {
    terminal.note(`Simulating Claude on ${simulator.url}. Control-C ends it.\n`)
  }
  await interrupted()
  await simulator.close()
}

async function listModes(terminal: Terminal, { json }: SimulateOptions): Promise<void> {
  if (json === true) {
    const table = Object.fromEntries(modes.map((mode) => [mode, summaryOf(mode)]))
    return terminal.print(`${JSON.stringify(table)}\n`)
  }
  await terminal.print(modes.map((mode) => `${pad(mode, 20)}${summaryOf(mode)}\n`).join(''))
}

function lineOf(exchange: SimulatedExchange, { json }: SimulateOptions): string {
  const { received, sent, facts } = exchange
  if (json === true) {
    return `${JSON.stringify({
      method: received.method,
      url: received.url,
      request_bytes: received.bodyBytes,
      mode: facts.mode,
      status: sent.status,
      response_bytes: sent.bodyBytes,
      end: sent.end,
      request_id: facts.requestId,
    })}\n`
  }
  const what = pad(visible(`${received.method} ${received.url}`), 40)
  const how = `${pad(facts.mode, 16)} ${sent.status} ${pad(sent.end, 12)}`
  return `${what} ${how} ${received.bodyBytes} bytes in, ${sent.bodyBytes} out\n`
}

function readMode(text: string): Mode {
  const mode = parseMode(text)
  if (mode === undefined) throw new InvalidArgumentError('--list-modes prints every mode.')
  return mode
}

/** Resolves at the first request to end. */
function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
  })
}
