/**
 * `affidavit keys`: gateway keys, which make the identity of a caller verified.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { systemClock } from '@affidavit/sdk/capture'
import type { Command } from 'commander'
import {
  createGatewayKey,
  type GatewayKey,
  gatewayKeysPath,
  listGatewayKeys,
  revokeGatewayKey,
} from '../control/keys.ts'
import { CommandError } from './exit.ts'
import { dataDirOption, jsonOption, readConfig } from './settings.ts'
import { pad, processTerminal, visible } from './terminal.ts'

const createExamples = `
Examples:
  affidavit keys create --user u-4711 --application billing-bot
  affidavit keys create --application nightly-report --json

A caller presents it where its provider key would be, e.g. ANTHROPIC_API_KEY=afk_… A running gateway
takes a new key, and drops a revoked one, with the next request.`

interface KeyOptions {
  readonly dataDir?: string
  readonly json?: boolean
}

/** Adds the command. */
export function register(program: Command): void {
  const keys = program
    .command('keys')
    .description('make, list and revoke gateway keys, which make an identity verified')
  keys
    .command('create')
    .description('make a key; its text is printed once and kept nowhere')
    .option('--user <id>', 'user that the key stands for')
    .option('--application <id>', 'application that the key stands for')
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', createExamples)
    .action(createKey)
  keys
    .command('list')
    .description('list the keys, without their secrets')
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', '\nExamples:\n  affidavit keys list\n  affidavit keys list --json')
    .action(listKeys)
  keys
    .command('revoke')
    .description('make a key invalid from the next request on; it stays listed')
    .argument('<id>', 'id of the key: the part after afk_')
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', '\nExamples:\n  affidavit keys revoke ab2cd3ef4gh5')
    .action(revokeKey)
}

async function createKey(
  options: KeyOptions & { user?: string; application?: string },
): Promise<void> {
  const { user, application } = options
  if (user === undefined && application === undefined) {
    throw new CommandError(
      'usage',
      'A key names a user, an application, or both. No key was made. Add --user or --application.',
    )
  }
  const named = {
    ...(user === undefined ? {} : { user }),
    ...(application === undefined ? {} : { application }),
  }
  const sources = { clock: systemClock, random: (bytes: number) => randomBytes(bytes) }
  const { key, text } = createGatewayKey(await keysPath(options), named, sources)
  const terminal = processTerminal()
  if (options.json === true) {
    await terminal.print(`${JSON.stringify({ key: text, ...wireOf(key) })}\n`)
    return
  }
  await terminal.print(`${text}\n`)
  terminal.note(`This key stands for ${whomOf(key)}. It is shown this once: keep it now.\n`)
}

async function listKeys(options: KeyOptions): Promise<void> {
  const keys = listGatewayKeys(await keysPath(options))
  const terminal = processTerminal()
  if (options.json === true) {
    await terminal.print(`${JSON.stringify({ keys: keys.map(wireOf) })}\n`)
    return
  }
  if (keys.length === 0) {
    terminal.note('There are no gateway keys. Make one with `affidavit keys create`.\n')
    return
  }
  const { colours } = terminal
  await terminal.print(colours.dim(`${line(['ID', 'STATE', 'USER', 'APPLICATION', 'MADE'])}\n`))
  for (const key of keys) {
    const state = key.revokedAt === null ? 'good' : 'revoked'
    const cells = [
      key.id,
      state,
      key.user ?? '–',
      key.application ?? '–',
      key.createdAt.slice(0, 10),
    ]
    const text = `${line(cells)}\n`
    await terminal.print(key.revokedAt === null ? text : colours.dim(text))
  }
}

async function revokeKey(id: string, options: KeyOptions): Promise<void> {
  const key = revokeGatewayKey(await keysPath(options), id.replace(/^afk_/, ''), systemClock)
  if (key === undefined) {
    throw new CommandError(
      'notFound',
      `There is no key ${visible(id)}. Nothing was changed. \`affidavit keys list\` shows the ids.`,
    )
  }
  const terminal = processTerminal()
  if (options.json === true) await terminal.print(`${JSON.stringify(wireOf(key))}\n`)
  else await terminal.print(`${key.id} is revoked; it stood for ${whomOf(key)}.\n`)
}

async function keysPath(options: KeyOptions): Promise<string> {
  const { dataDir, instance } = await readConfig(options)
  return gatewayKeysPath(dataDir, instance)
}

function wireOf(key: GatewayKey) {
  const { id, user, application, createdAt, revokedAt } = key
  return { id, user, application, created_at: createdAt, revoked_at: revokedAt }
}

function whomOf({ user, application }: GatewayKey): string {
  const parts = [
    ...(user === null ? [] : [`user ${visible(user)}`]),
    ...(application === null ? [] : [`application ${visible(application)}`]),
  ]
  return parts.join(' in ')
}

function line(cells: readonly string[]): string {
  const widths = [12, 7, 24, 24, 10]
  return cells
    .map((cell, index) => pad(visible(cell), widths[index] ?? 10))
    .join('  ')
    .trimEnd()
}
