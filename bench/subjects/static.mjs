/**
 * Baseline: node:http answering from memory. What HTTP itself costs in this Node on this core.
 *
 *     node static.mjs PORT
 *
 * @module
 */
import { createServer } from 'node:http'

const body = Buffer.alloc(1024, 'x')

const server = createServer((request, response) => {
  request.resume().on('end', () => {
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': body.length,
    })
    response.end(body)
  })
})
server.keepAliveTimeout = 60_000
server.listen(Number(process.argv[2]), '127.0.0.1', 4096)
