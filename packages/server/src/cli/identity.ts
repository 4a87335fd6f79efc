/**
 * Resolves the handles in a record to the names behind them, for whoever holds the identity key.
 *
 * @module
 */
import { access, constants, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { Entry } from '@affidavit/format'
import type { InstancePlace } from './settings.ts'
import { isInteraction } from './record-line.ts'

/** What is known about the handles of a record. */
export interface ResolvedNames {
  /** By field of the record. Empty without the key, or for handles without a row (erased). */
  readonly names: Readonly<Record<string, string>>
  /** The key file that would be needed; undefined when it could be read or nothing is to resolve. */
  readonly keyNeeded: string | undefined
}

const fields = ['user_id', 'session_id', 'application_id'] as const

/** Resolves user, session and application of `entry`. */
export async function resolveNames(
  entry: Entry,
  options: { instance: InstancePlace; identityKey?: string | undefined },
): Promise<ResolvedNames> {
  if (!isInteraction(entry)) return { names: {}, keyNeeded: undefined }
  const dataDir = dirname(options.instance.directory)
  const keyPath = resolve(options.identityKey ?? join(dataDir, 'keys', 'identity.key'))
  const handles = new Set(fields.flatMap((field) => entry[field] ?? []))
  const isReadable = await access(keyPath, constants.R_OK).then(
    () => true,
    () => false,
  )
  if (!isReadable) return { names: {}, keyNeeded: entry.user_id === null ? undefined : keyPath }
  const { resolveHandles } = await import('../vault/resolve.ts')
  const resolved = await withKeyAt(keyPath, options.instance, (root) =>
    resolveHandles(root, options.instance.name, handles),
  )
  const names: Record<string, string> = {}
  for (const { handle, name } of resolved) {
    for (const field of fields) if (entry[field] === handle) names[field] = name
  }
  return { names, keyNeeded: undefined }
}

/**
 * The vault reads key and ring from one data directory. A key from elsewhere, and a ring that may be a
 * read-only copy, are brought together by links; the key itself is not copied.
 */
async function withKeyAt<T>(
  keyPath: string,
  instance: InstancePlace,
  use: (root: string) => Promise<T>,
): Promise<T> {
  const root = await mkdtemp(join(tmpdir(), 'affidavit-'))
  try {
    await mkdir(join(root, 'keys'))
    await symlink(keyPath, join(root, 'keys', 'identity.key'))
    await symlink(resolve(instance.directory), join(root, instance.name))
    return await use(root)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}
