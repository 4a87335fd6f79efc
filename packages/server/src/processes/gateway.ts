/**
 * The gateway process: wires the parts and runs until it is told to stop. `startGateway` is also what
 * tests and benchmarks run inside their own process.
 *
 * @module
 */
import { systemClock, type CaptureOptions, type Clock } from '@affidavit/sdk/capture'
import {
  loadConfig,
  parseAddress,
  processSources,
  readSecret,
  type Config,
  type ConfigSources,
} from '../base/config.ts'
import type { Log } from '../base/log.ts'
import { createMetrics, type Metrics } from '../base/metrics.ts'
import { pause, pooledRandom, standardLog, startTimer } from '../base/system.ts'
import { gatewayKeysPath, openGatewayKeys } from '../control/keys.ts'
import { createPolicies } from '../control/policies.ts'
import { openAuditStore, type AuditStore } from '../gateway/audit-store.ts'
import { createClientAddress } from '../gateway/client-address.ts'
import type { GatewayContext } from '../gateway/context.ts'
import { createGatewayMetrics } from '../gateway/gateway-metrics.ts'
import { startGatewayServer, type GatewayServer } from '../gateway/server.ts'
import { createUpstream } from '../gateway/upstream.ts'
import type { LedgerOptions } from '../ledger/ledger.ts'
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
  const sources = options.sources ?? processSources()
  try {
    const capture = captureOptions(config, clock, opener.hashKeys)
    const context = createContext({ config, clock, random, log, metrics, store, capture, sources })
    const server = await startServer(config, context, metrics)
    const { host } = parseAddress(config.gateway.listen)
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${server.port}`
    log.info({ url, upstream: config.gateway.upstream.anthropic }, 'gateway listens')
    return { url, port: server.port, store, metrics, close: () => close(server, context) }
  } catch (error) {
    await store.close()
    throw error
  }
}

/** `affidavit gateway`: runs until SIGTERM or SIGINT, then stops in order. */
export async function main(config: Config = loadConfig()): Promise<void> {
  const gateway = await startGateway({ config })
  await new Promise<void>((resolve) => {
    process.once('SIGTERM', () => resolve())
    process.once('SIGINT', () => resolve())
  })
  await gateway.close()
}

interface Parts extends Pick<GatewayContext, 'clock' | 'random' | 'log' | 'store' | 'capture'> {
  readonly config: Config
  readonly metrics: Metrics
  readonly sources: ConfigSources
}

function createContext(parts: Parts): GatewayContext {
  const { config, store, sources } = parts
  const { gateway } = config
  const live: GatewayContext['live'] = new Set()
  const bodies = { bytes: 0 }
  const held = gateway.providerKeys.anthropic
  return {
    ...parts,
    metrics: createGatewayMetrics(parts.metrics, {
      live: () => live.size,
      bodyBytes: () => bodies.bytes,
      isOpen: () => store.closedBy === undefined,
      unrecordedPending: () => store.unrecorded,
      reopened: () => store.reopened,
    }),
    startTimer,
    clientAddress: addressesFor(config),
    upstream: createUpstream(config),
    providerKey: held === undefined ? null : readSecret(held, sources),
    defaultApplication: gateway.defaultApplication,
    limits: gateway.limits,
    bodies,
    live,
  }
}

function startServer(
  config: Config,
  context: GatewayContext,
  metrics: Metrics,
): Promise<GatewayServer> {
  const { gateway } = config
  const path = gatewayKeysPath(config.dataDir, config.instance)
  return startGatewayServer({
    context,
    keys: openGatewayKeys(path, (keys) => context.log.info({ keys }, 'gateway keys read')),
    policies: createPolicies(config),
    listen: parseAddress(gateway.listen),
    unknownPaths: gateway.unknownPaths,
    requireGatewayKey: gateway.requireGatewayKey,
    headerBytes: gateway.limits.headerBytes,
    keepAliveMs: gateway.limits.keepAliveMs,
    shutdownMs: gateway.limits.shutdownMs,
    ownPaths: new Map(),
    renderMetrics: () => metrics.render(),
  })
}

/** Order matters: no exchange may run when the store closes. */
async function close(
  server: GatewayServer,
  { store, upstream, log }: GatewayContext,
): Promise<void> {
  await server.close()
  await upstream.close()
  await store.close()
  log.info({}, 'gateway stopped')
}

function captureOptions(
  config: Config,
  clock: Clock,
  hashKeys: CaptureOptions['hashKeys'],
): CaptureOptions {
  if (config.gateway.ipAddress !== 'full') return { clock, hashKeys }
  return { clock, hashKeys, ipMask: { v4Bits: 32, v6Bits: 128 } }
}

function addressesFor(config: Config): GatewayContext['clientAddress'] {
  if (config.gateway.ipAddress === 'none') return () => undefined
  return createClientAddress(config.gateway.trustedProxies)
}
