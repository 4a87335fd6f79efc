/**
 * Resolves handles to the names behind them: for the command line and the console, which hold the
 * identity key. Reads a copy of a data directory as well as a live one, and changes nothing.
 *
 * @module
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../base/durable-file.ts'
import { openIdentityOpener, type IdentityOpener } from './identity-keys.ts'
import type { RingFile } from './ring-file.ts'
import { scanRows, type RingRow } from './ring-rows.ts'

/** A handle, and who it stands for. */
export interface ResolvedHandle {
  readonly kind: RingRow['kind']
  readonly handle: string
  readonly month: string
  readonly name: string
}

/** Handles resolved in one call at most. */
export const resolvedHandlesMax = 10_000

/**
 * Finds the names behind `handles` in the ring of `instance`. A handle without a row (erased, or of
 * another instance) is missing in the result.
 *
 * @throws AuditError `ERR_IDENTITY_KEY_MISSING` without the private key, `ERR_IDENTITY_UNSEALABLE`
 *   for a row that was sealed to another key.
 */
export async function resolveHandles(
  dataDir: string,
  instance: string,
  handles: ReadonlySet<string>,
): Promise<ResolvedHandle[]> {
  const opener = await openIdentityOpener(dataDir)
  const rows = await findRows(ringPath(dataDir, instance), handles)
  const resolved: ResolvedHandle[] = []
  for (const row of rows) resolved.push(await openRow(opener, row))
  return resolved
}

/** Where the ring of an instance is. */
export function ringPath(dataDir: string, instance: string): string {
  return join(dataDir, instance, 'keyring', 'subjects.jsonl')
}

async function openRow(opener: IdentityOpener, row: RingRow): Promise<ResolvedHandle> {
  const { kind, handle, month } = row
  return { kind, handle, month, name: await opener.open(row.sealed, { kind, handle, month }) }
}

async function findRows(path: string, handles: ReadonlySet<string>): Promise<RingRow[]> {
  const found: RingRow[] = []
  const file = await openForReading(path)
  if (file === undefined) return found
  try {
    await scanRows(file, (row) => {
      if (handles.has(row.handle) && found.length < resolvedHandlesMax) found.push(row)
    })
  } finally {
    await file.close()
  }
  return found
}

async function openForReading(path: string): Promise<Pick<RingFile, 'read' | 'close'> | undefined> {
  try {
    const file = await open(path, 'r')
    return {
      async read(position, length) {
        const buffer = Buffer.allocUnsafe(length)
        const { bytesRead } = await file.read(buffer, 0, length, position)
        return buffer.subarray(0, bytesRead)
      },
      close: () => file.close(),
    }
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}
