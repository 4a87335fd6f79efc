/**
 * One exchange as capture sees it: what the doors hand in, what is known after the request, what is
 * known after the response. Both doors (gateway, SDK) build records from these types only.
 *
 * Invariants:
 * - Nothing here throws on any bytes. What is not understood is `opaque`, with digests.
 * - Digests in these types are bare SHA-256, mostly in hex. They become keyed digests when a record is built, because
 *   only then the subject is known; a bare digest never leaves the process.
 * - No credential is kept: only its kind and keyed fingerprint.
 *
 * @module
 */
import type {
  CaptureSource,
  Classification,
  EndState,
  IdentityTrust,
  ResponseFields,
} from '@affidavit/format'
import type { BlockDigest, PrefixCache, ReferenceDraft } from './analysis.ts'
import type { Clock } from './clock.ts'
import type { CaptureLimits } from './limits.ts'
import type { RequestText } from './record-text.ts'
import type { UsageState } from './usage.ts'

/** How SHA-256 digests become the digests of a record. See docs/spec/hashes.md. */
export interface HashKeys {
  readonly mode: 'tenant' | 'subject' | 'plain'
  /** `tenant:<version>`, `subject:<handle>` or `plain`. */
  keyId(subject: string | null): string
  /** Hex digest for the record. `sha256` is given as 64 hex digits or as 32 bytes. */
  digest(sha256: string | Uint8Array, subject: string | null): string
  /** Stable keyed name of a secret, 32 hex digits. */
  fingerprint(secret: string): string
}

/** Leading bits of an address that stay in the record. */
export interface IpMask {
  readonly v4Bits: number
  readonly v6Bits: number
}

export interface CaptureOptions {
  readonly clock: Clock
  readonly hashKeys: HashKeys
  readonly limits?: Partial<CaptureLimits>
  /** /24 and /48 unless set. */
  readonly ipMask?: IpMask
  /** Remembers conversations, so that a turn costs its new text. Results are the same without it. */
  readonly prefixCache?: PrefixCache
}

/** A request as it arrived. */
export interface RequestInput {
  readonly eventId: string
  /** Wall clock when the request began to arrive. */
  readonly startedAtMicros: number
  /** Monotonic clock at the same moment. */
  readonly startedMonotonicMs: number
  readonly captureSource: CaptureSource
  readonly method: string
  /** `path?query` or an absolute URL. */
  readonly url: string
  /** Flat name, value, name, value … as on the wire. */
  readonly rawHeaders: readonly string[]
  readonly body: Uint8Array
  readonly remoteAddress?: string
}

/** Identity as the caller tells it. Everything here is client-asserted. */
export interface IdentityClaims {
  /** `x-audit-user`, else a plain `metadata.user_id`, else Claude Code's account. */
  readonly userId: string | null
  readonly userSource: 'x-audit-user' | 'metadata.user_id' | 'account_uuid' | null
  /** `x-audit-session`, else `x-claude-code-session-id`, else the session in `metadata.user_id`. */
  readonly sessionId: string | null
  /** `x-audit-application`, else the name in `x-client-app`. */
  readonly applicationId: string | null
  /** `x-audit-classification`, if it is one of the four levels. */
  readonly classification: Classification | null
  readonly deviceId: string | null
  readonly accountUuid: string | null
  readonly agentId: string | null
  readonly parentAgentId: string | null
  readonly isSubagent: boolean
  /** `x-client-app` as given, e.g. `acme-app/1.2.3`. */
  readonly clientApp: string | null
}

export interface CapturedRequest {
  readonly eventId: string
  readonly startedAtMicros: number
  readonly startedMonotonicMs: number
  readonly captureSource: CaptureSource
  readonly provider: string
  /** e.g. `messages.create`; `opaque` for a path that is not known. */
  readonly operation: string
  /** Method and path template, without ids and query. */
  readonly route: string
  /** How the operation's bodies are read. */
  readonly content: 'messages' | 'count' | 'batch' | 'json' | 'opaque'
  readonly streaming: boolean
  /** Whether a successful answer is an SSE stream that ends in `message_stop`. */
  readonly expectsSse: boolean
  readonly model: string | null
  readonly maxTokens: number | null
  readonly claims: IdentityClaims
  readonly credential: { readonly kind: string; readonly fingerprint: string } | null
  readonly client: string | null
  readonly attempt: number | null
  readonly anthropicVersion: string | null
  readonly anthropicBeta: readonly string[]
  /** Masked. */
  readonly ipAddress: string | null
  readonly bodyBytes: number
  readonly encoding: string | null
  readonly parsed: 'json' | 'opaque' | 'none'
  readonly wireSha256: string
  readonly decodedSha256: string | null
  readonly headersSha256: string
  /** Hex SHA-256 of the canonical skeleton; `null` if there is none. */
  readonly canonicalSha256: string | null
  readonly completeness: 'full' | 'partial' | 'unknown'
  readonly blocks: readonly BlockDigest[]
  readonly toolNames: readonly string[]
  readonly toolCount: number
  readonly references: readonly ReferenceDraft[]
  readonly referenceCount: number
  readonly hashKeys: HashKeys
  readonly limits: CaptureLimits
  /**
   * Canonical text of `blocks[position]`, whose SHA-256 is that block's digest. `null` after
   * `release()`. The first call may parse the body again.
   */
  blockText(position: number): string | null
  /** Lets the request body go; call it when the body has been forwarded and its blocks are stored. */
  release(): void
  /** Kept by record.ts between the start and the end: the members that both records share. */
  recordMemo: RecordMemo | null
}

