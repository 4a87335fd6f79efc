/**
 * From an exchange to the body of an entry. Members are written in canonical order, integers only, so
 * that `JSON.stringify` gives the RFC 8785 text at once (a test compares it with `canonicalize`), and
 * the ledger can append its stamp without parsing.
 *
 * Invariants:
 * - Every digest is keyed here, and nowhere earlier.
 * - Every name passes `safeIdentifier`; every list is bounded; so an entry fits its 65,535 bytes.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type {
  EntryBody,
  ExternalRef,
  RequestFields,
  ResponseFields,
  Usage,
  WireSide,
} from '@affidavit/format'
import { formatMicros } from './clock.ts'
import type {
  CapturedRequest,
  RecordPolicy,
  ResolvedIdentity,
  ResponseOutcome,
} from './exchange.ts'
import { safeIdentifier } from './identifiers.ts'
import { betasMax } from './limits.ts'

type StartedBody = Extract<EntryBody, { kind: 'interaction.started' }>
type CompletedBody = Extract<EntryBody, { kind: 'interaction.completed' }>

/** All members of a type; the absent ones `undefined`, which JSON leaves out. */
type Draft<T> = { readonly [Name in keyof T]-?: T[Name] | undefined }

/** Canonical text of the record of a request that is about to be forwarded. */
export function startedText(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  policy: RecordPolicy,
): string {
  const request = requestMembers(captured, identity, policy)
  return JSON.stringify({ ...emptyBody, ...request, kind: 'interaction.started' })
}

/** Canonical text of the record of a finished exchange: what the start knew, and the outcome. */
export function completedText(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  policy: RecordPolicy,
  response: ResponseOutcome,
  loggedAtMicros: number,
): string {
  return JSON.stringify({
    ...emptyBody,
    ...requestMembers(captured, identity, policy),
    ...responseMembers(captured, identity, response),
    kind: 'interaction.completed',
    logged_at: formatMicros(loggedAtMicros),
  })
}

/** The record of a request as an object; `startedText` is its canonical text. */
export function startedBody(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  policy: RecordPolicy,
): StartedBody {
  return JSON.parse(startedText(captured, identity, policy))
}

/** The record of a finished exchange as an object; `completedText` is its canonical text. */
export function completedBody(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  policy: RecordPolicy,
  response: ResponseOutcome,
  loggedAtMicros: number,
): CompletedBody {
  return JSON.parse(completedText(captured, identity, policy, response, loggedAtMicros))
}

// The start and the end of one exchange share their request members, digests included.
const memo = new WeakMap<
  CapturedRequest,
  {
    readonly identity: ResolvedIdentity
    readonly policy: RecordPolicy
    readonly members: Draft<RequestFields>
  }
>()

function requestMembers(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  policy: RecordPolicy,
): Draft<RequestFields> {
  const known = memo.get(captured)
  if (known?.identity === identity && known.policy === policy) return known.members
  const members = draftRequest(captured, identity, policy)
  memo.set(captured, { identity, policy, members })
  return members
}

