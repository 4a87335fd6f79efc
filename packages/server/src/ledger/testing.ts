/**
 * A world for ledgers to run in, in tests: a disk that can fail, a clock that is moved by hand, and a
 * witness that remembers every acknowledgement and every checkpoint that was ever shown, and later
 * holds the ledger to both.
 *
 * @module
 */
import {
  AuditError,
  canonicalize,
  isAuditError,
  parseCheckpoint,
  parseNote,
  toHex,
  utf8Decode,
  verifyLog,
  type Entry,
  type LogFiles,
} from '@affidavit/format'
import { formatMicros, type Clock } from '@affidavit/sdk/capture'
import { expect } from 'vitest'
import {
  createMemoryDisk,
  type MemoryDisk,
  type Mount,
  type MountOptions,
} from '../store/testing.ts'
import { walkFrame, type Frame } from './frame.ts'
import {
  openLedger,
  type Append,
  type Ledger,
  type LedgerOptions,
  type Sequenced,
} from './ledger.ts'

/** Numbers that are the same for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A clock that stands until it is moved. Begins on 2026-11-23. */
export interface TestClock extends Clock {
  advance(ms: number): void
  /** Sets the wall clock; the monotonic one is not touched. */
  set(iso: string): void
}

export function createTestClock(): TestClock {
  let micros = Date.parse('2026-11-23T14:00:00Z') * 1000
  let monotonic = 1000
  return {
    // Each look takes a microsecond, so that moments differ.
    nowMicros: () => micros++,
    monotonicMs: () => monotonic,
    advance(ms) {
      micros += ms * 1000
      monotonic += ms
    },
    set(iso) {
      micros = Date.parse(iso) * 1000
    },
  }
}

/** Everything that somebody outside has been promised. */
export interface Witness {
  readonly acknowledged: Sequenced[]
  /** Every checkpoint that was ever at a log's `checkpoint` path, by origin. */
  readonly shown: Map<string, Set<string>>
}

/** A disk, a clock and a witness; ledgers come and go. */
export interface World {
  readonly disk: MemoryDisk
  readonly clock: TestClock
  readonly random: () => number
  readonly witness: Witness
  /** A new process: its view of the disk, watched by the witness. */
  mount(options?: MountOptions): Mount
  /** Opens the ledger in a process. */
  open(mount: Mount, overrides?: Partial<LedgerOptions>): ReturnType<typeof openLedger>
  /** Appends, and has the witness remember what was acknowledged. */
  append(ledger: Ledger, append: Append): Promise<Sequenced>
}

export const instanceDirectory = '/data/gw-1'
export const ledgerDirectory = `${instanceDirectory}/ledger`

export function createWorld(seed: number): World {
  const random = createRandom(seed)
  const clock = createTestClock()
  const disk = createMemoryDisk(random)
  const witness: Witness = { acknowledged: [], shown: new Map() }
  return {
    disk,
    clock,
    random,
    witness,
    mount: (options = {}) =>
      disk.mount({
        ...options,
        onRename(path, bytes) {
          if (path.endsWith('/checkpoint')) see(witness, bytes)
        },
      }),
    open: ({ fs }, overrides = {}) =>
      openLedger({
        directory: instanceDirectory,
        deployment: 'audit.example',
        instance: 'gw-1',
        clock,
        random: (count) => Uint8Array.from({ length: count }, () => Math.floor(random() * 256)),
        fs,
        segmentBytes: 16_384,
        integrateEntries: Number.MAX_SAFE_INTEGER,
        every: () => () => undefined,
        ...overrides,
      }),
    async append(ledger, append) {
      const sequenced = await ledger.append(append)
      const { origin, leafIndex, entry, leafHash } = sequenced
      // A copy: the entry is a view of the ledger's own memory.
      witness.acknowledged.push({ origin, leafIndex, leafHash, entry: Uint8Array.from(entry) })
      return sequenced
    },
  }
}

