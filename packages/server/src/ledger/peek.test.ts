import { canonicalize, stampEntry, utf8Encode } from '@affidavit/format'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { peekEntry, phaseOf, readStamp, transitionOf } from './peek.ts'

const stamp = {
  epoch: 12,
  id: '0123456789abcdef',
  log: 'standard/2026q4',
  prev: 'ab'.repeat(32),
  seq: 345,
}

const entryOf = (body: unknown) => utf8Encode(stampEntry(canonicalize(body), stamp))

describe('the stamp of an entry', () => {
  test('is read back whatever the body is', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.maxSafeNat(),
        fc.maxSafeNat(),
        (text, epoch, seq) => {
          const body = `{"":${JSON.stringify(`${text},"writer":{"epoch":1,`)}}`
          const written = { ...stamp, epoch, seq }
          expect(readStamp(utf8Encode(stampEntry(body, written)))).toEqual(written)
        },
      ),
    )
  })

  test('is not taken from anything else', () => {
    const entry = Buffer.from(entryOf({ a: 1 })).toString()
    for (const text of [
      '',
      '{}',
      entry.slice(0, -1),
      `${entry}}`,
      entry.replace('"seq"', '"sep"'),
      entry.replace('q4', 'q5'),
    ]) {
      expect(readStamp(utf8Encode(text))).toBeUndefined()
    }
  })
})

describe('a look at an entry', () => {
  const start = {
    kind: 'interaction.started',
    event_id: 'e',
    timestamp: '2026-11-23T14:00:00.000001Z',
  }

  test('says what it is about, and when it was sequenced', () => {
    const peek = peekEntry(entryOf(start))
    expect(peek).toMatchObject({ kind: 'interaction.started', eventId: 'e', isIngested: false })
    expect(peek.loggedMs).toBe(Date.parse('2026-11-23T14:00:00Z'))
    const ended = {
      ...start,
      kind: 'interaction.completed',
      logged_at: '2026-11-23T15:00:00.000000Z',
    }
    expect(peekEntry(entryOf(ended)).loggedMs).toBe(Date.parse('2026-11-23T15:00:00Z'))
    expect(phaseOf(peekEntry(entryOf(ended)))).toBe('end')
  })

  test.each(['', 'null', '7', '[]', '{', '{"kind":7,"event_id":null}'])('survives %j', (text) => {
    const peek = peekEntry(utf8Encode(text))
    expect(peek).toMatchObject({ kind: undefined, eventId: undefined })
    expect(phaseOf(peek)).toBe('other')
    expect(transitionOf(utf8Encode(text))).toEqual({ opens: undefined, closes: undefined })
  })

  test.each([
    ['interaction.started', 'e', undefined],
    ['interaction.completed', undefined, 'e'],
    ['interaction.interrupted', undefined, 'e'],
    ['interaction.unheard_of', undefined, undefined],
    ['control.event', undefined, undefined],
  ])('tells what %s opens and closes, unless it came from elsewhere', (kind, opens, closes) => {
    expect(transitionOf(entryOf({ ...start, kind }))).toEqual({ opens, closes })
    const ingested = entryOf({ ...start, kind, ingest: { seq: 1 } })
    expect(transitionOf(ingested)).toEqual({ opens: undefined, closes: undefined })
  })
})