function draftRequest(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  policy: RecordPolicy,
): Draft<RequestFields> {
  const { claims, hashKeys } = captured
  const subject = identity.userId
  const name = (value: string) => safeIdentifier(value, hashKeys, subject)
  const nameOrNull = (value: string | null) => (value === null ? null : name(value))
  const nameIfAny = (value: string | null) => (value === null ? undefined : name(value))
  const deviceId = identity.deviceId === undefined ? claims.deviceId : identity.deviceId
  return {
    v: 1,
    event_id: captured.eventId,
    timestamp: formatMicros(captured.startedAtMicros),
    capture_source: captured.captureSource,
    provider: captured.provider,
    operation: captured.operation,
    route: captured.route,
    streaming: captured.streaming,
    model: nameOrNull(captured.model),
    user_id: nameOrNull(identity.userId),
    session_id: nameOrNull(identity.sessionId),
    application_id: name(identity.applicationId),
    identity_trust: {
      application: identity.trust.application,
      session: identity.trust.session,
      user: identity.trust.user,
    },
    device_id: nameIfAny(deviceId),
    agent_id: nameIfAny(claims.agentId),
    parent_agent_id: nameIfAny(claims.parentAgentId),
    is_subagent: claims.isSubagent ? true : undefined,
    client: captured.client ?? undefined,
    attempt: captured.attempt ?? undefined,
    anthropic_version: nameIfAny(captured.anthropicVersion),
    anthropic_beta: listIfAny(captured.anthropicBeta.slice(0, betasMax), name),
    credential: captured.credential ?? undefined,
    ip_address: captured.ipAddress,
    hash: {
      alg: hashKeys.mode === 'plain' ? 'sha256' : 'hmac-sha256',
      key_id: hashKeys.keyId(subject),
    },
    prompt_hash: keyed(captured, captured.canonicalSha256, subject),
    prompt_completeness: captured.completeness,
    request: requestSide(captured, subject),
    tools_offered: listIfAny(captured.toolNames, name),
    tools_offered_count: captured.toolCount === 0 ? undefined : captured.toolCount,
    external_refs: externalRefs(captured, subject),
    external_refs_count: captured.referenceCount === 0 ? undefined : captured.referenceCount,
    max_tokens: captured.maxTokens ?? undefined,
    data_classification: policy.classification,
    classification_source: policy.classificationSource,
    policy_flags: policy.policyFlags,
    policy_version: policy.policyVersion,
    retention_class: policy.retentionClass,
    prompt_raw: null,
  }
}

function responseMembers(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  response: ResponseOutcome,
): Draft<ResponseFields> {
  const subject = identity.userId
  const name = (value: string) => safeIdentifier(value, captured.hashKeys, subject)
  const nameOrNull = (value: string | null) => (value === null ? null : name(value))
  const nameIfAny = (value: string | null) => (value === null ? undefined : name(value))
  return {
    status: response.status,
    end_state: response.endState,
    http_status: response.httpStatus,
    stop_reason: nameOrNull(response.stopReason),
    stop_sequence: nameIfAny(response.stopSequence),
    refusal_category: nameIfAny(response.refusalCategory),
    error_type: nameOrNull(response.errorType),
    request_id: nameOrNull(response.requestId),
    message_id: nameIfAny(response.messageId),
    model_served: nameOrNull(response.modelServed),
    models: listIfAny(response.models, name),
    prompt_tokens: response.promptTokens,
    completion_tokens: response.completionTokens,
    usage: safeUsage(response.usage, name),
    usage_source: response.usageSource,
    response_hash: keyed(captured, response.canonicalSha256, subject),
    response: responseSide(captured, response, subject),
    delivered: deliveredSide(captured, response, subject),
    tool_calls: listIfAny(response.toolCalls, name),
    tool_calls_count: response.toolCallCount === 0 ? undefined : response.toolCallCount,
    latency_ms: response.latencyMs,
    first_byte_ms: response.firstByteMs ?? undefined,
    first_token_ms: response.firstTokenMs ?? undefined,
    upstream: response.upstream ?? undefined,
    response_raw: null,
  }
}

function requestSide(captured: CapturedRequest, subject: string | null): WireSide {
  return wireSide(captured, subject, {
    ...captured,
    blockCount: captured.blocks.length,
  })
}

function responseSide(
  captured: CapturedRequest,
  response: ResponseOutcome,
  subject: string | null,
): WireSide {
  return wireSide(captured, subject, { ...response, blockCount: response.blocks.length })
}

interface Side {
  readonly bodyBytes: number
  readonly encoding: string | null
  readonly parsed: WireSide['parsed']
  readonly wireSha256: Uint8Array
  readonly decodedSha256: Uint8Array | null
  readonly headersSha256: Uint8Array | null
  readonly blockCount: number
}

