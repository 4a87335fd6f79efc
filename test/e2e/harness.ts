/**
 * A real gateway in front of a simulator, both in this process, over a data directory of its own; and
 * the records that it left, read back from disk.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Entry, parseEntry } from '@affidavit/format'
import { systemClock } from '@affidavit/sdk/capture'
import { configFrom } from '../../packages/server/src/base/config.ts'
import { createGatewayKey, gatewayKeysPath } from '../../packages/server/src/control/keys.ts'
import { openLedgerReader } from '../../packages/server/src/ledger/read.ts'
import { startGateway, type RunningGateway } from '../../packages/server/src/processes/gateway.ts'
import {
  startSimulator,
  type Simulator,
  type SimulatorOptions,
} from '../../packages/server/src/simulate/simulator.ts'

/** A finished interaction's entry. */
export type Completed = Extract<Entry, { kind: 'interaction.completed' }>

/** Settings of a pair; all have defaults. */
export interface PairOptions {
  readonly simulator?: SimulatorOptions
  /** Below `gateway:` of the configuration file. */
  readonly gateway?: Readonly<Record<string, unknown>>
  /** A directory that outlives the pair; a new one is made, and removed, if there is none. */
  readonly dataDir?: string
  /** In place of the simulator. */
  readonly upstreamUrl?: string
  /** Below `gateway.upstream:`. */
  readonly upstream?: Readonly<Record<string, unknown>>
  /** Beside `gateway:`. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly env?: Readonly<Record<string, string>>
}

/** A gateway and the simulator behind it. */
export interface Pair {
  readonly simulator: Simulator
  readonly gateway: RunningGateway
  readonly url: string
  readonly dataDir: string
  /** Every entry on disk, published or only sequenced, in the order in which they were written. */
  entries(): Promise<Entry[]>
  /** The completed record of an interaction, on disk; fails if there is not exactly one. */
  record(eventId: string | undefined): Promise<Completed>
  /** Resolves when every exchange is over and its record sequenced. */
  idle(): Promise<void>
  /** Makes a gateway key. */
  createKey(names: { user?: string; application?: string }): string
  close(): Promise<void>
}

const instance = 'gw-1'

/** Starts both, the gateway with small limits that keep tests fast. */
export async function startPair(options: PairOptions = {}): Promise<Pair> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'affidavit-e2e-'))
  const simulator = await startSimulator({ record: 'bodies', ...options.simulator })
  const gateway = await startGateway({
    config: configFrom({
      deployment: 'audit.example',
      instance,
      data_dir: dataDir,
      log: { level: 'error', format: 'json' },
      ledger: { segment_bytes: 1024 * 1024, integrate_interval_ms: 200 },
      ...options.config,
      gateway: {
        listen: '127.0.0.1:0',
        limits: { linger_ms: 20 },
        ...options.gateway,
        upstream: { ...options.upstream, anthropic: options.upstreamUrl ?? simulator.url },
      },
    }),
    sources: { env: options.env ?? {}, directory: dataDir, readFile: () => undefined },
  })
  const entries = createEntryReader(join(dataDir, instance))
  return {
    simulator,
    gateway,
    url: gateway.url,
    dataDir,
    entries,
    record: (eventId) => completedRecord(join(dataDir, instance), eventId),
    async idle() {
      await simulator.settled()
      // An abort is over for the simulator a moment before its record is on disk.
      while ((await openStarts(entries)) > 0) await turn()
    },
    createKey: (names) =>
      createGatewayKey(gatewayKeysPath(dataDir, instance), names, {
        clock: systemClock,
        random: (bytes) => randomBytes(bytes),
      }).text,
    async close() {
      await gateway.close()
      await simulator.close()
      if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

/**
 * Reads the ledger again and again, each entry of a log once. The tail comes first: what is integrated
 * between the two reads is then seen twice, and never missed.
 */
function createEntryReader(directory: string): () => Promise<Entry[]> {
  const known = new Map<string, Entry>()
  const readTo = new Map<string, number>()
  const add = (bytes: Uint8Array) => {
    const entry = parseEntry(bytes)
    known.set(`${entry.writer.epoch} ${entry.writer.seq}`, entry)
  }
  return async () => {
    const reader = await openLedgerReader(directory)
    for await (const { entry } of reader.readUnintegrated()) add(entry)
    for (const log of await reader.logs()) {
      const from = readTo.get(log.path) ?? 0
      for await (const { entry } of reader.readEntries(log, from)) add(entry)
      readTo.set(log.path, log.size)
    }
    return [...known.values()].toSorted(
      (a, b) => a.writer.epoch - b.writer.epoch || a.writer.seq - b.writer.seq,
    )
  }
}

async function completedRecord(directory: string, eventId: string | undefined): Promise<Completed> {
  if (eventId === undefined) throw new Error('the answer has no x-audit-event-id')
  const reader = await openLedgerReader(directory)
  const found = (await reader.findByEventId(eventId)).map(({ entry }) => parseEntry(entry))
  const kinds = found.map(({ kind }) => kind)
  const [, completed] = found
  if (kinds.join() !== 'interaction.started,interaction.completed' || !isCompleted(completed)) {
    throw new Error(`expected one start and one end of ${eventId}, found: ${kinds.join()}`)
  }
  return completed
}

async function openStarts(entries: () => Promise<Entry[]>): Promise<number> {
  const all = await entries()
  const started = all.filter(({ kind }) => kind === 'interaction.started').length
  return started - all.filter(({ kind }) => kind === 'interaction.completed').length
}

/** Tells whether `entry` is the end of an interaction. */
export function isCompleted(entry: Entry | undefined): entry is Completed {
  return entry?.kind === 'interaction.completed'
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
