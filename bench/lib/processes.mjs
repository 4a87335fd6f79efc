/**
 * Starts, pins, watches and ends the processes that the bench measures and the ones it measures
 * with. Ends only what it started.
 *
 * @module
 */
import { spawn, spawnSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { cpus } from 'node:os'

const startTimeMs = 60_000
const stopTimeMs = 10_000

/** CPU lists for taskset: instruments on one core, the measured process on another. */
export const cores =
  cpus().length >= 2 && spawnSync('taskset', ['-c', '0', 'true']).status === 0
    ? { instrument: '0', subject: '1' }
    : undefined

const running = new Set()

/** Ends every process that is still running; for the end of the run, however it ends. */
export function stopAll() {
  for (const child of running) child.kill('SIGKILL')
}

/**
 * Spawns a command, pinned to the core of its role where the machine has two.
 *
 * @param {'instrument' | 'subject' | 'free'} role `free` is not pinned
 * @param {readonly string[]} command
 * @param {{ env?: Record<string, string>, cwd?: string, quiet?: boolean }} [options]
 */
export function start(role, command, options = {}) {
  const [program, ...parameters] = cores?.[role]
    ? ['taskset', '-c', cores[role], ...command]
    : [...command]
  const child = spawn(program, parameters, {
    env: { ...process.env, ...options.env },
    cwd: options.cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (text) => {
      output[name] = (output[name] + text).slice(-65_536)
    })
  }
  const exited = new Promise((resolve) => {
    child.on('error', (error) => resolve({ code: -1, error }))
    child.on('close', (code, signal) => resolve({ code, signal }))
  })
  void exited.then(() => running.delete(child))
  return { child, pid: child.pid, output, exited }
}

/** Ends a process, first politely. Resolves when it is gone. */
export async function stop({ child, exited }) {
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeMs)
  await exited
  clearTimeout(timer)
}

/** Runs a command to its end and returns the lines of its output, each parsed as JSON. */
export async function runForLines(role, command, options) {
  const started = start(role, command, options)
  const { code, error } = await started.exited
  if (code !== 0) {
    const why = error?.message ?? `exit code ${code}: ${started.output.stderr.slice(-2000)}`
    throw new Error(`${command.slice(0, 3).join(' ')} failed, ${why}`)
  }
  const lines = started.output.stdout.split('\n').filter((line) => line.trim() !== '')
  return lines.map((line) => JSON.parse(line))
}

/** The same for a command that writes one line. */
export async function runForJson(role, command, options) {
  const [line] = await runForLines(role, command, options)
  return line
}

/** Waits until a process accepts connections on a loopback port. */
export async function accepting(started, port) {
  const deadline = performance.now() + startTimeMs
  const state = { ended: false }
  void started.exited.then(() => (state.ended = true))
  while (performance.now() < deadline && !state.ended) {
    if (await accepts(port)) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error(`no answer on port ${port}: ${started.output.stderr.slice(-2000)}`)
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

/** A loopback port that was free a moment ago. */
export function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** A process and all its descendants: what a subject's processor time is summed over. */
export function familyOf(pid) {
  const family = [pid]
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const children = readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim()
      for (const child of children.split(' ').filter(Boolean))
        family.push(...familyOf(Number(child)))
    }
  } catch {
    // Without /proc only the process itself is known.
  }
  return family
}
