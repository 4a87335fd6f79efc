import { expect, test } from 'vitest'
import { startMetricsServer } from './metrics-server.ts'

test('the metrics are at /metrics, and nothing else is anywhere', async () => {
  let reads = 0
  const server = await startMetricsServer(
    { host: '127.0.0.1', port: 0 },
    () => `reads ${++reads}\n`,
  )
  const at = (path: string, method = 'GET') =>
    fetch(`http://127.0.0.1:${server.port}${path}`, { method })
  try {
    expect(await (await at('/metrics')).text()).toBe('reads 1\n')
    expect((await at('/metrics')).headers.get('content-type')).toContain('0.0.4')
    expect((await at('/')).status).toBe(404)
    expect((await at('/metrics', 'POST')).status).toBe(404)
    const taken = startMetricsServer({ host: '127.0.0.1', port: server.port }, () => '')
    await expect(taken).rejects.toMatchObject({ code: 'EADDRINUSE' })
  } finally {
    await server.close()
  }
})
