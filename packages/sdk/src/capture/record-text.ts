/**
 * The canonical text of a record (RFC 8785), written from templates in the order of the names. The
 * members of the request are written once for an exchange, in pieces between which those of the answer
 * stand, because both of its records have them.
 *
 * Invariants:
 * - A member ends with its comma; the last one of a record, `v`, is always there.
 * - Names that have passed `safeIdentifier` and digests need no escape; other strings are looked at.
 *
 * @module
 */
import type { EntryBody, RequestFields, ResponseFields, Usage, WireSide } from '@affidavit/format'
import type { Draft, DraftOf } from './draft.ts'

/** Members that both records of an exchange have. */
export type RequestDraft = DraftOf<RequestFields, 'request'>

/** Members that the second record has beside them. */
export type ResponseDraft = DraftOf<ResponseFields, 'response' | 'usage'>

/** Runs of members of the request, named by the first member that they can have. */
export interface RequestText {
  readonly agentId: string
  readonly credential: string
  readonly deviceId: string
  readonly eventId: string
  readonly hash: string
  readonly identityTrust: string
  readonly maxTokens: string
  readonly model: string
  readonly operation: string
  readonly provider: string
  readonly request: string
  readonly retentionClass: string
  readonly streaming: string
  readonly toolsOffered: string
  readonly userId: string
}

/** Writes the members of a request. */
export function requestText(draft: RequestDraft): RequestText {
  const { hash, identity_trust: trust } = draft
  return {
    agentId:
      safe('agent_id', draft.agent_id) +
      safeList('anthropic_beta', draft.anthropic_beta) +
      safe('anthropic_version', draft.anthropic_version) +
      safe('application_id', draft.application_id) +
      scalar('attempt', draft.attempt) +
      string('capture_source', draft.capture_source) +
      string('classification_source', draft.classification_source) +
      string('client', draft.client),
    credential:
      credentialText(draft.credential) + string('data_classification', draft.data_classification),
    deviceId: safe('device_id', draft.device_id),
    eventId:
      string('event_id', draft.event_id) +
      json('external_refs', draft.external_refs) +
      scalar('external_refs_count', draft.external_refs_count),
    hash:
      hash === undefined ? '' : `"hash":{"alg":"${hash.alg}","key_id":${quotedText(hash.key_id)}},`,
    identityTrust:
      (trust === undefined
        ? ''
        : `"identity_trust":{"application":"${trust.application}","session":"${trust.session}",` +
          `"user":"${trust.user}"},`) +
      string('ip_address', draft.ip_address) +
      scalar('is_subagent', draft.is_subagent),
    maxTokens: scalar('max_tokens', draft.max_tokens),
    model: safe('model', draft.model),
    operation: operationText(draft),
    provider: string('provider', draft.provider),
    request: sideText('request', draft.request),
    retentionClass:
      string('retention_class', draft.retention_class) +
      string('route', draft.route) +
      safe('session_id', draft.session_id),
    streaming: scalar('streaming', draft.streaming) + string('timestamp', draft.timestamp),
    toolsOffered:
      safeList('tools_offered', draft.tools_offered) +
      scalar('tools_offered_count', draft.tools_offered_count),
    userId: `${safe('user_id', draft.user_id)}"v":1`,
  }
}

/** Text of the record of a start. */
export function startedRecord(request: RequestText): string {
  return (
    `{${request.agentId}${request.credential}${request.deviceId}${request.eventId}${request.hash}` +
    `${request.identityTrust}${kindText('interaction.started')}${request.maxTokens}` +
    `${request.model}${request.operation}${request.provider}${request.request}` +
    `${request.retentionClass}${request.streaming}${request.toolsOffered}${request.userId}}`
  )
}

/** Text of the record of an end. */
export function completedRecord(
  request: RequestText,
  answer: ResponseDraft,
  loggedAt: string,
): string {
  return (
    `{${request.agentId}${scalar('completion_tokens', answer.completion_tokens)}` +
    `${request.credential}${deliveredText(answer.delivered)}` +
    `${request.deviceId}${string('end_state', answer.end_state)}` +
    `${safe('error_type', answer.error_type)}` +
    `${request.eventId}${scalar('first_byte_ms', answer.first_byte_ms)}` +
    `${scalar('first_token_ms', answer.first_token_ms)}` +
    `${request.hash}${scalar('http_status', answer.http_status)}` +
    `${request.identityTrust}${kindText('interaction.completed')}` +
    `${scalar('latency_ms', answer.latency_ms)}${string('logged_at', loggedAt)}` +
    `${request.maxTokens}${safe('message_id', answer.message_id)}` +
    `${request.model}${safe('model_served', answer.model_served)}` +
    `${safeList('models', answer.models)}` +
    `${request.operation}${scalar('prompt_tokens', answer.prompt_tokens)}` +
    `${request.provider}${safe('refusal_category', answer.refusal_category)}` +
    `${request.request}${responseText(answer)}` +
    `${request.retentionClass}${string('status', answer.status)}` +
    `${safe('stop_reason', answer.stop_reason)}${safe('stop_sequence', answer.stop_sequence)}` +
    `${request.streaming}${safeList('tool_calls', answer.tool_calls)}` +
    `${scalar('tool_calls_count', answer.tool_calls_count)}` +
    `${request.toolsOffered}${namesText('upstream', answer.upstream)}${usageText(answer.usage)}` +
    `${string('usage_source', answer.usage_source)}${request.userId}}`
  )
}

