/**
 * Publication: the checkpoint that others can see, the history of checkpoints, and the removal of
 * partial files that nobody needs any more.
 *
 * Invariants:
 * - Only a note that the head store has accepted is published.
 * - A partial tile or bundle is removed when the full one is published, never before
 *   (c2sp.org/tlog-tiles: a log serves partials for every size that it issued a checkpoint for).
 *
 * @module
 */
import {
  assert,
  parseTilePath,
  storedCheckpointPath,
  tilePath,
  tileWidth,
  utf8Encode,
} from '@affidavit/format'
import { dirname, join } from 'node:path'
import type { DurableFiles } from '../store/durable.ts'
import type { LedgerFs } from '../store/ledger-fs.ts'
import type { Log } from './logs.ts'

// One checkpoint a second would be 8 million files a quarter; docs/decisions/checkpoint-history.md.
const historyIntervalMs = 600_000
// What one integration adds to a log at most, within a thousand tiles of its edge.
const grownMax = 65_536

/**
 * Starts writing the agreed checkpoint of each log to where others look for it, and now and then to
 * the history. Published when `files` has settled.
 */
export async function publishCheckpoints(
  logs: Iterable<Log>,
  files: DurableFiles,
  nowMs: number,
): Promise<void> {
  for (const log of logs) {
    const { agreed } = log
    assert(agreed !== undefined, 'a log is published after the head store has accepted it')
    const bytes = utf8Encode(agreed.note)
    if (nowMs - log.keptAtMs >= historyIntervalMs) {
      await files.put(join(log.directory, storedCheckpointPath(agreed.size)), bytes)
      log.keptAtMs = nowMs
    }
    await files.put(join(log.directory, 'checkpoint'), bytes)
  }
}

/** Removes the partial files of tiles that became full between two published sizes. */
export async function removePartials(
  fs: LedgerFs,
  directory: string,
  { from, to }: { from: number; to: number },
): Promise<void> {
  for (let span = tileWidth, level = 0; ; span *= tileWidth, level += 1) {
    const first = Math.floor(from / span)
    if (first === Math.floor(to / span)) return
    // Only the tile that was partial at `from` can have partial files: the others were filled within
    // one integration.
    for (const kind of level === 0 ? ['0', 'entries'] : [String(level)]) {
      await removeFiles(fs, join(directory, partialsDirectory(kind, first)))
    }
  }
}

/**
 * Removes what a crash kept `removePartials` from removing, beside the right edge of a log of `size`
 * entries: in the directories of the last full tile and of the one before one integration.
 */
export async function sweepPartials(fs: LedgerFs, directory: string, size: number): Promise<void> {
  for (let span = tileWidth, level = 0; span <= size; span *= tileWidth, level += 1) {
    const full = Math.floor(size / span)
    const oldest = Math.max(0, Math.floor((size - grownMax) / span))
    for (const kind of level === 0 ? ['0', 'entries'] : [String(level)]) {
      const groups = new Set([full, oldest].map((index) => dirname(partialsDirectory(kind, index))))
      for (const group of groups) {
        for (const name of (await fs.list(join(directory, group))) ?? []) {
          if (!name.endsWith('.p')) continue
          const { index } = parseTilePath(`${group}/${name}/1`)
          if (index < full) await removeFiles(fs, join(directory, group, name))
        }
      }
    }
  }
}

function partialsDirectory(kind: string, index: number): string {
  const level = kind === 'entries' ? kind : Number(kind)
  return dirname(tilePath({ level, index, width: 1 }))
}

async function removeFiles(fs: LedgerFs, directory: string): Promise<void> {
  const names = await fs.list(directory)
  if (names === undefined) return
  for (const name of names) await fs.unlink(join(directory, name))
  await fs.removeDirectory(directory)
}
