/**
 * Reads what a dead gateway left on disk, and asks the product's own verifier about it.
 *
 * @module
 */
import { parseEntry } from '@affidavit/format'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createFindingList } from '../../packages/server/src/cli/verification/finding.ts'
import { checkLedger } from '../../packages/server/src/cli/verification/ledger-check.ts'
import { findTarget } from '../../packages/server/src/cli/verification/places.ts'
import { openLedgerReader } from '../../packages/server/src/ledger/read.ts'
import { bin, instance } from './gateway.ts'
import type { GatewayHome } from './gateway.ts'
import type { Fact } from './promises.ts'

const verifyMsMax = 60_000

/** Every entry that the ledger of `home` holds: those in its logs, then those only in the WAL. */
export async function readFacts(home: GatewayHome): Promise<Fact[]> {
  const directory = join(home.dataDirectory, instance)
  if (!existsSync(directory)) return []
  const reader = await openLedgerReader(directory)
  const facts: Fact[] = []
  for (const log of await reader.logs()) {
    for await (const { entry } of reader.readEntries(log)) {
      facts.push(factOf(entry))
    }
  }
  for await (const { entry } of reader.readUnintegrated()) facts.push(factOf(entry))
  return facts
}

function factOf(bytes: Uint8Array): Fact {
  const entry = parseEntry(bytes)
  return {
    kind: entry.kind,
    eventId: entry.event_id,
    sessionId: 'session_id' in entry ? entry.session_id : null,
    epoch: entry.writer.epoch,
    seq: entry.writer.seq,
  }
}

/** What `affidavit verify` would find, as sentences; in this process, which is faster. */
export async function findDamage(home: GatewayHome): Promise<string[]> {
  const findings = createFindingList()
  const { ledgers } = await findTarget(home.dataDirectory)
  const options = { root: home.dataDirectory, trust: { kind: 'own' }, held: [], findings } as const
  for (const place of ledgers) await checkLedger(place, options)
  return findings.kept.map(({ kind, what, where }) => `${kind} ${where}: ${what}`)
}

/** Runs `affidavit verify` on the data directory. */
export function verify(home: GatewayHome): {
  readonly status: number | null
  readonly text: string
} {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [bin, 'verify', home.dataDirectory, '--json'],
    {
      encoding: 'utf8',
      timeout: verifyMsMax,
      env: { ...process.env, AFFIDAVIT_CONFIG: home.configFile },
    },
  )
  return { status, text: `${stdout}\n${stderr}` }
}
