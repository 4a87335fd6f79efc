/**
 * A disk in memory that is stricter than a real one, for tests.
 *
 * - A name that was made, moved or removed is durable only when its directory has been synced. Until
 *   then a reboot may show it or not, each name for itself.
 * - A write that was torn by a crash has any of its sectors, in any order.
 * - A write that failed may be in the page cache and not on the disk; nothing but writing it again
 *   brings it there, and nothing but a reboot shows it.
 * - An operation takes a while: others may overtake it.
 * - After a crash the old process gets no answer any more.
 *
 * Directories that fail to sync stay unsynced: journals do not lose single names.
 *
 * @module
 */
import { assert } from '@affidavit/format'
import { basename, dirname } from 'node:path'
import type { LedgerFile, LedgerFs } from './ledger-fs.ts'

/** What happens to one operation that changes the disk. */
export type Outcome =
  | 'ok'
  /** The machine dies before it, in the middle of it (writes lose sectors), or right after it. */
  | 'crash-before'
  | 'crash-torn'
  | 'crash-after'
  /** It fails: having done nothing, only in the cache, in part on the disk, or all of it. */
  | 'fail-nothing'
  | 'fail-cached'
  | 'fail-torn'
  | 'fail-kept'

/** One operation that changes the disk. */
export interface Operation {
  /** Counts from 1, per mount. */
  readonly step: number
  readonly name: 'create' | 'write' | 'rename' | 'unlink' | 'make' | 'remove' | 'sync'
  readonly path: string
  readonly bytes: Uint8Array | undefined
}

export interface MountOptions {
  readonly decide?: (operation: Operation) => Outcome
  /** System error code of failures. Default `EIO`. */
  readonly code?: string
  /** Turns of the microtask queue that an operation takes. Default 1. */
  readonly delay?: () => number
  /** Told of every rename that was done, with the file's content. */
  readonly onRename?: (path: string, bytes: Uint8Array) => void
}

/** What one process sees of the disk. */
export interface Mount {
  readonly fs: LedgerFs
  readonly steps: () => number
  /** Resolves when the process has died. */
  readonly died: Promise<void>
  /** Kills the process: the cache stays, its locks do not. */
  kill(): void
}

export interface MemoryDisk {
  mount(options?: MountOptions): Mount
  /**
   * Loses what was not durable.
   *
   * @param survives decides for each unsynced name whether it got to the disk nevertheless.
   */
  reboot(survives: (path: string) => boolean): void
  /** Content of a file as a process would read it. */
  read(path: string): Uint8Array | undefined
  /** Replaces the content of a file, on the disk too: damage. */
  damage(path: string, change: (bytes: Uint8Array) => Uint8Array): void
  /** Removes a file, on the disk too. */
  lose(path: string): void
  /** Paths of all files, sorted. */
  files(): string[]
  /** An independent copy of everything. */
  clone(): MemoryDisk
}

interface FileNode {
  cached: Buffer
  durable: Buffer
}

interface DirectoryNode {
  readonly cached: Map<string, DiskNode>
  readonly durable: Map<string, DiskNode>
}

type DiskNode = FileNode | DirectoryNode

const sectorBytes = 512

/**
 * Makes a disk with one empty directory, `/data`.
 *
 * @param random 0 ≤ x < 1; chooses which sectors of a torn write survive.
 */
export function createMemoryDisk(random: () => number = () => 0.5): MemoryDisk {
  const volume: DirectoryNode = { cached: new Map(), durable: new Map() }
  const names = [['data', volume]] as const
  return diskOf({ cached: new Map(names), durable: new Map(names) }, random)
}

function diskOf(root: DirectoryNode, random: () => number): MemoryDisk {
  // The lock's holder by path; only one process lives at a time, or they share this.
  const locks = new Map<string, { text: string; owner: object }>()
  return {
    mount: (options = {}) => mountOn(root, locks, random, options),
    reboot(survives) {
      locks.clear()
      rebootDirectory(root, '', survives)
    },
    read: (path) => fileAt(root, path)?.cached,
    damage(path, change) {
      const file = fileAt(root, path)
      assert(file !== undefined, `${path} is there to be damaged`)
      file.cached = Buffer.from(change(file.cached))
      file.durable = Buffer.from(file.cached)
    },
    lose(path) {
      const parent = directoryAt(root, dirname(path))
      parent?.cached.delete(basename(path))
      parent?.durable.delete(basename(path))
    },
    files: () => [...walk(root, '')].sort(),
    clone: () => diskOf(cloneDirectory(root, new Map()), random),
  }
}

