/**
 * Reads a request whole, with a limit, and undoes its content coding.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { type IncomingMessage } from 'node:http'
import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib'
import { type ReceivedRequest } from './reply.ts'

/** What is kept of a body; the rest is read and dropped, and the request refused as too large. */
const readBytesMax = 64 * 1024 * 1024
const decodedBytesMax = 64 * 1024 * 1024

/** The body as it was on the wire; `undefined` if the caller went away before it was whole. */
export async function readBody(incoming: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  return new Promise((resolve) => {
    incoming.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= readBytesMax) chunks.push(chunk)
    })
    incoming.once('end', () => {
      const [first] = chunks
      resolve(chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks))
    })
    incoming.once('close', () => resolve(undefined))
    incoming.once('error', () => resolve(undefined))
  })
}

/** The request as replies are made from it. */
export function receivedRequest(incoming: IncomingMessage, body: Buffer): ReceivedRequest {
  const { headers } = incoming
  const url = incoming.url ?? '/'
  return {
    method: incoming.method ?? 'GET',
    url,
    path: pathOf(url),
    header(name) {
      const value = headers[name]
      return Array.isArray(value) ? value[0] : value
    },
    body: decoded(body, headers['content-encoding']),
    bodySha256: hash('sha256', body),
  }
}

/** `url` without its query. */
export function pathOf(url: string): string {
  const query = url.indexOf('?')
  return query < 0 ? url : url.slice(0, query)
}

/** A body that cannot be decoded stays as it is, and is then refused as no valid JSON. */
function decoded(body: Buffer, coding: string | undefined): Buffer {
  if (coding === undefined) return body
  const limit = { maxOutputLength: decodedBytesMax }
  try {
    if (coding === 'gzip') return gunzipSync(body, limit)
    if (coding === 'deflate') return inflateSync(body, limit)
    if (coding === 'br') return brotliDecompressSync(body, limit)
  } catch {
    return body
  }
  return body
}
