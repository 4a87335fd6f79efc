/**
 * Every bound that capture puts on what it keeps. None of them touches the bytes that pass: beyond a
 * limit only the understanding of the copy ends (`parsed: 'opaque'`, a shorter list, a `null` digest),
 * and the wire digest still covers every byte.
 *
 * @module
 */

export interface CaptureLimits {
  /** Largest request or response body (after decoding) that is parsed as JSON. */
  readonly parseBytesMax: number
  /** Largest compressed body that is kept for decoding. */
  readonly encodedBytesMax: number
  /** Largest SSE event; a larger one is counted and hashed, and its content is not understood. */
  readonly eventBytesMax: number
  /** Tool input assembled from a stream; beyond it the digest covers the raw text. */
  readonly toolInputCharsMax: number
  /** Content blocks in one answer; the digest is `null` beyond it. */
  readonly outputBlocksMax: number
  /** Content blocks of one request that get a digest of their own; beyond it `prompt_hash` is `null`. */
  readonly requestBlocksMax: number
  /** Names in `tools_offered` and in `tool_calls`. */
  readonly namesMax: number
  /** Rows of `external_refs`. */
  readonly referencesMax: number
  /** Bodies smaller than this are always parsed whole: a look-up would cost more than it saves. */
  readonly prefixBytesMin: number
  /** Conversations remembered by the prefix cache, and the bytes that they may take together. */
  readonly prefixEntriesMax: number
  readonly prefixCacheBytesMax: number
}

export const defaultLimits: CaptureLimits = {
  parseBytesMax: 32 * 1024 * 1024,
  encodedBytesMax: 32 * 1024 * 1024,
  eventBytesMax: 8 * 1024 * 1024,
  toolInputCharsMax: 2 * 1024 * 1024,
  outputBlocksMax: 4096,
  requestBlocksMax: 200_000,
  namesMax: 128,
  referencesMax: 32,
  prefixBytesMin: 16 * 1024,
  prefixEntriesMax: 1024,
  prefixCacheBytesMax: 64 * 1024 * 1024,
}

/** Longest identifier that stands in a record as it is. */
export const identifierCharsMax = 128

/** Nesting that canonical JSON follows; deeper bodies have no canonical digest. */
export const nestingMax = 200

/** `anthropic-beta` values, models and usage iterations kept in a record. */
export const betasMax = 32
export const modelsMax = 16
export const iterationsMax = 16
