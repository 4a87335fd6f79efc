/**
 * Head and write-ahead log of a ledger, as a verifier reads them: beside the process that writes, or in
 * a copy. Nothing is changed; what is wrong becomes a finding.
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { equalBytes, isAuditError, leafHash } from '@affidavit/format'
import { entriesOf, frameTrailerBytes, readFrame } from '../../ledger/frame.ts'
import { type Head, parseHead } from '../../ledger/head.ts'
import type { LedgerPaths } from '../../ledger/layout.ts'
import { scanWal } from '../../ledger/wal-scan.ts'
import type { WalPosition } from '../../ledger/wal.ts'
import { posixFs } from '../../store/posix-fs.ts'
import { isDirectory } from '../settings.ts'
import { createFactsBatch, type FactsBatch, hashBytes } from './facts.ts'
import type { Finding } from './finding.ts'
import { unreadableOf } from './log-job.ts'
import { whereOf } from './places.ts'
import { createEntryScanner } from './scan.ts'

/** Beside a writer, a segment can be removed while it is read; then everything is read again. */
const attemptsMax = 5

/** Head and tail at one moment. */
export interface HeadState {
  /** Undefined when there is none, or none that can be read. */
  readonly head: Head | undefined
  /** Facts of the entries that are not integrated, a batch a frame. */
  readonly tail: readonly FactsBatch[]
  /** Bytes of an unfinished, never acknowledged write. */
  readonly tornBytes: number
  readonly findings: readonly Finding[]
}

const nothing = { head: undefined, tail: [], tornBytes: 0 } as const

/** Reads head and tail. `root` is what findings are relative to. */
export async function readHeadState(paths: LedgerPaths, root: string): Promise<HeadState> {
  for (let attempt = 1; ; attempt += 1) {
    const bytes = await readHeadBytes(paths)
    if (bytes === undefined) return { ...nothing, findings: await headMissing(paths, root) }
    const state = await readOnce(paths, root, bytes)
    if (state.findings.length === 0 || attempt === attemptsMax) return state
    const now = await readHeadBytes(paths)
    if (now !== undefined && equalBytes(now, bytes)) return state
  }
}

/** The head as it is now; undefined when it cannot be read. */
export async function readHead(paths: LedgerPaths): Promise<Head | undefined> {
  const bytes = await readHeadBytes(paths)
  try {
    return bytes && parseHead(bytes)
  } catch {
    return undefined
  }
}

async function readHeadBytes(paths: LedgerPaths): Promise<Uint8Array | undefined> {
  return await readFile(join(paths.head, 'head.json')).catch(() => undefined)
}

/** Without a head there is no ledger; without a ledger's other folders there are only logs. */
async function headMissing(paths: LedgerPaths, root: string): Promise<Finding[]> {
  if (!(await isDirectory(paths.head)) && !(await isDirectory(paths.wal))) return []
  const where = whereOf(root, join(paths.head, 'head.json'))
  return [{ kind: 'missing', what: 'the head of the ledger is missing or cannot be read', where }]
}

async function readOnce(paths: LedgerPaths, root: string, bytes: Uint8Array): Promise<HeadState> {
  const where = whereOf(root, join(paths.head, 'head.json'))
  let head: Head
  try {
    head = parseHead(bytes)
  } catch (error) {
    if (!isAuditError(error)) throw error
    const what = 'the head of the ledger is not in its canonical form'
    return { ...nothing, findings: [{ kind: 'malformed', what, where }] }
  }
  const reader = createTailReader(head)
  try {
    const { tornBytes } = await scanWal(posixFs, paths.wal, head.wal, (frame) => {
      reader.add(entriesOf(frame))
    })
    const findings = [
      ...reader.findings(whereOf(root, paths.wal)),
      ...(await oldFrames(paths, head, root)),
    ]
    return { head, tail: reader.batches, tornBytes, findings }
  } catch (error) {
    const finding = walFinding(error, whereOf(root, paths.wal))
    return { head, tail: reader.batches, tornBytes: 0, findings: [finding] }
  }
}

function walFinding(error: unknown, where: string): Finding {
  if (isAuditError(error, 'ERR_ROLLBACK_SUSPECTED')) {
    return { kind: 'inconsistent', what: reasonOf(error.message), where }
  }
  if (isAuditError(error)) return { kind: 'wal', what: reasonOf(error.message), where }
  const unreadable = unreadableOf(error)
  if (unreadable === undefined) throw error
  const what = `the write-ahead log cannot be read (${unreadable.reason})`
  return { kind: 'unreadable', what, where }
}

/** The ledger's message says what an operator does about it; a finding says only what was seen. */
function reasonOf(message: string): string {
  return /: (.*?)\. /.exec(message)?.[1] ?? message
}

/** Entries of the tail as facts, each with the place that it will have in its log. */
function createTailReader(head: Head) {
  const batches: FactsBatch[] = []
  const faults: Finding[] = []
  const sizes = new Map([...head.logs].map(([path, { size }]) => [path, size]))
  const scanner = createEntryScanner()
  return {
    batches,
    findings: (where: string) => faults.map((fault) => ({ ...fault, where })),
    add(entries: readonly Uint8Array[]) {
      const batch = createFactsBatch(entries.length)
      let count = 0
      for (const entry of entries) {
        const fault = scanner.scan(entry, 0, entry.length, batch, count)
        if (fault !== undefined) faults.push({ kind: 'malformed', what: fault, where: '' })
        if (fault !== undefined) continue
        if (!scanner.isByWriter(head.writer.id)) {
          const what = "the entry names a writer that does not have this ledger's key"
          faults.push({ kind: 'malformed', what, where: '' })
        }
        const log = scanner.log()
        const leafIndex = sizes.get(log) ?? 0
        sizes.set(log, leafIndex + 1)
        batch.leafIndices[count] = leafIndex
        batch.leaves.set(leafHash(entry), count * hashBytes)
        count += 1
      }
      if (count > 0) batches.push({ ...batch, count })
    },
  }
}

/**
 * Frames of the current segment that are integrated already. Nothing depends on them any more, but a
 * byte that was changed there says that somebody, or something, changes this disk.
 */
async function oldFrames(paths: LedgerPaths, head: Head, root: string): Promise<Finding[]> {
  const path = join(paths.wal, head.wal.segment)
  const bytes = await posixFs.readFile(path)
  const fault = bytes === undefined ? undefined : faultBefore(bytes, head.wal)
  if (fault === undefined) return []
  const what = 'a frame that was integrated is not what was written'
  return [{ kind: 'wal', what, where: whereOf(root, path), byteOffset: fault }]
}

/** Offset of the first frame before `end` that is damaged or does not follow the one before it. */
function faultBefore(bytes: Uint8Array, end: WalPosition): number | undefined {
  let [at, previous]: [number, Uint8Array | undefined] = [0, undefined]
  while (at < end.offset) {
    const frame = readFrame(bytes, at)
    if (frame === undefined) return at
    if (previous !== undefined && !equalBytes(frame.previousHash, previous)) return at
    at += frame.bytes.length
    previous = frame.hash
  }
  if (at !== end.offset) return at
  const isLinked = previous === undefined || equalBytes(previous, end.frameHash)
  return isLinked ? undefined : at - frameTrailerBytes
}

/** Name of a segment, for people. */
export function segmentOf(head: Head): string {
  return basename(head.wal.segment)
}
