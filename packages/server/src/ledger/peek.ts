/**
 * What the ledger itself needs to know of an entry that it reads back. It took the entry on its
 * caller's word, so it must be able to go on from anything that a caller may have handed in: a body
 * that no reader would accept is the caller's fault, and not a damaged ledger.
 *
 * @module
 */
import type { WriterStamp } from '@affidavit/format'

/** The fields of an entry that say what it is about; `undefined` where there is no such text. */
export interface Peek {
  readonly kind: string | undefined
  readonly eventId: string | undefined
  /** When it was sequenced, as far as it says; NaN if it does not. */
  readonly loggedMs: number
  /** Whether it was delivered through the ingest endpoint. */
  readonly isIngested: boolean
  /** All of it. */
  readonly fields: Readonly<Record<string, unknown>>
}

// What the ledger put there itself, in the one form in which it does.
const stampPattern =
  /,"writer":\{"epoch":(\d{1,16}),"id":"([0-9a-f]{16})","log":"([a-z0-9-]{1,64}\/\d{4}q[1-4])","prev":"([0-9a-f]{64})","seq":(\d{1,16})\}\}$/
const stampBytesMax = 300

/** The stamp at the end of an entry; `undefined` if the ledger did not make it. */
export function readStamp(entry: Uint8Array): WriterStamp | undefined {
  const end = entry.subarray(-stampBytesMax)
  const text = Buffer.from(end.buffer, end.byteOffset, end.length).toString('latin1')
  const [, epoch, id, log, prev, seq] = stampPattern.exec(text) ?? []
  if (id === undefined || log === undefined || prev === undefined) return undefined
  return { epoch: Number(epoch), id, log, prev, seq: Number(seq) }
}

/** Looks at an entry's fields, whatever they are. */
export function peekEntry(entry: Uint8Array): Peek {
  const fields = parseFields(entry)
  const { kind, event_id: eventId, logged_at: loggedAt, timestamp } = fields
  return {
    kind: textOf(kind),
    eventId: textOf(eventId),
    loggedMs: Date.parse(textOf(loggedAt) ?? textOf(timestamp) ?? ''),
    isIngested: 'ingest' in fields,
    fields,
  }
}

/** Whether an entry starts an interaction, ends one, or neither. */
export function phaseOf({ kind }: Peek): 'start' | 'end' | 'other' {
  if (kind === 'interaction.started') return 'start'
  const isEnd = kind === 'interaction.completed' || kind === 'interaction.interrupted'
  return isEnd ? 'end' : 'other'
}

/**
 * Which interaction of this process an entry starts or ends. What an application delivered through the
 * ingest endpoint is the application's: it may live on when this process dies.
 */
export function transitionOf(entry: Uint8Array): {
  opens: string | undefined
  closes: string | undefined
} {
  const neither = { opens: undefined, closes: undefined }
  // Most entries of other kinds are passed over without being parsed.
  if (!Buffer.from(entry.buffer, entry.byteOffset, entry.length).includes(interactionKind)) {
    return neither
  }
  const peek = peekEntry(entry)
  const phase = peek.isIngested ? 'other' : phaseOf(peek)
  if (phase === 'start') return { opens: peek.eventId, closes: undefined }
  return phase === 'end' ? { opens: undefined, closes: peek.eventId } : neither
}

const interactionKind = Buffer.from('"kind":"interaction.')

function parseFields(entry: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(
      Buffer.from(entry.buffer, entry.byteOffset, entry.length).toString(),
    )
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
