/**
 * Ships spooled records to a gateway: in order, one request at a time, until each is acknowledged.
 * At least once on this side; the gateway counts each (writer id, epoch, seq) once.
 *
 * ```text
 * POST /affidavit/v1/ingest          authorization: Bearer <gateway key>
 * content-type: application/x-ndjson
 * {"writer":{"id":"<16 hex>","epoch":7,"seq":41},"body":{…}}      one line a record, one epoch a request
 *
 * 200 {"accepted":[41,42],"refused":[{"seq":43,"code":"ERR_…"}]}
 * ```
 * `accepted` lists what is on the gateway's disk, repetitions included. What is neither accepted nor
 * refused is sent again. A record that is refused for good is kept in quarantine and reported, so that
 * it does not block those behind it.
 *
 * @module
 */
import type { BatchLimits, SpooledRecord } from './spool/outgoing.ts'
import type { Timers } from './timers.ts'

/** Where the records go and what says that they may. */
export interface IngestEndpoint {
  readonly url: string
  readonly key: string
  readonly fetch: typeof fetch
}

/** The part of a spool that shipping needs. */
export interface ShippedSpool {
  next(limits: BatchLimits): Promise<readonly SpooledRecord[]>
  settle(): Promise<void>
  quarantine(record: SpooledRecord): Promise<void>
  onDurable(listener: () => void): void
}

/** Facts for the operator; none holds content. */
export type ShipEvent =
  | { readonly kind: 'ship_retry'; readonly reason: string; readonly attempt: number }
  | {
      readonly kind: 'ship_refused'
      readonly seq: number
      readonly epoch: number
      readonly reason: string
    }

export interface Shipper {
  /** Resolves when everything that is durable now has been acknowledged, or shipping has ended. */
  drained(): Promise<void>
  /** Ends shipping; a request under way is given up and repeated by the next start. */
  stop(): Promise<void>
}

const batchLimits: BatchLimits = { records: 256, bytes: 1024 * 1024 }
const requestMsMax = 30_000
const replyBytesMax = 1024 * 1024
const firstPauseMs = 200
const pauseMsMax = 30_000
export const ingestPath = '/affidavit/v1/ingest'

/** What one request achieved. */
type Reply =
  | {
      readonly kind: 'answered'
      readonly accepted: ReadonlySet<number>
      readonly refused: ReadonlyMap<number, string>
    }
  /** The request as a whole is not acceptable: too large, or one of its records is malformed. */
  | { readonly kind: 'unacceptable'; readonly reason: string }
  | { readonly kind: 'later'; readonly reason: string }

interface ShipOptions {
  readonly timers: Timers
  random(bytes: number): Uint8Array
  report(event: ShipEvent): void
}

/** Starts shipping. */
export function createShipper(
  spool: ShippedSpool,
  endpoint: IngestEndpoint,
  options: ShipOptions,
): Shipper {
  const stopping = new AbortController()
  const { signal } = stopping
  const deliver = createDelivery(spool, endpoint, { ...options, signal })
  const idle: (() => void)[] = []
  let wake: () => void = () => undefined
  spool.onDurable(() => wake())

  async function run(): Promise<void> {
    for (let attempt = 0; !signal.aborted;) {
      const woken = new Promise<void>((resolve) => {
        wake = resolve
      })
      try {
        if (await shipNext()) {
          attempt = 0
          continue
        }
      } catch {
        // The spool could not be read or cleared. It says so itself when that is final.
        options.report({ kind: 'ship_retry', reason: 'the spool cannot be read', attempt })
        await options.timers.delay(pauseMs(attempt++, options.random), { signal })
        continue
      }
      for (const resolve of idle.splice(0)) resolve()
      await woken
    }
  }

  /** False when everything that is durable has been shipped. */
  async function shipNext(): Promise<boolean> {
    const batch = await spool.next(batchLimits)
    if (batch.length === 0) return false
    await deliver(batch)
    if (!signal.aborted) await spool.settle()
    return true
  }

  const running = run()
  return {
    async drained() {
      if (signal.aborted) return
      await new Promise<void>((resolve) => {
        idle.push(resolve)
        wake()
      })
    },
    async stop() {
      stopping.abort()
      wake()
      for (const resolve of idle.splice(0)) resolve()
      await running
    },
  }
}

