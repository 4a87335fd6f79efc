/**
 * The schema of ledger entries, version 1: what Affidavit writes down about an interaction, and about
 * itself. An entry is RFC 8785 JSON, integers only, at most 65,535 bytes (the tlog-tiles bundle
 * limit). The schema is additive: a reader keeps and ignores fields that it does not know.
 *
 * Invariants:
 * - No field holds content, a credential, or plaintext personal data. `user_id` is a subject handle;
 *   digests of content are keyed by default (see `HashInfo`).
 * - `writer` sorts after every other top-level name, so that the ledger can append it to an already
 *   canonical text without parsing it again.
 *
 * Source of the field names: the product's record specification; docs/spec/record.md has the table.
 *
 * @module
 */

/** How far a claim about identity can be relied on. */
export type Trust = 'verified' | 'upstream-asserted' | 'client-asserted' | 'none'

export type Classification = 'PUBLIC' | 'INTERNAL' | 'CONFIDENTIAL' | 'RESTRICTED'

/** How an exchange ended. Only a `message_stop` (or a whole JSON body) proves `complete`. */
export type EndState =
  | 'complete'
  | 'client_abort'
  | 'upstream_error'
  | 'upstream_cut'
  | 'gateway_terminated'
  | 'abandoned'

/** Which door saw the exchange. */
export type CaptureSource = 'gateway' | 'middleware' | 'fetch'

/** How digests in this entry were made. `plain` is bare SHA-256; the others are HMAC-SHA-256 over it. */
export interface HashInfo {
  readonly alg: 'hmac-sha256' | 'sha256'
  /** `tenant:<version>`, `subject:<handle>` or `plain`. */
  readonly key_id: string
}

/** Added by the ledger when it sequences the entry: who wrote it, where, and after what. */
export interface WriterStamp {
  /** Rises by one at every start of the writer. */
  readonly epoch: number
  /** Writer id: the first 16 hex digits of SHA-256 of the writer's Ed25519 public key. */
  readonly id: string
  /** `<class>/<quarter>` of the log that holds the entry, e.g. `standard/2026q4`. */
  readonly log: string
  /** Hex leaf hash of this writer's previous entry in any log; 64 zeros for its very first. */
  readonly prev: string
  /** Position within the epoch, from 0, over all logs. */
  readonly seq: number
}

/** Set by a gateway on what an application's own spool delivered: which of its records this is. */
export interface IngestStamp {
  readonly epoch: number
  /** Id of the spool. */
  readonly id: string
  /** Id of the gateway key that brought it. */
  readonly key: string
  readonly seq: number
}

/** A body that came through a gateway's ingest endpoint. */
export type Ingested<Body extends EntryBody> = Body & { readonly ingest: IngestStamp }

/** Trust level of each identity claim. */
export interface IdentityTrust {
  readonly application: Trust
  readonly session: Trust
  readonly user: Trust
}

/** One reference from the request to bytes that are not in it. */
export interface ExternalRef {
  readonly type:
    | 'file'
    | 'url'
    | 'container'
    | 'thread'
    | 'message'
    | 'skill'
    | 'mcp_server'
    | 'memory_store'
  /** The provider's opaque id, or for a URL its keyed digest. */
  readonly ref: string
  /** Whether our own log holds the bytes; `unresolved` until linked. */
  readonly state: 'resolved' | 'unresolved'
}

/** What was sent or received, by size and digest. Digests are hex, made as `HashInfo` says. */
export interface WireSide {
  /** Body bytes as they passed on the wire. */
  readonly bytes: number
  /** Digest of exactly those bytes. */
  readonly wire_digest: string
  /** Content-coding of the body when not identity, e.g. `gzip`. */
  readonly encoding?: string
  /** Digest of the decoded bytes when `encoding` is set and decodable. */
  readonly decoded_digest?: string
  /** Digest of the forwarded header names and values, secrets excluded. */
  readonly headers_digest?: string
  /** How the body was understood: as JSON of a known operation, as SSE, or only as bytes. */
  readonly parsed: 'json' | 'sse' | 'opaque' | 'none'
  /** Content blocks found (system, tools and message blocks; output blocks). */
  readonly block_count?: number
}

