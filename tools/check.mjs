#!/usr/bin/env node
/**
 * The checks that are not tests: types of the test code, lint, format. One line each, all of them run
 * even if the first fails, and the plain count at the end that .ci/run sums.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const folders = ['packages', 'test', 'tools', 'bench', 'examples'].filter((name) =>
  existsSync(root + name),
)
/** @type {readonly (readonly [name: string, binary: string, parameters: string[]])[]} */
const checks = [
  ['types of the tests', 'typescript/bin/tsc', ['-p', 'tsconfig.test.json']],
  ['lint', 'oxlint/bin/oxlint', [...folders, '--type-aware', '--deny-warnings']],
  ['format', 'oxfmt/bin/oxfmt', ['--check', ...folders]],
]

let failed = 0
for (const [name, binary, parameters] of checks) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [`${root}node_modules/${binary}`, ...parameters],
    {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    },
  )
  if (status !== 0) {
    failed += 1
    console.error(`${stdout}${stderr}`)
  }
  console.log(`${status === 0 ? 'ok' : 'FAILED'}  ${name}`)
}
console.log(`checks: ${checks.length - failed} passed, ${failed} failed`)
process.exitCode = failed > 0 ? 1 : 0
