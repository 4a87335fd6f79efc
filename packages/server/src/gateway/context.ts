/**
 * What every exchange of one gateway shares.
 *
 * @module
 */
import type { CaptureOptions, Clock } from '@affidavit/sdk/capture'
import type { Log } from '../base/log.ts'
import type { AuditStore } from './audit-store.ts'
import type { ClientAddress } from './client-address.ts'
import type { GatewayMetrics } from './gateway-metrics.ts'
import type { Upstream } from './upstream.ts'

/** Named limits; docs/operate/configuration.md has their units and defaults. */
export interface GatewayLimits {
  readonly requestBodyBytes: number
  readonly requestBodiesBytes: number
  readonly heldAnswerBytes: number
  readonly exchanges: number
  readonly lingerMs: number
  /** How long a caller may take nothing of an answer that waits for it. */
  readonly stalledMs: number
}

/** Starts a timer that does not keep the process alive; returns what stops it. */
export type StartTimer = (ms: number, callback: () => void) => () => void

export interface GatewayContext {
  readonly clock: Clock
  random(bytes: number): Uint8Array
  readonly startTimer: StartTimer
  readonly log: Log
  readonly metrics: GatewayMetrics
  readonly store: AuditStore
  readonly capture: CaptureOptions
  readonly clientAddress: ClientAddress
  readonly upstream: Upstream
  /** The provider's key that the gateway holds. */
  readonly providerKey: string | null
  readonly defaultApplication: string
  readonly limits: GatewayLimits
  /** Request bodies held now, all together. */
  readonly bodies: { bytes: number }
  /** Exchanges that are not over. */
  readonly live: Set<{ terminate(): void }>
}
