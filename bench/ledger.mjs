#!/usr/bin/env node
/**
 * Measures the ledger alone, on the disk of `--directory`. Prints one JSON line per figure:
 *
 * - `raw`: one write after another to a pre-zeroed O_DSYNC file, of one entry and of one from each
 *   producer. No other figure means anything without it.
 * - `sequence`: entries made durable a second, and how long each waits, while integration waits.
 * - `sustained`: the same with integration and publication running beside, as they always do.
 * - `publish`: entries a second from the first append until the last is under a published checkpoint.
 * - `start`: how long opening takes after the process that filled the ledger was killed.
 *
 *   node bench/ledger.mjs [--directory DIR] [--producers 64] [--seconds 5] [--bytes 1000]
 *                         [--start-entries 1000000] [--only raw,sequence,sustained,publish,start]
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { closeSync, constants, mkdtempSync, openSync, rmSync, write, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { fork } from 'node:child_process'
import { parseArgs, promisify } from 'node:util'

const { values } = parseArgs({
  options: {
    directory: { type: 'string', default: tmpdir() },
    producers: { type: 'string', default: '64' },
    seconds: { type: 'string', default: '5' },
    bytes: { type: 'string', default: '1000' },
    'start-entries': { type: 'string', default: '1000000' },
    only: { type: 'string', default: 'raw,sequence,sustained,publish,start' },
    child: { type: 'string' },
  },
})
const producers = Number(values.producers)
const entryBytes = Number(values.bytes)
// What integration would do waits until the end.
const unintegrated = {
  integrateIntervalMs: 1e8,
  integrateEntries: Number.MAX_SAFE_INTEGER,
  backlogBytesMax: Number.MAX_SAFE_INTEGER,
}
const { systemClock } = await import('@affidavit/sdk/capture')
const { openLedger } = await import('../packages/server/dist/ledger/ledger.js')

const parts = {
  raw: measureRaw,
  sequence: (directory) => measureProducers(directory, unintegrated),
  sustained: (directory) => measureProducers(directory, {}),
  publish: measurePublish,
  start: measureStart,
}
if (values.child !== undefined) await fillAndDie(values.child)
else {
  for (const part of values.only.split(',')) {
    const directory = mkdtempSync(join(values.directory, 'affidavit-bench-'))
    try {
      console.log(JSON.stringify({ figure: part, ...(await parts[part](directory)) }))
    } finally {
      rmSync(directory, { recursive: true })
    }
  }
}

/** One write after another on a pre-zeroed O_DSYNC file: what the disk itself takes. */
async function measureRaw(directory) {
  const path = join(directory, 'raw')
  const segmentBytes = 64 << 20
  const zeros = openSync(path, 'w')
  for (let at = 0; at < segmentBytes; at += 1 << 20) writeSync(zeros, Buffer.alloc(1 << 20))
  closeSync(zeros)
  const fd = openSync(path, constants.O_WRONLY | constants.O_DSYNC)
  const waits = []
  const writeAt = promisify(write)
  for (const [name, bytes] of [
    ['one', entryBytes],
    ['batch', entryBytes * producers],
  ]) {
    const buffer = Buffer.alloc(bytes, 0x61)
    const times = []
    const end = performance.now() + 1000
    for (let at = 0; performance.now() < end; at = (at + bytes) % (segmentBytes - bytes)) {
      const start = performance.now()
      await writeAt(fd, buffer, 0, bytes, at)
      times.push(performance.now() - start)
    }
    waits.push([name, quantiles(times)])
  }
  closeSync(fd)
  return Object.fromEntries(waits)
}

/** Producers that each append and wait, for as long as asked. */
async function measureProducers(directory, overrides) {
  const { ledger } = await open(directory, overrides)
  // Compiles what is hot, and fills the first segment's neighbour.
  await produce(ledger, 500)
  const run = await produce(ledger, Number(values.seconds) * 1000)
  await ledger.close()
  return { producers, entryBytes, ...run }
}

