/**
 * Entries: one text for one entry, stamped without being parsed again.
 *
 * @module
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toHex, utf8Decode, utf8Encode } from './bytes.ts'
import { canonicalize } from './canonical.ts'
import {
  encodeBody,
  encodeEntry,
  eventIdMillis,
  newEventId,
  parseEntry,
  stampEntry,
  writerIdOf,
} from './entry.ts'
import { isAuditError } from './errors.ts'
import { entryBytesMax, type HeartbeatBody, type WriterStamp } from './record.ts'

const malformed = expect.objectContaining({ code: 'ERR_ENTRY_MALFORMED' })

const body: HeartbeatBody = {
  v: 1,
  kind: 'ledger.heartbeat',
  event_id: '0199b5c2-7a10-7cde-8123-456789abcdef',
  timestamp: '2026-11-23T14:00:00.123456Z',
  retention_class: 'standard',
}
const writer: WriterStamp = {
  epoch: 3,
  id: '0123456789abcdef',
  log: 'standard/2026q4',
  prev: 'ab'.repeat(32),
  seq: 42,
}

describe('encoding', () => {
  it('writes names in order, the writer last', () => {
    expect(utf8Decode(encodeEntry(body, writer))).toBe(
      '{"event_id":"0199b5c2-7a10-7cde-8123-456789abcdef","kind":"ledger.heartbeat",' +
        '"retention_class":"standard","timestamp":"2026-11-23T14:00:00.123456Z","v":1,' +
        `"writer":{"epoch":3,"id":"0123456789abcdef","log":"standard/2026q4","prev":"${'ab'.repeat(32)}","seq":42}}`,
    )
  })

  it('refuses a name that would sort after the writer', () => {
    const late = { ...body, zone: 'x' }
    const stamped = { ...body, writer }
    expect(() => encodeBody(late)).toThrow(malformed)
    expect(() => encodeBody(stamped)).toThrow(malformed)
  })

  it('refuses a fraction', () => {
    const fraction = { ...body, latency_ms: 1.5 }
    expect(() => encodeBody(fraction)).toThrow(
      expect.objectContaining({ code: 'ERR_CANONICAL_UNSUPPORTED' }),
    )
  })

  it('refuses what is larger than a bundle can hold, and takes the largest', () => {
    const room = entryBytesMax - encodeEntry({ ...body, retention_class: '' }, writer).length
    const largest = { ...body, retention_class: 'c'.repeat(room) }
    expect(encodeEntry(largest, writer)).toHaveLength(entryBytesMax)
    const tooLarge = { ...body, retention_class: 'c'.repeat(room + 1) }
    expect(() => encodeEntry(tooLarge, writer)).toThrow(
      expect.objectContaining({ code: 'ERR_ENTRY_TOO_LARGE' }),
    )
  })
})

describe('stamping', () => {
  const names = fc.string({ unit: 'grapheme' }).filter((name) => name < 'writer')
  const bodies = fc.dictionary(names, fc.jsonValue({ maxDepth: 3, stringUnit: 'grapheme' }), {
    minKeys: 1,
  })
  const writers = fc.record({
    epoch: fc.nat(),
    id: fc.string({ unit: 'grapheme' }),
    log: fc.string({ unit: 'grapheme' }),
    prev: fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toHex),
    seq: fc.maxSafeNat(),
  })

  it('is what canonicalising the whole entry gives', () => {
    fc.assert(
      fc.property(bodies, writers, (some, stamp) => {
        expect(stampEntry(canonicalize(some), stamp)).toBe(canonicalize({ ...some, writer: stamp }))
      }),
    )
  })

  it('stops when the body is no object or the numbers no integers', () => {
    expect(() => stampEntry('[]', writer)).toThrow('assertion failed')
    expect(() => stampEntry('{}', writer)).toThrow('assertion failed')
    expect(() => stampEntry('{"a":1}', { ...writer, seq: 0.5 })).toThrow('assertion failed')
  })
})

/** What is read, or the code of the refusal. */
function readOrCode(bytes: Uint8Array): unknown {
  try {
    return parseEntry(bytes)
  } catch (error) {
    return isAuditError(error) ? error.code : 'another error'
  }
}

