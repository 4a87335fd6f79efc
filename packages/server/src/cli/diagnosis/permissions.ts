/**
 * Who else can read or change what the data directory holds. Keys are the owner's alone; records may be
 * copied by others, but only the owner may write.
 *
 * @module
 */
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { counted } from '../terminal.ts'
import { type Diagnosis, fine, problem, warning } from './diagnosis.ts'

const groupAndOthers = 0o077
const writableByOthers = 0o022
/** Files looked at; a big directory is judged by its first ones. */
const filesMax = 10_000

// Files that must be secret, by their name at any depth.
const secretNames = /^(.*\.key|key|keys\.json|hash-tenant\.json|subjects\.jsonl)$/

/** Looks at the modes and owners of everything below `dataDir`. `ownId`: the user that runs this. */
export async function examinePermissions(dataDir: string, ownId: number): Promise<Diagnosis[]> {
  const found: Found = { files: 0, exposedKeys: [], writable: [], foreign: [] }
  await walk(dataDir, ownId, found)
  return judgePermissions(found)
}

/** What was found, as paths. */
export interface Found {
  files: number
  readonly exposedKeys: string[]
  readonly writable: string[]
  readonly foreign: string[]
}

/** Judges what was found. */
export function judgePermissions(found: Found): Diagnosis[] {
  const diagnoses: Diagnosis[] = []
  const list = (paths: readonly string[]) =>
    paths.length > 3 ? `${paths.slice(0, 3).join(', ')} and others` : paths.join(', ')
  if (found.exposedKeys.length > 0) {
    const what = `others can read ${list(found.exposedKeys)}`
    const advice = `chmod 600 ${found.exposedKeys.slice(0, 3).join(' ')}; if anyone did read it, replace the key.`
    diagnoses.push(problem('key-files', what, advice))
  }
  if (found.writable.length > 0) {
    const what = `others can write ${list(found.writable)}`
    diagnoses.push(problem('permissions', what, 'Take the right to write away: chmod -R go-w.'))
  }
  if (found.foreign.length > 0) {
    const what = `another user owns ${list(found.foreign)}`
    const advice =
      'Run the gateway and this command as the user who owns the data, or change the owner.'
    diagnoses.push(warning('owner', what, advice))
  }
  if (diagnoses.length > 0) return diagnoses
  return [
    fine(
      'permissions',
      `${counted(found.files, 'file')} and folders are the owner's alone to write`,
    ),
  ]
}

async function walk(path: string, ownId: number, found: Found): Promise<void> {
  if (found.files >= filesMax) return
  const info = await lstat(path).catch(() => undefined)
  if (info === undefined || info.isSymbolicLink()) return
  found.files += 1
  const name = path.split('/').at(-1) ?? ''
  if (info.isFile() && secretNames.test(name) && (info.mode & groupAndOthers) !== 0) {
    found.exposedKeys.push(path)
  }
  if ((info.mode & writableByOthers) !== 0) found.writable.push(path)
  if (info.uid !== ownId && ownId !== 0) found.foreign.push(path)
  if (!info.isDirectory()) return
  const names = await readdir(path).catch(() => [])
  for (const child of names) await walk(join(path, child), ownId, found)
}
