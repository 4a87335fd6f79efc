/**
 * Baseline: the least that a Node proxy can do. It collects the request body, sends it upstream with
 * undici's `dispatch` and passes the answer on, with back-pressure and cancellation; it records,
 * checks and keeps nothing. Affidavit's cost is stated as a multiple of this process's.
 *
 *     node bare-proxy.mjs PORT UPSTREAM_URL
 *
 * @module
 */
import { createServer } from 'node:http'
import { createRequire } from 'node:module'

// The very undici that the gateway uses, wherever npm put it.
const { Pool } = createRequire(new URL('../../packages/server/package.json', import.meta.url))(
  'undici',
)

const hopByHop = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

const [, , port, upstream = ''] = process.argv
const pool = new Pool(upstream, { connections: 8192, headersTimeout: 0, bodyTimeout: 0 })

const server = createServer((request, response) => {
  let first
  let parts
  request.on('data', (part) => {
    if (first === undefined) first = part
    else (parts ??= [first]).push(part)
  })
  request.on('end', () => {
    const body = parts ? Buffer.concat(parts) : first
    const { method, url: path, rawHeaders } = request
    pool.dispatch({ path, method, headers: endToEnd(rawHeaders), body }, passOn(response))
  })
})
server.keepAliveTimeout = 60_000
server.listen(Number(port), '127.0.0.1', 4096)

/** Removes the headers that concern one connection only. */
function endToEnd(rawHeaders) {
  const kept = []
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (!hopByHop.has(rawHeaders[at].toLowerCase())) kept.push(rawHeaders[at], rawHeaders[at + 1])
  }
  return kept
}

/** An undici handler that writes what upstream answers to `response`. */
function passOn(response) {
  return {
    onRequestStart(controller) {
      response.on('close', () => {
        if (!response.writableFinished) controller.abort(new Error('client is gone'))
      })
    },
    onResponseStart(_controller, status, headers) {
      const kept = {}
      for (const name in headers) {
        if (name === 'content-length' || !hopByHop.has(name)) kept[name] = headers[name]
      }
      response.writeHead(status, kept)
    },
    onResponseData(controller, chunk) {
      if (response.write(chunk)) return
      controller.pause()
      response.once('drain', () => controller.resume())
    },
    onResponseEnd() {
      response.end()
    },
    onResponseError() {
      if (response.headersSent) response.destroy()
      else response.writeHead(502).end()
    },
  }
}
