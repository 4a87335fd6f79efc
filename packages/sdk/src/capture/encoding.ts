/**
 * Content-codings of bodies (RFC 9110 §8.4.1), decoded on a copy and within a bound. What cannot be
 * decoded stays opaque: the wire digest is recorded all the same.
 *
 * @module
 */
import { brotliDecompressSync, constants, gunzipSync, inflateSync } from 'node:zlib'

/** The coding of a body, or `null` for identity. Several codings are given as one text. */
export function contentCoding(header: string | undefined): string | null {
  if (header === undefined) return null
  const coding = header.trim().toLowerCase()
  return coding === '' || coding === 'identity' ? null : coding.slice(0, 32)
}

/**
 * Decodes `bytes`, or returns `null`: the coding is not gzip, deflate or br, the bytes are malformed,
 * or the result would exceed `bytesMax`. With `isCut` the bytes may end early.
 */
export function decodeBody(
  bytes: Uint8Array,
  coding: string,
  options: { readonly bytesMax: number; readonly isCut?: boolean },
): Uint8Array | null {
  const zlib = {
    maxOutputLength: Math.max(1, options.bytesMax),
    finishFlush: options.isCut === true ? constants.Z_SYNC_FLUSH : constants.Z_FINISH,
  }
  try {
    if (coding === 'gzip' || coding === 'x-gzip') return gunzipSync(bytes, zlib)
    if (coding === 'deflate') return inflateSync(bytes, zlib)
    if (coding === 'br')
      return brotliDecompressSync(bytes, { maxOutputLength: zlib.maxOutputLength })
  } catch {
    return null
  }
  return null
}