function see({ shown }: Witness, bytes: Uint8Array): void {
  const note = utf8Decode(bytes)
  const { origin } = parseCheckpoint(parseNote(note).text)
  const notes = shown.get(origin) ?? new Set()
  shown.set(origin, notes.add(note))
}

/** An event id that is a UUIDv7 and says which one it is. */
export function eventIdOf(number: number): string {
  return `019ab1c2-0000-7000-8000-${String(number).padStart(12, '0')}`
}

/** An entry of which only `pad` characters matter. */
export function plainEntry(number: number, pad = 0, retentionClass = 'standard'): Append {
  return {
    retentionClass,
    body: canonicalize({
      v: 1,
      kind: 'control.event',
      event_id: eventIdOf(number),
      timestamp: formatMicros(Date.parse('2026-11-23T14:00:00Z') * 1000 + number),
      retention_class: retentionClass,
      action: 'test',
      details: { pad: 'x'.repeat(pad) },
    }),
  }
}

/** The start or the end of an interaction, with as many fields as matter here. */
export function interactionEntry(
  phase: 'started' | 'completed',
  number: number,
  retentionClass = 'standard',
): Append {
  const eventId = eventIdOf(number)
  const timestamp = formatMicros(Date.parse('2026-11-23T14:00:00Z') * 1000 + number)
  const body = canonicalize({
    v: 1,
    kind: `interaction.${phase}`,
    event_id: eventId,
    timestamp,
    retention_class: retentionClass,
    application_id: 'app',
    ...(phase === 'completed' ? { logged_at: timestamp, status: 'success' } : {}),
  })
  const marks = phase === 'started' ? { opens: eventId } : { closes: eventId }
  return { retentionClass, body, ...marks }
}

/**
 * Two logs, three integrations, a full tile, a rotation of segments, interactions that are open over
 * all of them.
 */
export async function runScenario(world: World, mount: Mount): Promise<void> {
  const { ledger } = await world.open(mount)
  const append = (entry: Parameters<World['append']>[1]) => world.append(ledger, entry)
  await append(interactionEntry('started', 1))
  await Promise.all([append(interactionEntry('started', 2, 'long')), append(plainEntry(3))])
  await ledger.publish()
  await Promise.all(Array.from({ length: 254 }, (_, at) => append(plainEntry(100 + at))))
  await append(interactionEntry('completed', 2, 'long'))
  await ledger.publish()
  await append(plainEntry(4, 9000, 'long'))
  await append(interactionEntry('started', 5))
  await append(plainEntry(6, 9000))
  await ledger.publish()
  await append(interactionEntry('completed', 1))
  await append(plainEntry(7))
  await ledger.close()
}

/** Entries of a frame; none of what is no frame. */
export function entriesOf(frame: Frame | undefined): Uint8Array[] {
  const entries: Uint8Array[] = []
  if (frame !== undefined) {
    walkFrame(frame, (start, end) => entries.push(frame.bytes.subarray(start, end)))
  }
  return entries
}

/** Files of one log as the verifier wants them. */
export function logFilesOf(disk: MemoryDisk, path: string): LogFiles {
  const prefix = `${ledgerDirectory}/logs/${path}/`
  return {
    read: (file) => Promise.resolve(disk.read(prefix + file)),
    list: () =>
      disk
        .files()
        .filter((file) => file.startsWith(prefix))
        .map((file) => file.slice(prefix.length)),
  }
}

/** Entries of all logs, by origin and leaf index, as the verifier has seen them. */
export type AllEntries = ReadonlyMap<string, readonly VerifiedEntry[]>

export interface VerifiedEntry {
  readonly bytes: Uint8Array
  readonly hash: Uint8Array
}

/**
 * Verifies every log on the disk with the verifier that auditors use, held to every checkpoint that
 * was ever shown. Fails the test on any finding.
 */
