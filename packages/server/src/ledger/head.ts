/**
 * The head: the last state of all logs of an instance that was agreed to before anybody saw it, as the
 * canonical JSON that the head store keeps (docs/spec/wal.md draws it).
 *
 * Invariants:
 * - What the head says is integrated is durable in tiles and bundles before the head says it.
 * - `wal` is where the first frame begins that is not integrated yet; segments before it may be gone.
 * - `format(parse(x)) === x`. It holds its own digest: a head that was damaged must not be followed.
 *
 * @module
 */
import {
  canonicalize,
  equalBytes,
  fromHex,
  sha256Hex,
  toHex,
  utf8Decode,
  utf8Encode,
} from '@affidavit/format'
import { corruptFailure } from './failure.ts'
import { parseSegmentName, type WalPosition } from './wal.ts'

/** A log that can still grow. */
export interface HeadLog {
  readonly size: number
  readonly root: Uint8Array
  /** The signed checkpoint. */
  readonly note: string
}

/** A log of a past quarter: it does not grow any more, and its last checkpoint is published. */
export type SealedLog = Omit<HeadLog, 'note'>

/** Where the writer's chain stands after the last integrated entry. */
export interface WriterState {
  readonly id: string
  readonly epoch: number
  /** Sequence number of the epoch's next entry. */
  readonly seq: number
  /** Leaf hash that the next entry names as its predecessor. */
  readonly prev: string
}

export interface Head {
  readonly deployment: string
  readonly instance: string
  /** Rises by one whenever the ledger is opened. */
  readonly epoch: number
  readonly wal: WalPosition
  readonly writer: WriterState
  /** By `<class>/<quarter>`. */
  readonly logs: ReadonlyMap<string, HeadLog>
  readonly sealed: ReadonlyMap<string, SealedLog>
  /** Integrated starts without an integrated end: leaf indices by log. */
  readonly open: ReadonlyMap<string, readonly number[]>
}

const version = 1
const logPattern = /^[a-z0-9][a-z0-9-]*\/\d{4}q[1-4]$/
const hashPattern = /^[0-9a-f]{64}$/

/** Bytes of a head, as the head store keeps them. */
export function formatHead(head: Head): Uint8Array {
  const value = {
    v: version,
    deployment: head.deployment,
    instance: head.instance,
    epoch: head.epoch,
    wal: {
      segment: head.wal.segment,
      offset: head.wal.offset,
      index: head.wal.index,
      frame_hash: toHex(head.wal.frameHash),
    },
    writer: { ...head.writer },
    logs: mapValues(head.logs, ({ size, root, note }) => ({ size, root: toHex(root), note })),
    sealed: mapValues(head.sealed, ({ size, root }) => ({ size, root: toHex(root) })),
    open: mapValues(head.open, (indices) => indices),
  }
  const digest = sha256Hex(canonicalize(value))
  return utf8Encode(`${canonicalize({ ...value, digest })}\n`)
}

/**
 * Reads a head.
 *
 * @throws AuditError `ERR_LEDGER_CORRUPT` unless the bytes are what `formatHead` makes.
 */
export function parseHead(bytes: Uint8Array): Head {
  try {
    const value: unknown = JSON.parse(utf8Decode(bytes))
    const head = headOf(objectOf(value))
    if (!equalBytes(formatHead(head), bytes)) throw new Error('not canonical')
    return head
  } catch (cause) {
    throw corruptFailure('its head (head.json) is malformed', cause)
  }
}

function headOf(value: Fields): Head {
  if (value.v !== version) throw new Error('unknown version')
  const wal = objectOf(value.wal)
  const writer = objectOf(value.writer)
  const segment = textOf(wal.segment)
  if (parseSegmentName(segment)?.epoch !== value.epoch) throw new Error('no segment of the epoch')
  return {
    deployment: textOf(value.deployment),
    instance: textOf(value.instance),
    epoch: countOf(value.epoch),
    wal: {
      segment,
      offset: countOf(wal.offset),
      index: countOf(wal.index),
      frameHash: hashOf(wal.frame_hash),
    },
    writer: {
      id: textOf(writer.id),
      epoch: countOf(writer.epoch),
      seq: countOf(writer.seq),
      prev: toHex(hashOf(writer.prev)),
    },
    logs: logsOf(value.logs, (log) => ({
      size: countOf(log.size),
      root: hashOf(log.root),
      note: textOf(log.note),
    })),
    sealed: logsOf(value.sealed, (log) => ({ size: countOf(log.size), root: hashOf(log.root) })),
    open: openOf(value.open),
  }
}

type Fields = Readonly<Record<string, unknown>>

function logsOf<T>(value: unknown, parse: (log: Fields) => T): Map<string, T> {
  const logs = new Map<string, T>()
  for (const [path, log] of Object.entries(objectOf(value))) {
    logs.set(logPathOf(path), parse(objectOf(log)))
  }
  return logs
}

function openOf(value: unknown): Map<string, readonly number[]> {
  const open = new Map<string, readonly number[]>()
  for (const [path, indices] of Object.entries(objectOf(value))) {
    if (!Array.isArray(indices)) throw new Error('no list')
    open.set(logPathOf(path), indices.map(countOf))
  }
  return open
}

function mapValues<T>(
  map: ReadonlyMap<string, T>,
  format: (value: T) => unknown,
): Record<string, unknown> {
  return Object.fromEntries([...map].map(([key, value]) => [key, format(value)]))
}

function logPathOf(path: string): string {
  if (!logPattern.test(path)) throw new Error('no log path')
  return path
}

function objectOf(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('no object')
  }
  return { ...value }
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new Error('no text')
  return value
}

function countOf(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new Error('no count')
  }
  return value
}

function hashOf(value: unknown): Uint8Array {
  const text = textOf(value)
  if (!hashPattern.test(text)) throw new Error('no hash')
  return fromHex(text)
}
