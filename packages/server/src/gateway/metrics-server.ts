/**
 * The metrics on an address of their own (`gateway.metrics_listen`), for a scraper on another host.
 * Serves `GET /metrics` and nothing else.
 *
 * @module
 */
import { createServer } from 'node:http'
import type { Address } from '../base/config.ts'

export interface MetricsServer {
  readonly port: number
  close(): Promise<void>
}

/** Starts it. Rejects with the system's error when it cannot listen. */
export async function startMetricsServer(
  address: Address,
  render: () => string,
): Promise<MetricsServer> {
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404).end()
      return
    }
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' })
    response.end(render())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(address, resolve)
  })
  const bound = server.address()
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : address.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
