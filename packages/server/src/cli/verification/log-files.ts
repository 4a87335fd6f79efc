/**
 * The files of one log on disk, as the verifier of `@affidavit/format` reads them. Reads are
 * synchronous: a verification does nothing else meanwhile, and a small file read so costs a fifth.
 *
 * @module
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { LogFiles } from '@affidavit/format'

/** A checkpoint from elsewhere that is shown to the verifier as if the log had stored it. */
export interface AddedCheckpoint {
  /** Path in the log's directory, `cp/<size>`. */
  readonly path: string
  readonly text: string
  /** False: there is no published checkpoint yet, and this is shown in its place too. */
  readonly isPublished: boolean
}

/** Directories in directories: a log has at most `tile/<L>/x###/x###/…`. */
const depthMax = 12

/**
 * Opens a log's directory for reading.
 *
 * @param options.gate awaited before each read: lets a reader that is ahead wait
 */
export function openLogFiles(
  directory: string,
  options: { added?: AddedCheckpoint | undefined; gate?: () => Promise<void> | undefined } = {},
): LogFiles {
  const { added, gate } = options
  return {
    async read(path, bytesMax) {
      const waiting = gate?.()
      if (waiting !== undefined) await waiting
      const bytes = readAtMost(join(directory, path), bytesMax + 1)
      if (bytes !== undefined || added === undefined) return bytes
      const isAdded = path === added.path || (path === 'checkpoint' && !added.isPublished)
      return isAdded ? Buffer.from(added.text, 'utf8') : undefined
    },
    *list() {
      let isThere = false
      for (const path of walk(directory, '', 0)) {
        if (path === added?.path) isThere = true
        yield path
      }
      if (added !== undefined && !isThere) yield added.path
    },
  }
}

/** The first `bytesMax` bytes of a file; undefined if there is no such file. */
export function readAtMost(path: string, bytesMax: number): Uint8Array | undefined {
  let descriptor: number
  try {
    descriptor = openSync(path, 'r')
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
  try {
    const bytes = new Uint8Array(Math.min(bytesMax, fstatSync(descriptor).size))
    let filled = 0
    while (filled < bytes.length) {
      const got = readSync(descriptor, bytes, filled, bytes.length - filled, filled)
      if (got === 0) break
      filled += got
    }
    return bytes.subarray(0, filled)
  } finally {
    closeSync(descriptor)
  }
}

function* walk(root: string, folder: string, depth: number): Generator<string> {
  for (const item of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = folder === '' ? item.name : `${folder}/${item.name}`
    if (item.isDirectory() && depth < depthMax) yield* walk(root, path, depth + 1)
    else yield path
  }
}

function isAbsent(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  return error.code === 'ENOENT' || error.code === 'ENOTDIR'
}