function mountOn(
  root: DirectoryNode,
  locks: Map<string, { text: string; owner: object }>,
  random: () => number,
  { decide = () => 'ok', code = 'EIO', delay = () => 1, onRename }: MountOptions,
): Mount {
  let steps = 0
  let isDead = false
  const owner = {}
  let markDead: () => void = () => undefined
  const died = new Promise<void>((resolve) => {
    markDead = resolve
  })
  const kill = () => {
    isDead = true
    for (const [path, lock] of locks) if (lock.owner === owner) locks.delete(path)
    markDead()
  }
  const silence = () => new Promise<never>(() => undefined)

  async function turn(): Promise<void> {
    for (let left = delay(); left > 0; left--) await Promise.resolve()
    if (isDead) await silence()
  }

  /** Runs one change with the outcome that was decided for it. */
  async function change(
    operation: Omit<Operation, 'step'>,
    effects: { all: () => void; cached?: () => void; torn?: () => void },
  ): Promise<void> {
    await turn()
    const outcome = decide({ step: ++steps, ...operation })
    const { all, cached = () => undefined, torn = () => undefined } = effects
    if (outcome === 'ok' || outcome === 'crash-after' || outcome === 'fail-kept') all()
    if (outcome === 'crash-torn' || outcome === 'fail-torn') torn()
    if (outcome === 'fail-cached' || outcome === 'fail-torn') cached()
    if (outcome.startsWith('crash')) {
      kill()
      await silence()
    }
    if (outcome.startsWith('fail')) {
      throw Object.assign(new Error(`${code}: ${operation.name}`), { code })
    }
    // A process that died meanwhile by another operation hears nothing of this one.
    if (isDead) await silence()
  }

  const parentOf = (path: string) => {
    const parent = directoryAt(root, dirname(path))
    if (parent === undefined) throw missing(path)
    return parent
  }

  function openFile(path: string, node: FileNode): LedgerFile {
    return {
      write: (bytes, position) =>
        change(
          { name: 'write', path, bytes },
          {
            all() {
              node.cached = withBytes(node.cached, bytes, position)
              node.durable = withBytes(node.durable, bytes, position)
            },
            cached() {
              node.cached = withBytes(node.cached, bytes, position)
            },
            torn() {
              node.durable = withSomeSectors(node.durable, bytes, position, random)
            },
          },
        ),
      close: () => turn(),
    }
  }

  const fs: LedgerFs = {
    async create(path) {
      let node: FileNode | undefined
      await change(
        { name: 'create', path, bytes: undefined },
        {
          all() {
            node = { cached: Buffer.alloc(0), durable: Buffer.alloc(0) }
            parentOf(path).cached.set(basename(path), node)
          },
        },
      )
      assert(node !== undefined, 'a file that was created is there')
      return openFile(path, node)
    },
    async readFile(path, from = 0) {
      await turn()
      const bytes = fileAt(root, path)?.cached.subarray(from)
      return bytes && Buffer.from(bytes)
    },
    rename: (from, to) =>
      change(
        { name: 'rename', path: to, bytes: fileAt(root, from)?.cached },
        {
          all() {
            const source = parentOf(from)
            const node = source.cached.get(basename(from))
            if (node === undefined) throw missing(from)
            source.cached.delete(basename(from))
            parentOf(to).cached.set(basename(to), node)
            if (isFile(node)) onRename?.(to, node.cached)
          },
        },
      ),
    unlink: (path) =>
      change(
        { name: 'unlink', path, bytes: undefined },
        { all: () => directoryAt(root, dirname(path))?.cached.delete(basename(path)) },
      ),
    async makeDirectory(path) {
      let made = false
      await change(
        { name: 'make', path, bytes: undefined },
        {
          all() {
            const parent = parentOf(path)
            if (parent.cached.has(basename(path))) return
            parent.cached.set(basename(path), { cached: new Map(), durable: new Map() })
            made = true
          },
        },
      )
      return made
    },
    removeDirectory: (path) =>
      change(
        { name: 'remove', path, bytes: undefined },
        {
          all() {
            if (directoryAt(root, path)?.cached.size === 0) {
              parentOf(path).cached.delete(basename(path))
            }
          },
        },
      ),
    async list(path) {
      await turn()
      const directory = directoryAt(root, path)
      return directory && [...directory.cached.keys()].sort()
    },
    syncDirectory: (path) =>
      change(
        { name: 'sync', path, bytes: undefined },
        {
          all() {
            const directory = directoryAt(root, path)
            if (directory === undefined) throw missing(path)
            replaceAll(directory.durable, directory.cached)
          },
        },
      ),
    async lock(path, holder) {
      await turn()
      const held = locks.get(path)
      if (held !== undefined) return held.text
      const lock = { text: holder, owner }
      locks.set(path, lock)
      return {
        async release() {
          if (locks.get(path) === lock) locks.delete(path)
        },
      }
    },
  }
  return { fs, steps: () => steps, died, kill }
}

