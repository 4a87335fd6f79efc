/**
 * Keeps one spool open with a shipper on it, and opens the next one when it has stopped.
 *
 * @module
 */
import { AuditError } from '@affidavit/format'
import type { Clock } from './capture/clock.ts'
import { createShipper, type IngestEndpoint, type ShipEvent, type Shipper } from './ship.ts'
import type { SpoolLimits } from './spool/commit.ts'
import { heartbeatIntervalMs, thisProcess } from './spool/epoch.ts'
import type { SpoolFs } from './spool/files.ts'
import { openSpool, type Spool, type SpoolEvent, type SpoolTail } from './spool.ts'
import type { Timers } from './timers.ts'

export interface KeeperOptions {
  readonly directory: string
  readonly limits: Partial<SpoolLimits>
  readonly endpoint: IngestEndpoint
  /** How long `close` waits. */
  readonly closeMsMax: number
  readonly report: (event: SpoolEvent | ShipEvent) => void
  readonly fs: SpoolFs
  readonly clock: Clock
  readonly timers: Timers
  readonly random: (bytes: number) => Uint8Array
}

/** After a failure to open the spool, calls fail at once for so long before it is tried again. */
const reopenPauseMs = 1_000

export class SpoolKeeper {
  readonly #options: KeeperOptions
  /** Exchanges that were started and have not ended in this process. */
  readonly #running = new Set<string>()
  readonly #stopBeating: () => void
  #current: { readonly spool: Spool; readonly shipper: Shipper } | undefined
  #opening: Promise<Spool> | undefined
  #failed: { readonly error: unknown; readonly atMs: number } | undefined
  /** Where the spool before stopped, until the next one has cut off what lies behind. */
  #tail: SpoolTail | undefined
  #phase: 'open' | 'closing' | 'closed' = 'open'
  #onQuiet: () => void = () => undefined

  constructor(options: KeeperOptions) {
    this.#options = options
    this.#stopBeating = options.timers.every(
      heartbeatIntervalMs,
      () => void this.#current?.spool.beat(),
    )
  }

  /** An exchange begins; refused once closing has begun. */
  begin(eventId: string): void {
    if (this.#phase !== 'open') throw closedError()
    this.#running.add(eventId)
  }

  end(eventId: string): void {
    this.#running.delete(eventId)
    if (this.#running.size === 0) this.#onQuiet()
  }

  /** The open spool; opens one if need be, at most once a second after a failure. */
  async spool(): Promise<Spool> {
    if (this.#phase === 'closed') throw closedError()
    if (this.#current?.spool.phase === 'open') return this.#current.spool
    if (this.#opening !== undefined) return this.#opening
    const { clock } = this.#options
    const isTooSoon =
      this.#failed !== undefined && clock.monotonicMs() - this.#failed.atMs < reopenPauseMs
    if (isTooSoon) throw this.#failed?.error
    this.#opening = this.#open()
    try {
      const opened = await this.#opening
      this.#failed = undefined
      return opened
    } catch (error) {
      this.#failed = { error, atMs: clock.monotonicMs() }
      throw error
    } finally {
      this.#opening = undefined
    }
  }

  async #open(): Promise<Spool> {
    const { directory, limits, endpoint, report, fs, clock, timers, random } = this.#options
    this.#tail = this.#current?.spool.tail ?? this.#tail
    await this.#current?.shipper.stop()
    this.#current = undefined
    const spool = await openSpool({
      directory,
      limits,
      fs,
      clock,
      random,
      process: thisProcess(),
      running: this.#running,
      report,
      ...(this.#tail && { stoppedAt: this.#tail }),
    })
    this.#tail = undefined
    const shipper = createShipper(spool, endpoint, { timers, random, report })
    this.#current = { spool, shipper }
    return spool
  }

  /** Waits for the exchanges that run, then for the gateway, both within one limit. */
  async close(): Promise<void> {
    if (this.#phase !== 'open') return
    this.#phase = 'closing'
    await this.#opening?.catch(() => undefined)
    const waiting = new AbortController()
    const late = this.#options.timers.delay(this.#options.closeMsMax, {
      signal: waiting.signal,
      ref: true,
    })
    const quiet = new Promise<void>((resolve) => {
      this.#onQuiet = resolve
      if (this.#running.size === 0) resolve()
    })
    await Promise.race([quiet, late])
    await Promise.race([this.#current?.shipper.drained(), late])
    waiting.abort()
    this.#phase = 'closed'
    this.#stopBeating()
    await this.#current?.shipper.stop()
    await this.#current?.spool.close()
  }
}

function closedError(): AuditError {
  return new AuditError(
    'ERR_AUDIT_UNAVAILABLE',
    'the audit destination has been closed; nothing recorded before was lost',
  )
}
