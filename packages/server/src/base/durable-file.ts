/**
 * Small files that must survive a crash: written whole, synced, and put in place by one rename. What
 * a crash leaves is the old file or the new one, never a mixture.
 *
 * @module
 */
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'

/** Only the owner reads and writes. */
export const secretMode = 0o600
export const publicMode = 0o644

/** Content of the file at `path`, or `undefined` if there is none; other failures are thrown. */
export function readFileIfPresent(path: string): Buffer | undefined {
  try {
    return readFileSync(path)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

/** Replaces the file at `path`; durable when this returns. Callers keep out of each other's way. */
export function replaceFile(path: string, content: string | Uint8Array, mode: number): void {
  const next = `${path}.next`
  writeWhole(next, content, mode)
  renameSync(next, path)
  syncDirectory(dirname(path))
}

/**
 * Puts what `make` returns at `path` unless a file is there already; durable when this returns. Two
 * processes that try at once agree on one winner. Returns what is there now.
 */
export function createFileOnce(path: string, make: () => string, mode: number): string {
  makeDirectory(dirname(path))
  const present = readFileIfPresent(path)
  if (present !== undefined) return present.toString('utf8')
  const next = `${path}.${process.pid}.next`
  writeWhole(next, make(), mode)
  try {
    // Unlike rename, link fails when the name is taken: the first one wins.
    linkSync(next, path)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  } finally {
    rmSync(next, { force: true })
  }
  syncDirectory(dirname(path))
  return readFileSync(path, 'utf8')
}

/** Makes a directory and its parents, for the owner only. */
export function makeDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 })
}

/** Makes renames, creations and removals inside `path` durable. */
export function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** Tells whether `error` is a system error with this code. */
export function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code
}

function writeWhole(path: string, content: string | Uint8Array, mode: number): void {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content
  rmSync(path, { force: true })
  const descriptor = openSync(path, 'wx', mode)
  try {
    let written = 0
    while (written < bytes.length) written += writeSync(descriptor, bytes, written)
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
