/**
 * Data directories for tests, made by the real ledger, and the real command line run on them.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { canonicalize, newEventId } from '@affidavit/format'
import { type Clock, formatMicros } from '@affidavit/sdk/capture'
import { openLedger } from '../ledger/ledger.ts'

/** A clock that moves a millisecond whenever it is read. */
export function createTestClock(startMs = Date.parse('2026-11-23T14:00:00Z')): Clock {
  let nowMs = startMs
  return { nowMicros: () => (nowMs += 1) * 1000, monotonicMs: () => (nowMs += 1) }
}

/** Bytes from a counter: every id is different, and the same in every run. */
export function createTestRandom(): (bytes: number) => Uint8Array {
  let counter = 0
  return (length) => {
    const bytes = new Uint8Array(length)
    counter += 1
    new DataView(bytes.buffer).setUint32(Math.max(0, length - 4), counter)
    bytes[0] = counter * 7
    return bytes
  }
}

export interface TestDataOptions {
  readonly directory: string
  readonly instance?: string
  /** Interactions of each epoch; each is a start and an end, and classes take turns. */
  readonly epochs?: readonly number[]
  readonly classes?: readonly string[]
  /** Starts that the last epoch leaves open. */
  readonly open?: number
  /** Members of every record. */
  readonly fields?: Readonly<Record<string, unknown>>
  readonly clock?: Clock
  /** Leaves the last entries in the write-ahead log, as a process that was killed does. */
  readonly crash?: boolean
}

/** What is in a data directory. */
export interface TestData {
  readonly dataDir: string
  readonly instance: string
  readonly ledger: string
  readonly eventIds: readonly string[]
  readonly clock: Clock
}

/** Writes interactions through the real ledger. */
export async function makeTestData(options: TestDataOptions): Promise<TestData> {
  const { directory, instance = 'gw-1', epochs = [20], classes = ['standard'], open = 0 } = options
  const { clock = createTestClock(), fields = {}, crash = false } = options
  const random = createTestRandom()
  const eventIds: string[] = []
  for (const [epoch, interactions] of epochs.entries()) {
    const isLast = epoch === epochs.length - 1
    const { ledger } = await openLedger({
      directory: join(directory, instance),
      deployment: 'audit.test',
      instance,
      clock,
      random,
      segmentBytes: 1 << 16,
      integrateEntries: crash && isLast ? 1 << 30 : 512,
      every: () => () => {},
    })
    const appends: Promise<unknown>[] = []
    for (let index = 0; index < interactions + (isLast ? open : 0); index += 1) {
      const eventId = newEventId(Math.floor(clock.nowMicros() / 1000), random(10))
      const retentionClass = classes[index % classes.length] ?? 'standard'
      const body = (kind: string, more: object = {}) =>
        canonicalize({
          ...recordBody({ eventId, retentionClass, clock }),
          ...fields,
          ...more,
          kind,
        })
      eventIds.push(eventId)
      appends.push(
        ledger.append({ retentionClass, body: body('interaction.started'), opens: eventId }),
      )
      if (index >= interactions) continue
      const end = body('interaction.completed', endFields(clock))
      appends.push(ledger.append({ retentionClass, body: end, closes: eventId }))
    }
    await Promise.all(appends)
    // A crash is what `close` would have done, left out; the lock goes with the process.
    if (crash && isLast) await keepUnpublished(join(directory, instance), () => ledger.close())
    else if (isLast && open > 0) await keepOpen(ledger)
    else await ledger.close()
  }
  return {
    dataDir: directory,
    instance,
    ledger: join(directory, instance, 'ledger'),
    eventIds,
    clock,
  }
}

/** Closes, then puts the directory back to what it was before. */
async function keepUnpublished(directory: string, close: () => Promise<void>): Promise<void> {
  const copy = `${directory}.before`
  await cp(directory, copy, { recursive: true })
  await close()
  await rm(directory, { recursive: true, force: true })
  await cp(copy, directory, { recursive: true })
  await rm(copy, { recursive: true, force: true })
}

async function keepOpen(ledger: { publish(): Promise<void>; close(): Promise<void> }) {
  await ledger.publish()
  await ledger.close()
}

function recordBody(options: { eventId: string; retentionClass: string; clock: Clock }) {
  const { eventId, retentionClass, clock } = options
  return {
    v: 1,
    event_id: eventId,
    timestamp: formatMicros(clock.nowMicros()),
    capture_source: 'gateway',
    provider: 'anthropic',
    operation: 'messages.create',
    route: 'POST /v1/messages',
    streaming: false,
    model: 'claude-test',
    user_id: null,
    session_id: 'session-1',
    application_id: 'app-1',
    identity_trust: { application: 'none', session: 'none', user: 'none' },
    ip_address: null,
    hash: { alg: 'hmac-sha256', key_id: 'tenant:1' },
    prompt_hash: 'ab'.repeat(32),
    prompt_completeness: 'full',
    request: { bytes: 10, wire_digest: 'cd'.repeat(32), parsed: 'json' },
    data_classification: 'INTERNAL',
    classification_source: 'default',
    policy_flags: [],
    policy_version: 'config:test',
    retention_class: retentionClass,
    prompt_raw: null,
  }
}

function endFields(clock: Clock) {
  return {
    logged_at: formatMicros(clock.nowMicros()),
    status: 'success',
    end_state: 'complete',
    http_status: 200,
    stop_reason: 'end_turn',
    error_type: null,
    request_id: 'req_1',
    model_served: 'claude-test',
    prompt_tokens: 12,
    completion_tokens: 34,
    usage_source: 'final',
    response_hash: 'ef'.repeat(32),
    response: { bytes: 20, wire_digest: '01'.repeat(32), parsed: 'json' },
    latency_ms: 56,
    response_raw: null,
  }
}

/** Makes a temporary folder. */
export async function makeFolder(): Promise<string> {
  return await mkdtemp(join(tmpdir(), 'affidavit-cli-'))
}

/** How a command ended. */
export interface CommandRun {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

const program = fileURLToPath(new URL('../../bin/affidavit.mjs', import.meta.url))

/** Runs the compiled command line as a process of its own. */
export function runCommand(
  parameters: readonly string[],
  options: { cwd?: string; env?: Record<string, string>; input?: string } = {},
): Promise<CommandRun> {
  return new Promise((resolve, reject) => {
    const { PATH = '', HOME = '', TMPDIR } = process.env
    const base = TMPDIR === undefined ? { PATH, HOME } : { PATH, HOME, TMPDIR }
    const child = spawn(process.execPath, [program, ...parameters], {
      cwd: options.cwd,
      env: { ...base, ...options.env },
    })
    const run = { stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text: string) => (run.stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (run.stderr += text))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, ...run }))
    child.stdin.end(options.input ?? '')
  })
}
