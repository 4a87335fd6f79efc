/**
 * `affidavit start`: runs the gateway, restarts it when it dies, and says on the first screen what a
 * person needs to use it.
 *
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { systemClock } from '@affidavit/sdk/capture'
import type { Command } from 'commander'
import type { Config } from '../base/config.ts'
import { ledgerPaths } from '../ledger/layout.ts'
import { CommandError } from './exit.ts'
import { readVersion } from './program.ts'
import { dataDirOption, isFile, jsonOption, readConfig } from './settings.ts'
import { type Child, type ChildEnd, type StopSignal, supervise } from './supervise.ts'
import { type Colours, processTerminal, type Terminal } from './terminal.ts'

const examples = `
Settings are in affidavit.yaml and the environment (docs/operate/configuration.md). The first start makes
the data directory and the keys, and says where they are.

Examples:
  affidavit start
  AFFIDAVIT_GATEWAY_LISTEN=127.0.0.1:9000 affidavit start
  AFFIDAVIT_UPSTREAM_ANTHROPIC=http://127.0.0.1:9797 affidavit start`

interface StartOptions {
  readonly dataDir?: string
  readonly json?: boolean
}

/** Adds the command. */
export function register(program: Command): void {
  program
    .command('start')
    .description('run the gateway and keep it running')
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(options: StartOptions): Promise<void> {
  const config = await readConfig(options)
  const terminal = processTerminal()
  const missing = await missingKeys(config)
  let isFirst = true
  const supervisor = supervise({
    launch: () =>
      launchGateway(config, async (url) => {
        if (!isFirst) return terminal.note(`affidavit: the gateway is back on ${url}\n`)
        isFirst = false
        const made = await presentKeys(missing)
        await announce({ terminal, config, url, made, json: options.json === true })
      }),
    clock: systemClock,
    pause: async (ms, cancelled) => {
      await Promise.race([setTimeout(ms), cancelled])
    },
    events: { restarting: (end, pauseMs) => terminal.note(restartLine(end, pauseMs)) },
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => supervisor.stop(signal))
  }
  process.exitCode = await supervisor.done
}

/** Starts one gateway. `onReady` is told its address. */
function launchGateway(config: Config, onReady: (url: string) => Promise<void> | void): Child {
  const program = process.argv[1]
  if (program === undefined) throw new CommandError('failed', 'The program has no path of its own.')
  const child = spawn(process.execPath, [...process.execArgv, program, 'gateway'], {
    env: { ...process.env, AFFIDAVIT_DATA_DIR: config.dataDir },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // A group of its own: Control-C reaches this process only, which then tells the child once.
    detached: true,
  })
  return {
    ready: readiness(child, onReady),
    ended: ending(child),
    signal: (name) => tell(child, name),
  }
}

function readiness(
  child: ChildProcess,
  onReady: (url: string) => Promise<void> | void,
): Promise<void> {
  return new Promise((resolve) => {
    child.on('message', (message: unknown) => {
      const url = readyUrl(message)
      if (url === undefined) return
      resolve()
      void onReady(url)
    })
  })
}

function readyUrl(message: unknown): string | undefined {
  if (typeof message !== 'object' || message === null) return undefined
  if (!('kind' in message) || message.kind !== 'ready' || !('url' in message)) return undefined
  return typeof message.url === 'string' ? message.url : undefined
}

function ending(child: ChildProcess): Promise<ChildEnd> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
    child.once('error', () => resolve({ code: 1, signal: null }))
  })
}

function tell(child: ChildProcess, signal: StopSignal): void {
  child.kill(signal)
}

function restartLine({ code, signal }: ChildEnd, pauseMs: number): string {
  const how = signal === null ? `with exit code ${code}` : `by ${signal}`
  return (
    `affidavit: the gateway ended ${how}. Every acknowledged record is safe; open interactions are ` +
    `closed as interrupted. It is started again in ${pauseMs} ms.\n`
  )
}

interface KeyFile {
  readonly path: string
  readonly purpose: string
}

function keyFiles(config: Config): KeyFile[] {
  const { dataDir, instance } = config
  const { key } = ledgerPaths(join(dataDir, instance))
  return [
    { path: key, purpose: 'signs the logs; without it the ledger cannot go on' },
    {
      path: join(dataDir, 'keys', 'identity.key'),
      purpose: 'resolves users; keep it from the curious',
    },
    { path: join(dataDir, 'keys', 'hash-tenant.json'), purpose: 'makes digests comparable' },
  ]
}

async function missingKeys(config: Config): Promise<KeyFile[]> {
  const missing: KeyFile[] = []
  for (const file of keyFiles(config)) if (!(await isFile(file.path))) missing.push(file)
  return missing
}

async function presentKeys(files: readonly KeyFile[]): Promise<KeyFile[]> {
  const present: KeyFile[] = []
  for (const file of files) if (await isFile(file.path)) present.push(file)
  return present
}

async function announce(options: {
  terminal: Terminal
  config: Config
  url: string
  made: readonly KeyFile[]
  json: boolean
}): Promise<void> {
  const { terminal, config, url, made, json } = options
  const { dataDir, instance } = config
  if (json) {
    const paths = made.map(({ path }) => path)
    const facts = { listening: url, data_dir: dataDir, instance, keys_made: paths }
    await terminal.print(`${JSON.stringify(facts)}\n`)
    return
  }
  await terminal.print(banner({ colours: terminal.colours, config, url, made }))
}

/** The first screen. */
export function banner(options: {
  colours: Colours
  config: Config
  url: string
  made: readonly KeyFile[]
}): string {
  const { colours, config, url, made } = options
  const { bold, dim, accent } = colours
  const { delivery, upstream } = config.gateway
  const rows = [
    '',
    `  ${bold('Affidavit')} ${readVersion()}`,
    '',
    `  ${dim('gateway    ')} ${accent(url)} → ${upstream.anthropic}  ${dim(`(${delivery} delivery)`)}`,
    `  ${dim('records    ')} ${config.dataDir}  ${dim(`(${config.deployment}/${config.instance})`)}`,
    '',
    `  ${dim('Claude Code')} ANTHROPIC_BASE_URL=${url} claude`,
    `  ${dim('SDK        ')} new Anthropic({ baseURL: '${url}' })`,
    '',
    `  ${dim('look       ')} npx affidavit tail`,
    `  ${dim('           ')} npx affidavit show <event_id>   ${dim('the id is in the x-audit-event-id header')}`,
    `  ${dim('verify     ')} npx affidavit verify`,
    '',
  ]
  if (made.length > 0) {
    rows.push(`  ${bold('First start: keys were made.')} Keep a copy of each in a safe place.`)
    for (const { path, purpose } of made) rows.push(`  ${path}  ${dim(purpose)}`)
    rows.push('')
  }
  return rows.join('\n') + '\n'
}
