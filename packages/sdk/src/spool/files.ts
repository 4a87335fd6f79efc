/**
 * The file operations that a spool needs, as an interface, so that tests can put a stricter file
 * system underneath; and the two compositions that every durable small file uses.
 *
 * Nothing is assumed durable before the `sync` of the file and, for a new or renamed name, the
 * `syncDirectory` of its folder have resolved.
 *
 * @module
 */
import { constants } from 'node:fs'
import {
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  stat,
  unlink,
  utimes,
} from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

/** An open file. Calls must not overlap. */
export interface SpoolFile {
  /** Writes all of `bytes` at `position`; not durable before `sync`. */
  write(bytes: Uint8Array, position: number): Promise<void>
  sync(): Promise<void>
  truncate(bytes: number): Promise<void>
  close(): Promise<void>
}

export interface SpoolFs {
  /** `create` fails when the name exists (O_EXCL); `update` when it does not. */
  open(path: string, how: 'create' | 'update'): Promise<SpoolFile>
  /** The whole file, or the part of it from `from` up to, not including, `to`. */
  read(path: string, range?: { from: number; to: number }): Promise<Uint8Array>
  /** Names in a folder, in no particular order. */
  list(directory: string): Promise<string[]>
  /** Makes the folder and those above it, readable by the owner only. */
  makeDirectory(directory: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** Gives a second name to a file; fails with `EEXIST` if the name is taken: atomically. */
  link(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  syncDirectory(directory: string): Promise<void>
  /** Sets the modification time to now. */
  touch(path: string): Promise<void>
  /** Modification time in milliseconds by the file system's clock, and the inode number. */
  stat(path: string): Promise<{ modifiedMs: number; inode: string }>
}

/** The machine's file system. Files are created with mode 0600, folders with 0700. */
export const nodeFs: SpoolFs = {
  async open(path, how) {
    const flags =
      how === 'create'
        ? constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY
        : constants.O_WRONLY
    return spoolFile(await open(path, flags, 0o600))
  },
  read: (path, range) => (range === undefined ? readFile(path) : readRange(path, range)),
  list: (directory) => readdir(directory),
  async makeDirectory(directory) {
    await mkdir(directory, { recursive: true, mode: 0o700 })
  },
  rename,
  link,
  unlink,
  async syncDirectory(directory) {
    // Windows cannot open a folder; NTFS journals names by itself.
    if (process.platform === 'win32') return
    const handle = await open(directory, constants.O_RDONLY)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },
  async touch(path) {
    const now = new Date()
    await utimes(path, now, now)
  },
  async stat(path) {
    const { mtimeMs, ino } = await stat(path)
    return { modifiedMs: mtimeMs, inode: String(ino) }
  },
}

/** A folder of a spool, and what makes this process's temporary names its own. */
export interface SpoolFolder {
  readonly fs: SpoolFs
  readonly path: string
  /** Random text: process ids repeat in containers that share a folder. */
  readonly token: string
}

/** Puts `bytes` under `name`, replacing what was there: after a crash the old or the new, whole. */
export async function replaceFile(
  folder: SpoolFolder,
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  const temporary = await writeTemporary(folder, name, bytes)
  await folder.fs.rename(temporary, join(folder.path, name))
  await folder.fs.syncDirectory(folder.path)
}

/**
 * Puts `bytes` under a name that must be new: nobody ever sees the name without the whole content.
 *
 * @returns false if the name was taken already.
 */
export async function createFile(
  folder: SpoolFolder,
  name: string,
  bytes: Uint8Array,
): Promise<boolean> {
  const temporary = await writeTemporary(folder, name, bytes)
  try {
    await folder.fs.link(temporary, join(folder.path, name))
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    return false
  } finally {
    await folder.fs.unlink(temporary)
  }
  await folder.fs.syncDirectory(folder.path)
  return true
}

/** Removes a file that may be gone already. */
export async function removeFile(folder: SpoolFolder, name: string): Promise<void> {
  await folder.fs.unlink(join(folder.path, name)).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error
  })
}

/** The system's error code (`ENOENT`, `ENOSPC`, …) of an error, if it has one. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** Suffix of files that a crash may leave behind and that mean nothing. */
export const temporarySuffix = '.tmp'

async function writeTemporary(
  folder: SpoolFolder,
  name: string,
  bytes: Uint8Array,
): Promise<string> {
  const path = join(folder.path, `${name}.${folder.token}${temporarySuffix}`)
  await removeFile(folder, `${name}.${folder.token}${temporarySuffix}`)
  const file = await folder.fs.open(path, 'create')
  try {
    await file.write(bytes, 0)
    await file.sync()
  } finally {
    await file.close()
  }
  return path
}

async function readRange(path: string, range: { from: number; to: number }): Promise<Uint8Array> {
  const handle = await open(path, constants.O_RDONLY)
  try {
    const bytes = new Uint8Array(range.to - range.from)
    let done = 0
    while (done < bytes.length) {
      const { bytesRead } = await handle.read(bytes, done, bytes.length - done, range.from + done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return bytes.subarray(0, done)
  } finally {
    await handle.close()
  }
}

function spoolFile(handle: FileHandle): SpoolFile {
  return {
    async write(bytes, position) {
      let done = 0
      while (done < bytes.length) {
        const { bytesWritten } = await handle.write(
          bytes,
          done,
          bytes.length - done,
          position + done,
        )
        done += bytesWritten
      }
    },
    // Data and the size that is needed to read it back; on macOS libuv asks for F_FULLFSYNC.
    sync: () => handle.datasync(),
    truncate: (bytes) => handle.truncate(bytes),
    close: () => handle.close(),
  }
}