describe('reading', () => {
  const parse = (text: string) => parseEntry(utf8Encode(text))
  const text = utf8Decode(encodeEntry(body, writer))

  it('gives back what was encoded', () => {
    expect(parse(text)).toEqual({ ...body, writer })
  })

  it('keeps fields and kinds that it does not know', () => {
    const newer = { ...body, kind: 'future.thing', a_new_field: { deep: [1, 'two', null] }, writer }
    expect(parse(canonicalize(newer))).toEqual(newer)
  })

  it('any entry is encoded to its own bytes again', () => {
    fc.assert(
      fc.property(fc.nat(), fc.string({ unit: 'grapheme' }), (seq, retention) => {
        const bytes = encodeEntry({ ...body, retention_class: retention }, { ...writer, seq })
        const { writer: stamp, ...rest } = parseEntry(bytes)
        expect(encodeEntry(rest, stamp)).toEqual(bytes)
      }),
    )
  })

  const withField = (changes: Record<string, unknown>) =>
    canonicalize({ ...body, writer, ...changes })
  const withWriter = (changes: Record<string, unknown>) =>
    withField({ writer: { ...writer, ...changes } })

  it.each([
    ['nothing', ''],
    ['no JSON', 'x'],
    ['an array', '[]'],
    ['null', 'null'],
    ['a space before', ` ${text}`],
    ['a newline after', `${text}\n`],
    ['a space inside', text.replace(':', ': ')],
    [
      'names out of order',
      text.replace(/^\{("event_id":"[^"]*"),/, '{').replace(/\}$/, ',"event_id":"x"}'),
    ],
    ['a name twice', text.replace('"v":1', '"v":1,"v":1')],
    ['a needless escape', text.replace('ledger.heartbeat', 'ledger\\u002eheartbeat')],
    ['a number in another form', text.replace('"seq":42', '"seq":4.2e1')],
    ['minus zero', text.replace('"seq":42', '"seq":-0')],
    ['a fraction', withField({ latency_ms: 0.5 })],
    ['an integer beyond 2^53', withField({ latency_ms: 2 ** 53 })],
    ['a byte-order mark', `\ufeff${text}`],
    ['no version', withField({ v: null })],
    ['another version', withField({ v: 2 })],
    ['a version that is a text', withField({ v: '1' })],
    ['no kind', withField({ kind: null })],
    ['a kind that is no kind', withField({ kind: 'Heartbeat' })],
    ['an id that is no UUID', withField({ event_id: 'x' })],
    [
      'an id of another UUID version',
      withField({ event_id: '0199b5c2-7a10-4cde-8123-456789abcdef' }),
    ],
    ['an id in capitals', withField({ event_id: body.event_id.toUpperCase() })],
    ['a timestamp without microseconds', withField({ timestamp: '2026-11-23T14:00:00Z' })],
    ['a timestamp of another zone', withField({ timestamp: '2026-11-23T14:00:00.123456+01:00' })],
    ['no writer', withField({ writer: null })],
    ['a writer that is an array', withField({ writer: [] })],
    ['a negative epoch', withWriter({ epoch: -1 })],
    ['a sequence number that is a text', withWriter({ seq: '0' })],
    ['a writer id of another length', withWriter({ id: 'abc' })],
    ['a previous hash of another length', withWriter({ prev: 'ab' })],
    ['a log without a quarter', withWriter({ log: 'standard' })],
    ['a log of a fifth quarter', withWriter({ log: 'standard/2026q5' })],
  ])('refuses %s', (_, entry) => {
    expect(() => parse(entry)).toThrow(malformed)
  })

  it('refuses bytes that are not UTF-8, or too many', () => {
    expect(() => parseEntry(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(malformed)
    expect(() => parseEntry(new Uint8Array(entryBytesMax + 1).fill(0x20))).toThrow(malformed)
  })

  it('quotes nothing of the entry in its errors', () => {
    const secret = 'sk-secret'
    const attempts = [`{"a":${secret}}`, `{"a":"${secret}","a":1}`, withField({ kind: secret })]
    for (const attempt of attempts) {
      let shown = ''
      try {
        parse(attempt)
      } catch (error) {
        for (let at: unknown = error; at instanceof Error; at = at.cause) shown += at.message
      }
      expect(shown).not.toBe('')
      expect(shown).not.toContain(secret)
    }
  })

  it('reads no changed byte as the same entry', () => {
    const bytes = encodeEntry(body, writer)
    for (let at = 0; at < bytes.length; at++) {
      const changed = new Uint8Array(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      const read = readOrCode(changed)
      expect(read).not.toBe('another error')
      expect(read).not.toEqual({ ...body, writer })
    }
  })
})

describe('event ids', () => {
  const random = fc.uint8Array({ minLength: 10, maxLength: 10 })
  const millis = fc.nat().map((low) => 1_700_000_000_000 + low)

  it('are UUIDv7 that hold their time', () => {
    fc.assert(
      fc.property(millis, random, (nowMs, bytes) => {
        const id = newEventId(nowMs, bytes)
        expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        expect(eventIdMillis(id)).toBe(nowMs)
      }),
    )
  })

  it('of a later millisecond sort later', () => {
    fc.assert(
      fc.property(millis, random, random, (nowMs, first, second) => {
        expect(newEventId(nowMs, first) < newEventId(nowMs + 1, second)).toBe(true)
      }),
    )
  })

  it('keep 74 random bits', () => {
    const ones = new Uint8Array(10).fill(0xff)
    const zeros = new Uint8Array(10)
    expect(newEventId(0, ones)).toBe('00000000-0000-7fff-bfff-ffffffffffff')
    expect(newEventId(0, zeros)).toBe('00000000-0000-7000-8000-000000000000')
    expect([...ones]).toEqual([...new Uint8Array(10).fill(0xff)])
  })

  // RFC 9562 appendix A.6.
  it('the id of the RFC has its time', () => {
    expect(eventIdMillis('017f22e2-79b0-7cc3-98c4-dc0c0c07398f')).toBe(0x17f22e279b0)
  })

  it.each(['', 'x', '017F22E2-79B0-7CC3-98C4-DC0C0C07398F', '017f22e279b07cc398c4dc0c0c07398f'])(
    'refuses %j',
    (id) => {
      expect(() => eventIdMillis(id)).toThrow(malformed)
    },
  )

  it('stop at a time that has no 48 bits, or too few random bytes', () => {
    expect(() => newEventId(2 ** 48, new Uint8Array(10))).toThrow('48 bits')
    expect(() => newEventId(-1, new Uint8Array(10))).toThrow('48 bits')
    expect(() => newEventId(0, new Uint8Array(9))).toThrow('ten random bytes')
  })
})

describe('writer ids', () => {
  it('are the first eight bytes of the digest of the key', () => {
    expect(writerIdOf(new Uint8Array(32))).toBe('66687aadf862bd77')
  })
})
