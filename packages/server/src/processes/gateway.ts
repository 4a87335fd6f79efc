/**
 * Starts a gateway: opens the store, wires the parts, listens. `affidavit gateway` runs it as a process,
 * tests and benchmarks inside their own.
 *
 * @module
 */
import { systemClock, type Clock } from '@affidavit/sdk/capture'
import { parseAddress, processSources, type Config, type ConfigSources } from '../base/config.ts'
import type { Log } from '../base/log.ts'
import { createMetrics, type Metrics } from '../base/metrics.ts'
import { pause, pooledRandom, standardLog } from '../base/system.ts'
import { openAuditStore, type AuditStore } from '../gateway/audit-store.ts'
import { createControlEvents } from '../gateway/control-events.ts'
import type { LedgerOptions } from '../ledger/ledger.ts'
import { createContext, startMetrics, startServer, type GatewayParts } from './gateway-parts.ts'
import { createStoreOpener } from './store.ts'

export interface GatewayOptions {
  /** From `loadConfig`, or `configFrom({...})` in tests. */
  readonly config: Config
  readonly log?: Log
  readonly clock?: Clock
  /** Cryptographically random bytes. */
  readonly random?: (bytes: number) => Uint8Array
  /** Where secrets that the configuration refers to are read. */
  readonly sources?: ConfigSources
  readonly ledgerOptions?: Partial<LedgerOptions>
}

export interface RunningGateway {
  /** `http://host:port` */
  readonly url: string
  readonly port: number
  readonly store: AuditStore
  readonly metrics: Metrics
  /** Finishes what runs, closes the ledger, lets go of everything. */
  close(): Promise<void>
}

/**
 * Starts a gateway. When it resolves the ledger is open, its first entry of this epoch is durable, and
 * the port is listening.
 *
 * @throws AuditError as opening the ledger, the key ring and the configuration do; the system's error
 *   when the address cannot be listened on.
 */
export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const { config, clock = systemClock, random = pooledRandom() } = options
  const log = options.log ?? standardLog(config.log, clock)
  const opener = await createStoreOpener({ ...options, clock, random, log })
  const store = await openAuditStore({
    open: () => opener.open(),
    clock,
    log,
    random,
    pause,
    reopenMsMax: config.ledger.reopenMsMax,
  })
  const metrics = createMetrics()
  const events = createControlEvents({
    append: (entry) => store.append(entry),
    retentionClass: config.gateway.retentionClass,
    clock,
    log,
    random,
  })
  const sources = options.sources ?? processSources()
  const parts: GatewayParts = {
    config,
    clock,
    random,
    log,
    metrics,
    store,
    opener,
    sources,
    events,
  }
  const started: { close(): Promise<void> }[] = [store]
  const closeAll = async () => {
    for (const part of started.toReversed()) await part.close()
    log.info({}, 'gateway stopped')
  }
  try {
    const context = createContext(parts)
    started.push(context.upstream)
    const metricsServer = await startMetrics(parts)
    if (metricsServer !== undefined) started.push(metricsServer)
    started.push({ close: () => events.record('gateway.stopped', {}) })
    const server = await startServer(parts, context)
    started.push(server)
    const { host } = parseAddress(config.gateway.listen)
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${server.port}`
    log.info({ url, upstream: config.gateway.upstream.anthropic }, 'gateway listens')
    // In the opposite order: no exchange may run when the store closes.
    return { url, port: server.port, store, metrics, close: closeAll }
  } catch (error) {
    await closeAll()
    throw error
  }
}
