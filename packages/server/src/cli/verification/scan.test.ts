import {
  type EntryBody,
  type WriterStamp,
  canonicalize,
  encodeEntry,
  newEventId,
  parseEntry,
  toHex,
  utf8Decode,
  utf8Encode,
} from '@affidavit/format'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createFactsBatch, entryRoles, keyAt } from './facts.ts'
import { createEntryScanner } from './scan.ts'

const writer: WriterStamp = {
  epoch: 3,
  id: '0123456789abcdef',
  log: 'standard/2026q4',
  prev: 'ab'.repeat(32),
  seq: 41,
}
const eventId = newEventId(1_795_000_000_000, new Uint8Array(10).fill(0xff))
const timestamp = '2026-11-23T14:00:00.123456Z'

function heartbeat(extra: Record<string, unknown> = {}): Uint8Array {
  const body = { ...extra, v: 1, kind: 'ledger.heartbeat', event_id: eventId, timestamp }
  return utf8Encode(canonicalize({ ...body, retention_class: 'standard', writer }))
}

/** What `parseEntry` makes of the same bytes: the two must agree. */
function parses(bytes: Uint8Array): boolean {
  try {
    parseEntry(bytes)
    return true
  } catch {
    return false
  }
}

/** Everything that a scan says about an entry that lies between other bytes. */
function scan(entry: Uint8Array) {
  const scanner = createEntryScanner()
  const facts = createFactsBatch(2)
  const bytes = new Uint8Array([0x7b, 0x22, ...entry, 0x7d, 0x2c, 0x22])
  const fault = scanner.scan(bytes, 2, 2 + entry.length, facts, 1)
  return {
    fault,
    scanner,
    role: facts.roles[1],
    key: keyAt(facts, 1),
    eventId: toHex(facts.eventIds.subarray(16)),
    prev: toHex(facts.prevs.subarray(32)),
  }
}

test.each([
  ['without parsing', heartbeat()],
  ['the slow way when there is text beyond ASCII', heartbeat({ model: 'клод 🙂', 'é\n': 1 })],
])('the place in the chain is read %s', (_, entry) => {
  const { scanner, ...read } = scan(entry)
  expect(read).toEqual({
    fault: undefined,
    role: entryRoles.other,
    key: { epoch: 3, seq: 41 },
    eventId: eventId.replaceAll('-', ''),
    prev: writer.prev,
  })
  expect([scanner.isInLog(writer.log), scanner.isInLog('standard/2026q3')]).toEqual([true, false])
  expect([scanner.isByWriter(writer.id), scanner.isByWriter('f'.repeat(16))]).toEqual([true, false])
  expect([scanner.log(), scanner.isInLog('standard/2026q44')]).toEqual([writer.log, false])
})

test.each([
  ['interaction.started', entryRoles.start],
  ['interaction.completed', entryRoles.end],
  ['interaction.interrupted', entryRoles.end],
  ['ledger.opened', entryRoles.opened],
  ['control.event', entryRoles.other],
])('%s has its role in the pairing', (kind, role) => {
  const body = { v: 1, kind, event_id: eventId, timestamp, retention_class: 'standard' }
  expect(scan(encodeEntry(body as EntryBody, writer))).toMatchObject({ fault: undefined, role })
})

test.each([
  ['ASCII', 'x'],
  ['other', 'é'],
])('what an application delivered is known by its ingest stamp, in %s text', (_kind, client) => {
  const fields = { v: 1, event_id: eventId, timestamp, client, ingest: { seq: 1 } }
  const role = (kind: string) => {
    const body: unknown = { ...fields, kind }
    return scan(encodeEntry(body as EntryBody, writer)).role
  }
  expect(role('interaction.started')).toBe(entryRoles.ingestedStart)
  expect(role('interaction.completed')).toBe(entryRoles.end)
  expect(role('capture.gap')).toBe(entryRoles.other)
})

test('members of nested objects are not taken for the entry’s own', () => {
  const details = { event_id: 'x', kind: 'interaction.started', writer: { epoch: 9, seq: 9 } }
  const entry = heartbeat({ details, a: [details, [[]], {}] })
  expect(scan(entry)).toMatchObject({ role: entryRoles.other, key: { epoch: 3, seq: 41 } })
})

