/**
 * Connections to the upstream: an undici pool, spoken to through `dispatch`, with header lists as they
 * are on the wire. Redirects are never followed, answers are never decoded, and nothing is repeated:
 * repeating is the client's decision.
 *
 * @module
 */
import { errors, Pool, type Dispatcher } from 'undici'
import type { Config } from '../base/config.ts'

/** Sends requests to one upstream. */
export interface Upstream {
  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void
  /** What the path of a request is put behind; empty for most. */
  readonly pathPrefix: string
  /** Ends every connection; running requests fail. */
  close(): Promise<void>
}

/** Why an exchange with the upstream failed. */
export type UpstreamFailure = 'timeout' | 'unreachable' | 'refused'

/** Makes the pool for `config.gateway.upstream`. */
export function createUpstream(config: Config): Upstream {
  const { upstream, limits } = config.gateway
  const url = new URL(upstream.anthropic)
  const pool = new Pool(url.origin, {
    connections: upstream.connections,
    pipelining: 1,
    connectTimeout: upstream.connectTimeoutMs,
    headersTimeout: upstream.headersTimeoutMs,
    bodyTimeout: upstream.bodyTimeoutMs,
    keepAliveTimeout: upstream.keepAliveMs,
    keepAliveMaxTimeout: 600_000,
    maxHeaderSize: limits.headerBytes,
  })
  return {
    dispatch: (options, handler) => {
      pool.dispatch(options, handler)
    },
    pathPrefix: url.pathname.replace(/\/+$/, ''),
    close: () => pool.destroy(),
  }
}

/** Sorts an error of undici's. */
export function failureOf(error: unknown): UpstreamFailure {
  if (error instanceof errors.HeadersTimeoutError) return 'timeout'
  if (error instanceof errors.ConnectTimeoutError) return 'timeout'
  // Header values or a path that HTTP does not admit: undici refuses to send them.
  if (error instanceof errors.InvalidArgumentError) return 'refused'
  return 'unreachable'
}

/**
 * A request body that is handed over once and not kept: undici holds on to the body object of a
 * request until the answer is over, which for a stream of minutes would be megabytes each.
 */
export class SingleUseBody implements Iterable<Buffer> {
  #bytes: Buffer | null

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  *[Symbol.iterator](): Generator<Buffer> {
    const bytes = this.#bytes
    this.#bytes = null
    if (bytes !== null) yield bytes
  }
}
