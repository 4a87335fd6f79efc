/**
 * `affidavit hash`: the `prompt_hash` of a request body, so that anyone who has the request can find,
 * or rule out, its record.
 *
 * @module
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isAuditError, toHex } from '@affidavit/format'
import { canonicalPrompt, createHashKeys } from '@affidavit/sdk/capture'
import type { Command } from 'commander'
import { openTenantHashKeys } from '../vault/hash-keys.ts'
import { CommandError } from './exit.ts'
import { dataDirOf, dataDirOption, isFile, jsonOption } from './settings.ts'
import { processTerminal, visible } from './terminal.ts'

/** Longest request body that is read; Claude takes 32 MiB. */
export const requestBytesMax = 512 * 1024 * 1024

const examples = `
The digest covers everything that shapes the answer (docs/spec/hashes.md): white space, member order,
cache_control and secrets do not count. Records hold the keyed digest unless hashing.mode is plain; it is
printed when the tenant's hash key (keys/hash-tenant.json of the data directory) can be read.

Examples:
  affidavit hash request.json
  pbpaste | affidavit hash - --json`

/** Adds the command. */
export function register(program: Command): void {
  program
    .command('hash')
    .description('print the prompt_hash of a request body')
    .argument(
      '<file>',
      'file with the JSON body of a request to /v1/messages, or - for standard input',
    )
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(file: string, options: { dataDir?: string; json?: boolean }): Promise<void> {
  const prompt = canonicalPrompt(await readRequest(file))
  if (prompt === null) {
    throw new CommandError(
      'malformed',
      `${visible(file)} is not a JSON object. Nothing was changed. Give the body of a request, as it was sent.`,
    )
  }
  const keyed = await keyedDigests(prompt.sha256, options)
  const terminal = processTerminal()
  if (options.json === true) {
    const facts = { sha256: toHex(prompt.sha256), blocks: prompt.blocks.length, keyed }
    await terminal.print(`${JSON.stringify(facts)}\n`)
    return
  }
  await terminal.print(`plain     ${toHex(prompt.sha256)}\n`)
  for (const { key_id, digest } of keyed) await terminal.print(`${key_id.padEnd(10)}${digest}\n`)
  if (keyed.length === 0) {
    terminal.note('The keyed digest needs the tenant hash key, which cannot be read from here.\n')
  }
}

interface KeyedDigest {
  readonly key_id: string
  readonly digest: string
}

/** The digest under every version of the tenant's key; none if the key cannot be read. */
async function keyedDigests(
  sha256: Uint8Array,
  options: { dataDir?: string },
): Promise<KeyedDigest[]> {
  const dataDir = await dataDirOf(options)
  // The vault makes a key where there is none; looking must not.
  if (!(await isFile(join(dataDir, 'keys', 'hash-tenant.json')))) return []
  try {
    const { keys } = openTenantHashKeys(dataDir, () => new Uint8Array(0))
    return [...keys].map(([version, key]) => {
      const hashKeys = createHashKeys({ mode: 'tenant', key, version })
      return { key_id: hashKeys.keyId(null), digest: hashKeys.digest(sha256, null) }
    })
  } catch (error) {
    if (isAuditError(error)) throw error
    return []
  }
}

async function readRequest(file: string): Promise<Uint8Array> {
  if (file !== '-') await stat(file)
  const stream = file === '-' ? process.stdin : createReadStream(file)
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream) {
    if (!Buffer.isBuffer(chunk)) continue
    bytes += chunk.length
    if (bytes > requestBytesMax) {
      throw new CommandError(
        'usage',
        `The request is longer than ${requestBytesMax} bytes. Nothing was changed. Claude takes 32 MiB.`,
      )
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
