/**
 * A log in memory for tests: made the slow, plain way, so that a mistake in the fast code does not
 * make a test that agrees with it.
 *
 * @module
 */
import { concatBytes, equalBytes, toHex } from './bytes.ts'
import { isAuditError } from './errors.ts'
import { leafHash } from './hash.ts'
import { signCheckpoint } from './tlog/checkpoint.ts'
import { rootOf } from './tlog/merkle.ts'
import { createSigner, type Signer } from './tlog/note.ts'
import { encodeBundle, encodeTile, tilePath, tileWidth } from './tlog/tile.ts'
import type { LogFiles } from './verify/context.ts'

/** Seed of the key of test logs. */
export const testSeed = new Uint8Array(32).fill(7)

/** A log as a map from path to bytes. */
export interface TestLog extends LogFiles {
  readonly signer: Signer
  readonly vkey: string
  readonly files: Map<string, Uint8Array>
  readonly entries: readonly Uint8Array[]
  /** Its checkpoint of the first `size` entries. */
  checkpointAt(size: number): string
}

/** What to make. */
export interface TestLogOptions {
  readonly entries: readonly Uint8Array[]
  readonly origin?: string
  /** Earlier sizes at which it was published: their partial files and checkpoints stay. */
  readonly publishedAt?: readonly number[]
}

/** Makes a log with a file for every tile of its size, its checkpoint and its key. */
export function createTestLog({
  entries,
  origin = 'audit.example/gw-1/standard/2026q4',
  publishedAt = [],
}: TestLogOptions): TestLog {
  const signer = createSigner({ name: origin, seed: testSeed })
  const leaves = entries.map(leafHash)
  const files = new Map<string, Uint8Array>()
  const encode = (text: string) => new TextEncoder().encode(text)
  const checkpointAt = (treeSize: number) =>
    signCheckpoint({ origin, treeSize, rootHash: rootOf(leaves.slice(0, treeSize)) }, signer)
  for (const size of [...publishedAt, entries.length]) {
    writeTiles(files, entries.slice(0, size), leaves.slice(0, size))
    files.set(`cp/${String(size).padStart(20, '0')}`, encode(checkpointAt(size)))
  }
  files.set('checkpoint', encode(checkpointAt(entries.length)))
  files.set('vkey', encode(`${signer.vkey}\n`))
  return {
    signer,
    vkey: signer.vkey,
    files,
    entries,
    checkpointAt,
    read: async (path) => files.get(path),
    list: () => files.keys(),
  }
}

/** Distinct entries of a few bytes, the length of which varies. */
export function testEntries(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, index) =>
    new TextEncoder().encode(`entry ${index} ${'.'.repeat(index % 7)}`),
  )
}

/** A copy with one bit of one byte of one file changed. */
export function withFlippedByte(log: TestLog, path: string, at: number): TestLog {
  const files = new Map(log.files)
  const bytes = new Uint8Array(files.get(path) ?? [])
  bytes[at] = (bytes[at] ?? 0) ^ 1
  files.set(path, bytes)
  return withFiles(log, files)
}

/** The log with other files. */
export function withFiles(log: TestLog, files: Map<string, Uint8Array>): TestLog {
  return { ...log, files, read: async (path) => files.get(path), list: () => files.keys() }
}

/** Every text or file that differs from `bytes` in one place: changed, lost, added, cut there. */
export function* mutationsOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at + 1)]
    for (const other of [byte ^ 0x01, byte ^ 0x20, byte ^ 0x80, 0x00, 0x0a, 0x20, 0x30, 0x3d]) {
      if (other !== byte) yield concatBytes(before, Uint8Array.of(other), after)
    }
    yield concatBytes(before, after)
    for (const added of [byte, 0x0a, 0x20, 0x30, 0x3d]) {
      yield concatBytes(before, Uint8Array.of(added), bytes.subarray(at))
    }
    yield before
  }
  for (const added of [0x00, 0x0a, 0x20, 0x30, 0x41]) yield concatBytes(bytes, Uint8Array.of(added))
}

/**
 * Mutations of a valid text that a canonical parser must refuse or read as something else, and does
 * not: those for which `reformat` gives a text that is not the one it read. A parser that is right has
 * none. `reformat` throws an AuditError where the parser refuses; any other error counts as a fault.
 */
export function faultsOf(valid: Uint8Array, reformat: (bytes: Uint8Array) => Uint8Array): string[] {
  const faults: string[] = []
  for (const mutation of mutationsOf(valid)) {
    try {
      if (!equalBytes(reformat(mutation), mutation)) faults.push(toHex(mutation))
    } catch (error) {
      if (!isAuditError(error)) faults.push(`${toHex(mutation)}: ${String(error)}`)
    }
  }
  return faults
}

/** The log with other content in some files; without the files of which it is `undefined`. */
export function withChanges(
  log: TestLog,
  changes: Record<string, Uint8Array | string | undefined>,
): TestLog {
  const files = new Map(log.files)
  for (const [path, content] of Object.entries(changes)) {
    if (content === undefined) files.delete(path)
    else files.set(path, typeof content === 'string' ? new TextEncoder().encode(content) : content)
  }
  return withFiles(log, files)
}

function writeTiles(
  files: Map<string, Uint8Array>,
  entries: readonly Uint8Array[],
  leaves: readonly Uint8Array[],
): void {
  for (let start = 0; start < entries.length; start += tileWidth) {
    const row = entries.slice(start, start + tileWidth)
    const bundle = { level: 'entries', index: start / tileWidth, width: row.length } as const
    files.set(tilePath(bundle), encodeBundle(row))
  }
  let hashes = [...leaves]
  for (let level = 0; hashes.length > 0; level++) {
    const above: Uint8Array[] = []
    for (let start = 0; start < hashes.length; start += tileWidth) {
      const row = hashes.slice(start, start + tileWidth)
      files.set(tilePath({ level, index: start / tileWidth, width: row.length }), encodeTile(row))
      if (row.length === tileWidth) above.push(rootOf(row))
    }
    hashes = above
  }
}
