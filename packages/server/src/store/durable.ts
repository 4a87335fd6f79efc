/**
 * Files that appear whole or not at all: written under a temporary name, durable, then renamed; their
 * directories synced once for many files.
 *
 * Invariants:
 * - A path never shows part of a file, at whatever step a crash comes.
 * - When `settle` has resolved, every file put before is durable under its name, and so is every
 *   directory on the way that had to be made.
 * - Temporary files live in one staging directory on the same volume; what a crash leaves there has no
 *   meaning, and `clearStaging` removes it.
 *
 * @module
 */
import { dirname, join } from 'node:path'
import type { LedgerFs } from './ledger-fs.ts'

/** Writes whole files. Calls may overlap. */
export interface DurableFiles {
  /**
   * Starts writing `bytes` to `path`. Resolves when there is room for the next one, not when this one
   * is done, so that a caller that makes files one after another holds only a few in memory.
   * Rejects with the first failure of any file.
   */
  put(path: string, bytes: Uint8Array): Promise<void>
  /** Waits until everything put is durable. Rejects with the first failure of any file. */
  settle(): Promise<void>
}

// One at a time, while the next one is made: a second stream of synced writes made more files by a
// tenth, and the write-ahead log, on the same disk, slower by half.
const filesInFlightMax = 1

/** Makes a writer of whole files below `root`, a directory that exists. */
export function createDurableFiles({
  fs,
  root,
  staging,
}: {
  fs: LedgerFs
  root: string
  staging: string
}): DurableFiles {
  const known = new Set<string>([root])
  const unsynced = new Set<string>()
  const inFlight = new Set<Promise<void>>()
  let stagedCount = 0
  let failure: { readonly error: unknown } | undefined

  async function write(path: string, bytes: Uint8Array): Promise<void> {
    const directory = dirname(path)
    await ensureDirectory(directory)
    const staged = join(staging, String(stagedCount++))
    await writeStaged(fs, staged, bytes)
    await fs.rename(staged, path)
    // A crash here may forget the name; nobody has been told of the file yet.
    unsynced.add(directory)
  }

  async function ensureDirectory(directory: string): Promise<void> {
    if (known.has(directory)) return
    const parent = dirname(directory)
    if (parent !== directory) await ensureDirectory(parent)
    // Synced even if it was there: it may have been made by a run that died before its own sync.
    await fs.makeDirectory(directory)
    unsynced.add(parent)
    if (known.size >= knownDirectoriesMax) known.clear()
    known.add(root)
    known.add(directory)
  }

  return {
    async put(path, bytes) {
      while (inFlight.size >= filesInFlightMax) await Promise.race(inFlight)
      if (failure !== undefined) throw failure.error
      const writing = write(path, bytes)
        .catch((error: unknown) => {
          failure ??= { error }
        })
        .finally(() => inFlight.delete(writing))
      inFlight.add(writing)
    },
    async settle() {
      await Promise.all(inFlight)
      if (failure !== undefined) throw failure.error
      const directories = [...unsynced]
      unsynced.clear()
      for (const directory of directories) await fs.syncDirectory(directory)
    },
  }
}

// Directories remembered as made: a log has one directory per thousand tiles.
const knownDirectoriesMax = 4096

/** Writes one file so that `path` has all of `bytes`, durably, or what it had before. */
export async function writeWhole(
  fs: LedgerFs,
  { path, staged, bytes }: { path: string; staged: string; bytes: Uint8Array },
): Promise<void> {
  await writeStaged(fs, staged, bytes)
  await fs.rename(staged, path)
  await fs.syncDirectory(dirname(path))
}

/**
 * Makes `path` and its missing parents; durable when it resolves. Its name is synced even if it was
 * there: a run that was killed may have made it and not come to that.
 */
export async function makeDirectories(fs: LedgerFs, path: string): Promise<void> {
  const parent = dirname(path)
  const isRoot = parent === path
  if (!isRoot && (await fs.list(parent)) === undefined) await makeDirectories(fs, parent)
  await fs.makeDirectory(path)
  await fs.syncDirectory(parent)
}

/** Removes what a crash left in a staging directory. */
export async function clearStaging(fs: LedgerFs, staging: string): Promise<void> {
  for (const name of (await fs.list(staging)) ?? []) await fs.unlink(join(staging, name))
}

async function writeStaged(fs: LedgerFs, staged: string, bytes: Uint8Array): Promise<void> {
  const file = await fs.create(staged)
  try {
    await file.write(bytes, 0)
  } finally {
    await file.close()
  }
}
