import { canonicalize } from '@affidavit/format'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nestingMax } from './limits.ts'
import {
  binaryText,
  canonicalText,
  decode,
  fromBinary,
  memberOf,
  NestingError,
  parseRaw,
  parseRawBytes,
  rawOf,
  stringAt,
  toBinary,
} from './raw-json.ts'
import { anyJson, respell } from './testing.ts'

function canonical(text: string): string | null {
  const node = parseRaw(toBinary(text))
  return node === null ? null : fromBinary(canonicalText(node))
}

function isCanonicalizable(value: unknown): boolean {
  try {
    canonicalize(value)
    return true
  } catch {
    return false
  }
}

describe('canonical text', () => {
  test('is RFC 8785 for every JSON value in every spelling', () => {
    fc.assert(
      fc.property(anyJson, fc.nat(), (value, seed) => {
        const text = respell(JSON.stringify(value), seed)
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
        fc.pre(isCanonicalizable(JSON.parse(text)))
        expect(canonical(text)).toBe(canonicalize(JSON.parse(text)))
      }),
      { numRuns: 2000 },
    )
  })

  test('is one for every spelling of one value, lone surrogates included', () => {
    fc.assert(
      fc.property(anyJson, fc.nat(), (value, seed) => {
        const text = JSON.stringify(value)
        expect(canonical(respell(text, seed))).toBe(canonical(text))
        expect(fromBinary(canonicalText(rawOf(value)))).toBe(canonical(text))
      }),
      { numRuns: 1000 },
    )
  })

  test('is a fixed point', () => {
    fc.assert(
      fc.property(anyJson, (value) => {
        const text = canonical(JSON.stringify(value)) ?? ''
        expect(canonical(text)).toBe(text)
      }),
    )
  })

  test.each([
    ['{"b":1,"a":2}', '{"a":2,"b":1}'],
    ['{"a":1,"b":2,"a":3}', '{"a":3,"b":2}'],
    ['{"b":1,"a":2,"b":3}', '{"a":2,"b":3}'],
    ['{"\\u0061":1,"a":2}', '{"a":2}'],
    ['{ "a" : [ 1 , 2 ] }', '{"a":[1,2]}'],
    ['[1.0,1e2,-0,-0.0,1E-7,0.10]', '[1,100,0,0,1e-7,0.1]'],
    ['[9007199254740993,123456789012345678]', '[9007199254740992,123456789012345680]'],
    ['[1e999,-1e999]', '[Infinity,-Infinity]'],
    ['"\\u00e9\\/\\u000a\\u001B\\u001b"', '"é/\\n\\u001b\\u001b"'],
    ['"\\ud83d\\ude00 \\ud83d"', '"😀 \\ud83d"'],
    ['"\\u007f"', '"\u007f"'],
    ['{"\u{1f600}":1,"\ufb33":2}', '{"\u{1f600}":1,"\ufb33":2}'],
    ['{"":{},"a":[]}', '{"":{},"a":[]}'],
    ['true', 'true'],
    ['null', 'null'],
  ])('of %s is %s', (text, expected) => {
    expect(canonical(text)).toBe(expected)
  })

  test('of an object with very many names out of order takes the last of each', () => {
    const names = Array.from({ length: 5000 }, (_, at) => `k${(at * 7919) % 2500}`)
    const text = `{${names.map((name, at) => `"${name}":${at}`).join(',')}}`
    expect(canonical(text)).toBe(canonicalize(JSON.parse(text)))
  })
})

