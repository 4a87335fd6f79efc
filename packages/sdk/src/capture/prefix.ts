/**
 * Conversations remembered, so that a resent prefix costs its SHA-256 and nothing more.
 *
 * @module
 */

/** What is remembered of earlier requests; bounded in count and bytes. */
export interface PrefixCache {
  /** Conversations remembered. */
  readonly count: number
}
