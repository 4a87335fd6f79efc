/**
 * `affidavit doctor`: looks at everything that a record's safety depends on, and says what to do.
 *
 * @module
 */
import { isAuditError } from '@affidavit/format'
import { systemClock } from '@affidavit/sdk/capture'
import type { Command } from 'commander'
import { type Config, parseAddress } from '../base/config.ts'
import { type Diagnosis, fine, type Level, problem, warning } from './diagnosis/diagnosis.ts'
import { examineLedger, newestWriteMs } from './diagnosis/ledger-state.ts'
import { examineMachine } from './diagnosis/machine.ts'
import { examinePermissions } from './diagnosis/permissions.ts'
import { examineReach } from './diagnosis/reach.ts'
import { exits } from './exit.ts'
import {
  dataDirOption,
  findInstances,
  type InstancePlace,
  isDirectory,
  jsonOption,
  readConfig,
} from './settings.ts'
import { type Colours, counted, processTerminal } from './terminal.ts'

const examples = `
Looks at: configuration, Node, clock, disk space and inodes, how long a durable write takes in the data
directory, open files, permissions of keys and folders, the state of the ledger, and whether the
upstream can be reached (a connection only; nothing is sent).

Examples:
  affidavit doctor
  affidavit doctor --offline --json

Exit codes: 0 nothing is wrong (warnings are printed); 7 a problem that needs a person.`

interface DoctorOptions {
  readonly dataDir?: string
  readonly json?: boolean
  readonly offline?: boolean
}

/** Adds the command. */
export function register(program: Command): void {
  program
    .command('doctor')
    .description('look for what would keep records from being made or kept, and say what to do')
    .option('--offline', 'do not connect to the upstream')
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(options: DoctorOptions): Promise<void> {
  const diagnoses = await examine(options)
  const terminal = processTerminal()
  const worst = worstOf(diagnoses)
  if (options.json === true) {
    await terminal.print(`${JSON.stringify({ level: worst, checks: diagnoses })}\n`)
  } else {
    for (const diagnosis of diagnoses) await terminal.print(linesOf(diagnosis, terminal.colours))
    await terminal.print(`\n${summaryOf(diagnoses)}\n`)
  }
  if (worst === 'problem') process.exitCode = exits.problems.code
}

async function examine(options: DoctorOptions): Promise<Diagnosis[]> {
  let config: Config
  try {
    config = await readConfig(options)
  } catch (error) {
    if (!isAuditError(error, 'ERR_CONFIG_INVALID')) throw error
    return [problem('configuration', error.message, 'Correct the file; nothing starts until then.')]
  }
  const isThere = await isDirectory(config.dataDir)
  const instances = isThere ? await findInstances(config.dataDir).catch(() => []) : []
  const written = await Promise.all(instances.map(newestWriteMs))
  const newestMs = written.reduce((newest, at) => Math.max(newest ?? 0, at ?? 0), undefined)
  return [
    fine('configuration', `valid; ${config.policyVersion}`),
    exposureOf(config),
    ...(await examineMachine({
      directory: isThere ? config.dataDir : process.cwd(),
      clock: systemClock,
      newestMs,
    })),
    ...(await examineData(config.dataDir, isThere, instances)),
    ...(options.offline === true
      ? []
      : [await examineReach('anthropic', config.gateway.upstream.anthropic)]),
  ]
}

async function examineData(
  dataDir: string,
  isThere: boolean,
  instances: readonly InstancePlace[],
): Promise<Diagnosis[]> {
  if (!isThere) return [fine('data', `${dataDir} does not exist yet; the first start makes it`)]
  const ownId = process.getuid?.() ?? 0
  const permissions = await examinePermissions(dataDir, ownId)
  const ledgers = await Promise.all(instances.map(examineLedger))
  return [...permissions, ...ledgers.flat()]
}

/** Who can reach the gateway, and what they must show. */
function exposureOf(config: Config): Diagnosis {
  const { listen, requireGatewayKey } = config.gateway
  const { host } = parseAddress(listen)
  const isLocal = host === 'localhost' || host === '::1' || host.startsWith('127.')
  if (isLocal || requireGatewayKey) return fine('listen', `the gateway listens on ${listen}`)
  return warning(
    'listen',
    `the gateway listens on ${listen} and asks callers for no gateway key`,
    'Set gateway.require_gateway_key, and put TLS in front, or listen on 127.0.0.1.',
  )
}

function worstOf(diagnoses: readonly Diagnosis[]): Level {
  if (diagnoses.some(({ level }) => level === 'problem')) return 'problem'
  return diagnoses.some(({ level }) => level === 'warning') ? 'warning' : 'ok'
}

function linesOf({ check, level, found, advice }: Diagnosis, colours: Colours): string {
  const marks = { ok: colours.good('ok'), warning: colours.warn('!!'), problem: colours.bad('XX') }
  const line = `${marks[level]}  ${check.padEnd(24)}${found}\n`
  return advice === undefined ? line : `${line}    ${' '.repeat(24)}→ ${advice}\n`
}

function summaryOf(diagnoses: readonly Diagnosis[]): string {
  const count = (wanted: Level) => diagnoses.filter(({ level }) => level === wanted).length
  const [problems, warnings] = [count('problem'), count('warning')]
  if (problems + warnings === 0) return 'Nothing is wrong.'
  return `${counted(problems, 'problem')}, ${counted(warnings, 'warning')}.`
}
