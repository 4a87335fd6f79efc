#!/usr/bin/env node
/**
 * Runs every extra suite in this folder that the machine allows, one after the other, and ends with one
 * line that a script can read: `N passed, N failed, N skipped`. A suite is a `*.test.mjs` file (node:test)
 * or a `*.test.ts` file (vitest); both report in TAP.
 *
 * These suites need what `npm test` must not ask for: minutes, Go, strace, a real client. A suite
 * that lacks something skips its tests with the reason; the reasons are listed before the counts.
 *
 *     node test/more/run.mjs [--only NAME] [--list] [--minutes N]
 *
 * --minutes gives the suites that use the time they are given more of it, e.g. a night's worth.
 *
 * Exit code 0: nothing failed. 1: a test failed, a suite crashed or ran out of time.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** Keeps the whole run under 12 minutes on 2 cores, with what the last suite overruns. */
const minutesDefault = 11
const defaultSuiteTimeMs = 120_000
/** Suites that use the time they are given. They read it from AFFIDAVIT_SUITE_TIME_MS. */
const timeShares = { 'crash-kill': 0.45, 'crash-inject': 0.3 }
/** What a suite may take beyond its time to check and clean up before it is stopped. */
const graceMs = 110_000

const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '../..')
const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    list: { type: 'boolean' },
    minutes: { type: 'string', default: String(minutesDefault) },
  },
})

const suites = readdirSync(here)
  .filter((file) => /\.test\.(mjs|ts)$/.test(file))
  .map((file) => ({ file, name: file.replace(/\.test\.(mjs|ts)$/, '') }))
  .filter(({ name }) => options.only === undefined || name.includes(options.only))
  .toSorted((a, b) => (timeShares[a.name] ?? 0) - (timeShares[b.name] ?? 0))

if (options.list) {
  console.log(suites.map(({ name }) => name).join('\n'))
  process.exit(0)
}

const totalTimeMs = Number(options.minutes) * 60_000
const startedMs = performance.now()
const sum = { passed: 0, failed: 0, skipped: 0 }
const skips = []
for (const { file, name } of suites) {
  const leftMs = totalTimeMs - (performance.now() - startedMs)
  const share = timeShares[name]
  const timeMs = share === undefined ? defaultSuiteTimeMs : share * totalTimeMs
  const result = await runSuite(file, Math.min(timeMs, leftMs))
  sum.passed += result.passed
  sum.failed += result.failed
  sum.skipped += result.skipped
  for (const skip of result.skips) skips.push(`${name}: ${skip}`)
}
if (suites.length === 0) {
  console.log('no suite has that name')
  sum.failed = 1
}
if (skips.length > 0) console.log(`\nskipped, and why:\n  ${skips.join('\n  ')}`)
console.log(`\n${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`)
process.exitCode = sum.failed === 0 ? 0 : 1

/** Runs one suite in a process of its own; what it prints is shown, TAP lines are condensed. */
async function runSuite(file, timeMs) {
  const result = { passed: 0, failed: 0, skipped: 0, skips: [], failing: false }
  console.log(`\n${file}`)
  if (timeMs <= 0) {
    console.log(`  not started: the ${options.minutes} minutes are over`)
    return { ...result, skipped: 1, skips: ['out of time'] }
  }
  const began = performance.now()
  const child = spawn(process.execPath, commandOf(file), {
    cwd: root,
    env: { ...process.env, AFFIDAVIT_SUITE_TIME_MS: String(Math.round(timeMs)), NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const state = { timedOut: false }
  const timer = setTimeout(() => {
    state.timedOut = true
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
  if (state.timedOut)
    console.log(`  not ok: stopped after ${Math.round((timeMs + graceMs) / 1000)} s`)
  // A suite that dies without a report, or says that nothing failed and exits badly, has failed.
  const silent = result.passed + result.failed + result.skipped === 0
  if (state.timedOut || silent || (code !== 0 && result.failed === 0)) result.failed++
  console.log(`  ${Math.round((performance.now() - began) / 1000)} s`)
  return result
}

function commandOf(file) {
  const path = join(here, file)
  if (file.endsWith('.mjs')) return ['--test-reporter=tap', path]
  const config = join(here, 'vitest.config.ts')
  const vitest = join(root, 'node_modules/vitest/vitest.mjs')
  return [vitest, 'run', '--config', config, '--reporter=tap-flat', path]
}

/** Reads one line of TAP: outermost results are counted, the rest is shown for people. */
function readLine(line, result) {
  const outcome = /^(not )?ok \d+ - (.*)$/.exec(line)
  if (outcome) {
    const [, not, title] = outcome
    const skip = / # SKIP ?(.*)$/i.exec(title)
    result.failing = not !== undefined && !skip
    if (skip) {
      result.skipped++
      if (skip[1]) result.skips.push(skip[1])
    } else if (not) result.failed++
    else result.passed++
    console.log(`  ${line}`)
  } else if (line.startsWith('skipped because ')) {
    result.skips.push(line.slice('skipped because '.length))
    console.log(`  ${line}`)
  } else if (/^\s*# Subtest|^TAP version|^\d+\.\.\d+$|^\s*(---|\.\.\.)$|^# /.test(line)) {
    if (/^# (?!Subtest|tests|suites|pass|fail|cancelled|skipped|todo|duration_ms)/.test(line)) {
      console.log(`  ${line.slice(2)}`)
    }
  } else if (/^\s/.test(line)) {
    if (result.failing) console.log(`  ${line}`)
  } else if (line !== '') console.log(`  ${line}`)
}
