/**
 * What the verification of each log of a ledger starts from: its claimed size and origin, the keys to
 * hold it to, and where its first entry stands in the writer's order. Nothing here is verified yet.
 *
 * @module
 */
import { existsSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import {
  type Checkpoint,
  isAuditError,
  parseBundle,
  parseCheckpoint,
  parseNote,
  readTile,
  storedCheckpointPath,
  tileWidth,
  utf8Decode,
  type VerifierKey,
  writerIdOf,
} from '@affidavit/format'
import type { Head } from '../../ledger/head.ts'
import { type ChainKey, keyAt } from './facts.ts'
import { type AddedCheckpoint, readAtMost } from './log-files.ts'
import type { LedgerPlace, LogPlace } from './places.ts'
import { factsOfOne } from './scan.ts'
import { type SigningKey, verifierKeyFor } from './signing-key.ts'
import { isSameInstance, keysFor, readVkey, type Trust } from './trust.ts'

const checkpointBytesMax = 1_000_000
const bundleBytesMax = tileWidth * (2 + 65_535)

/** A log and everything that its verification starts from. */
export interface LogPlan {
  readonly place: LogPlace
  /** `<class>/<quarter>`: the last two parts of its folder. */
  readonly path: string
  readonly origin: string | undefined
  /** Entries as its checkpoint, or the head's if that is newer, states. */
  readonly entries: number
  /** Entries that belong to this run; what is beyond comes from the write-ahead log. */
  readonly entriesMax: number
  readonly writerId: string | undefined
  readonly vkeys: readonly string[]
  /** The head's checkpoint, shown to the verifier as if the log had stored it. */
  readonly added: AddedCheckpoint | undefined
  /**
   * Written by an integration that was not agreed on, or not published, before the process died or this
   * one came: nothing that was ever shown to others.
   */
  readonly isUnpublished: boolean
  readonly first: ChainKey | undefined
}

/** What is known about a ledger when its logs are planned. */
export interface PlanSources {
  readonly head: Head | undefined
  readonly trust: Trust
  /** The instance's own key, if it can be read. */
  readonly signingKey?: SigningKey['key']
}

/** Plans every log of a ledger. */
export async function planLogs(place: LedgerPlace, sources: PlanSources): Promise<LogPlan[]> {
  const keys = place.logs.map(({ directory }) => readVkeyFile(directory))
  const known = keys.filter((key) => key !== undefined)
  return await Promise.all(
    place.logs.map((log, index) => planLog(log, { own: keys[index], known }, sources)),
  )
}

async function planLog(place: LogPlace, keys: KnownKeys, sources: PlanSources): Promise<LogPlan> {
  const { directory } = place
  const { head } = sources
  const path = `${basename(dirname(directory))}/${basename(directory)}`
  const agreed = head?.logs.get(path)
  const published = readCheckpoint(readText(join(directory, 'checkpoint')))
  // One of three says what log this is; one that was changed has no key, and the next is asked.
  const origins = [published?.origin, readCheckpoint(agreed?.note)?.origin, keys.own?.name]
  const candidates = origins.flatMap((origin) =>
    origin === undefined ? [] : [{ origin, ...keysOf(origin, keys, sources) }],
  )
  const chosen = candidates.find(({ vkeys }) => vkeys.length > 0) ?? candidates[0]
  const entries = Math.max(published?.treeSize ?? 0, agreed?.size ?? 0)
  const isUnpublished = head !== undefined && wasNeverShown(directory, agreed?.size)
  const added = agreed && {
    path: storedCheckpointPath(agreed.size),
    text: agreed.note,
    isPublished: !isUnpublished,
  }
  return {
    place,
    path,
    origin: chosen?.origin,
    entries,
    entriesMax: head === undefined ? Infinity : sizeInHead(head, path),
    writerId: chosen?.key && writerIdOf(chosen.key.publicKey),
    vkeys: chosen?.vkeys ?? [],
    added,
    isUnpublished,
    first: await firstPlace(directory, entries),
  }
}

/**
 * Nothing, or nothing but the history's copy of the head's own checkpoint: publication writes that one
 * first. A log that was shown before has an older one too.
 */
function wasNeverShown(directory: string, agreedSize: number | undefined): boolean {
  if (existsSync(join(directory, 'checkpoint'))) return false
  const history = join(directory, 'cp')
  const stored = existsSync(history) ? readdirSync(history).map((name) => `cp/${name}`) : []
  // A head that knows nothing of the log may have been read just before its first publication.
  if (agreedSize === undefined) return stored.length <= 1
  const own = storedCheckpointPath(agreedSize)
  return stored.every((path) => path === own)
}

interface KnownKeys {
  readonly own: VerifierKey | undefined
  /** Of all logs of the ledger. */
  readonly known: readonly VerifierKey[]
}

/** A log that has no key file is held to the key of its sister logs, which is the same. */
function keysOf(origin: string, { own, known }: KnownKeys, { trust, signingKey }: PlanSources) {
  const sister = known.find(({ name }) => isSameInstance(name, origin))
  const key = own ?? sister ?? verifierKeyFor(signingKey, origin)
  return { key, vkeys: keysFor(trust, origin, key) }
}

/** The key that a log's own file shows. */
export function readVkeyFile(directory: string): VerifierKey | undefined {
  return readVkey(readText(join(directory, 'vkey')))
}

/** What the head says about the size of a log; 0 for a log that it does not know. */
export function sizeInHead(head: Head, path: string): number {
  return head.logs.get(path)?.size ?? head.sealed.get(path)?.size ?? 0
}

async function firstPlace(directory: string, entries: number): Promise<ChainKey | undefined> {
  const width = Math.min(entries, tileWidth)
  if (width === 0) return undefined
  try {
    const read = async (path: string) => readAtMost(join(directory, path), bundleBytesMax)
    const bundle = await readTile(read, { level: 'entries', index: 0, width })
    const [first] = bundle === undefined ? [] : parseBundle(bundle, width)
    const facts = first && factsOfOne(first)
    return facts && keyAt(facts, 0)
  } catch {
    // Whatever is wrong with the bundle is found when the log is verified.
    return undefined
  }
}

function readCheckpoint(note: string | undefined): Checkpoint | undefined {
  if (note === undefined) return undefined
  try {
    return parseCheckpoint(parseNote(note).text)
  } catch (error) {
    if (isAuditError(error)) return undefined
    throw error
  }
}

function readText(path: string): string | undefined {
  try {
    const bytes = readAtMost(path, checkpointBytesMax)
    return bytes && utf8Decode(bytes)
  } catch {
    return undefined
  }
}
