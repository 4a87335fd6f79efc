/**
 * What every command takes from the command line, the environment and the configuration: where the data
 * is, and which instances are in it.
 *
 * @module
 */
import { lstat, readdir } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import type { Config } from '../base/config.ts'
import { CommandError } from './exit.ts'

/** Text of `--data-dir` in the help of every command that takes it. */
export const dataDirOption = [
  '--data-dir <path>',
  'where the records are (default: AFFIDAVIT_DATA_DIR, data_dir of affidavit.yaml, or ./.affidavit)',
] as const

/** Text of `--json` in the help of every command. */
export const jsonOption = ['--json', 'results as JSON, for programs'] as const

/** One instance in a data directory. */
export interface InstancePlace {
  readonly name: string
  /** `<dataDir>/<instance>` */
  readonly directory: string
  /** `<dataDir>/<instance>/ledger` */
  readonly ledger: string
}

/**
 * The configuration, with `--data-dir` in place of what it says.
 *
 * @throws AuditError `ERR_CONFIG_INVALID`
 */
export async function readConfig(options: { dataDir?: string }): Promise<Config> {
  // The schema is most of what a command would load; who names a directory does not wait for it.
  const { loadConfig, processSources } = await import('../base/config.ts')
  const sources = processSources()
  if (options.dataDir === undefined) return loadConfig(sources)
  return loadConfig({ ...sources, env: { ...sources.env, AFFIDAVIT_DATA_DIR: options.dataDir } })
}

/** The data directory. A `--data-dir` is enough: reading a copy needs no configuration. */
export async function dataDirOf(options: { dataDir?: string }): Promise<string> {
  return options.dataDir === undefined ? (await readConfig({})).dataDir : resolve(options.dataDir)
}

/**
 * Instances in a data directory, by name.
 *
 * @throws CommandError `notFound` when the directory is missing or holds none.
 */
export async function findInstances(dataDir: string): Promise<InstancePlace[]> {
  const names = await readdir(dataDir).catch((cause: unknown) => {
    throw new CommandError(
      'notFound',
      `There is no data directory at ${dataDir}. Nothing was changed. Run the command where the ` +
        'gateway runs, or name the directory with --data-dir.',
      { cause },
    )
  })
  const places = names.sort().map((name) => instanceAt(join(dataDir, name)))
  const found: InstancePlace[] = []
  for (const place of places) if (await isDirectory(place.ledger)) found.push(place)
  if (found.length > 0) return found
  throw new CommandError(
    'notFound',
    `${dataDir} holds no records yet. Nothing was changed. Start the gateway with \`affidavit start\` ` +
      'and send a request through it.',
  )
}

/** The instance whose own directory is `directory`. */
export function instanceAt(directory: string): InstancePlace {
  return { name: basename(directory), directory, ledger: join(directory, 'ledger') }
}

/** Tells whether a directory is there. */
export async function isDirectory(path: string): Promise<boolean> {
  const info = await lstat(path).catch(() => undefined)
  return info?.isDirectory() ?? false
}

/** Tells whether a file is there. */
export async function isFile(path: string): Promise<boolean> {
  const info = await lstat(path).catch(() => undefined)
  return info?.isFile() ?? false
}
