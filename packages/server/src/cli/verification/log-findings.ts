/**
 * From what the verifier of `@affidavit/format` found in one log to findings with a place that a person
 * can look at: the file, the byte, the entry and its event id.
 *
 * @module
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import {
  type FindingKind as LogFindingKind,
  isNotice,
  parseBundle,
  parseTilePath,
  tileWidth,
} from '@affidavit/format'
import { eventIdAt } from './facts.ts'
import type { Finding, FindingKind } from './finding.ts'
import { readAtMost } from './log-files.ts'
import type { LogFinding } from './log-job.ts'
import type { LogPlace } from './places.ts'
import { factsOfOne } from './scan.ts'

type BrokenKind = Exclude<LogFindingKind, 'behind' | 'ahead' | 'unexpected'>

const kinds: Readonly<Record<BrokenKind, FindingKind>> = {
  missing: 'missing',
  malformed: 'malformed',
  unsigned: 'signature',
  'entry-altered': 'altered',
  'tile-altered': 'altered',
  mismatch: 'altered',
  root: 'altered',
  fork: 'inconsistent',
  'rolled-back': 'inconsistent',
  'leftover-altered': 'altered',
  vkey: 'signature',
}

const sentences: Readonly<Record<LogFindingKind, string>> = {
  missing: 'a file that the signed tree needs is missing',
  malformed: 'a file is not in its canonical form',
  unsigned: 'the checkpoint is not signed by a trusted key of the log that it names',
  'entry-altered': 'the entry is not the one that was signed; the tree is intact',
  'tile-altered': 'a hash in the tile is not the one that was signed; the entries are intact',
  mismatch: 'two files contradict each other, and neither leads to the signed root',
  root: 'the files, taken together, do not lead to the signed root',
  fork: 'the log signed a tree that its present tree does not begin with',
  'rolled-back': 'the log signed a larger tree than the one that is here',
  'leftover-altered': 'a file that no longer counts differs from the one that took its place',
  vkey: 'the key file of the log is not the key that is trusted',
  behind: 'the published checkpoint is older than another that the log signed',
  ahead: 'a file goes beyond the checkpoint, as while a log is being written',
  unexpected: 'the file is no part of a log',
}

const hashBytes = 32
const bundleBytesMax = tileWidth * (2 + 65_535)

/** Something worth saying that breaks nothing. */
export interface Notice {
  readonly what: string
  readonly where: string
}

/** Splits what the verifier found into findings and notices, each with its place. */
export function translate(
  place: LogPlace,
  found: readonly LogFinding[],
): { findings: Finding[]; notices: Notice[] } {
  const findings: Finding[] = []
  const notices: Notice[] = []
  for (const finding of found) {
    if (isOvertaken(place, finding)) continue
    const where = join(place.where, finding.where)
    const what = sentences[finding.kind]
    if (isNotice(finding)) notices.push({ what, where })
    else findings.push({ ...translateOne(place, finding), what, where })
  }
  return { findings, notices }
}

/** Beside a running writer, a file that was replaced can go between being listed and being read. */
function isOvertaken(place: LogPlace, { kind, where }: LogFinding): boolean {
  return kind === 'leftover-altered' && !existsSync(join(place.directory, where))
}

function translateOne(place: LogPlace, found: LogFinding): Omit<Finding, 'what' | 'where'> {
  const { leafIndex, expected, actual, evidence } = found
  return {
    kind: kindOf(found),
    ...placeOf(place, found),
    ...(leafIndex === undefined ? {} : { leafIndex }),
    ...(expected === undefined ? {} : { expected }),
    ...(actual === undefined ? {} : { actual }),
    ...(evidence === undefined ? {} : { evidence }),
  }
}

/** A tile or bundle that is not even well formed is as much altered as one with another hash. */
function kindOf({ kind, where }: LogFinding): FindingKind {
  if (kind === 'malformed' && where.startsWith('tile/')) return 'altered'
  return kind === 'behind' || kind === 'ahead' || kind === 'unexpected' ? 'malformed' : kinds[kind]
}

/** Byte offset of an entry or a hash in its file, and the event id of the entry that is there. */
function placeOf(
  place: LogPlace,
  { where, leafIndex }: LogFinding,
): { byteOffset?: number; eventId?: string } {
  if (leafIndex === undefined || !where.startsWith('tile/')) return {}
  const position = leafIndex % tileWidth
  if (!where.startsWith('tile/entries/')) {
    const entry = entryAt(place, where.replace(/^tile\/\d+\//, 'tile/entries/'), position)
    return { byteOffset: position * hashBytes, ...eventIdOf(entry?.bytes) }
  }
  const entry = entryAt(place, where, position)
  return entry === undefined ? {} : { byteOffset: entry.offset, ...eventIdOf(entry.bytes) }
}

function entryAt(
  place: LogPlace,
  where: string,
  position: number,
): { offset: number; bytes: Uint8Array } | undefined {
  try {
    const { width } = parseTilePath(where)
    const bytes = readAtMost(join(place.directory, where), bundleBytesMax)
    const entry = bytes && parseBundle(bytes, width)[position]
    return entry && { offset: entry.byteOffset - bytes.byteOffset, bytes: entry }
  } catch {
    // What is wrong with the file has its own finding; here it only means that there is no more to say.
    return undefined
  }
}

function eventIdOf(entry: Uint8Array | undefined): { eventId?: string } {
  const facts = entry && factsOfOne(entry)
  return facts === undefined ? {} : { eventId: eventIdAt(facts, 0) }
}
