/**
 * The real file system behind `LedgerFs`.
 *
 * Invariants:
 * - A write is one `pwrite` on an O_DSYNC descriptor: one hop through the thread pool where write and
 *   fdatasync would be two. Where the platform has no O_DSYNC, or where it does not reach the disk
 *   (macOS keeps it in the drive's cache), the write is followed by a sync.
 * - Files are 0600 and directories 0700: a ledger is nobody's business but its owner's.
 *
 * @module
 */
import { tryLock, unlock } from 'fs-native-extensions'
import { closeSync, constants, fdatasync, fsync, open, promises, write } from 'node:fs'
import type { FileLock, LedgerFile, LedgerFs } from './ledger-fs.ts'

const fileMode = 0o600
const directoryMode = 0o700
const durableFlag: number | undefined = process.platform === 'linux' ? constants.O_DSYNC : undefined
const createFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | (durableFlag ?? 0)
// A holder's text is a process id and a time.
const holderBytesMax = 256

/** The machine's file system. */
export const posixFs: LedgerFs = {
  async create(path) {
    return durableFile(await openFd(path, createFlags))
  },
  async readFile(path, from = 0) {
    const handle = await orUndefined(promises.open(path, constants.O_RDONLY))
    if (handle === undefined) return undefined
    try {
      const { size } = await handle.stat()
      return await readRange(handle, from, size)
    } finally {
      await handle.close()
    }
  },
  rename: (from, to) => promises.rename(from, to),
  async unlink(path) {
    await orUndefined(promises.unlink(path))
  },
  async makeDirectory(path) {
    try {
      await promises.mkdir(path, directoryMode)
      return true
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false
      throw error
    }
  },
  async removeDirectory(path) {
    try {
      await promises.rmdir(path)
    } catch (error) {
      const code = codeOf(error)
      if (code !== 'ENOENT' && code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
    }
  },
  async list(path) {
    const names = await orUndefined(promises.readdir(path))
    return names?.sort()
  },
  async syncDirectory(path) {
    const fd = await openFd(path, constants.O_RDONLY)
    try {
      await new Promise<void>((resolve, reject) => {
        fsync(fd, (error) => (error ? reject(error) : resolve()))
      })
    } finally {
      closeSync(fd)
    }
  },
  lock: lockFile,
}

// Descriptors and callbacks where files are many: a FileHandle costs more than what is done with it.
function openFd(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, flags, fileMode, (error, fd) => (error ? reject(error) : resolve(fd)))
  })
}

function durableFile(fd: number): LedgerFile {
  let isOpen = true
  return {
    write: (bytes, position) =>
      new Promise((resolve, reject) => {
        const finish = (error: NodeJS.ErrnoException | null) => (error ? reject(error) : resolve())
        const next = (offset: number) =>
          write(fd, bytes, offset, bytes.length - offset, position + offset, (error, written) => {
            if (error) reject(error)
            // A short write is no failure: the rest is tried, and fails with the reason if there is one.
            else if (offset + written < bytes.length) next(offset + written)
            else if (durableFlag === undefined) fdatasync(fd, finish)
            else resolve()
          })
        // The number may be another file's by now.
        if (isOpen) next(0)
        else reject(new Error('EBADF: the file is closed'))
      }),
    async close() {
      if (!isOpen) return
      isOpen = false
      // Synchronously: there is nothing left to write, so it waits for no disk, and a trip through the
      // thread pool would take longer.
      closeSync(fd)
    },
  }
}

async function readRange(
  handle: promises.FileHandle,
  from: number,
  size: number,
): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(Math.max(0, size - from))
  let at = 0
  while (at < bytes.length) {
    const { bytesRead } = await handle.read(bytes, at, bytes.length - at, from + at)
    if (bytesRead === 0) break
    at += bytesRead
  }
  return bytes.subarray(0, at)
}

async function lockFile(path: string, holder: string): Promise<FileLock | string> {
  const flags = constants.O_RDWR | constants.O_CREAT
  const handle = await promises.open(path, flags, fileMode)
  try {
    if (!tryLock(handle.fd)) {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(holderBytesMax), 0)
      await handle.close()
      return buffer.toString('utf8', 0, bytesRead)
    }
    await handle.truncate(0)
    await handle.write(holder, 0)
  } catch (error) {
    await handle.close()
    throw error
  }
  return {
    async release() {
      unlock(handle.fd)
      await handle.close()
    },
  }
}

async function orUndefined<T>(operation: Promise<T>): Promise<T | undefined> {
  try {
    return await operation
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined
}