/** Who it was, as the door has decided. */
export interface ResolvedIdentity {
  /** Subject handle, never the user's own identifier. */
  readonly userId: string | null
  readonly sessionId: string | null
  readonly applicationId: string
  readonly trust: IdentityTrust
  /** Overrides the claim; `null` leaves the field out. */
  readonly deviceId?: string | null
}

/** What the start's record was made from, and its members as text. */
export interface RecordMemo {
  readonly identity: ResolvedIdentity
  readonly policy: RecordPolicy
  readonly members: RequestText
}

/** What ruled this exchange. */
export interface RecordPolicy {
  readonly retentionClass: string
  readonly classification: Classification
  readonly classificationSource: string
  readonly policyVersion: string
  readonly policyFlags: readonly string[]
}

/** Why the response is over, as the door saw it; `end()` turns it into the end state. */
export type EndCause =
  | 'end'
  | 'client_abort'
  | 'upstream_cut'
  | 'upstream_error'
  | 'gateway_terminated'
  | 'abandoned'

/** What only the door knows about the end. */
export interface EndFacts {
  /** Status of an answer that did not come from upstream. */
  readonly httpStatus?: number
  /** Error type when no error body says it, e.g. `connection_error`. */
  readonly errorType?: string
  /** What the caller got, when it differs from what upstream sent. */
  readonly delivered?: { readonly bytes: number; readonly sha256: Uint8Array }
}

/** The answer, judged. Digests are bare: `completedBody` keys them. */
export interface ResponseOutcome {
  readonly status: ResponseFields['status']
  readonly endState: EndState
  readonly httpStatus: number | null
  readonly errorType: string | null
  readonly stopReason: string | null
  readonly stopSequence: string | null
  readonly refusalCategory: string | null
  readonly requestId: string | null
  readonly messageId: string | null
  readonly modelServed: string | null
  readonly models: readonly string[]
  readonly promptTokens: number | null
  readonly completionTokens: number | null
  readonly usage: Readonly<UsageState>
  readonly usageSource: 'final' | 'partial' | 'none'
  /** Hex SHA-256 of the canonical message (docs/spec/hashes.md); `null` if there is none. */
  readonly canonicalSha256: string | null
  readonly parsed: 'json' | 'sse' | 'opaque' | 'none'
  readonly bodyBytes: number
  readonly encoding: string | null
  readonly wireSha256: string
  readonly decodedSha256: string | null
  readonly blocks: readonly BlockDigest[]
  readonly toolCalls: readonly string[]
  readonly toolCallCount: number
  readonly latencyMs: number
  readonly firstByteMs: number | null
  readonly firstTokenMs: number | null
  readonly upstream: Readonly<Record<string, string>> | null
  readonly delivered: { readonly bytes: number; readonly sha256: Uint8Array } | null
}

/** Watches one response on its way. Calls come in order: `head`, `chunk`*, `end`; none ever throws. */
export interface ResponseTap {
  head(status: number, rawHeaders: readonly string[]): void
  /**
   * Observes bytes already on their way. Returns how many leading bytes may be released before the
   * record is durable: all of them until the terminal SSE frame (`message_stop` or an error event)
   * ends in this chunk, then the offset in this chunk where that frame starts (0 if it started in an
   * earlier chunk), and 0 ever after. `bytes` is not kept and may be reused.
   */
  chunk(bytes: Uint8Array): number
  /** Whether `message_stop` or an error event has been seen. */
  readonly terminalSeen: boolean
  /**
   * Known after `head`. `sse`: release what `chunk` says, at once; a stream of another operation has no
   * terminal event, and only its end is held. `body`: only the end of the body is the end of the answer,
   * so a door that promises durability before the last byte holds back the last chunk (or all of it).
   */
  readonly framing: 'sse' | 'body'
  /** Judges the end state. Later calls return the first verdict. */
  end(cause: EndCause, facts?: EndFacts): ResponseOutcome
}
