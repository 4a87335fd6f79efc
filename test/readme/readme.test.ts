/**
 * README as a newcomer would follow it: its two-command start, its clients, its commands, against the
 * real processes. And every command line that any page shows exists with the options it shows.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Anthropic from '@anthropic-ai/sdk'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const binary = join(root, 'packages/server/bin/affidavit.mjs')
const run = promisify(execFile)

describe('the commands that pages show', () => {
  const pages = [
    'README.md',
    'ARCHITECTURE.md',
    'SECURITY.md',
    'CONTRIBUTING.md',
    ...markdownBelow('docs'),
  ]
  const shown = pages.flatMap(commandLinesOf)

  test('there are some', () => {
    expect(shown.length).toBeGreaterThan(5)
  })

  test('each exists, with the options it is shown with', async () => {
    const help = new Map<string, string>()
    const unknown: string[] = []
    for (const { page, command, options } of shown) {
      if (!help.has(command)) help.set(command, await helpOf(command))
      const text = help.get(command) ?? ''
      const missing = options.filter((option) => !text.includes(option))
      if (text === '' || missing.length > 0)
        unknown.push(`${page}: ${command} ${missing.join(' ')}`)
    }
    expect(unknown).toEqual([])
  })
})

describe('following README', () => {
  let directory = ''
  let gatewayUrl = ''
  let env: NodeJS.ProcessEnv = {}
  const children: ChildProcess[] = []

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'affidavit-readme-'))
    const [simulatorPort, gatewayPort] = [await freePort(), await freePort()]
    gatewayUrl = `http://127.0.0.1:${gatewayPort}`
    env = {
      ...process.env,
      AFFIDAVIT_DATA_DIR: join(directory, 'data'),
      AFFIDAVIT_GATEWAY_LISTEN: `127.0.0.1:${gatewayPort}`,
      AFFIDAVIT_UPSTREAM_ANTHROPIC: `http://127.0.0.1:${simulatorPort}`,
    }
    await start(
      ['simulate', '--listen', `127.0.0.1:${simulatorPort}`],
      `http://127.0.0.1:${simulatorPort}/api/hello`,
    )
    await start(['start'], `${gatewayUrl}/affidavit/readyz`)
  })

  afterAll(async () => {
    for (const child of children) child.kill('SIGTERM')
    await Promise.all(
      children.map((child) => new Promise((resolve) => child.once('exit', resolve))),
    )
    rmSync(directory, { recursive: true, force: true })
  })

  test('an SDK call is one record that shows, verifies, is proven, and verifies as a copy', async () => {
    const client = new Anthropic({ baseURL: gatewayUrl, apiKey: 'sk-ant-readme' })
    const { response } = await client.messages
      .create({
        model: 'claude-sonnet-5-5',
        max_tokens: 64,
        messages: [{ role: 'user', content: 'What is an affidavit?' }],
      })
      .withResponse()
    const eventId = response.headers.get('x-audit-event-id') ?? ''
    expect(eventId).toMatch(/^[0-9a-f-]{36}$/)

    const tail = await affidavit('tail', '--no-follow')
    expect(tail).toContain(eventId)
    const show = JSON.parse(await affidavit('show', eventId, '--json'))
    expect(JSON.stringify(show)).toContain('"end_state":"complete"')

    await expectEventually(async () => {
      await affidavit('prove', eventId)
    })
    expect(readdirSync(directory)).toContain(`${eventId}.tlog-proof`)
    expect(await affidavit('verify')).toContain('Everything verifies.')

    cpSync(join(directory, 'data'), join(directory, 'copy'), { recursive: true })
    expect(await affidavit('verify', join(directory, 'copy'))).toContain('Everything verifies.')
  })

  test('a gateway key makes an identity verified', async () => {
    const printed = await affidavit(
      'keys',
      'create',
      '--user',
      'u-4711',
      '--application',
      'billing-bot',
      '--json',
    )
    const key = /afk_[A-Za-z0-9_-]+/.exec(printed)?.[0] ?? ''
    const client = new Anthropic({
      baseURL: gatewayUrl,
      apiKey: 'sk-ant-readme',
      defaultHeaders: { 'x-audit-key': key },
    })
    const { response } = await client.messages
      .create({
        model: 'claude-sonnet-5-5',
        max_tokens: 8,
        messages: [{ role: 'user', content: 'Hello' }],
      })
      .withResponse()
    const shown = await affidavit('show', response.headers.get('x-audit-event-id') ?? '', '--json')
    expect(shown).toContain('billing-bot')
    expect(shown).toContain('u-4711')
    expect(JSON.stringify(JSON.parse(shown))).toContain('"user":"verified"')
  })

  async function affidavit(...parameters: string[]): Promise<string> {
    const { stdout } = await run(process.execPath, [binary, ...parameters], { env, cwd: directory })
    return stdout
  }

  async function start(parameters: string[], url: string): Promise<void> {
    const child = spawn(process.execPath, [binary, ...parameters], {
      env,
      cwd: directory,
      stdio: 'ignore',
    })
    children.push(child)
    await expectEventually(async () => {
      const { ok } = await fetch(url)
      if (!ok) throw new Error(`${url} does not answer well yet`)
    })
  }
})

interface CommandLine {
  readonly page: string
  /** `verify`, or `keys create`. */
  readonly command: string
  readonly options: readonly string[]
}

function commandLinesOf(page: string): CommandLine[] {
  const text = readFileSync(join(root, page), 'utf8')
  const found = [
    ...text.matchAll(/npx affidavit ((?:[a-z]+)(?: (?:create|list|revoke|rebuild))?)([^\n`#|]*)/g),
  ]
  return found.map(([, command = '', rest = '']) => ({
    page,
    command,
    options: rest.match(/(?<=\s)--[a-z-]+/g) ?? [],
  }))
}

async function helpOf(command: string): Promise<string> {
  const { stdout } = await run(process.execPath, [binary, ...command.split(' '), '--help'])
  // An unknown command prints the program's own help.
  return stdout.includes(`affidavit ${command}`) ? stdout : ''
}

function markdownBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name))
}

/** Tries until it works; the test's own time limit is the limit. */
async function expectEventually(attempt: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await attempt()
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() =>
        resolve(typeof address === 'object' && address !== null ? address.port : 0),
      )
    })
  })
}
