/**
 * The gateway's own numbers, for `GET /affidavit/metrics`.
 *
 * @module
 */
import type { AuditErrorCode, EndState } from '@affidavit/format'
import type { Counter, Histogram, Metrics } from '../base/metrics.ts'

export interface GatewayMetrics {
  /** Exchanges recorded, by how they ended. */
  ended(endState: EndState): void
  /** Requests refused by the gateway itself, by code. */
  refused(code: AuditErrorCode): void
  readonly unrecorded: Counter
  readonly completionsLost: Counter
  readonly answerBytes: Counter
  readonly startedMs: Histogram
  readonly exchangeMs: Histogram
}

const durableMsBounds = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 500, 2000]
const exchangeMsBounds = [1, 2, 5, 10, 50, 100, 500, 1000, 5000, 30_000, 120_000, 600_000]

/** Registers the numbers; `read` gives what is looked up when they are rendered. */
export function createGatewayMetrics(
  metrics: Metrics,
  read: {
    live(): number
    bodyBytes(): number
    isOpen(): boolean
    unrecordedPending(): number
    reopened(): number
  },
): GatewayMetrics {
  const ended = metrics.counters(
    'affidavit_exchanges_total',
    'Recorded, by end state.',
    'end_state',
  )
  const refused = metrics.counters('affidavit_refusals_total', 'Refused here, by code.', 'code')
  metrics.gauge('affidavit_exchanges_live', 'Not over yet.', read.live)
  metrics.gauge('affidavit_request_body_bytes', 'Request bodies held.', read.bodyBytes)
  metrics.gauge('affidavit_store_open', '1 while records can be made.', () => Number(read.isOpen()))
  metrics.gauge(
    'affidavit_unrecorded_pending',
    'Passed unrecorded and not told of in the ledger yet.',
    read.unrecordedPending,
  )
  metrics.gauge('affidavit_store_reopened', 'Times the store was opened again.', read.reopened)
  return {
    ended: (endState) => ended.with(endState).add(),
    refused: (code) => refused.with(code).add(),
    unrecorded: metrics.counter('affidavit_unrecorded_total', 'Passed unrecorded (fail_open).'),
    completionsLost: metrics.counter(
      'affidavit_completions_lost_total',
      'Outcomes that could not be written; recovery closes them as interrupted.',
    ),
    answerBytes: metrics.counter('affidavit_answer_bytes_total', 'Bytes of answers.'),
    startedMs: metrics.histogram(
      'affidavit_started_durable_ms',
      'From capture to the start on disk.',
      durableMsBounds,
    ),
    exchangeMs: metrics.histogram(
      'affidavit_exchange_ms',
      'From the first byte of the request to the end.',
      exchangeMsBounds,
    ),
  }
}
