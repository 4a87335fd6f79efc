/**
 * Entries that the ledger writes about itself: that it was opened, that it is alive, and that an
 * interaction was interrupted because its process died.
 *
 * @module
 */
import {
  canonicalize,
  entryBytesMax,
  newEventId,
  type Entry,
  type HeartbeatBody,
  type LedgerOpenedBody,
} from '@affidavit/format'
import { formatMicros, type Clock } from '@affidavit/sdk/capture'

/** The class that the ledger's own entries are kept in. */
export const ownRetentionClass = 'standard'

const product = 'affidavit/0.1.0'
const eventIdRandomBytes = 10
// Room for the writer stamp and what an interruption adds to its start.
const stampBytesMax = 512
// What a start can do without, largest first, when it would not fit once more.
const dispensable = ['tools_offered', 'external_refs', 'anthropic_beta', 'client'] as const

export interface EntrySources {
  readonly clock: Clock
  readonly random: (bytes: number) => Uint8Array
}

/** Body of the first entry of an epoch. */
export function openedBody(
  sources: EntrySources,
  found: { recoveredEntries: number; interrupted: number; tornBytes: number },
): string {
  const body: LedgerOpenedBody = {
    v: 1,
    kind: 'ledger.opened',
    ...ownFields(sources),
    product,
    recovered_entries: found.recoveredEntries,
    interrupted: found.interrupted,
    torn_bytes: found.tornBytes,
  }
  return canonicalize(body)
}

/** Body of the entry that shows, in a quiet minute, that nothing was cut off. */
export function heartbeatBody(sources: EntrySources): string {
  const body: HeartbeatBody = { v: 1, kind: 'ledger.heartbeat', ...ownFields(sources) }
  return canonicalize(body)
}

/** Body that closes a start whose process died: everything the start knew, and no outcome. */
export function interruptedBody({ clock }: Pick<EntrySources, 'clock'>, start: Entry): string {
  const { writer: _, ...known } = start
  const body: Record<string, unknown> = {
    ...known,
    kind: 'interaction.interrupted',
    logged_at: formatMicros(clock.nowMicros()),
    status: 'incomplete',
    end_state: 'abandoned',
  }
  let text = canonicalize(body)
  for (const name of dispensable) {
    if (Buffer.byteLength(text) + stampBytesMax <= entryBytesMax) break
    delete body[name]
    text = canonicalize(body)
  }
  return text
}

function ownFields({ clock, random }: EntrySources) {
  const micros = clock.nowMicros()
  return {
    event_id: newEventId(Math.floor(micros / 1000), random(eventIdRandomBytes)),
    timestamp: formatMicros(micros),
    retention_class: ownRetentionClass,
  }
}
