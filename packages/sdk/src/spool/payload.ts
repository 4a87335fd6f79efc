/**
 * What a spooled payload is: the JSON text of a draft, an entry body whose user is still the
 * application's own identifier (`subject_claim`); the gateway replaces it by a subject handle.
 *
 * @module
 */
import {
  newEventId,
  sha256,
  utf8Encode,
  type CaptureGapBody,
  type EntryBody,
} from '@affidavit/format'
import { formatMicros } from '../capture/clock.ts'

/** An entry body on its way to a ledger. */
export type Draft = EntryBody & {
  /** The application's own name for the user; never stored as it is by a gateway. */
  readonly subject_claim?: string
}

export type StartedDraft = Extract<Draft, { kind: 'interaction.started' }>
export type CompletedDraft = Extract<Draft, { kind: 'interaction.completed' }>
export type GapDraft = CaptureGapBody

/** What a payload does to the set of open starts. */
export type PayloadRole = 'opens' | 'closes' | 'neither'

export interface PayloadFacts {
  readonly role: PayloadRole
  readonly eventId: string
  readonly timestamp: string
  readonly applicationId: string
  readonly retentionClass: string
}

const decoder = new TextDecoder()
const roles: Readonly<Record<string, PayloadRole>> = {
  'interaction.started': 'opens',
  'interaction.completed': 'closes',
  'interaction.interrupted': 'closes',
}

/** Reads the few fields of a payload that the spool itself needs. */
export function readPayload(payload: Uint8Array): PayloadFacts {
  const body = parsePayload(payload)
  return {
    role: roles[text(body.kind)] ?? 'neither',
    eventId: text(body.event_id),
    timestamp: text(body.timestamp),
    applicationId: text(body.application_id),
    retentionClass: text(body.retention_class),
  }
}

/** Closes a start whose process died: everything that the start knew, and no outcome. */
export function interruptedPayload(started: Uint8Array, loggedAtMicros: number): Uint8Array {
  return utf8Encode(
    JSON.stringify({
      ...parsePayload(started),
      kind: 'interaction.interrupted',
      logged_at: formatMicros(loggedAtMicros),
      status: 'incomplete',
      end_state: 'abandoned',
    }),
  )
}

/** What is known about records that the spool had acknowledged and cannot read any more. */
export interface LostRecords {
  /** Names the region, so that a repeated report of it has the same event id. */
  readonly region: string
  readonly recordsMin: number
  /** The readable records on both sides, where there are any. */
  readonly before: PayloadFacts | undefined
  readonly after: PayloadFacts | undefined
}

/** The record of a loss. */
export function lostRecordsGap(lost: LostRecords, nowMicros: number): GapDraft {
  const neighbour = lost.before ?? lost.after
  const now = formatMicros(nowMicros)
  const timestamp = neighbour?.timestamp ?? now
  const millis = Math.max(0, Date.parse(timestamp)) || 0
  return {
    v: 1,
    kind: 'capture.gap',
    event_id: newEventId(millis, sha256(utf8Encode(lost.region)).slice(0, 10)),
    timestamp,
    ended_at: lost.after?.timestamp ?? now,
    application_id: neighbour?.applicationId ?? 'unknown',
    retention_class: neighbour?.retentionClass ?? 'standard',
    requests: lost.recordsMin,
    reason: 'spool_damaged',
  }
}

function parsePayload(payload: Uint8Array): Record<string, unknown> {
  // The frame's hash has proved that these are the bytes that we wrote.
  const value: unknown = JSON.parse(decoder.decode(payload))
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
