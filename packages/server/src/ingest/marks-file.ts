/**
 * The file of marks on a real disk.
 *
 * @module
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { makeDirectory, readFileIfPresent, replaceFile, secretMode } from '../base/durable-file.ts'
import type { MarksFile } from './marks.ts'

const appending = constants.O_WRONLY | constants.O_APPEND

/** Opens the file at `path`, made if there is none. */
export async function openMarksFile(path: string): Promise<MarksFile> {
  makeDirectory(dirname(path))
  if (readFileIfPresent(path) === undefined) replaceFile(path, '', secretMode)
  let file = await open(path, appending)
  return {
    readAll: () => Promise.resolve(readFileIfPresent(path) ?? new Uint8Array(0)),
    async append(bytes) {
      await file.appendFile(bytes)
      await file.datasync()
    },
    async replace(bytes) {
      await file.close()
      replaceFile(path, bytes, secretMode)
      file = await open(path, appending)
    },
    close: () => file.close(),
  }
}
