#!/usr/bin/env node
/**
 * Sums what the test runners printed: vitest's `Tests  3 failed | 120 passed | 2 skipped (125)` and the
 * plain `N passed, N failed, N skipped` of tools/check.mjs and test/more. Prints one such line, and
 * fails if anything failed or nothing ran.
 *
 * usage: sum-results.mjs LOG …
 *
 * @module
 */
import { readFileSync } from 'node:fs'

const total = { passed: 0, failed: 0, skipped: 0 }
// eslint-style colour codes: vitest colours its summary when it believes it is on a terminal.
const colours = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g')

for (const path of process.argv.slice(2)) {
  for (const line of readFileSync(path, 'utf8').replace(colours, '').split('\n')) {
    for (const [, count, word] of countsIn(line)) total[word] += Number(count)
  }
}

const nothingRan = total.passed === 0 && total.failed === 0
if (nothingRan) console.error('No test ran: see the logs above for the reason.')
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exitCode = total.failed > 0 || nothingRan ? 1 : 0

/** Pairs of count and word on a summary line; nothing on any other line. */
function countsIn(line) {
  if (
    /^\s*Tests\s/.test(line) ||
    /^(\S+: )?\d+ passed, \d+ failed(, \d+ skipped)?$/.test(line.trim())
  ) {
    return line.matchAll(/(\d+) (passed|failed|skipped)/g)
  }
  return []
}
