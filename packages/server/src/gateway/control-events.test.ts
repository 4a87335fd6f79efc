import { systemClock } from '@affidavit/sdk/capture'
import { expect, test } from 'vitest'
import { silentLog } from '../base/log.ts'
import type { GatewayKey } from '../control/keys.ts'
import { createControlEvents, keyEventsMax, keysDigest } from './control-events.ts'
import { FakeLog } from './testing.ts'

const key = (id: string, revokedAt: string | null = null): GatewayKey => ({
  id,
  user: 'jane@acme.example',
  application: null,
  createdAt: '2026-11-23T00:00:00.000000Z',
  revokedAt,
})

function bench() {
  const ledger = new FakeLog()
  const warnings: unknown[] = []
  const events = createControlEvents({
    append: (entry) => ledger.append(entry),
    retentionClass: 'standard',
    clock: systemClock,
    log: { ...silentLog, warn: (fields) => warnings.push(fields) },
    random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
  })
  return { ledger, warnings, events }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
}

test('what happened to keys is told by their ids, never by whom they name', async () => {
  const { ledger, events } = bench()
  events.keysChanged(
    [key('aaaa'), key('bbbb'), key('cccc', 'x')],
    [key('aaaa', 'now'), key('cccc', 'x'), key('dddd'), key('eeee', 'now')],
  )
  await settle()
  expect(ledger.entries.map(({ action, details }) => [action, details])).toEqual([
    ['key.revoked', { key_id: 'aaaa' }],
    ['key.created', { key_id: 'dddd' }],
    ['key.created', { key_id: 'eeee' }],
    ['key.revoked', { key_id: 'eeee' }],
    ['key.removed', { key_id: 'bbbb' }],
  ])
  expect(JSON.stringify(ledger.entries)).not.toContain('jane')
})

test('many changes at once are bounded, and their number is told', async () => {
  const { ledger, events } = bench()
  const many = Array.from({ length: keyEventsMax + 50 }, (_, at) => key(`k${at}`))
  events.keysChanged([], many)
  await settle()
  expect(ledger.entries).toHaveLength(keyEventsMax + 1)
  expect(ledger.entries.at(-1)).toMatchObject({
    action: 'keys.changed',
    details: { changes: keyEventsMax + 50, keys_digest: keysDigest(many) },
  })
})

test('an event that cannot be written is logged, and stops nothing', async () => {
  const { ledger, warnings, events } = bench()
  ledger.failingKinds.set('control.event', 'ERR_LEDGER_BUSY')
  await events.record('gateway.started', {})
  expect(warnings).toMatchObject([{ action: 'gateway.started', code: 'ERR_LEDGER_BUSY' }])
})

test('the digest of keys follows ids and revocation, not order', () => {
  const digest = keysDigest([key('a'), key('b')])
  expect(keysDigest([key('b'), key('a')])).toBe(digest)
  expect(keysDigest([key('a'), key('b', 'now')])).not.toBe(digest)
})
