/**
 * What is measured: direct (no proxy), the two baselines, Affidavit in both kinds of delivery, and a
 * peer. All run at the same time and idle while another is measured.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inspectorFlag } from './heap.mjs'
import { accepting, freePort, start } from './processes.mjs'

const bench = fileURLToPath(new URL('..', import.meta.url))
/** The program that is measured; AFFIDAVIT_BIN names another build of it. */
export const affidavitBin =
  process.env.AFFIDAVIT_BIN ?? join(bench, '../packages/server/bin/affidavit.mjs')
const peers = join(bench, 'peers')
const portkeyServer = join(peers, 'node_modules/@portkey-ai/gateway/build/start-server.js')

/** Headers that every caller sends: an API key, a version and, for us, who is asking. */
const callerHeaders = [
  'x-api-key: sk-ant-api03-bench',
  'anthropic-version: 2023-06-01',
  'user-agent: affidavit-bench',
  'accept: application/json',
  'x-audit-user: bench-user',
  'x-audit-session: 0198c1f0-5b1e-7c3a-9d2e-6f1a2b3c4d5e',
]

/**
 * Starts every subject.
 *
 * @param {{ work: string, upstream: { port: number, url: string }, wantPeers: boolean }} options
 */
export async function startSubjects({ work, upstream, wantPeers }) {
  const headerFile = writeHeaders(work, 'headers', callerHeaders)
  const asCaller = (subject) => ({ headerFile, ...subject })
  const subjects = {
    direct: asCaller({ port: upstream.port }),
    static: asCaller(await startScript('static.mjs', [])),
    bare: asCaller({ streams: true, ...(await startScript('bare-proxy.mjs', [upstream.url])) }),
    strict: asCaller(await startAffidavit({ work, upstream: upstream.url, delivery: 'strict' })),
    standard: asCaller(
      await startAffidavit({ work, upstream: upstream.url, delivery: 'standard' }),
    ),
  }
  if (wantPeers) {
    const portkey = await startPortkey(work, upstream)
    if (portkey) subjects.portkey = portkey
  }
  return subjects
}

/** Starts the subjects whose memory is looked into. */
export async function startInspected({ work, upstream }) {
  const flags = [inspectorFlag]
  const headerFile = writeHeaders(work, 'headers', callerHeaders)
  const gateway = { work, upstream: upstream.url, delivery: 'strict', name: 'memory', flags }
  return {
    bare: { headerFile, ...(await startScript('bare-proxy.mjs', [upstream.url], flags)) },
    strict: { headerFile, ...(await startAffidavit(gateway)) },
  }
}

async function startScript(file, parameters, flags = []) {
  const port = await freePort()
  const script = join(bench, 'subjects', file)
  const command = [process.execPath, ...flags, script, String(port), ...parameters]
  const started = start('subject', command)
  await accepting(started, port)
  return { ...started, port }
}

/** Starts the real `affidavit gateway` on a data directory of its own. */
export async function startAffidavit({ work, upstream, delivery, name = delivery, flags = [] }) {
  const directory = join(work, `affidavit-${name}`)
  mkdirSync(directory, { recursive: true })
  const config = join(directory, 'affidavit.yaml')
  writeFileSync(config, `gateway:\n  delivery: ${delivery}\nlog:\n  level: warn\n`)
  const port = await freePort()
  const env = {
    AFFIDAVIT_CONFIG: config,
    AFFIDAVIT_DATA_DIR: join(directory, 'data'),
    AFFIDAVIT_GATEWAY_LISTEN: `127.0.0.1:${port}`,
    AFFIDAVIT_UPSTREAM_ANTHROPIC: upstream,
  }
  const command = [process.execPath, ...flags, affidavitBin, 'gateway']
  const started = start('subject', command, { env, cwd: directory })
  await accepting(started, port)
  return { ...started, port, streams: true, directory: env.AFFIDAVIT_DATA_DIR }
}

/** Portkey's gateway at the version that peers/package-lock.json pins; undefined without it. */
async function startPortkey(work, upstream) {
  if (!existsSync(portkeyServer)) {
    const install = ['ci', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error']
    const { status } = spawnSync('npm', install, { cwd: peers, stdio: ['ignore', 'ignore', 2] })
    if (status !== 0) return undefined
  }
  const port = await freePort()
  const command = [process.execPath, portkeyServer, '--headless', `--port=${port}`]
  const started = start('subject', command)
  await accepting(started, port)
  const headerFile = writeHeaders(work, 'headers-portkey', [
    ...callerHeaders.filter((line) => !line.startsWith('x-api-key')),
    'authorization: Bearer sk-ant-api03-bench',
    'x-portkey-provider: anthropic',
    `x-portkey-custom-host: ${upstream.url}/v1`,
  ])
  return { ...started, port, headerFile }
}

function writeHeaders(work, name, lines) {
  const file = join(work, name)
  writeFileSync(file, lines.map((line) => `${line}\r\n`).join(''))
  return file
}

/** Removes what the subjects wrote, so that a run does not fill the disk. */
export function removeData(work) {
  for (const name of ['strict', 'standard', 'memory', 'restart']) {
    rmSync(join(work, `affidavit-${name}`), { recursive: true, force: true })
  }
}
