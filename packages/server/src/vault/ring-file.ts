/**
 * The file of the key ring: rows of JSON, one a line, appended and synced. This is the only mutable
 * and erasable thing beside the ledger; retention and erasure rewrite it.
 *
 * @module
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { makeDirectory, secretMode, syncDirectory } from '../base/durable-file.ts'

/** Storage of rows; tests put a stricter one in its place. */
export interface RingFile {
  /** Reads up to `length` bytes from `position`; fewer only at the end of the file. */
  read(position: number, length: number): Promise<Uint8Array>
  /** Cuts the file to `size` bytes; durable when it resolves. */
  truncate(size: number): Promise<void>
  /** Appends `bytes`; durable when it resolves. After a rejection nothing is known of them. */
  append(bytes: Uint8Array): Promise<void>
  close(): Promise<void>
}

/** Opens the file at `path`, made if there is none. */
export async function openRingFile(path: string): Promise<RingFile> {
  makeDirectory(dirname(path))
  const file = await open(
    path,
    constants.O_RDWR | constants.O_CREAT | constants.O_APPEND,
    secretMode,
  )
  // A new file's name must survive as well as its rows.
  syncDirectory(dirname(path))
  return {
    async read(position, length) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, position)
      return buffer.subarray(0, bytesRead)
    },
    async truncate(size) {
      await file.truncate(size)
      await file.datasync()
    },
    async append(bytes) {
      await file.appendFile(bytes)
      await file.datasync()
    },
    close: () => file.close(),
  }
}