function wireSide(captured: CapturedRequest, subject: string | null, side: Side): WireSide {
  const { blockCount, encoding } = side
  const decoded = keyed(captured, side.decodedSha256, subject)
  const headers = keyed(captured, side.headersSha256, subject)
  return {
    ...(blockCount === 0 ? {} : { block_count: blockCount }),
    bytes: side.bodyBytes,
    ...(decoded === null ? {} : { decoded_digest: decoded }),
    ...(encoding === null
      ? {}
      : { encoding: safeIdentifier(encoding, captured.hashKeys, subject) }),
    ...(headers === null ? {} : { headers_digest: headers }),
    parsed: side.parsed,
    wire_digest: captured.hashKeys.digest(side.wireSha256, subject),
  }
}

function deliveredSide(
  captured: CapturedRequest,
  { delivered }: ResponseOutcome,
  subject: string | null,
): ResponseFields['delivered'] {
  if (delivered === null) return undefined
  const digest = captured.hashKeys.digest(delivered.sha256, subject)
  return { bytes: delivered.bytes, wire_digest: digest }
}

function externalRefs(
  captured: CapturedRequest,
  subject: string | null,
): readonly ExternalRef[] | undefined {
  if (captured.references.length === 0) return undefined
  const keys = captured.hashKeys
  return captured.references.map(({ type, value, keyed: isKeyed }) => ({
    ref: isKeyed
      ? keys.digest(hash('sha256', value, 'buffer'), subject)
      : safeIdentifier(value, keys, subject),
    state: 'unresolved',
    type,
  }))
}

function safeUsage(usage: Usage | null, name: (value: string) => string): Usage | undefined {
  if (usage === null) return undefined
  const members = Object.entries(usage).map(([key, value]: [string, unknown]) => {
    if (typeof value === 'string') return [key, name(value)]
    if (!Array.isArray(value)) return [key, value]
    return [key, value.map((row: object) => safeUsage(row, name))]
  })
  return Object.fromEntries(members)
}

function keyed(
  captured: CapturedRequest,
  sha256: Uint8Array | null,
  subject: string | null,
): string | null {
  return sha256 === null ? null : captured.hashKeys.digest(sha256, subject)
}

function listIfAny(
  values: readonly string[],
  name: (value: string) => string,
): readonly string[] | undefined {
  return values.length === 0 ? undefined : values.map(name)
}

/**
 * Every member of a body in canonical order. Spread first, it gives every later literal this order:
 * an object keeps the place in which a name was first defined.
 */
const emptyBody: Readonly<Record<string, undefined>> = Object.fromEntries(
  memberNames().map((name) => [name, undefined]),
)

function memberNames(): readonly (keyof CompletedBody)[] {
  const names: Readonly<Record<keyof CompletedBody, true>> = {
    agent_id: true,
    anthropic_beta: true,
    anthropic_version: true,
    application_id: true,
    attempt: true,
    capture_source: true,
    classification_source: true,
    client: true,
    completion_tokens: true,
    credential: true,
    data_classification: true,
    delivered: true,
    device_id: true,
    end_state: true,
    error_type: true,
    event_id: true,
    external_refs: true,
    external_refs_count: true,
    first_byte_ms: true,
    first_token_ms: true,
    hash: true,
    http_status: true,
    identity_trust: true,
    ip_address: true,
    is_subagent: true,
    kind: true,
    latency_ms: true,
    logged_at: true,
    max_tokens: true,
    message_id: true,
    model: true,
    model_served: true,
    models: true,
    operation: true,
    parent_agent_id: true,
    policy_flags: true,
    policy_version: true,
    prompt_completeness: true,
    prompt_hash: true,
    prompt_raw: true,
    prompt_tokens: true,
    provider: true,
    refusal_category: true,
    request: true,
    request_id: true,
    response: true,
    response_hash: true,
    response_raw: true,
    retention_class: true,
    route: true,
    session_id: true,
    status: true,
    stop_reason: true,
    stop_sequence: true,
    streaming: true,
    timestamp: true,
    tool_calls: true,
    tool_calls_count: true,
    tools_offered: true,
    tools_offered_count: true,
    upstream: true,
    usage: true,
    usage_source: true,
    user_id: true,
    v: true,
  }
  return (Object.keys(names) as (keyof CompletedBody)[]).sort()
}
