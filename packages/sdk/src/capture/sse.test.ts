import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EventParser } from './sse.ts'
import { cut, trickyText } from './testing.ts'

type Seen = readonly [event: string, data: string | null]

function parse(chunks: readonly Uint8Array[], bytesMax = 1_000_000): Seen[] {
  const seen: Seen[] = []
  const parser = new EventParser(bytesMax, (event, data) => seen.push([event, data]))
  for (const chunk of chunks) parser.push(chunk)
  return seen
}

/** WHATWG HTML §9.2.6 on the whole text at once. */
function specified(text: string): Seen[] {
  const seen: Seen[] = []
  const withoutMark = text.startsWith('\ufeff') ? text.slice(1) : text
  const lines = withoutMark.split(/\r\n|\r|\n/)
  lines.pop()
  let event = ''
  let data: string[] = []
  for (const line of lines) {
    if (line === '') {
      if (data.length > 0) seen.push([event, data.join('\n')])
      event = ''
      data = []
      continue
    }
    const [, name = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (name === 'data') data.push(value)
    if (name === 'event') event = value
  }
  return seen
}

const newline = fc.constantFrom('\n', '\n', '\n', '\r\n', '\r')
const line = fc.oneof(
  trickyText.map((text) => `data: ${text.replaceAll(/[\r\n]/g, '')}`),
  trickyText.map((text) => text.replaceAll(/[\r\n]/g, '')),
  fc.constantFrom(
    'event: message_stop',
    'event:ping',
    'data',
    'data:',
    'data:  two',
    'event',
    ': note',
    'id: 1',
    'retry: 5',
    'database: x',
    'events: x',
    'dat',
    'even',
    '',
    '',
    '',
  ),
)
const stream = fc
  .tuple(fc.constantFrom('', '', '\ufeff'), fc.array(fc.tuple(line, newline), { maxLength: 24 }))
  .map(([mark, lines]) => mark + lines.map((pair) => pair.join('')).join(''))

describe('the event parser', () => {
  test('sees what the specification says, in any chunking', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat({ max: 2000 }), { maxLength: 12 }), (text, cuts) => {
        const bytes = Buffer.from(text)
        expect(parse(cut(bytes, cuts))).toEqual(specified(bytes.toString('utf8')))
      }),
      { numRuns: 3000 },
    )
  })

  test('sees the same byte by byte', () => {
    fc.assert(
      fc.property(stream, (text) => {
        const bytes = Buffer.from(text)
        const single = Array.from(bytes, (_, at) => bytes.subarray(at, at + 1))
        expect(parse(single)).toEqual(parse([bytes]))
      }),
    )
  })

  test('never shows halves of a character, wherever it is cut', () => {
    const bytes = Buffer.from('event: a\ndata: {"text":"Zoë 漢字 😀 ✓"}\n\nevent: b\ndata: é\n\n')
    for (let at = 0; at <= bytes.length; at++) {
      expect(parse([bytes.subarray(0, at), bytes.subarray(at)])).toEqual([
        ['a', '{"text":"Zoë 漢字 😀 ✓"}'],
        ['b', 'é'],
      ])
    }
  })

  test('takes any bytes without failing, the same in any chunking', () => {
    const bytes = fc.array(fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(10, 13, 58, 32, 100)), {
      maxLength: 200,
    })
    fc.assert(
      fc.property(bytes, fc.array(fc.nat({ max: 250 })), (values, cuts) => {
        const whole = Uint8Array.from(values)
        expect(parse(cut(whole, cuts), 40)).toEqual(parse([whole], 40))
      }),
      { numRuns: 2000 },
    )
  })

  test('drops an event beyond the limit and goes on with the next', () => {
    const text = `data: ${'x'.repeat(50)}\n\ndata: ok\n\ndata: ${'a'.repeat(15)}\ndata: ${'b'.repeat(15)}\n\ndata: ok\n\n`
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 150 })), (cuts) => {
        expect(parse(cut(Buffer.from(text), cuts), 28)).toEqual([
          ['', null],
          ['', 'ok'],
          ['', null],
          ['', 'ok'],
        ])
      }),
    )
  })

  test('does not dispatch an event that has no blank line', () => {
    expect(parse([Buffer.from('data: a\n\ndata: b\n')])).toEqual([['', 'a']])
  })

  test('tells where in the chunk each frame began', () => {
    const starts = (...chunks: string[]) => {
      const seen: number[][] = []
      let current: number[] = []
      const parser = new EventParser(1000, (_, __, frameStart) => current.push(frameStart))
      for (const chunk of chunks) {
        current = []
        parser.push(Buffer.from(chunk))
        seen.push(current)
      }
      return seen
    }
    const first = 'data: é\n\n'
    expect(starts('data: 0\n\n', `${first}: note\ndata: b\n\n`)).toEqual([
      [0],
      [0, Buffer.byteLength(first)],
    ])
    expect(starts('data: a\n\nda', 'ta: b\n', '\ndata: c\n\n')).toEqual([[0], [], [0, 1]])
    expect(starts('data: a\r\n\r\ndata: b\r', '\n\r', '\ndata: c\r\r')).toEqual([[0], [0], [1]])
  })

  test('does not keep the chunk it was given', () => {
    const seen: Seen[] = []
    const parser = new EventParser(1000, (event, data) => seen.push([event, data]))
    const chunk = Buffer.from('data: kept')
    parser.push(chunk)
    chunk.fill(0x21)
    parser.push(Buffer.from('\n\n'))
    expect(seen).toEqual([['', 'kept']])
  })
})
