/**
 * How an exchange ended, from what was seen and from why the door says it is over
 * (docs/spec/record.md lists the end states).
 *
 * @module
 */
import type { EndState } from '@affidavit/format'
import type { CapturedRequest, EndCause, EndFacts, ResponseOutcome } from './exchange.ts'
import type { MessageReader } from './message.ts'
import type { UpstreamHeaders } from './upstream.ts'
import { hasUsage, totalInput } from './usage.ts'

/** Everything that was seen. */
export interface Evidence {
  readonly captured: CapturedRequest
  readonly head: UpstreamHeaders | null
  readonly message: MessageReader
  readonly canonicalSha256: string | null
  readonly cause: EndCause
  readonly facts: EndFacts
  readonly parsed: ResponseOutcome['parsed']
  /** The body could not have been read even if it is whole: too large, or in a foreign coding. */
  readonly isBeyondReading: boolean
  readonly bodyBytes: number
  readonly wireSha256: string
  readonly decodedSha256: string | null
  readonly latencyMs: number
  readonly firstByteMs: number | null
  readonly firstTokenMs: number | null
}

/** Judges the evidence. */
export function judge(evidence: Evidence): ResponseOutcome {
  const { message, head, facts } = evidence
  const endState = endStateOf(evidence)
  const httpStatus = facts.httpStatus ?? head?.status ?? null
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
    completionTokens: message.usage.output_tokens,
    usage: message.usage,
    usageSource: usageSourceOf(message, endState),
    canonicalSha256: evidence.canonicalSha256,
    parsed: evidence.parsed,
    bodyBytes: evidence.bodyBytes,
    encoding: head?.encoding ?? null,
    wireSha256: evidence.wireSha256,
    decodedSha256: evidence.decodedSha256,
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
  const { captured, cause, head, message, parsed } = evidence
  if (cause === 'gateway_terminated') return 'gateway_terminated'
  if (message.errorType !== null) return 'upstream_error'
  if (message.hasStopped) return 'complete'
  if (head !== null && head.status < 400 && parsed === 'json') return 'complete'
  if (cause !== 'end') return cause
  if (head === null) return 'upstream_cut'
  if (head.status >= 400) return 'upstream_error'
  // Where there is nothing to read, a clean end is all the proof that there can be.
  const isUnread = parsed === 'opaque' && (evidence.isBeyondReading || !head.isReadable)
  return captured.content === 'opaque' || isUnread ? 'complete' : 'upstream_cut'
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
  if (known !== null) return known
  if (endState !== 'upstream_error') return null
  return httpStatus === null ? 'connection_error' : `http_${httpStatus}`
}

function usageSourceOf(message: MessageReader, endState: EndState): ResponseOutcome['usageSource'] {
  if (!hasUsage(message.usage)) return 'none'
  return endState === 'complete' && message.hasFinalUsage ? 'final' : 'partial'
}
