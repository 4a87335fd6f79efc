/**
 * Entries that the ledger writes about itself: that it was opened, that it is alive, and that an
 * interaction was interrupted because its process died.
 *
 * @module
 */
import {
  assert,
  canonicalize,
  entryBytesMax,
  newEventId,
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
// What says which interaction it was, and that it has no outcome. All of it is short.
const indispensable = new Set(
  ['v', 'kind', 'event_id', 'timestamp', 'logged_at', 'status', 'end_state'].concat([
    'retention_class',
    'application_id',
    'user_id',
    'session_id',
  ]),
)

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

/**
 * Body that closes a start whose process died: everything the start knew, and no outcome. Left out is
 * what has no canonical form, and what would make it too large, longest first.
 *
 * @param start the fields of the start, with its stamp
 */
export function interruptedBody(
  { clock }: Pick<EntrySources, 'clock'>,
  start: Readonly<Record<string, unknown>>,
): string {
  const { writer: _, ...known } = start
  const body: Record<string, unknown> = {
    ...Object.fromEntries(Object.entries(known).filter(([, value]) => isCanonical(value))),
    kind: 'interaction.interrupted',
    logged_at: formatMicros(clock.nowMicros()),
    status: 'incomplete',
    end_state: 'abandoned',
  }
  for (;;) {
    const text = canonicalize(body)
    if (Buffer.byteLength(text) + stampBytesMax <= entryBytesMax) return text
    delete body[longestOf(body)]
  }
}

function isCanonical(value: unknown): boolean {
  try {
    return canonicalize(value) !== ''
  } catch {
    return false
  }
}

/** The field that takes most room of those that an interruption can do without. */
function longestOf(body: Readonly<Record<string, unknown>>): string {
  let [longest, length] = ['', 0]
  for (const [name, value] of Object.entries(body)) {
    const size = canonicalize(value).length
    if (size > length && !indispensable.has(name)) [longest, length] = [name, size]
  }
  assert(longest !== '', 'what an interruption cannot do without is short')
  return longest
}

function ownFields({ clock, random }: EntrySources) {
  const micros = clock.nowMicros()
  return {
    event_id: newEventId(Math.floor(micros / 1000), random(eventIdRandomBytes)),
    timestamp: formatMicros(micros),
    retention_class: ownRetentionClass,
  }
}