/** Sends a batch until each record of it is accepted or put aside, or shipping ends. */
function createDelivery(
  spool: ShippedSpool,
  endpoint: IngestEndpoint,
  options: ShipOptions & { readonly signal: AbortSignal },
): (batch: readonly SpooledRecord[]) => Promise<void> {
  const { signal, timers, random, report } = options

  async function deliver(batch: readonly SpooledRecord[]): Promise<void> {
    let pending = batch
    let size = batch.length
    let attempt = 0
    while (pending.length > 0 && !signal.aborted) {
      const group = pending.slice(0, size)
      const reply = await post(group, endpoint, signal)
      const settled = await settledBy(reply, group)
      pending = pending.filter((record) => !settled.has(record.seq))
      if (settled.size > 0) {
        attempt = 0
        continue
      }
      if (reply.kind === 'unacceptable') {
        // One of them is the fault: halve until it stands alone.
        size = Math.ceil(group.length / 2)
        continue
      }
      const reason = reply.kind === 'later' ? reply.reason : 'nothing was accepted'
      if (!signal.aborted) report({ kind: 'ship_retry', reason, attempt })
      await timers.delay(pauseMs(attempt++, random), { signal })
    }
  }

  /** Sequence numbers that need not be sent again, after what is refused has been put aside. */
  async function settledBy(reply: Reply, group: readonly SpooledRecord[]): Promise<Set<number>> {
    const settled = new Set(reply.kind === 'answered' ? reply.accepted : [])
    for (const [seq, reason] of refusedBy(reply, group)) {
      const record = group.find((each) => each.seq === seq)
      if (record === undefined || settled.has(seq)) continue
      await spool.quarantine(record)
      report({ kind: 'ship_refused', seq, epoch: record.epoch, reason })
      settled.add(seq)
    }
    return settled
  }

  return deliver
}

function refusedBy(
  reply: Reply,
  group: readonly SpooledRecord[],
): Iterable<readonly [number, string]> {
  if (reply.kind === 'answered') return reply.refused
  const [only] = group
  const isAlone = reply.kind === 'unacceptable' && group.length === 1
  return isAlone && only !== undefined ? [[only.seq, reply.reason]] : []
}

async function post(
  records: readonly SpooledRecord[],
  endpoint: IngestEndpoint,
  stopping: AbortSignal,
): Promise<Reply> {
  try {
    const response = await endpoint.fetch(endpoint.url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${endpoint.key}`,
        'content-type': 'application/x-ndjson',
      },
      body: Buffer.concat(records.flatMap(encodeLine)),
      // A redirect would carry the key and the records elsewhere.
      redirect: 'error',
      signal: AbortSignal.any([stopping, AbortSignal.timeout(requestMsMax)]),
    })
    return await readReply(response)
  } catch (error) {
    return { kind: 'later', reason: error instanceof Error ? error.name : 'unknown' }
  }
}

function encodeLine({ writerId, epoch, seq, payload }: SpooledRecord): Uint8Array[] {
  const writer = JSON.stringify({ id: writerId, epoch, seq })
  return [Buffer.from(`{"writer":${writer},"body":`), payload, Buffer.from('}\n')]
}

async function readReply(response: Response): Promise<Reply> {
  const { status } = response
  if (status === 400 || status === 413 || status === 422) {
    await response.body?.cancel()
    return { kind: 'unacceptable', reason: `HTTP ${status}` }
  }
  if (status !== 200) {
    await response.body?.cancel()
    return { kind: 'later', reason: `HTTP ${status}` }
  }
  const text = await response.text()
  const value: unknown = text.length <= replyBytesMax ? JSON.parse(text) : undefined
  return parseReply(value) ?? { kind: 'later', reason: 'the reply is not understood' }
}

function parseReply(value: unknown): Reply | undefined {
  if (typeof value !== 'object' || value === null || !('accepted' in value)) return undefined
  if (!Array.isArray(value.accepted)) return undefined
  const accepted = new Set(value.accepted.map(seqOf).filter((seq) => seq !== undefined))
  const refused = new Map<number, string>()
  const rows: unknown = 'refused' in value ? value.refused : []
  for (const row of Array.isArray(rows) ? rows : []) {
    const seq = seqOf(row)
    const code: unknown = typeof row === 'object' && row !== null ? row.code : undefined
    if (seq !== undefined)
      refused.set(seq, typeof code === 'string' ? code.slice(0, 64) : 'refused')
  }
  return { kind: 'answered', accepted, refused }
}

function seqOf(row: unknown): number | undefined {
  const seq: unknown = typeof row === 'object' && row !== null && 'seq' in row ? row.seq : row
  return typeof seq === 'number' && Number.isSafeInteger(seq) && seq >= 0 ? seq : undefined
}

/** 0.2 s, doubled up to 30 s, minus up to a quarter, so that many clients do not come at once. */
function pauseMs(attempt: number, random: (bytes: number) => Uint8Array): number {
  const full = Math.min(pauseMsMax, firstPauseMs * 2 ** Math.min(attempt, 16))
  const [byte = 0] = random(1)
  return Math.round(full * (1 - byte / 1024))
}
