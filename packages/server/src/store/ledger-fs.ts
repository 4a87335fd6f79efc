/**
 * What a ledger asks of a file system, and nothing else: few enough operations that a test can fail
 * each of them, and that a reader can say for each what a crash leaves behind.
 *
 * Invariants:
 * - A file that is written is durable as far as it is written (O_DSYNC), its *name* is not: a name is
 *   durable when `syncDirectory` of its directory has resolved after `open`, `rename` or
 *   `makeDirectory`.
 * - Operations on different paths may overlap. After a failed write or sync nobody may assume
 *   anything about the bytes on disk, whatever a read shows (the page cache may hold what the disk
 *   does not).
 *
 * @module
 */

/** A file open for writing. */
export interface LedgerFile {
  /** Writes all of `bytes` at `position`; durable when it resolves. One call at a time per file. */
  write(bytes: Uint8Array, position: number): Promise<void>
  close(): Promise<void>
}

/** A lock that the system drops when its process dies. */
export interface FileLock {
  release(): Promise<void>
}

/** Directory operations take absolute paths or paths relative to the working directory. */
export interface LedgerFs {
  /** Creates or empties a file, readable by its owner only. */
  create(path: string): Promise<LedgerFile>
  /** Content from byte `from` (default 0) on; `undefined` when there is no such file. */
  readFile(path: string, from?: number): Promise<Uint8Array | undefined>
  /** Replaces `to` if it exists. */
  rename(from: string, to: string): Promise<void>
  /** Removes a file; one that is not there is no error. */
  unlink(path: string): Promise<void>
  /** Makes one directory, not its parents. Returns whether it was missing. */
  makeDirectory(path: string): Promise<boolean>
  /** Removes an empty directory; one that is not there or not empty is no error. */
  removeDirectory(path: string): Promise<void>
  /** Names in a directory, sorted; `undefined` when there is no such directory. */
  list(path: string): Promise<readonly string[] | undefined>
  /** Makes the names in a directory durable. */
  syncDirectory(path: string): Promise<void>
  /**
   * Takes an exclusive lock on `path` and writes `holder` into it; when another process (or another
   * caller in this one) has the lock, resolves with the text which that one wrote.
   */
  lock(path: string, holder: string): Promise<FileLock | string>
}

/** A guarded file system: see `guardFs`. */
export interface GuardedFs {
  readonly fs: LedgerFs
  /** Refuses every operation from now on; resolves when those under way have ended. */
  stop(): Promise<void>
}

/**
 * Runs at most `operationsMax` operations of `fs` at once, the others wait in order, and lets the
 * owner stop them all: a ledger that has failed must not change one more file while its successor
 * recovers. Files opened through it are bound by it too.
 *
 * @param stopped makes the error with which operations after `stop` reject.
 */
export function guardFs(
  fs: LedgerFs,
  { operationsMax, stopped }: { operationsMax: number; stopped: () => Error },
): GuardedFs {
  let running = 0
  let isStopped = false
  const waiting: (() => void)[] = []
  const onIdle: (() => void)[] = []

  async function run<T>(operation: () => Promise<T>): Promise<T> {
    // An ended operation hands its place to the first that waits, so `running` stays as it is.
    if (running >= operationsMax) await new Promise<void>((resolve) => waiting.push(resolve))
    else running += 1
    try {
      if (isStopped) throw stopped()
      return await operation()
    } finally {
      const next = waiting.shift()
      if (next !== undefined) next()
      else {
        running -= 1
        if (running === 0) for (const resolve of onIdle.splice(0)) resolve()
      }
    }
  }

  return {
    fs: {
      create: async (path) => guardFile(await run(() => fs.create(path)), run),
      readFile: (path, from) => run(() => fs.readFile(path, from)),
      rename: (from, to) => run(() => fs.rename(from, to)),
      unlink: (path) => run(() => fs.unlink(path)),
      makeDirectory: (path) => run(() => fs.makeDirectory(path)),
      removeDirectory: (path) => run(() => fs.removeDirectory(path)),
      list: (path) => run(() => fs.list(path)),
      syncDirectory: (path) => run(() => fs.syncDirectory(path)),
      lock: (path, holder) => run(() => fs.lock(path, holder)),
    },
    async stop() {
      isStopped = true
      if (running > 0) await new Promise<void>((resolve) => onIdle.push(resolve))
    },
  }
}

function guardFile(
  file: LedgerFile,
  run: <T>(operation: () => Promise<T>) => Promise<T>,
): LedgerFile {
  return {
    write: (bytes, position) => run(() => file.write(bytes, position)),
    // Closing changes nothing on disk, and a stopped ledger must not leak descriptors.
    close: () => file.close(),
  }
}