export async function verifyEverything({ disk, witness }: World): Promise<AllEntries> {
  const entries = new Map<string, VerifiedEntry[]>()
  const paths = new Set(
    disk
      .files()
      .filter((file) => file.startsWith(`${ledgerDirectory}/logs/`) && file.endsWith('/checkpoint'))
      .map((file) => file.slice(`${ledgerDirectory}/logs/`.length, -'/checkpoint'.length)),
  )
  for (const path of paths) {
    const found: VerifiedEntry[] = []
    const origin = `audit.example/gw-1/${path}`
    const vkey = utf8Decode(disk.read(`${ledgerDirectory}/logs/${path}/vkey`) ?? new Uint8Array())
    const report = await verifyLog(logFilesOf(disk, path), vkey.trimEnd(), {
      heldCheckpoints: [...(witness.shown.get(origin) ?? [])],
      visitEntry: (bytes, _, hash) => void found.push({ bytes: bytes.slice(), hash }),
    })
    expect({ path, findings: report.findings, intact: report.intact }).toEqual({
      path,
      findings: [],
      intact: true,
    })
    entries.set(origin, found)
  }
  expect([...entries.keys()]).toEqual(expect.arrayContaining([...witness.shown.keys()]))
  return entries
}

/** Every acknowledged entry is where it was said to be. */
export function expectAcknowledged({ witness }: World, entries: AllEntries): void {
  for (const { origin, leafIndex, entry } of witness.acknowledged) {
    const found = entries.get(origin)?.[leafIndex]
    if (found === undefined || Buffer.compare(found.bytes, entry) !== 0) {
      throw new Error(`acknowledged entry ${leafIndex} of ${origin} is not there`)
    }
  }
}

/** Over all logs, each entry of the writer names the one before, and no number is missing. */
export function expectUnbrokenChain(entries: AllEntries): readonly Entry[] {
  const all = [...entries.values()]
    .flat()
    .map(({ bytes, hash }) => ({ entry: entryOf(bytes), hash }))
  all.sort((a, b) => orderOf(a.entry) - orderOf(b.entry))
  let previous: { epoch: number; seq: number } = { epoch: 0, seq: -1 }
  let prev = '0'.repeat(64)
  for (const { entry, hash } of all) {
    const { epoch, seq } = entry.writer
    const isNext = epoch === previous.epoch ? seq === previous.seq + 1 : seq === 0
    // No `expect` per entry: it is slow, and there are hundreds of thousands.
    if (!isNext || entry.writer.prev !== prev) {
      throw new Error(`${epoch}, ${seq} does not follow ${previous.epoch}, ${previous.seq}`)
    }
    prev = toHex(hash)
    previous = { epoch, seq }
  }
  return all.map(({ entry }) => entry)
}

/** The verifier has been over the bytes: no need to check once more that they are canonical. */
function entryOf(bytes: Uint8Array): Entry {
  const entry: Entry = JSON.parse(utf8Decode(bytes))
  return entry
}

/** Each interaction that has a start has exactly one end. */
export function expectPairs(entries: readonly Entry[]): void {
  const ends = new Map<string, number>()
  for (const { kind, event_id: id } of entries) {
    if (kind === 'interaction.started') ends.set(id, ends.get(id) ?? 0)
    if (kind === 'interaction.completed' || kind === 'interaction.interrupted') {
      ends.set(id, (ends.get(id) ?? 0) + 1)
    }
  }
  for (const [id, count] of ends) if (count !== 1) throw new Error(`${id} has ${count} ends`)
}

/**
 * Opens the ledger as the next process would, closes it, and holds it to everything that was promised:
 * acknowledged entries, checkpoints shown, the writer's chain, and an end for every start.
 */
export async function expectSound(world: World): Promise<readonly Entry[]> {
  const { ledger } = await world.open(world.mount())
  await ledger.close()
  const entries = await verifyEverything(world)
  expectAcknowledged(world, entries)
  const all = expectUnbrokenChain(entries)
  expectPairs(all)
  return all
}

/** The error that `promise` rejects with. */
export async function failureOf(promise: Promise<unknown>): Promise<AuditError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (isAuditError(error)) return error
  throw new Error(`no AuditError: ${String(error)}`)
}

function orderOf({ writer }: Entry): number {
  return writer.epoch * 1e9 + writer.seq
}