/** A name that was not synced is as it was, or as it would be: as if the disk had it just in time. */
function rebootDirectory(
  directory: DirectoryNode,
  path: string,
  survives: (path: string) => boolean,
): void {
  const { cached, durable } = directory
  for (const name of new Set([...cached.keys(), ...durable.keys()])) {
    const now = cached.get(name)
    if (now === durable.get(name) || !survives(`${path}/${name}`)) continue
    if (now === undefined) durable.delete(name)
    else durable.set(name, now)
  }
  replaceAll(cached, durable)
  for (const [name, node] of durable) {
    if (isFile(node)) node.cached = Buffer.from(node.durable)
    else rebootDirectory(node, `${path}/${name}`, survives)
  }
}

function cloneDirectory(directory: DirectoryNode, known: Map<DiskNode, DiskNode>): DirectoryNode {
  const copy = (node: DiskNode): DiskNode => {
    const done = known.get(node)
    if (done !== undefined) return done
    const made = isFile(node)
      ? { cached: Buffer.from(node.cached), durable: Buffer.from(node.durable) }
      : cloneDirectory(node, known)
    known.set(node, made)
    return made
  }
  const copyAll = (names: Map<string, DiskNode>) =>
    new Map([...names].map(([name, node]) => [name, copy(node)]))
  return { cached: copyAll(directory.cached), durable: copyAll(directory.durable) }
}

function withBytes(content: Buffer, bytes: Uint8Array, position: number): Buffer {
  const end = position + bytes.length
  const changed = end > content.length ? Buffer.concat([content], end) : content
  changed.set(bytes, position)
  return changed
}

function withSomeSectors(
  content: Buffer,
  bytes: Uint8Array,
  position: number,
  random: () => number,
): Buffer {
  let changed = content
  let at = 0
  let isWhole = true
  while (at < bytes.length) {
    const inSector = sectorBytes - ((position + at) % sectorBytes)
    const end = Math.min(bytes.length, at + inSector)
    const isLast = end === bytes.length
    // At least one is missing, or it would not be torn.
    const isKept = random() < 0.5 && !(isLast && isWhole)
    if (isKept) changed = withBytes(changed, bytes.subarray(at, end), position + at)
    else isWhole = false
    at = end
  }
  return changed
}

function directoryAt(root: DirectoryNode, path: string): DirectoryNode | undefined {
  let node: DiskNode | undefined = root
  for (const name of path.split('/').filter((part) => part !== '')) {
    node = node === undefined || isFile(node) ? undefined : node.cached.get(name)
  }
  return node === undefined || isFile(node) ? undefined : node
}

function fileAt(root: DirectoryNode, path: string): FileNode | undefined {
  const node = directoryAt(root, dirname(path))?.cached.get(basename(path))
  return node !== undefined && isFile(node) ? node : undefined
}

function* walk(directory: DirectoryNode, path: string): Generator<string> {
  for (const [name, node] of directory.cached) {
    if (isFile(node)) yield `${path}/${name}`
    else yield* walk(node, `${path}/${name}`)
  }
}

function replaceAll(target: Map<string, DiskNode>, source: ReadonlyMap<string, DiskNode>): void {
  target.clear()
  for (const [name, node] of source) target.set(name, node)
}

function isFile(node: DiskNode): node is FileNode {
  return Buffer.isBuffer(node.cached)
}

function missing(path: string): Error {
  return Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' })
}
