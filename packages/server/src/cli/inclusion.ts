/**
 * Where an entry is on its way, and the receipt that proves it.
 *
 * @module
 */
import { join } from 'node:path'
import {
  AuditError,
  formatProof,
  hashReader,
  inclusionProof,
  isAuditError,
  leafHash,
  parseCheckpoint,
  parseNote,
  readTile,
  utf8Decode,
  verifyReceipt,
} from '@affidavit/format'
import type { LogInfo, PlacedEntry } from '../ledger/read.ts'
import { readAtMost } from './verification/log-files.ts'
import { policyFor, readVkey, type Trust } from './verification/trust.ts'

const tileBytesMax = 256 * 32
const noteBytesMax = 1_000_000

/** Tessera's three words: durable; under a root; under a signed checkpoint that others can see. */
export type EntryState = 'sequenced' | 'integrated' | 'published'

/** How far an entry has come. `log` is undefined for a log that has no checkpoint yet. */
export function stateOf(placed: PlacedEntry, log: LogInfo | undefined): EntryState {
  if (log === undefined || placed.leafIndex >= log.size) return 'sequenced'
  return placed.leafIndex < publishedSize(log) ? 'published' : 'integrated'
}

/**
 * The receipt of an integrated entry (c2sp.org/tlog-proof), against the newest checkpoint of its log.
 *
 * @throws AuditError `ERR_TILE_MALFORMED` when a tile is missing or damaged.
 */
export async function makeReceipt(placed: PlacedEntry, log: LogInfo): Promise<string> {
  const { leafIndex } = placed
  const { size: treeSize, directory, checkpoint } = log
  const read = async (path: string) => readAtMost(join(directory, path), tileBytesMax)
  const readHash = hashReader(treeSize, async (tile) => {
    const bytes = await readTile(read, tile)
    if (bytes !== undefined) return bytes
    throw new AuditError(
      'ERR_TILE_MALFORMED',
      `The log ${log.origin} lacks a tile. Run \`affidavit verify\`.`,
    )
  })
  const hashes = await inclusionProof(readHash, { leafIndex, treeSize })
  return formatProof({ index: leafIndex, hashes, checkpoint })
}

/**
 * Verifies a receipt against the log's own key file, or the keys in `trust`.
 *
 * @returns undefined, or why it does not verify
 */
export function faultOfReceipt(
  placed: PlacedEntry,
  receipt: string,
  { log, trust }: { log: LogInfo; trust: Trust },
): string | undefined {
  try {
    verifyReceipt(placed.entry, receipt, policyFor(trust, log.origin, readVkey(log.vkey)))
    return undefined
  } catch (error) {
    if (isAuditError(error)) return error.message
    throw error
  }
}

/** Hex leaf hash of an entry. */
export function leafHashHex(entry: Uint8Array): string {
  return Buffer.from(leafHash(entry)).toString('hex')
}

function publishedSize({ directory }: LogInfo): number {
  const bytes = readAtMost(join(directory, 'checkpoint'), noteBytesMax)
  if (bytes === undefined) return 0
  try {
    return parseCheckpoint(parseNote(utf8Decode(bytes)).text).treeSize
  } catch (error) {
    if (isAuditError(error)) return 0
    throw error
  }
}
