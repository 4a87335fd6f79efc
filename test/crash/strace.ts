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
  'mkdir',
  'unlink',
] as const

/** What happens at the chosen call: the process dies before it, or the call fails. */
export const faults = ['signal=SIGKILL', 'error=EIO', 'error=ENOSPC'] as const

export type Fault = (typeof faults)[number]

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

/**
 * The calls of a recorded run that touch `directory`, each by its position among all calls of that
 * name in its thread: what `when` counts.
 */
export function callsTouching(directory: string, output: string): Omit<Injection, 'fault'>[] {
  const counts = new Map<string, number>()
  const found = new Map<string, Omit<Injection, 'fault'>>()
  for (const line of readFileSync(output, 'utf8').split('\n')) {
    const [, thread, call] = /^(\d+)\s+(\w+)\(/.exec(line) ?? []
    if (thread === undefined || call === undefined) continue
    const when = (counts.get(`${thread} ${call}`) ?? 0) + 1
    counts.set(`${thread} ${call}`, when)
    if (line.includes(directory)) found.set(`${call} ${when}`, { call, when })
  }
  return [...found.values()]
}