const oddities: readonly (readonly [string, (text: string) => string])[] = [
  ['a space', (text) => text.replace(',', ', ')],
  ['a line end at the end', (text) => `${text}\n`],
  ['names out of order', (text) => text.replace('{', '{"zz":1,')],
  ['a name twice', (text) => text.replace('"kind":', '"event_id":1,"kind":')],
  ['an escape that is not needed', (text) => text.replace('standard"', 'st\\u0061ndard"')],
  ['an escaped slash', (text) => text.replace('"standard/', '"standard\\/')],
  ['an escape in capitals', (text) => text.replace('"standard"', '"\\u001F"')],
  ['a long escape with a short form', (text) => text.replace('"standard"', '"\\u000a"')],
  ['a raw control character', (text) => text.replace('"standard"', '"\u0001"')],
  ['a leading zero', (text) => text.replace('"seq":41', '"seq":041')],
  ['a fraction', (text) => text.replace('"seq":41', '"seq":41.0')],
  ['an exponent', (text) => text.replace('"seq":41', '"seq":4e1')],
  ['a negative zero', (text) => text.replace('"v":1', '"v":-0')],
  ['a number beyond 2^53', (text) => text.replace('"seq":41', '"seq":9007199254740993')],
  ['a negative sequence number', (text) => text.replace('"seq":41', '"seq":-41')],
  ['no event id', (text) => text.replace('"event_id"', '"event_ix"')],
  ['a UUID of version 4', (text) => text.replace(/-7/, '-4')],
  ['a UUID in capitals', (text) => text.replace(eventId, eventId.toUpperCase())],
  ['another version of the schema', (text) => text.replace('"v":1', '"v":2')],
  ['a kind of one word', (text) => text.replace('ledger.heartbeat', 'ledger')],
  ['a time without microseconds', (text) => text.replace('.123456Z', 'Z')],
  ['no writer', (text) => text.replace('"writer"', '"zriter"')],
  ['a writer without a place', (text) => text.replace('"seq":41', '"sex":41')],
  ['a log with a space', (text) => text.replace('"standard/', '"stan dard/')],
  ['a fifth quarter', (text) => text.replace('2026q4', '2026q5')],
  ['a byte order mark', (text) => `\ufeff${text}`],
  ['two values', (text) => `${text}${text}`],
  ['an array', (text) => `[${text}]`],
  ['nothing', () => ''],
]

test.each(oddities)('an entry with %s is malformed, as the parser says', (_, change) => {
  const changed = change(utf8Decode(heartbeat()))
  const bytes = utf8Encode(changed)
  expect(parses(bytes)).toBe(false)
  expect(scan(bytes).fault).toMatch(/malformed/)
})

test('the scan and the parser agree on any entry', () => {
  const json = fc.jsonValue({ maxDepth: 3 })
  const fields = fc.dictionary(fc.string({ maxLength: 6 }), json, { maxKeys: 6 })
  fc.assert(
    fc.property(fields, (extra) => {
      const bytes = heartbeat(extra)
      expect(scan(bytes).fault === undefined).toBe(parses(bytes))
    }),
    { numRuns: 300 },
  )
})

test('the scan and the parser agree on an entry with a byte changed, added or removed', () => {
  const whole = heartbeat({ a: ['x\ny', -12, { b: null, c: true }], model: 'claude', zz: 'z' })
  const byte = fc.integer({ min: 0, max: 255 })
  const at = fc.integer({ min: 0, max: whole.length - 1 })
  fc.assert(
    fc.property(at, byte, fc.constantFrom(0, 1, 2), (index, value, removed) => {
      const bytes = new Uint8Array([
        ...whole.subarray(0, index),
        ...(removed === 2 ? [] : [value]),
        ...whole.subarray(removed === 0 ? index : index + 1),
      ])
      expect(scan(bytes).fault === undefined).toBe(parses(bytes))
    }),
    { numRuns: 2000 },
  )
})
