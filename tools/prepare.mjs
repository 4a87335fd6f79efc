#!/usr/bin/env node
/**
 * Makes a checkout ready to run: installs packages when `node_modules` is missing or older than the
 * lockfile, then compiles what changed. Runs before `npm start`, `npm test` and `npm run bench`, so
 * that each works on a machine that has only Node, npm and git.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const stamp = `${root}node_modules/.prepared`
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)

if (major < 20 || (major === 20 && minor < 19)) {
  fail(
    `Affidavit needs Node 20.19 or newer; this is ${process.version}. Install a newer Node and run the command again.`,
  )
}

const lock = createHash('sha256')
  .update(readFileSync(`${root}package-lock.json`))
  .digest('hex')
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== lock) {
  console.error('Installing packages (npm ci) …')
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
  writeFileSync(stamp, lock)
}
run(process.execPath, [`${root}node_modules/typescript/bin/tsc`, '--build'])

/** Runs one step with its output shown; ends this process with the step's exit code if it fails. */
function run(command, parameters) {
  const { status, error } = spawnSync(command, parameters, { cwd: root, stdio: ['ignore', 2, 2] })
  if (error) fail(`${command} could not be started: ${error.message}`)
  if (status !== 0)
    fail(`${command} ${parameters.join(' ')} failed with exit code ${status}`, status ?? 1)
}

function fail(message, code = 1) {
  console.error(message)
  process.exit(code)
}
