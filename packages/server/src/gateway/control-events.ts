/**
 * Administrative facts as entries (`control.event`): the gateway started or stopped, a gateway key
 * appeared, was revoked or went away while it ran.
 *
 * These entries are written after the fact and are not waited for: a key is revoked whether or not the
 * ledger can tell of it. A failure is logged. `gateway.started` names a digest of all keys, so that a
 * change made while no gateway ran shows as a digest that differs from the last run's.
 *
 * @module
 */
import { canonicalize, newEventId, sha256Hex, type ControlBody } from '@affidavit/format'
import { formatMicros, type Clock } from '@affidavit/sdk/capture'
import { errorFields, type Log } from '../base/log.ts'
import type { GatewayKey } from '../control/keys.ts'
import type { EntryAppend } from './audit-store.ts'

export interface ControlEvents {
  /** Writes one; resolves when it is sequenced or has failed. */
  record(action: string, details: ControlBody['details']): Promise<void>
  /** Writes what changed between two readings of the key file. */
  keysChanged(before: readonly GatewayKey[], after: readonly GatewayKey[]): void
}

/** Events of one reload at most; beyond it their number is told. */
export const keyEventsMax = 100
const eventIdRandomBytes = 10

/** Makes the writer of control events. */
export function createControlEvents(options: {
  readonly append: (entry: EntryAppend) => Promise<unknown>
  readonly retentionClass: string
  readonly clock: Clock
  readonly log: Log
  random(bytes: number): Uint8Array
}): ControlEvents {
  const { append, retentionClass, clock, log, random } = options

  async function record(action: string, details: ControlBody['details']): Promise<void> {
    const now = clock.nowMicros()
    const body: ControlBody = {
      v: 1,
      kind: 'control.event',
      event_id: newEventId(Math.floor(now / 1000), random(eventIdRandomBytes)),
      timestamp: formatMicros(now),
      retention_class: retentionClass,
      action,
      details,
    }
    try {
      await append({ retentionClass, body: canonicalize(body) })
    } catch (error) {
      log.warn({ action, ...errorFields(error) }, 'control event not recorded')
    }
  }

  return {
    record,
    keysChanged(before, after) {
      const changes = keyChanges(before, after)
      for (const { action, keyId } of changes.slice(0, keyEventsMax)) {
        void record(action, { key_id: keyId })
      }
      if (changes.length > keyEventsMax) {
        void record('keys.changed', { changes: changes.length, keys_digest: keysDigest(after) })
      }
    },
  }
}

/** Digest over the ids of all keys and whether each is good. */
export function keysDigest(keys: readonly GatewayKey[]): string {
  const lines = keys.map(
    ({ id, revokedAt }) => `${id} ${revokedAt === null ? 'good' : 'revoked'}\n`,
  )
  return sha256Hex(lines.sort().join(''))
}

interface KeyChange {
  readonly action: 'key.created' | 'key.revoked' | 'key.removed'
  readonly keyId: string
}

function keyChanges(before: readonly GatewayKey[], after: readonly GatewayKey[]): KeyChange[] {
  const known = new Map(before.map((key) => [key.id, key]))
  const changes: KeyChange[] = []
  for (const { id, revokedAt } of after) {
    const old = known.get(id)
    known.delete(id)
    if (old === undefined) changes.push({ action: 'key.created', keyId: id })
    if (revokedAt !== null && (old?.revokedAt ?? null) === null) {
      changes.push({ action: 'key.revoked', keyId: id })
    }
  }
  for (const id of known.keys()) changes.push({ action: 'key.removed', keyId: id })
  return changes
}
