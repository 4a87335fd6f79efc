#!/usr/bin/env node
/**
 * Runs every extra suite in this folder (`*.test.mjs`, node:test) that the machine allows, one after
 * the other, and ends with one line that a script can read: `N passed, N failed, N skipped`.
 *
 * These suites need what `npm test` must not ask for: minutes, Go, strace, a real client. A suite
 * that lacks something skips its tests with the reason; the reasons are listed before the counts.
 *
 *     node test/more/run.mjs [--only NAME] [--list]
 *
 * Exit code 0: nothing failed. 1: a test failed, a suite crashed or ran out of time.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** Limits that keep the whole run under 12 minutes on 2 cores; ms. */
const totalTimeMs = 12 * 60_000
const defaultSuiteTimeMs = 120_000
/** Suites that use the time they are given. They read it from AFFIDAVIT_SUITE_TIME_MS. */
const suiteTimeMs = { 'crash-kill': 270_000, 'crash-inject': 210_000 }
/** What a suite may take beyond its time to check and clean up before it is stopped. */
const graceMs = 60_000

const here = fileURLToPath(new URL('.', import.meta.url))
const { values: options } = parseArgs({
  options: { only: { type: 'string' }, list: { type: 'boolean' } },
})

const suites = readdirSync(here)
  .filter((file) => file.endsWith('.test.mjs'))
  .map((file) => basename(file, '.test.mjs'))
  .filter((name) => options.only === undefined || name.includes(options.only))
  .toSorted((a, b) => (suiteTimeMs[a] ?? 0) - (suiteTimeMs[b] ?? 0))

if (options.list) {
  console.log(suites.join('\n'))
  process.exit(0)
}

const startedMs = performance.now()
const sum = { passed: 0, failed: 0, skipped: 0 }
const skips = []
for (const suite of suites) {
  const leftMs = totalTimeMs - (performance.now() - startedMs)
  const result = await runSuite(suite, Math.min(suiteTimeMs[suite] ?? defaultSuiteTimeMs, leftMs))
  sum.passed += result.passed
  sum.failed += result.failed
  sum.skipped += result.skipped
  for (const skip of result.skips) skips.push(`${suite}: ${skip}`)
}
if (suites.length === 0) {
  console.log('no suite has that name')
  sum.failed = 1
}
if (skips.length > 0) console.log(`\nskipped, and why:\n  ${skips.join('\n  ')}`)
console.log(`\n${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`)
process.exitCode = sum.failed === 0 ? 0 : 1

/** Runs one suite in a process of its own; what it prints is shown, TAP lines are condensed. */
async function runSuite(suite, timeMs) {
  const result = { passed: 0, failed: 0, skipped: 0, skips: [], failing: false }
  if (timeMs <= 0) {
    console.log(`\n${suite}: not started, the ${totalTimeMs / 60_000} minutes are over`)
    return { ...result, skipped: 1, skips: ['out of time'] }
  }
  console.log(`\n${suite}`)
  const began = performance.now()
  const child = spawn(process.execPath, ['--test-reporter=tap', join(here, `${suite}.test.mjs`)], {
    cwd: join(here, '../..'),
    env: { ...process.env, AFFIDAVIT_SUITE_TIME_MS: String(Math.round(timeMs)) },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let timedOut = false
  const timer = setTimeout(() => {
    timedOut = true
    child.kill('SIGTERM')
    setTimeout(() => child.kill('SIGKILL'), 5_000).unref()
  }, timeMs + graceMs)
  let rest = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) readLine(line, result)
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  clearTimeout(timer)
  if (timedOut) console.log(`  not ok: stopped after ${Math.round((timeMs + graceMs) / 1000)} s`)
  // A suite that dies without a summary, or says nothing failed and exits badly, has failed.
  if (timedOut || (code !== 0 && result.failed === 0)) result.failed++
  console.log(`  ${Math.round((performance.now() - began) / 1000)} s`)
  return result
}

/** Reads one line of TAP: the counts come from node:test's own summary, the rest is for people. */
function readLine(line, result) {
  const count = /^# (pass|fail|cancelled|skipped) (\d+)$/.exec(line)
  if (count) {
    const key = { pass: 'passed', fail: 'failed', cancelled: 'failed', skipped: 'skipped' }[
      count[1]
    ]
    result[key] += Number(count[2])
  } else if (/^\s*(not )?ok \d+ - .* # SKIP/.test(line)) {
    result.skips.push(line.replace(/^\s*(not )?ok \d+ - /, '').replace(' # SKIP', ' —'))
    console.log(`  ${line.trim()}`)
  } else if (/^\s*(not )?ok \d+ - /.test(line)) {
    console.log(`  ${line.trim()}`)
    result.failing = line.includes('not ok')
  } else if (result.failing && !/^\s+(duration_ms|type|failureType|\.\.\.|---)/.test(line)) {
    if (/^\s/.test(line)) console.log(`    ${line.trimEnd()}`)
  } else if (/^# (?!Subtest|tests|suites|todo|duration_ms)/.test(line)) {
    console.log(`  ${line.slice(2)}`)
  }
}
