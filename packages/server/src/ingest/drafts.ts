/**
 * What an application's spool delivers: drafts, which are entry bodies whose user is still the
 * application's own identifier (`subject_claim`). Here they are checked field by field and become entry
 * bodies that this gateway answers for.
 *
 * Invariants:
 * - Only known fields pass, each of its type and size: an entry cannot be deleted, so nothing that an
 *   application puts into a field of its own may reach the ledger. Unknown fields are dropped, so that
 *   a newer SDK can talk to an older gateway.
 * - Identifiers are opaque, or replaced by a keyed hash.
 * - Who, under which policy, and for how long is decided here, from the gateway key, not by the draft.
 *
 * @module
 */
import { eventIdMillis, type EntryBody } from '@affidavit/format'
import { clientTokens, isOpaqueId, safeIdentifier, type HashKeys } from '@affidavit/sdk/capture'
import { z } from 'zod'
import { withKeyedDigests } from './keyed.ts'

const namesMax = 128
const listMax = 64
const claimCharsMax = 1024

const count = z.int().min(0)
const digest = z.string().regex(/^[0-9a-f]{64}$/)
const time = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
const eventId = z.string().refine((text) => isEventId(text), 'a UUIDv7')
/** A name; replaced below unless it is opaque. */
const name = z.string().max(claimCharsMax)
const names = z.array(name).max(namesMax)

const wireSide = z.object({
  bytes: count,
  wire_digest: digest,
  encoding: name.optional(),
  decoded_digest: digest.optional(),
  headers_digest: digest.optional(),
  parsed: z.enum(['json', 'sse', 'opaque', 'none']),
  block_count: count.optional(),
})

const iteration = z.object({
  type: name,
  model: name.optional(),
  input_tokens: count.optional(),
  output_tokens: count.optional(),
  cache_creation_input_tokens: count.optional(),
  cache_read_input_tokens: count.optional(),
})

const usage = z.object({
  input_tokens: count.optional(),
  output_tokens: count.optional(),
  cache_creation_input_tokens: count.optional(),
  cache_read_input_tokens: count.optional(),
  cache_creation_5m_input_tokens: count.optional(),
  cache_creation_1h_input_tokens: count.optional(),
  thinking_tokens: count.optional(),
  web_search_requests: count.optional(),
  web_fetch_requests: count.optional(),
  service_tier: name.optional(),
  inference_geo: name.optional(),
  speed: name.optional(),
  iterations: z.array(iteration).max(listMax).optional(),
})

const externalRef = z.object({
  type: z.enum([
    'file',
    'url',
    'container',
    'thread',
    'message',
    'skill',
    'mcp_server',
    'memory_store',
  ]),
  ref: name,
  state: z.enum(['resolved', 'unresolved']),
})

const classification = z.enum(['PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED'])

const requestFields = {
  v: z.literal(1),
  event_id: eventId,
  timestamp: time,
  capture_source: z.enum(['middleware', 'fetch']),
  provider: name,
  operation: name,
  route: z.string().max(256),
  streaming: z.boolean(),
  model: name.nullable(),
  session_id: name.nullable(),
  application_id: name.nullish(),
  device_id: name.optional(),
  agent_id: name.optional(),
  parent_agent_id: name.optional(),
  is_subagent: z.boolean().optional(),
  client: z.string().max(512).optional(),
  attempt: count.optional(),
  anthropic_version: name.optional(),
  anthropic_beta: z.array(name).max(listMax).optional(),
  credential: z.object({ kind: name, fingerprint: name }).optional(),
  ip_address: name.nullable(),
  hash: z.object({ alg: z.enum(['hmac-sha256', 'sha256']), key_id: name }),
  prompt_hash: digest.nullable(),
  prompt_completeness: z.enum(['full', 'partial', 'unknown']),
  request: wireSide,
  tools_offered: names.optional(),
  tools_offered_count: count.optional(),
  external_refs: z.array(externalRef).max(listMax).optional(),
  external_refs_count: count.optional(),
  max_tokens: count.optional(),
  data_classification: classification,
  policy_flags: z.array(name).max(listMax),
  subject_claim: z.string().min(1).max(claimCharsMax).nullish(),
}