describe('reading', () => {
  test('accepts exactly what JSON.parse accepts', () => {
    const pieces = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '\\',
      'a',
      '1',
      '-',
      '0',
      ' ',
      'true',
      'null',
      '.',
      'e',
      '\\u',
      '00',
      '\n',
      '\u0001',
      'é',
    )
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }), (parts) => {
        const text = parts.join('')
        let value: unknown
        try {
          value = JSON.parse(text)
        } catch {
          expect(parseRaw(toBinary(text))).toBeNull()
          return
        }
        const node = parseRaw(toBinary(text))
        expect(node === null ? undefined : decode(node)).toEqual(value)
      }),
      { numRuns: 3000 },
    )
  })

  test('finds members and decodes strings', () => {
    const node = parseRaw(toBinary('{"x":1,"n\\u0061me":"Zo\\u00eb ✓","x":"last"}')) ?? undefined
    expect(stringAt(memberOf(node, 'name'))).toBe('Zoë ✓')
    expect(stringAt(memberOf(node, 'x'))).toBe('last')
    expect(memberOf(node, 'none')).toBeUndefined()
    expect(node?.hasDuplicates).toBe(true)
    expect(stringAt(memberOf(rawOf({ a: 5 }), 'a'))).toBeNull()
  })

  test('sees bytes that are not UTF-8 as JSON.parse does', () => {
    const bytes = Buffer.concat([
      Buffer.from('{"a":"'),
      Buffer.from([0xc3, 0x28, 0xff]),
      Buffer.from('"}'),
    ])
    const node = parseRaw(binaryText(bytes))
    expect(node === null ? null : decode(node)).toEqual(JSON.parse(bytes.toString('utf8')))
  })

  test('refuses to nest deeper than the limit, counting from where the text stands', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
    expect(parseRaw(nested(nestingMax))).not.toBeNull()
    expect(() => parseRaw(nested(nestingMax + 1))).toThrow(NestingError)
    expect(() => parseRaw(nested(nestingMax), 1)).toThrow(NestingError)
    expect(() => parseRaw(nested(50_000))).toThrow(NestingError)
  })
})

describe('bytes', () => {
  const pieces = [
    '"',
    '\\',
    '\\u',
    '\\x',
    ',',
    ':',
    '{',
    '}',
    '[',
    ']',
    '0',
    '01',
    '-',
    '.',
    'e',
    ' ',
  ]
  const changes = fc.array(
    fc.record({
      at: fc.nat(400),
      removed: fc.nat(2),
      added: fc.constantFrom('', '\n', '\t', '\v', '\u0000', 'nul', 'true', 'é', ...pieces),
    }),
    { maxLength: 3 },
  )

  test('are read where JSON.parse accepts them, and as it does', () => {
    fc.assert(
      fc.property(anyJson, fc.nat(), changes, (value, seed, list) => {
        let text = respell(JSON.stringify(value), seed)
        for (const { at, removed, added } of list) {
          const from = at % (text.length + 1)
          text = text.slice(0, from) + added + text.slice(from + removed)
        }
        const bytes = Buffer.from(text)
        expect(parseRawBytes(bytes)).toEqual(parseRaw(binaryText(bytes)))
      }),
      { numRuns: 4000 },
    )
  })

  test.each([
    '',
    ' ',
    '{',
    '[1,]',
    '[,1]',
    '{"a":1,}',
    '{"a"}',
    '{"a" 1}',
    '{a:1}',
    '[1 2]',
    '1 2',
    '01',
    '-01',
    '-',
    '1.',
    '.5',
    '1e',
    '+1',
    '--1',
    '00',
    'nul',
    'nulll',
    'True',
    '"a',
    '"\\"',
    '"\\a"',
    '"\\u12"',
    '"\\u12g4"',
    '"\\u"',
    '"a\nb"',
    '\u00a01',
    '[]]',
    '"a"b',
  ])('of %j are no JSON', (text) => {
    expect(() => JSON.parse(text)).toThrow(SyntaxError)
    expect(parseRawBytes(Buffer.from(text))).toBeNull()
  })

  test.each([0, 1, 2, 3, 5])('are read at offset %i of their memory', (offset) => {
    const memory = Buffer.concat([Buffer.alloc(offset, 'x'), Buffer.from('{"b":"ab","a":[1]}')])
    const node = parseRawBytes(memory.subarray(offset))
    expect(node === null ? null : canonicalText(node)).toBe('{"a":[1],"b":"ab"}')
  })

  test.each([1, 2, 3, 4, 5, 6, 7, 8])('with a control character after %i are no JSON', (at) => {
    expect(parseRawBytes(Buffer.from(`"${'x'.repeat(at)}\u001f${'x'.repeat(8 - at)}"`))).toBeNull()
  })

  test('that nest too deep are told from those that are no JSON', () => {
    const deep = '['.repeat(nestingMax + 1)
    expect(parseRawBytes(Buffer.from(deep))).toBeNull()
    const whole = Buffer.from(deep + ']'.repeat(nestingMax + 1))
    expect(() => parseRawBytes(whole)).toThrow(NestingError)
  })

  test('of an object of many members give it sorted', () => {
    const names = Array.from({ length: 100 }, (_, at) => `k${(at * 37) % 100}`)
    const text = `{${names.map((name) => `"${name}":1`).join(',')}}`
    const node = parseRawBytes(Buffer.from(text))
    const expected = canonicalize(JSON.parse(text))
    expect(node === null ? null : canonicalText(node)).toBe(expected)
  })
})
