/**
 * The load generator without a C compiler; see native/load.c for what each argument means.
 *
 * @module
 */
import { readFileSync, readdirSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { number, percentiles, text } from './arguments.mjs'

const connections = number('connections', 32)
const rate = number('rate', 0)
const warmupMs = number('warmup', 1) * 1000
const windowMs = number('seconds', 3) * 1000
const drainMs = number('drain', 10) * 1000
const pids = text('pids', '').split(',').filter(Boolean)
const [before, after] = readFileSync(text('body'), 'utf8').split('#'.repeat(16))
const streaming = before.includes('"stream":true')
const headers = readHeaders(text('headers'))
const agent = new Agent({ keepAlive: true, maxSockets: connections })

const startMs = performance.now()
const windowStart = startMs + warmupMs
const windowEnd = windowStart + windowMs
const latencies = []
const firstBytes = []
const chunks = []
const errors = { status: 0, cutOff: 0, incomplete: 0, unfinished: 0 }
const sum = { completed: 0, bodyBytes: 0, started: 0 }
/** When each request was due that has not ended. */
const outstanding = new Map()

const cpu = measureCpu()
if (rate > 0) await openLoop()
else await Promise.all(Array.from({ length: connections }, closedLoop))
const cpuMicros = await cpu
const giveUpMs = windowEnd + drainMs
while (outstanding.size > 0 && performance.now() < giveUpMs) await sleepMs(20)
// What has no answer yet counts as having taken until now: it took longer.
for (const dueMs of outstanding.values()) {
  if (dueMs < windowStart) continue
  errors.unfinished++
  latencies.push((performance.now() - dueMs) * 1000)
}
console.log(
  JSON.stringify({
    requests: sum.completed,
    seconds: windowMs / 1000,
    cpuMicros,
    errors,
    bodyBytes: sum.bodyBytes,
    openConnections: Object.values(agent.sockets).flat().length,
    latency: percentiles(latencies),
    firstByte: percentiles(firstBytes),
    chunk: percentiles(chunks),
  }),
)
process.exit()

async function closedLoop() {
  while (performance.now() < windowEnd) await exchange(performance.now())
}

async function openLoop() {
  const stepMs = 1000 / rate
  for (let dueMs = startMs; dueMs < windowEnd; dueMs += stepMs) {
    const waitMs = dueMs - performance.now()
    if (waitMs > 1) await sleepMs(waitMs)
    void exchange(dueMs)
  }
}

/** One request and its answer; resolves when it is over, however it ends. */
function exchange(dueMs) {
  const counted = dueMs >= windowStart && dueMs < windowEnd
  const body = after === undefined ? before : `${before}${numbered()}${after}`
  const key = Symbol('exchange')
  outstanding.set(key, dueMs)
  return new Promise((resolve) => {
    const done = (failure) => {
      outstanding.delete(key)
      const nowMs = performance.now()
      const inWindow = rate > 0 ? counted : nowMs >= windowStart && nowMs < windowEnd
      if (failure && counted) errors[failure]++
      if (inWindow && failure === undefined) sum.completed++
      if (counted) latencies.push((nowMs - dueMs) * 1000)
      resolve()
    }
    const outgoing = request(
      {
        agent,
        port: number('port'),
        path: text('path', '/v1/messages'),
        method: 'POST',
        headers: { ...headers, 'content-length': Buffer.byteLength(body) },
      },
      (response) => readAnswer(response, { dueMs, counted, done }),
    )
    outgoing.on('error', () => done('cutOff'))
    outgoing.end(body)
  })
}

function readAnswer(response, { dueMs, counted, done }) {
  let tail = ''
  let seen = false
  response.setEncoding('latin1')
  response.on('data', (part) => {
    if (!seen && counted) firstBytes.push((performance.now() - dueMs) * 1000)
    seen = true
    sum.bodyBytes += part.length
    if (!streaming) return
    const now = process.hrtime.bigint()
    for (const [, stamp] of part.matchAll(/"t=(\d{20})/g)) {
      if (counted) chunks.push(Number(now - BigInt(stamp)) / 1000)
    }
    tail = (tail + part).slice(-64)
  })
  response.on('end', () => {
    if (response.statusCode !== 200) done('status')
    else done(streaming && !tail.includes('message_stop') ? 'incomplete' : undefined)
  })
  response.on('error', () => done('cutOff'))
}

function numbered() {
  return String(++sum.started).padStart(16, '0')
}

function sleepMs(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Processor time of the measured processes between warm-up and end, in microseconds. */
async function measureCpu() {
  await sleepMs(warmupMs)
  const first = cpuNanos()
  await sleepMs(windowMs)
  return (cpuNanos() - first) / 1000
}

function cpuNanos() {
  let nanos = 0
  for (const pid of pids) {
    try {
      for (const task of readdirSync(`/proc/${pid}/task`)) {
        const schedstat = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8')
        nanos += Number(schedstat.split(' ')[0])
      }
    } catch {
      return Number.NaN
    }
  }
  return nanos
}

function readHeaders(file) {
  const found = { 'content-type': 'application/json' }
  for (const line of file ? readFileSync(file, 'utf8').split('\r\n') : []) {
    const at = line.indexOf(': ')
    if (at > 0) found[line.slice(0, at)] = line.slice(at + 2)
  }
  return found
}