const responseFields = {
  logged_at: time,
  status: z.enum(['success', 'error', 'incomplete', 'blocked']),
  end_state: z.enum([
    'complete',
    'client_abort',
    'upstream_error',
    'upstream_cut',
    'gateway_terminated',
    'abandoned',
  ]),
  http_status: z.int().min(100).max(999).nullable(),
  stop_reason: name.nullable(),
  stop_sequence: name.optional(),
  refusal_category: name.optional(),
  error_type: name.nullable(),
  request_id: name.nullable(),
  message_id: name.optional(),
  model_served: name.nullable(),
  models: z.array(name).max(listMax).optional(),
  prompt_tokens: count.nullable(),
  completion_tokens: count.nullable(),
  usage: usage.optional(),
  usage_source: z.enum(['final', 'partial', 'none']),
  response_hash: digest.nullable(),
  response: wireSide,
  delivered: z.object({ bytes: count, wire_digest: digest }).optional(),
  tool_calls: names.optional(),
  tool_calls_count: count.optional(),
  latency_ms: count,
  first_byte_ms: count.optional(),
  first_token_ms: count.optional(),
  upstream: z.record(z.string().regex(/^[a-z0-9-]{1,64}$/), name).optional(),
}

const draftSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('interaction.started'), ...requestFields }),
  z.object({ kind: z.literal('interaction.completed'), ...requestFields, ...responseFields }),
  z.object({
    kind: z.literal('interaction.interrupted'),
    ...requestFields,
    logged_at: time,
    status: z.literal('incomplete'),
    end_state: z.literal('abandoned'),
  }),
  z.object({
    kind: z.literal('capture.gap'),
    v: z.literal(1),
    event_id: eventId,
    timestamp: time,
    ended_at: time,
    application_id: name.nullish(),
    requests: count,
    reason: name,
  }),
])

/** A draft that has been checked. */
export type Draft = z.output<typeof draftSchema>

/** Checks a draft; what is wrong is told by the names of fields only. */
export function parseDraft(value: unknown): Draft | { readonly faults: readonly string[] } {
  const result = draftSchema.safeParse(value)
  if (result.success) return result.data
  return { faults: result.error.issues.slice(0, 8).map((issue) => issue.path.join('.')) }
}

/** What the gateway decides about a draft. */
export interface DraftRuling {
  readonly userId: string | null
  readonly sessionId: string | null
  readonly applicationId: string
  readonly trust: {
    readonly application: 'verified' | 'client-asserted' | 'none'
    readonly session: 'client-asserted' | 'none'
    readonly user: 'verified' | 'client-asserted' | 'none'
  }
  readonly retentionClass: string
  readonly classification: z.output<typeof classification>
  readonly classificationSource: string
  readonly policyVersion: string
}

/** The entry body of a draft. */
export function bodyOf(draft: Draft, ruling: DraftRuling, keys: HashKeys): EntryBody {
  if (draft.kind === 'capture.gap') {
    const { requests, v, kind, event_id, timestamp, ended_at } = draft
    const reason = safeIdentifier(draft.reason, keys, null)
    const application_id = ruling.applicationId
    const retention_class = ruling.retentionClass
    return {
      v,
      kind,
      event_id,
      timestamp,
      ended_at,
      application_id,
      retention_class,
      requests,
      reason,
    }
  }
  const { subject_claim: _, route, client, ...named } = withKeyedDigests(draft, keys, ruling.userId)
  const body = {
    ...opaque(named, (text) => safeIdentifier(text, keys, ruling.userId)),
    route: isRoute(route) ? route : 'OTHER /*',
    ...(client !== undefined && isClient(client) ? { client } : {}),
    user_id: ruling.userId,
    session_id: ruling.sessionId,
    application_id: ruling.applicationId,
    identity_trust: ruling.trust,
    data_classification: ruling.classification,
    classification_source: ruling.classificationSource,
    policy_version: ruling.policyVersion,
    retention_class: ruling.retentionClass,
    prompt_raw: null,
    ...(draft.kind === 'interaction.completed' ? { response_raw: null } : {}),
  }
  // The schema above and `EntryBody` name the same fields; a test compares the result with capture's.
  return body as EntryBody
}

/** Replaces every text that could name a person, at any depth. */
function opaque<Value>(value: Value, hash: (text: string) => string): Value {
  const walk = (item: unknown): unknown => {
    if (typeof item === 'string') return isOpaqueId(item) || isTime(item) ? item : hash(item)
    if (Array.isArray(item)) return item.map(walk)
    if (typeof item !== 'object' || item === null) return item
    const members: Record<string, unknown> = {}
    for (const [key, member] of Object.entries(item)) {
      if (member !== undefined) members[key] = walk(member)
    }
    return members
  }
  return walk(value) as Value
}

function isTime(text: string): boolean {
  return time.safeParse(text).success
}

/** `POST /v1/messages`: a method and a path template. */
function isRoute(text: string): boolean {
  return /^[A-Z]{1,16} \/[A-Za-z0-9_/*.:-]*$/.test(text)
}

/** What capture makes of a User-Agent: product tokens and versions, nothing else. */
function isClient(text: string): boolean {
  return clientTokens(text) === text
}

function isEventId(text: string): boolean {
  try {
    return eventIdMillis(text) >= 0
  } catch {
    return false
  }
}
