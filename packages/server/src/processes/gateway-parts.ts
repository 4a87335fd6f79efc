/**
 * Wires the parts of a gateway out of its configuration.
 *
 * @module
 */
import { createPrefixCache, type CaptureOptions, type Clock } from '@affidavit/sdk/capture'
import { parseAddress, readSecret, type Config, type ConfigSources } from '../base/config.ts'
import type { Metrics } from '../base/metrics.ts'
import { startTimer } from '../base/system.ts'
import { gatewayKeysPath, openGatewayKeys, type GatewayKeys } from '../control/keys.ts'
import { createPolicies, type Policies } from '../control/policies.ts'
import { createClientAddress } from '../gateway/client-address.ts'
import type { GatewayContext } from '../gateway/context.ts'
import { keysDigest, type ControlEvents } from '../gateway/control-events.ts'
import { createGatewayMetrics } from '../gateway/gateway-metrics.ts'
import { startMetricsServer, type MetricsServer } from '../gateway/metrics-server.ts'
import { startGatewayServer, type GatewayServer } from '../gateway/server.ts'
import { createUpstream } from '../gateway/upstream.ts'
import { createIngest, ingestPath } from '../ingest/receive.ts'
import type { StoreOpener } from './store.ts'

/** What is there when the parts are wired. */
export interface GatewayParts extends Pick<GatewayContext, 'clock' | 'random' | 'log' | 'store'> {
  readonly config: Config
  readonly metrics: Metrics
  readonly sources: ConfigSources
  readonly opener: StoreOpener
  readonly events: ControlEvents
}

/** What every exchange shares. */
export function createContext(parts: GatewayParts): GatewayContext {
  const { config, clock, store, sources, opener } = parts
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
    capture: captureOptions(config, clock, opener.hashKeys),
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

/** Starts the metrics' own server, if one is configured. */
export function startMetrics({
  config,
  metrics,
}: GatewayParts): Promise<MetricsServer | undefined> {
  const address = config.gateway.metricsListen
  if (address === null) return Promise.resolve(undefined)
  return startMetricsServer(parseAddress(address), () => metrics.render())
}

/** Starts the server: the proxy, and the gateway's own paths. */
export function startServer(parts: GatewayParts, context: GatewayContext): Promise<GatewayServer> {
  const { config, metrics, log, events } = parts
  const { gateway } = config
  const path = gatewayKeysPath(config.dataDir, config.instance)
  const keys = openGatewayKeys(path, (before, after) => {
    log.info({ keys: after.length }, 'gateway keys changed')
    events.keysChanged(before, after)
  })
  // Written by whoever starts: the digest is of the keys that this run began with.
  void events.record('gateway.started', {
    policy_version: config.policyVersion,
    keys: keys.all().length,
    keys_digest: keysDigest(keys.all()),
  })
  const policies = createPolicies(config)
  return startGatewayServer({
    context,
    keys,
    policies,
    listen: parseAddress(gateway.listen),
    unknownPaths: gateway.unknownPaths,
    requireGatewayKey: gateway.requireGatewayKey,
    headerBytes: gateway.limits.headerBytes,
    keepAliveMs: gateway.limits.keepAliveMs,
    shutdownMs: gateway.limits.shutdownMs,
    ownPaths: new Map([[ingestPath, ingestFor(parts, { keys, policies })]]),
    renderMetrics: () => metrics.render(),
  })
}

function ingestFor(
  { config, clock, log, metrics, store, opener }: GatewayParts,
  access: { readonly keys: GatewayKeys; readonly policies: Policies },
) {
  const records = metrics.counters(
    'affidavit_ingest_records_total',
    'Ingested, by result.',
    'result',
  )
  return createIngest({
    ...access,
    store,
    marks: () => opener.marks(),
    hashKeys: opener.hashKeys,
    defaultApplication: config.gateway.defaultApplication,
    bodyBytesMax: config.gateway.limits.ingestBodyBytes,
    clock,
    log,
    count: (result) => records.with(result).add(),
  })
}

function captureOptions(
  config: Config,
  clock: Clock,
  hashKeys: CaptureOptions['hashKeys'],
): CaptureOptions {
  const options = { clock, hashKeys, prefixCache: createPrefixCache() }
  if (config.gateway.ipAddress !== 'full') return options
  return { ...options, ipMask: { v4Bits: 32, v6Bits: 128 } }
}

function addressesFor(config: Config): GatewayContext['clientAddress'] {
  if (config.gateway.ipAddress === 'none') return () => undefined
  return createClientAddress(config.gateway.trustedProxies)
}
