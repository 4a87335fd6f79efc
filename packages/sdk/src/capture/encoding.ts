/**
 * Content-codings of bodies (RFC 9110 §8.4.1), decoded on a copy and within a bound. What cannot be
 * decoded stays opaque: the wire digest is recorded all the same.
 *
 * @module
 */
import { brotliDecompressSync, constants, gunzipSync, inflateSync } from 'node:zlib'

/** Why a body could not be decoded. */
export type DecodeFailure = 'unsupported' | 'too_large' | 'malformed'

const codingCharsMax = 32

/** The coding of a body, or `null` for identity. Several codings are given as one text. */
export function contentCoding(header: string | undefined): string | null {
  if (header === undefined) return null
  const coding = header.trim().toLowerCase()
  return coding === '' || coding === 'identity' ? null : coding.slice(0, codingCharsMax)
}

/**
 * Decodes `bytes` (gzip, deflate, br; Node 20 has no zstd), or says why not. With `isCut` the bytes may
 * end early, and what they hold is returned.
 */
export function decodeBody(
  bytes: Uint8Array,
  coding: string,
  options: { readonly bytesMax: number; readonly isCut?: boolean },
): Buffer | DecodeFailure {
  const maxOutputLength = Math.max(1, options.bytesMax)
  const isCut = options.isCut === true
  const zlib = { maxOutputLength, finishFlush: isCut ? constants.Z_SYNC_FLUSH : constants.Z_FINISH }
  const brotli = {
    maxOutputLength,
    finishFlush: isCut ? constants.BROTLI_OPERATION_FLUSH : constants.BROTLI_OPERATION_FINISH,
  }
  try {
    if (coding === 'gzip' || coding === 'x-gzip') return gunzipSync(bytes, zlib)
    if (coding === 'deflate') return inflateSync(bytes, zlib)
    if (coding === 'br') return brotliDecompressSync(bytes, brotli)
    return 'unsupported'
  } catch (error) {
    const isTooLarge = error instanceof RangeError
    return isTooLarge ? 'too_large' : 'malformed'
  }
}
