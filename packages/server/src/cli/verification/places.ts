/**
 * What a path holds that can be verified: a data directory, one instance of it, its logs alone, or one
 * log; original or copy.
 *
 * @module
 */
import { readdir } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { type LedgerPaths, ledgerPaths, pathsBelow } from '../../ledger/layout.ts'
import { CommandError } from '../exit.ts'
import { isDirectory, isFile } from '../settings.ts'

/** One log on disk. */
export interface LogPlace {
  readonly directory: string
  /** How findings name its folder: its path below what is verified. */
  readonly where: string
}

/** Logs of one writer, with what else of its ledger is there. */
export interface LedgerPlace {
  /** Name for people: the instance, or the folder. */
  readonly name: string
  readonly logs: readonly LogPlace[]
  /** Where head and write-ahead log would be; undefined when only logs were copied. */
  readonly paths: LedgerPaths | undefined
  /** Other logs of the same writer are elsewhere, so its chain cannot be followed without holes. */
  readonly isPartial: boolean
}

/** Everything below one path. */
export interface Target {
  readonly root: string
  readonly ledgers: readonly LedgerPlace[]
}

/**
 * Finds what is to be verified at `path`.
 *
 * @throws CommandError `notFound` when there is nothing.
 */
export async function findTarget(path: string): Promise<Target> {
  const root = resolve(path)
  if (!(await isDirectory(root))) throw nothingAt(root)
  if (await isFile(join(root, 'checkpoint'))) return { root, ledgers: [oneLog(root)] }
  const own = await ledgerIn(root, root)
  if (own !== undefined) return { root, ledgers: [own] }
  const ledgers: LedgerPlace[] = []
  for (const name of await namesIn(root)) {
    const ledger = await ledgerIn(root, join(root, name))
    if (ledger !== undefined) ledgers.push(ledger)
  }
  if (ledgers.length > 0) return { root, ledgers }
  const logs = await logsIn(root, root)
  if (logs.length > 0) {
    return { root, ledgers: [{ name: basename(root), logs, paths: undefined, isPartial: false }] }
  }
  throw nothingAt(root)
}

/** How findings name a file. */
export function whereOf(root: string, path: string): string {
  const below = relative(root, path)
  return below === '' ? '.' : below
}

function oneLog(directory: string): LedgerPlace {
  const name = `${basename(dirname(directory))}/${basename(directory)}`
  return { name, logs: [{ directory, where: '.' }], paths: undefined, isPartial: true }
}

/** The ledger of an instance's directory, or the one whose own folder this is. */
async function ledgerIn(root: string, directory: string): Promise<LedgerPlace | undefined> {
  const isInstance = await isDirectory(join(directory, 'ledger'))
  const isLedger = !isInstance && (await isDirectory(join(directory, 'logs')))
  if (!isInstance && !isLedger) return undefined
  const paths = isInstance ? ledgerPaths(directory) : pathsBelow(directory)
  const name = isLedger ? basename(dirname(directory)) : basename(directory)
  return { name, logs: await logsIn(root, paths.logs), paths, isPartial: false }
}

/** Logs at `<class>/<quarter>`, those that have lost their checkpoint included. */
async function logsIn(root: string, logs: string): Promise<LogPlace[]> {
  const places: LogPlace[] = []
  for (const retentionClass of await namesIn(logs)) {
    for (const quarter of await namesIn(join(logs, retentionClass))) {
      if (!/^\d{4}q[1-4]$/.test(quarter)) continue
      const directory = join(logs, retentionClass, quarter)
      places.push({ directory, where: whereOf(root, directory) })
    }
  }
  return places
}

async function namesIn(directory: string): Promise<string[]> {
  if (!(await isDirectory(directory))) return []
  const items = await readdir(directory, { withFileTypes: true })
  const names = items.filter((item) => item.isDirectory()).map((item) => item.name)
  return names.sort()
}

function nothingAt(root: string): CommandError {
  return new CommandError(
    'notFound',
    `There is no log at ${root}. Nothing was verified. Name a data directory, the directory of an ` +
      'instance, its logs folder, or one log (the folder that has a file `checkpoint`).',
  )
}
