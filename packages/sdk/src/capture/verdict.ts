/**
 * How an exchange ended, from what was seen and from why the door says it is over
 * (docs/spec/record.md lists the end states).
 *
 * @module
 */
import type { EndState, Usage } from '@affidavit/format'
import type { CapturedRequest, EndCause, EndFacts, ResponseOutcome } from './exchange.ts'
import type { MessageState } from './message.ts'
import type { UpstreamHeaders } from './upstream.ts'
import { totalInput, type UsageState } from './usage.ts'

/** Everything that was seen. */
export interface Evidence {
  readonly captured: CapturedRequest
  readonly head: UpstreamHeaders | null
  readonly message: MessageState
  readonly canonicalSha256: Uint8Array | null
  readonly cause: EndCause
  readonly facts: EndFacts
  readonly parsed: ResponseOutcome['parsed']
  /** A JSON body that parses: it is whole. */
  readonly hasWholeBody: boolean
  readonly bodyBytes: number
  readonly wireSha256: Uint8Array
  readonly decodedSha256: Uint8Array | null
  readonly latencyMs: number
  readonly firstByteMs: number | null
  readonly firstTokenMs: number | null
}

/** Judges the evidence. */
export function judge(evidence: Evidence): ResponseOutcome {
  const { message, head, facts } = evidence
  const endState = endStateOf(evidence)
  const httpStatus = facts.httpStatus ?? head?.status ?? null
  const completion = message.usage.get('output_tokens')
  return {
    status: statusOf(endState),
    endState,
    httpStatus,
    errorType: errorTypeOf(evidence, endState, httpStatus),
    stopReason: message.stopReason,
    stopSequence: message.stopSequence,
    refusalCategory: message.refusalCategory,
    requestId: head?.requestId ?? message.requestId,
    messageId: message.messageId,
    modelServed: message.model,
    models: message.models,
    promptTokens: totalInput(message.usage),
    completionTokens: typeof completion === 'number' ? completion : null,
    usage: usageOf(message.usage),
    usageSource: usageSourceOf(message, endState),
    canonicalSha256: evidence.canonicalSha256,
    parsed: evidence.parsed,
    bodyBytes: evidence.bodyBytes,
    encoding: head?.encoding ?? null,
    wireSha256: evidence.wireSha256,
    decodedSha256: evidence.decodedSha256,
    headersSha256: head?.sha256 ?? null,
    blocks: message.blocks,
    toolCalls: message.toolCalls,
    toolCallCount: message.toolCallCount,
    latencyMs: evidence.latencyMs,
    firstByteMs: evidence.firstByteMs,
    firstTokenMs: evidence.firstTokenMs,
    upstream: head?.kept ?? null,
    delivered: facts.delivered ?? null,
  }
}

function endStateOf(evidence: Evidence): EndState {
  const { cause, head, message, parsed } = evidence
  if (cause === 'gateway_terminated') return 'gateway_terminated'
  if (message.errorType !== null) return 'upstream_error'
  if (message.hasStopped) return 'complete'
  if (cause !== 'end') return cause
  if (head === null) return 'upstream_cut'
  if (head.status >= 400) return 'upstream_error'
  if (parsed === 'sse') return 'upstream_cut'
  return isWhole(evidence) ? 'complete' : 'upstream_cut'
}

/** A clean end of the body is the end of the answer, unless the answer should have been readable. */
function isWhole({ captured, head, hasWholeBody, parsed }: Evidence): boolean {
  if (hasWholeBody || captured.content === 'opaque') return true
  const isReadable = head !== null && head.encoding === null && head.contentType.includes('json')
  return parsed !== 'none' && !isReadable
}

function statusOf(endState: EndState): ResponseOutcome['status'] {
  if (endState === 'complete') return 'success'
  if (endState === 'upstream_error') return 'error'
  return endState === 'gateway_terminated' ? 'blocked' : 'incomplete'
}

function errorTypeOf(
  { facts, message }: Evidence,
  endState: EndState,
  httpStatus: number | null,
): string | null {
  const known = facts.errorType ?? message.errorType
  if (known !== null && known !== undefined) return known
  if (endState !== 'upstream_error') return null
  return httpStatus === null ? 'connection_error' : `http_${httpStatus}`
}

function usageSourceOf(message: MessageState, endState: EndState): ResponseOutcome['usageSource'] {
  if (message.usage.size === 0) return 'none'
  return endState === 'complete' && message.hasFinalUsage ? 'final' : 'partial'
}

/** In key order, so that the record's JSON is canonical as it is. */
function usageOf(state: UsageState): Usage | null {
  if (state.size === 0) return null
  return Object.fromEntries([...state].sort(([a], [b]) => (a < b ? -1 : 1)))
}
