/**
 * From an exchange to the body of an entry: what stands in it. record-text.ts writes it in canonical
 * form, so that the ledger can append its stamp without parsing (a test compares with `canonicalize`).
 *
 * Invariants:
 * - Every digest is keyed here, and nowhere earlier.
 * - Every name passes `safeIdentifier`; every list is bounded; so an entry fits its 65,535 bytes.
 *
 * @module
 */
import type { EntryBody, ExternalRef, ResponseFields, WireSide } from '@affidavit/format'
import { formatMicros } from './clock.ts'
import type { Draft } from './draft.ts'
import type {
  CapturedRequest,
  RecordPolicy,
  ResolvedIdentity,
  ResponseOutcome,
} from './exchange.ts'
import { safeIdentifier } from './identifiers.ts'
import {
  completedRecord,
  requestText,
  startedRecord,
  type RequestDraft,
  type RequestText,
  type ResponseDraft,
} from './record-text.ts'
import { usageOf } from './usage.ts'

type StartedBody = Extract<EntryBody, { kind: 'interaction.started' }>
type CompletedBody = Extract<EntryBody, { kind: 'interaction.completed' }>

/** Canonical text of the record of a request that is about to be forwarded. */
export function startedText(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  policy: RecordPolicy,
): string {
  return startedRecord(requestMembers(captured, identity, policy))
}

/** Canonical text of the record of a finished exchange: what the start knew, and the outcome. */
export function completedText(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  policy: RecordPolicy,
  response: ResponseOutcome,
  loggedAtMicros: number,
): string {
  const request = requestMembers(captured, identity, policy)
  const members = responseMembers(captured, identity, response)
  return completedRecord(request, members, formatMicros(loggedAtMicros))
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

/** The start and the end of one exchange share their request members, digests included. */
function requestMembers(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  policy: RecordPolicy,
): RequestText {
  const memo = captured.recordMemo
  if (memo?.identity === identity && memo.policy === policy) return memo.members
  const members = requestText(draftRequest(captured, identity, policy))
  captured.recordMemo = { identity, policy, members }
  return members
}

function draftRequest(
  captured: CapturedRequest,
  identity: ResolvedIdentity,
  policy: RecordPolicy,
): RequestDraft {
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
    anthropic_beta: listIfAny(captured.anthropicBeta, name),
    credential: captured.credential ?? undefined,
    ip_address: captured.ipAddress,
    hash: {
      alg: hashKeys.mode === 'plain' ? 'sha256' : 'hmac-sha256',
      key_id: hashKeys.keyId(subject),
    },
    prompt_hash: keyed(captured, captured.canonicalSha256, subject),
    prompt_completeness: captured.completeness,
    request: wireSide(captured, subject, captured),
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
): ResponseDraft {
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
    usage: usageOf(response.usage, name) ?? undefined,
    usage_source: response.usageSource,
    response_hash: keyed(captured, response.canonicalSha256, subject),
    response: wireSide(captured, subject, response),
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

interface Side {
  readonly bodyBytes: number
  readonly encoding: string | null
  readonly parsed: WireSide['parsed']
  readonly wireSha256: string
  readonly decodedSha256: string | null
  readonly headersSha256?: string
  readonly blocks: readonly unknown[]
}

/** Members in canonical order. */
function wireSide(captured: CapturedRequest, subject: string | null, side: Side): Draft<WireSide> {
  const { blocks, encoding } = side
  return {
    block_count: blocks.length === 0 ? undefined : blocks.length,
    bytes: side.bodyBytes,
    decoded_digest: keyed(captured, side.decodedSha256, subject) ?? undefined,
    encoding: encoding === null ? undefined : safeIdentifier(encoding, captured.hashKeys, subject),
    headers_digest: keyed(captured, side.headersSha256 ?? null, subject) ?? undefined,
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
    ref: isKeyed ? keys.digest(value, subject) : safeIdentifier(value, keys, subject),
    state: 'unresolved',
    type,
  }))
}

function keyed(
  captured: CapturedRequest,
  sha256: string | null,
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