/** Every usage field of the Messages API, as last reported (cumulative; overwrite, never add). */
export interface Usage {
  readonly input_tokens?: number
  readonly output_tokens?: number
  readonly cache_creation_input_tokens?: number
  readonly cache_read_input_tokens?: number
  readonly cache_creation_5m_input_tokens?: number
  readonly cache_creation_1h_input_tokens?: number
  readonly thinking_tokens?: number
  readonly web_search_requests?: number
  readonly web_fetch_requests?: number
  readonly service_tier?: string
  readonly inference_geo?: string
  readonly speed?: string
  /** Per-model parts when several models answered one request. */
  readonly iterations?: readonly UsageIteration[]
}

export interface UsageIteration {
  readonly type: string
  readonly model?: string
  readonly input_tokens?: number
  readonly output_tokens?: number
  readonly cache_creation_input_tokens?: number
  readonly cache_read_input_tokens?: number
}

/** What is known when the request has been read: present in started, completed and interrupted. */
export interface RequestFields {
  readonly v: 1
  /** UUIDv7, made before the request is forwarded. */
  readonly event_id: string
  /** RFC 3339 UTC with microseconds: when the request began to arrive. */
  readonly timestamp: string
  readonly capture_source: CaptureSource
  /** `anthropic` for the direct API; other providers follow. */
  readonly provider: string
  /** e.g. `messages.create`, `messages.count_tokens`, `opaque`. */
  readonly operation: string
  /** `POST /v1/messages`: method and path template; ids and query are removed. */
  readonly route: string
  readonly streaming: boolean
  /** Model as requested; `null` when the request names none. */
  readonly model: string | null
  /** Subject handle `sub_…`, or `null` when nobody is named. */
  readonly user_id: string | null
  readonly session_id: string | null
  readonly application_id: string
  readonly identity_trust: IdentityTrust
  readonly device_id?: string
  readonly agent_id?: string
  readonly parent_agent_id?: string
  readonly is_subagent?: boolean
  /** Product tokens of the User-Agent, e.g. `claude-cli/2.1.330`. */
  readonly client?: string
  /** SDK's own retry counter (`x-stainless-retry-count`). */
  readonly attempt?: number
  readonly anthropic_version?: string
  readonly anthropic_beta?: readonly string[]
  /** Kind and keyed fingerprint of the credential that the caller presented. */
  readonly credential?: { readonly kind: string; readonly fingerprint: string }
  /** Masked to /24 or /48 by default. */
  readonly ip_address: string | null
  readonly hash: HashInfo
  /** Digest over the whole canonical request (docs/spec/hashes.md); `null` if it is not parseable. */
  readonly prompt_hash: string | null
  readonly prompt_completeness: 'full' | 'partial' | 'unknown'
  readonly request: WireSide
  /** Names of the tools offered to the model, at most 128, each at most 128 characters. */
  readonly tools_offered?: readonly string[]
  readonly tools_offered_count?: number
  readonly external_refs?: readonly ExternalRef[]
  readonly external_refs_count?: number
  readonly max_tokens?: number
  readonly data_classification: Classification
  /** `default` until a classifier has run. */
  readonly classification_source: string
  readonly policy_flags: readonly string[]
  /** Version of the policy snapshot or configuration that ruled this exchange. */
  readonly policy_version: string
  readonly retention_class: string
  /** Reference into the vault; `null` while content is not stored. */
  readonly prompt_raw: string | null
}

