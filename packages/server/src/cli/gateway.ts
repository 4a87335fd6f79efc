/**
 * `affidavit gateway`: the gateway process alone, until it is told to stop. Its log lines go to standard
 * error; `affidavit start` is told over the channel between the two processes when it is ready.
 *
 * @module
 */
import type { Command } from 'commander'
import { startGateway } from '../processes/gateway.ts'
import { CommandError, exits } from './exit.ts'
import { dataDirOption, jsonOption, readConfig } from './settings.ts'
import { processTerminal } from './terminal.ts'

const examples = `
Stops in order on SIGTERM, SIGINT or SIGHUP: running exchanges may end (gateway.limits.shutdown_ms), then
the ledger is published and closed. A second signal ends it at once; what was open then is recorded as
interrupted by the next start.

Examples:
  affidavit gateway
  AFFIDAVIT_CONFIG=/etc/affidavit.yaml affidavit gateway`

/** What the process tells its supervisor when it does its work. */
export interface GatewayReady {
  readonly kind: 'ready'
  readonly url: string
}

/** Adds the command. */
export function register(program: Command): void {
  program
    .command('gateway')
    .description('run the gateway process alone (start supervises one)')
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(options: { dataDir?: string; json?: boolean }): Promise<void> {
  const config = await readConfig(options)
  process.once('uncaughtException', endByFault)
  const gateway = await startGateway({ config }).catch((error: unknown) => {
    throw listenFailure(error, config.gateway.listen) ?? error
  })
  const stopped = stopRequested()
  const { url } = gateway
  if (options.json === true) {
    const facts = { listening: url, data_dir: config.dataDir, instance: config.instance }
    await processTerminal().print(`${JSON.stringify(facts)}\n`)
  }
  const ready: GatewayReady = { kind: 'ready', url }
  if (process.connected) process.send?.(ready)
  await stopped
  await gateway.close()
  // The channel to the supervisor would keep the process alive.
  if (process.connected) process.disconnect()
}

/** Resolves when this process is told to stop, or its supervisor is gone. */
function stopRequested(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.once(signal, () => resolve())
    }
    if (process.connected) process.once('disconnect', () => resolve())
  })
}

/** A fault of ours. Its message may quote anything, so only its name and where it happened are told. */
function endByFault(error: Error): never {
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))
  process.stderr.write(
    `affidavit: the gateway ended by a fault of its own (${error.name}). Every acknowledged record is ` +
      'safe; what was open is closed as interrupted by the next start. Report these lines:\n' +
      `${frames.join('\n')}\n`,
  )
  process.exit(exits.failed.code)
}

function listenFailure(error: unknown, listen: string): CommandError | undefined {
  if (!(error instanceof Error) || !('syscall' in error) || error.syscall !== 'listen')
    return undefined
  const code = 'code' in error ? String(error.code) : error.name
  const why = code === 'EADDRINUSE' ? 'another process uses it' : code
  return new CommandError(
    'failed',
    `The gateway cannot listen on ${listen}: ${why}. Nothing was recorded by this start. Stop the other ` +
      'process, or set gateway.listen or AFFIDAVIT_GATEWAY_LISTEN.',
    { cause: error },
  )
}
