/**
 * Fakes for the tests of the ingest endpoint: marks in memory that fail as told, and drafts as an SDK
 * makes them.
 *
 * @module
 */
import {
  assert,
  AuditError,
  canonicalize,
  newEventId,
  type AuditErrorCode,
} from '@affidavit/format'
import type { MarksFile } from './marks.ts'
import type { IngestStore } from './receive.ts'

/** A file of marks in memory. */
export class FakeMarksFile implements MarksFile {
  bytes = Buffer.alloc(0)
  failing = false

  readAll(): Promise<Uint8Array> {
    return Promise.resolve(this.bytes)
  }

  append(bytes: Uint8Array): Promise<void> {
    if (this.failing) return Promise.reject(new Error('as the test wants'))
    this.bytes = Buffer.concat([this.bytes, bytes])
    return Promise.resolve()
  }

  replace(bytes: Uint8Array): Promise<void> {
    this.bytes = Buffer.from(bytes)
    return Promise.resolve()
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

type Body = Record<string, unknown>

/** A store in memory. */
export class FakeIngestStore implements IngestStore {
  closedBy: AuditErrorCode | undefined
  readonly entries: Body[] = []
  /** Appends fail with this code once so many have succeeded. */
  failAfter = Infinity
  failCode: AuditErrorCode = 'ERR_LEDGER_WRITE_FAILED'
  namesFail = false

  append(entry: { retentionClass: string; body: string }): Promise<unknown> {
    const body = JSON.parse(entry.body) as Body
    assert(canonicalize(body) === entry.body, 'the body is canonical')
    assert(body.retention_class === entry.retentionClass, 'the body names its class')
    if (this.entries.length >= this.failAfter) {
      return Promise.reject(new AuditError(this.failCode, 'as the test wants'))
    }
    this.entries.push(body)
    return Promise.resolve()
  }

  subject(user: string): string | Promise<string> {
    if (this.namesFail) return Promise.reject(new AuditError('ERR_AUDIT_UNAVAILABLE', 'as wanted'))
    return Promise.resolve(`sub_${user}`)
  }

  identifier(_kind: 'session' | 'application', value: string): string {
    return value
  }

  /** The entries as the ledger gives them back. */
  async *recent(): AsyncGenerator<Uint8Array> {
    for (const entry of this.entries) yield Buffer.from(canonicalize(entry))
  }
}

const digest = 'ab'.repeat(32)

/** A draft of a start. */
export function startedDraft(changes: Body = {}): Body {
  return {
    kind: 'interaction.started',
    v: 1,
    event_id: newEventId(Date.UTC(2026, 10, 23), crypto.getRandomValues(new Uint8Array(10))),
    timestamp: '2026-11-23T10:00:00.000000Z',
    capture_source: 'middleware',
    provider: 'anthropic',
    operation: 'messages.create',
    route: 'POST /v1/messages',
    streaming: false,
    model: 'claude-sonnet-4-5',
    user_id: null,
    session_id: 's-1',
    application_id: 'claimed-app',
    identity_trust: { application: 'client-asserted', session: 'client-asserted', user: 'none' },
    client: 'Anthropic/JS 1.12.0'.replace(' ', '/'),
    ip_address: null,
    hash: { alg: 'sha256', key_id: 'plain' },
    prompt_hash: digest,
    prompt_completeness: 'full',
    request: { bytes: 10, wire_digest: digest, parsed: 'json', block_count: 1 },
    data_classification: 'INTERNAL',
    classification_source: 'default',
    policy_flags: [],
    policy_version: 'sdk',
    retention_class: 'sdk-class',
    prompt_raw: null,
    subject_claim: 'jane',
    ...changes,
  }
}

/** A draft of an end. */
export function completedDraft(changes: Body = {}): Body {
  return startedDraft({
    kind: 'interaction.completed',
    logged_at: '2026-11-23T10:00:01.000000Z',
    status: 'success',
    end_state: 'complete',
    http_status: 200,
    stop_reason: 'end_turn',
    error_type: null,
    request_id: 'req_1',
    model_served: 'claude-sonnet-4-5',
    prompt_tokens: 3,
    completion_tokens: 4,
    usage: { input_tokens: 3, output_tokens: 4 },
    usage_source: 'final',
    response_hash: digest,
    response: { bytes: 20, wire_digest: digest, parsed: 'json' },
    latency_ms: 900,
    response_raw: null,
    ...changes,
  })
}