/** What is known when the exchange is over. */
export interface ResponseFields {
  readonly status: 'success' | 'error' | 'incomplete' | 'blocked'
  readonly end_state: EndState
  /** HTTP status of the upstream, or of our own refusal; `null` when none arrived. */
  readonly http_status: number | null
  readonly stop_reason: string | null
  readonly stop_sequence?: string
  /** `stop_details.category` of a refusal. */
  readonly refusal_category?: string
  readonly error_type: string | null
  /** Provider's `request-id` header. */
  readonly request_id: string | null
  /** Provider's message id (`msg_…`). */
  readonly message_id?: string
  /** Model named in the response; `null` when none was. */
  readonly model_served: string | null
  /** Every model that took part, in order of first appearance. */
  readonly models?: readonly string[]
  /** Total input: input + cache creation + cache read; `null` when unknown. */
  readonly prompt_tokens: number | null
  readonly completion_tokens: number | null
  readonly usage?: Usage
  /** `partial`: the stream ended early, `completion_tokens` is what had been reported. */
  readonly usage_source: 'final' | 'partial' | 'none'
  /** Digest over the canonical assembled message; `null` if there is none. */
  readonly response_hash: string | null
  readonly response: WireSide
  /** Digest and size of what was delivered to the caller, when it differs from what upstream sent. */
  readonly delivered?: { readonly bytes: number; readonly wire_digest: string }
  /** Names of the tools that the model asked to run, at most 128. */
  readonly tool_calls?: readonly string[]
  readonly tool_calls_count?: number
  /** Integer milliseconds from a monotonic clock, from request start. */
  readonly latency_ms: number
  readonly first_byte_ms?: number
  readonly first_token_ms?: number
  /** Headers worth keeping: organisation, workspace, rate-limit state. */
  readonly upstream?: Readonly<Record<string, string>>
  readonly response_raw: string | null
}

/** Body of an entry before the ledger has stamped it. */
export type EntryBody =
  | ({ readonly kind: 'interaction.started' } & RequestFields)
  | ({ readonly kind: 'interaction.completed'; readonly logged_at: string } & RequestFields &
      ResponseFields)
  | InterruptedBody
  | HeartbeatBody
  | LedgerOpenedBody
  | CaptureGapBody
  | ControlBody

/** Closes a start whose process died: everything the start knew, and no outcome. */
export type InterruptedBody = {
  readonly kind: 'interaction.interrupted'
  readonly logged_at: string
  readonly status: 'incomplete'
  readonly end_state: 'abandoned'
} & RequestFields

/** Written every minute without traffic, so that a cut tail shows. */
export interface HeartbeatBody {
  readonly v: 1
  readonly kind: 'ledger.heartbeat'
  readonly event_id: string
  readonly timestamp: string
  readonly retention_class: string
}

/** First entry of every epoch: what the recovery found. */
export interface LedgerOpenedBody {
  readonly v: 1
  readonly kind: 'ledger.opened'
  readonly event_id: string
  readonly timestamp: string
  readonly retention_class: string
  readonly product: string
  /** Entries recovered from the write-ahead log that were not integrated yet. */
  readonly recovered_entries: number
  /** Starts without an end, closed right after this entry. */
  readonly interrupted: number
  /** Bytes of a torn, never acknowledged frame that were cut off. */
  readonly torn_bytes: number
}

/** Requests that passed unrecorded while `fail_open` was in force; written when the store is back. */
export interface CaptureGapBody {
  readonly v: 1
  readonly kind: 'capture.gap'
  readonly event_id: string
  /** Start of the gap. */
  readonly timestamp: string
  readonly ended_at: string
  readonly application_id: string
  readonly retention_class: string
  readonly requests: number
  readonly reason: string
}

/** Administrative facts: a gateway key made or revoked, a process started or stopped. */
export interface ControlBody {
  readonly v: 1
  readonly kind: 'control.event'
  readonly event_id: string
  readonly timestamp: string
  readonly retention_class: string
  readonly action: string
  readonly details: Readonly<Record<string, string | number | boolean | null>>
}

/** An entry as it stands in a log. */
export type Entry = EntryBody & { readonly writer: WriterStamp }

/** The tlog-tiles bundle format has a u16 length (c2sp.org/tlog-tiles). */
export const entryBytesMax = 65_535
