/**
 * What is known of a request body: its blocks, its references, its digests.
 *
 * @module
 */
import type { ExternalRef } from '@affidavit/format'

/** One content block: the seam for the vault and for detection. */
export interface BlockDigest {
  readonly kind: 'system' | 'tool' | 'message' | 'output'
  /** The block's own `type`; `tool` for tools without one; empty when it has none. */
  readonly type: string
  /** Role of the message that holds it; empty for system and tools. */
  readonly role: string
  /** Position of the message in `messages`; -1 outside of it. */
  readonly messageIndex: number
  /** Position within `system`, `tools` or the message's content. */
  readonly index: number
  /** Hex SHA-256 of the block's canonical form (docs/spec/hashes.md). */
  readonly sha256: string
}

/** A reference before it is keyed. `value` is an id, or hex SHA-256 where `keyed` says so (URLs). */
export interface ReferenceDraft {
  readonly type: ExternalRef['type']
  readonly value: string
  readonly keyed: boolean
}

/** What a record says about a body beside its digests. */
export interface RequestFacts {
  readonly model: string | null
  readonly stream: boolean
  readonly maxTokens: number | null
  readonly metadataUserId: string | null
  /** Names of the first tools. */
  readonly toolNames: readonly string[]
  readonly toolCount: number
  /** The conversation before these messages is not in the body. */
  readonly continuesThread: boolean
}

/** A body, digested. */
export interface PromptAnalysis {
  readonly sha256: string
  /** Binary text. */
  readonly skeleton: string
  readonly blocks: readonly BlockDigest[]
  readonly references: readonly ReferenceDraft[]
  readonly facts: RequestFacts
}

/** Remembers conversations; see prefix.ts. */
export interface PrefixCache {
  /** Conversations remembered. */
  readonly count: number
  /** Memory that they take, estimated. */
  readonly bytes: number
  /**
   * Digests a body, on the wire and by its canonical form; `null` when the full analysis is to be made.
   * `hint` names the conversation, empty if it has no name.
   *
   * @throws NestingError as the full analysis does.
   */
  analyse(body: Uint8Array, hint: string): PrefixedAnalysis | null
}

/** A body, digested both ways. */
export interface PrefixedAnalysis {
  readonly wireSha256: string
  readonly analysis: PromptAnalysis
}
