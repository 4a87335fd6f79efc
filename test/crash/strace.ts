/**
 * Runs the gateway under strace: to see which system calls touch its data, and to make one of them
 * fail or be the last thing that the process does.
 *
 * @module
 */
import { readFileSync } from 'node:fs'

/** The calls by which the gateway changes its data. */
export const tracedCalls = [
  'openat',
  'pwrite64',
  'pwritev',
  'write',
  'writev',
  'fdatasync',
  'fsync',
  'ftruncate',
  'rename',
  'renameat',
  'renameat2',
  'link',
  'linkat',
  'mkdir',
  'unlink',
] as const

/** What happens at the chosen call: the process dies before it, or the call fails. */
export const faults = ['signal=SIGKILL', 'error=EIO', 'error=ENOSPC'] as const

export type Fault = (typeof faults)[number]

// Calls that take space on the disk; for the others a full disk is no other case than a broken one.
const takesSpace = /^(p?write|ftruncate|rename|link|mkdir)|O_CREAT/

/** One fault at the `when`th call of `call` in a thread. */
export interface Injection {
  readonly call: string
  readonly when: number
  readonly fault: Fault
}

const common = ['strace', '-f', '-qq', '--seccomp-bpf']

/**
 * Settings of the traced process that make runs alike: one thread for file system calls, since strace
 * counts per thread, and no io_uring, which strace cannot see into.
 */
export const tracedEnv = { UV_THREADPOOL_SIZE: '1', UV_USE_IO_URING: '0' }

/** A wrapper that writes every traced call, with paths, to `output`. */
export const recordCalls = (output: string): string[] => [
  ...common,
  '-y',
  '-e',
  `trace=${tracedCalls.join(',')}`,
  '-o',
  output,
]

/** A wrapper that injects one fault. */
export const injectFault = ({ call, when, fault }: Injection, output: string): string[] => [
  ...common,
  '-e',
  `trace=${call}`,
  '-e',
  `inject=${call}:${fault}:when=${when}`,
  '-o',
  output,
]

/** What stands for how often the same step is tried: its first two times and its last. */
const timesPerStep = 2

/**
 * The faults to inject, from a recorded run: one for each call that touches `directory`, by its
 * position among all calls of that name in its thread, which is what `when` counts. A step that a run
 * repeats (the same call on the same kind of file) is taken the first two times and the last time.
 */
export function faultsTouching(directory: string, output: string): Injection[] {
  const counts = new Map<string, number>()
  const steps = new Map<string, { readonly line: string; readonly when: number }[]>()
  for (const line of readFileSync(output, 'utf8').split('\n')) {
    const [, thread, call] = /^(\d+)\s+(\w+)\(/.exec(line) ?? []
    if (thread === undefined || call === undefined) continue
    const when = (counts.get(`${thread} ${call}`) ?? 0) + 1
    counts.set(`${thread} ${call}`, when)
    const at = line.indexOf(directory)
    if (at < 0) continue
    const [path = ''] = /^[^">]+/.exec(line.slice(at)) ?? []
    const step = `${call} ${path.replaceAll(/\d+/g, '#')}`
    const times = steps.get(step) ?? []
    steps.set(step, [...times.slice(0, timesPerStep), { line, when }])
  }
  return [...steps].flatMap(([step, times]) => times.flatMap((time) => faultsAt(step, time)))
}

function faultsAt(step: string, { line, when }: { readonly line: string; readonly when: number }) {
  const call = step.slice(0, step.indexOf(' '))
  return faults
    .filter((fault) => fault !== 'error=ENOSPC' || takesSpace.test(call) || takesSpace.test(line))
    .map((fault): Injection => ({ call, when, fault }))
}