/** Everything appended at full speed, until the last entry is under a published checkpoint. */
async function measurePublish(directory) {
  const { ledger } = await open(directory)
  const count = 300_000
  const cpu = process.cpuUsage()
  const start = performance.now()
  const body = makeBody()
  let next = 0
  const producer = async () => {
    while (next < count) await ledger.append({ retentionClass: 'standard', body: body(next++) })
  }
  await Promise.all(Array.from({ length: 256 }, producer))
  await ledger.publish()
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  await ledger.close()
  return {
    entries: count,
    entryBytes,
    entriesPerSecond: Math.round(count / seconds),
    cpuMicrosPerEntry: round((user + system) / count),
  }
}

/** A child fills a ledger and is killed; this process opens it. */
async function measureStart(directory) {
  await new Promise((resolve, reject) => {
    const child = fork(import.meta.filename, [...process.argv.slice(2), '--child', directory])
    child.once('error', reject)
    child.once('message', () => child.kill('SIGKILL'))
    child.once('exit', resolve)
  })
  const start = performance.now()
  const { ledger, recovery } = await open(directory)
  const startMs = Math.round(performance.now() - start)
  await ledger.close()
  const { recoveredEntries } = recovery
  return { entries: Number(values['start-entries']), entryBytes, recoveredEntries, startMs }
}

async function fillAndDie(directory) {
  const { ledger } = await open(directory)
  const count = Number(values['start-entries'])
  const body = makeBody()
  let next = 0
  const producer = async () => {
    while (next < count) await ledger.append({ retentionClass: 'standard', body: body(next++) })
  }
  await Promise.all(Array.from({ length: 256 }, producer))
  process.send('full')
  await new Promise(() => setInterval(() => undefined, 1000))
}

async function produce(ledger, durationMs) {
  const body = makeBody()
  const waits = []
  const cpu = process.cpuUsage()
  const start = performance.now()
  let busy = 0
  let next = 0
  const producer = async () => {
    for (;;) {
      const begun = performance.now()
      if (begun - start > durationMs) return
      try {
        await ledger.append({ retentionClass: 'standard', body: body(next++) })
        waits.push(performance.now() - begun)
      } catch (error) {
        if (error.code !== 'ERR_LEDGER_BUSY') throw error
        busy += 1
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    }
  }
  await Promise.all(Array.from({ length: producers }, producer))
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return {
    entriesPerSecond: Math.round(waits.length / seconds),
    busy,
    waitMs: quantiles(waits),
    cpuMicrosPerEntry: round((user + system) / waits.length),
  }
}

async function open(directory, overrides = {}) {
  return await openLedger({
    directory,
    deployment: 'bench.example',
    instance: 'bench-1',
    clock: systemClock,
    random: randomBytes,
    ...overrides,
  })
}

/** Bodies of the size asked for, made beforehand: making them is the caller's work. */
function makeBody() {
  const frame = (index) =>
    `{"event_id":"01a0b7c0-0000-7000-8000-${String(index).padStart(12, '0')}","kind":"control.event",` +
    `"retention_class":"standard","timestamp":"2026-11-23T14:00:00.000000Z","v":1}`
  const pad = 'x'.repeat(Math.max(0, entryBytes - frame(0).length - 200))
  const bodies = Array.from({ length: 1024 }, (_, index) =>
    // Through bytes, so that it is one flat string as it comes out of an encoder.
    Buffer.from(`{"details":"${pad}",${frame(index).slice(1)}`).toString(),
  )
  return (index) => bodies[index % bodies.length]
}

function quantiles(times) {
  times.sort((a, b) => a - b)
  const at = (share) =>
    round(times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0)
  return { p50: at(0.5), p99: at(0.99), max: round(times.at(-1) ?? 0) }
}

function round(value) {
  return Math.round(value * 1000) / 1000
}
