/**
 * Starts the real `affidavit gateway` as a process of its own, and kills it.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The program under test; AFFIDAVIT_BIN names another build of it. */
export const bin =
  process.env.AFFIDAVIT_BIN ??
  fileURLToPath(new URL('../../packages/server/bin/affidavit.mjs', import.meta.url))
const compiled = fileURLToPath(new URL('../../packages/server/dist/cli/main.js', import.meta.url))
const startMsMax = 30_000
const stopMsMax = 20_000

/** The instance of the data directory that the crash tests use. */
export const instance = 'gw-1'

/** Where a test keeps one gateway's files. */
export interface GatewayHome {
  /** `AFFIDAVIT_DATA_DIR`; the instance is below it. */
  readonly dataDirectory: string
  readonly configFile: string
}

/** A gateway process. */
export interface GatewayProcess {
  readonly port: number
  /** Everything it wrote to standard error, for the message of a failing test. */
  readonly log: () => string
  /** True when it accepts connections; false when it ended before it did. */
  readonly ready: Promise<boolean>
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>
  /** SIGKILL, at once. Resolves when the process is gone. */
  kill(): Promise<void>
  /** SIGTERM: lets it finish and close its ledger. Resolves with its exit code. */
  stop(): Promise<number | null>
}

/** Makes a directory for one gateway, with small segments so that tests stay small on disk. */
export function createHome(directory: string, extra: readonly string[] = []): GatewayHome {
  if (!existsSync(compiled)) throw new Error('not compiled: run `npm run build` first')
  mkdirSync(directory, { recursive: true })
  const configFile = join(directory, 'affidavit.yaml')
  const lines = [
    'deployment: audit.example',
    `instance: ${instance}`,
    'log: { level: warn, format: json }',
    'ledger: { segment_bytes: 1048576, integrate_interval_ms: 50, reopen_ms_max: 200 }',
    ...extra,
  ]
  writeFileSync(configFile, `${lines.join('\n')}\n`)
  return { dataDirectory: join(directory, 'data'), configFile }
}

/** Settings of `startGateway`. */
export interface GatewayOptions {
  readonly home: GatewayHome
  readonly upstream: string
  /** A command to run the gateway under, e.g. strace with its flags. */
  readonly wrapper?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** Starts the gateway on a free port. `ready` tells when callers may come. */
export async function startGateway(options: GatewayOptions): Promise<GatewayProcess> {
  const port = await freePort()
  const command = [...(options.wrapper ?? []), process.execPath, bin, 'gateway']
  const [program = process.execPath, ...parameters] = command
  const child = spawn(program, parameters, {
    env: {
      ...process.env,
      AFFIDAVIT_CONFIG: options.home.configFile,
      AFFIDAVIT_DATA_DIR: options.home.dataDirectory,
      AFFIDAVIT_GATEWAY_LISTEN: `127.0.0.1:${port}`,
      AFFIDAVIT_UPSTREAM_ANTHROPIC: options.upstream,
      ...options.env,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (log = (log + text).slice(-20_000)))
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.on('error', () => resolve({ code: -1, signal: null }))
    child.on('exit', (code, signal) => resolve({ code, signal }))
  })
  // Under a wrapper, the gateway is the wrapper's child: a killed strace would leave it running.
  const signal = (name: NodeJS.Signals) => {
    const pid = options.wrapper === undefined ? child.pid : childOf(child.pid)
    if (pid !== undefined) tryKill(pid, name)
  }
  return {
    port,
    log: () => log,
    ready: waitUntilAccepting(port, exited),
    exited,
    async kill() {
      signal('SIGKILL')
      await exited
    },
    async stop() {
      signal('SIGTERM')
      const timer = setTimeout(() => signal('SIGKILL'), stopMsMax)
      const { code } = await exited
      clearTimeout(timer)
      return code
    },
  }
}

function tryKill(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended by itself.
  }
}

/** The child process of a wrapper, from /proc; undefined when it has ended. */
function childOf(pid: number | undefined): number | undefined {
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const children = readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim()
      if (children !== '') return Number(children.split(' ')[0])
    }
  } catch {
    // The wrapper has ended.
  }
  return undefined
}

async function waitUntilAccepting(port: number, exited: Promise<unknown>): Promise<boolean> {
  const state = { ended: false }
  void exited.then(() => (state.ended = true))
  const deadline = performance.now() + startMsMax
  while (performance.now() < deadline && !state.ended) {
    if (await accepts(port)) return true
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  return false
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => resolve(false))
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      server.close(() => resolve(port))
    })
  })
}