function kindText(kind: EntryBody['kind']): string {
  return `"kind":"${kind}",`
}

function operationText(draft: RequestDraft): string {
  return (
    string('operation', draft.operation) +
    safe('parent_agent_id', draft.parent_agent_id) +
    `"policy_flags":[${(draft.policy_flags ?? []).map(quotedText).join(',')}],` +
    string('policy_version', draft.policy_version) +
    string('prompt_completeness', draft.prompt_completeness) +
    safe('prompt_hash', draft.prompt_hash) +
    string('prompt_raw', draft.prompt_raw)
  )
}

function credentialText(credential: RequestDraft['credential']): string {
  if (credential === undefined) return ''
  const { fingerprint, kind } = credential
  return `"credential":{"fingerprint":${quotedText(fingerprint)},"kind":${quotedText(kind)}},`
}

function responseText(answer: ResponseDraft): string {
  return (
    safe('request_id', answer.request_id) +
    sideText('response', answer.response) +
    safe('response_hash', answer.response_hash) +
    string('response_raw', answer.response_raw)
  )
}

function sideText(name: string, side: Draft<WireSide> | undefined): string {
  if (side === undefined) return ''
  return (
    `"${name}":{${scalar('block_count', side.block_count)}${scalar('bytes', side.bytes)}` +
    `${safe('decoded_digest', side.decoded_digest)}${safe('encoding', side.encoding)}` +
    `${safe('headers_digest', side.headers_digest)}${string('parsed', side.parsed)}` +
    `"wire_digest":"${side.wire_digest}"},`
  )
}

function deliveredText(delivered: ResponseFields['delivered']): string {
  if (delivered === undefined) return ''
  const { bytes, wire_digest: digest } = delivered
  return `"delivered":{${scalar('bytes', bytes)}"wire_digest":"${digest}"},`
}

function usageText(usage: Draft<Usage> | undefined): string {
  if (usage === undefined) return ''
  const members =
    scalar('cache_creation_1h_input_tokens', usage.cache_creation_1h_input_tokens) +
    scalar('cache_creation_5m_input_tokens', usage.cache_creation_5m_input_tokens) +
    scalar('cache_creation_input_tokens', usage.cache_creation_input_tokens) +
    scalar('cache_read_input_tokens', usage.cache_read_input_tokens) +
    safe('inference_geo', usage.inference_geo) +
    scalar('input_tokens', usage.input_tokens) +
    json('iterations', usage.iterations) +
    scalar('output_tokens', usage.output_tokens) +
    safe('service_tier', usage.service_tier) +
    safe('speed', usage.speed) +
    scalar('thinking_tokens', usage.thinking_tokens) +
    scalar('web_fetch_requests', usage.web_fetch_requests) +
    scalar('web_search_requests', usage.web_search_requests)
  return `"usage":{${members.slice(0, -1)}},`
}

function namesText(name: string, values: Readonly<Record<string, string>> | undefined): string {
  if (values === undefined) return ''
  let members = ''
  for (const key in values) {
    members += `${members === '' ? '' : ','}${quotedText(key)}:${quotedText(values[key] ?? '')}`
  }
  return `"${name}":{${members}},`
}

/** A number or a boolean. As in JSON, a number that is not finite is `null`. */
function scalar(name: string, value: number | boolean | null | undefined): string {
  if (value === undefined) return ''
  if (typeof value === 'number' && !Number.isFinite(value)) return `"${name}":null,`
  return `"${name}":${value},`
}

/** A digest, or what `safeIdentifier` returned. */
function safe(name: string, value: string | null | undefined): string {
  if (value === undefined) return ''
  return value === null ? `"${name}":null,` : `"${name}":"${value}",`
}

function safeList(name: string, values: readonly string[] | undefined): string {
  return values === undefined ? '' : `"${name}":["${values.join('","')}"],`
}

function string(name: string, value: string | null | undefined): string {
  if (value === undefined) return ''
  return value === null ? `"${name}":null,` : `"${name}":${quotedText(value)},`
}

/** For what is rare. */
function json(name: string, value: object | undefined): string {
  return value === undefined ? '' : `"${name}":${JSON.stringify(value)},`
}

function quotedText(value: string): string {
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at)
    if (code < 0x20 || code > 0x7e || code === 0x22 || code === 0x5c) return JSON.stringify(value)
  }
  return `"${value}"`
}
