/**
 * RFC 8785: the cases of the RFC itself, and properties of the whole.
 *
 * @module
 */
import * as fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { utf8Encode, toHex } from './bytes.ts'
import { canonicalDepthMax, canonicalize, canonicalizeIntegers } from './canonical.ts'

const unsupported = expect.objectContaining({ code: 'ERR_CANONICAL_UNSUPPORTED' })

/** The double with these bits. */
function doubleOf(hex: string): number {
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, BigInt(`0x${hex}`))
  return view.getFloat64(0)
}

describe('RFC 8785', () => {
  // Section 3.2.2: the sample object, and 3.2.4: its bytes.
  it('section 3.2.2 sample is written as in 3.2.3', () => {
    const input = `{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\"\\/",
      "literals": [null, true, false]
    }`
    const text = canonicalize(JSON.parse(input))
    expect(text).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    )
    expect(toHex(utf8Encode(text))).toBe(
      '7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e756d62657273223a' +
        '5b3333333333333333332e333333333333332c31652b33302c342e352c302e3030322c31652d32375d2c2273' +
        '7472696e67223a22e282ac245c75303030665c6e4127425c225c5c5c5c5c222f227d',
    )
  })

  // Section 3.2.3: sorting by UTF-16 code units, where U+1F600 sorts before U+FB33.
  it('section 3.2.3 names are sorted by UTF-16 code units', () => {
    const input = {
      '\u20ac': 'Euro Sign',
      '\r': 'Carriage Return',
      '\ufb33': 'Hebrew Letter Dalet With Dagesh',
      '1': 'One',
      '\ud83d\ude00': 'Emoji: Grinning Face',
      '\u0080': 'Control',
      '\u00f6': 'Latin Small Letter O With Diaeresis',
    }
    expect(Object.values(JSON.parse(canonicalize(input)))).toHaveLength(7)
    const values = [...canonicalize(input).matchAll(/:"((?:[^"\\]|\\.)*)"/g)].map(
      ([, text]) => text,
    )
    expect(values).toEqual([
      'Carriage Return',
      'One',
      'Control',
      'Latin Small Letter O With Diaeresis',
      'Euro Sign',
      'Emoji: Grinning Face',
      'Hebrew Letter Dalet With Dagesh',
    ])
  })

  // Appendix B.
  it.each([
    ['0000000000000000', '0'],
    ['8000000000000000', '0'],
    ['0000000000000001', '5e-324'],
    ['8000000000000001', '-5e-324'],
    ['7fefffffffffffff', '1.7976931348623157e+308'],
    ['ffefffffffffffff', '-1.7976931348623157e+308'],
    ['4340000000000000', '9007199254740992'],
    ['c340000000000000', '-9007199254740992'],
    ['4430000000000000', '295147905179352830000'],
    ['44b52d02c7e14af5', '9.999999999999997e+22'],
    ['44b52d02c7e14af6', '1e+23'],
    ['44b52d02c7e14af7', '1.0000000000000001e+23'],
    ['444b1ae4d6e2ef4e', '999999999999999700000'],
    ['444b1ae4d6e2ef4f', '999999999999999900000'],
    ['444b1ae4d6e2ef50', '1e+21'],
    ['3eb0c6f7a0b5ed8c', '9.999999999999997e-7'],
    ['3eb0c6f7a0b5ed8d', '0.000001'],
    ['41b3de4355555553', '333333333.3333332'],
    ['41b3de4355555554', '333333333.33333325'],
    ['41b3de4355555555', '333333333.3333333'],
    ['41b3de4355555556', '333333333.3333334'],
    ['41b3de4355555557', '333333333.33333343'],
    ['becbf647612f3696', '-0.0000033333333333333333'],
    ['43143ff3c1cb0959', '1424953923781206.2'],
  ])('appendix B: the double %s is %s', (bits, text) => {
    expect(canonicalize(doubleOf(bits))).toBe(text)
  })

  it.each([
    ['NaN', '7fffffffffffffff'],
    ['infinity', '7ff0000000000000'],
    ['minus infinity', 'fff0000000000000'],
  ])('appendix B: %s is an error', (_, bits) => {
    expect(() => canonicalize(doubleOf(bits))).toThrow(unsupported)
  })

  // Section 3.2.2.2.
  it('control characters have their short escapes, or four lower-case digits', () => {
    const controls = String.fromCharCode(...Array.from({ length: 32 }, (_, code) => code))
    expect(canonicalize(controls)).toBe(
      '"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f' +
        '\\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c' +
        '\\u001d\\u001e\\u001f"',
    )
  })

  it('nothing else is escaped', () => {
    const text = '\u007f\u0080\u2028\u2029/<>&\ufeff\uffff\u{1f600}'
    expect(canonicalize(text)).toBe(`"${text}"`)
  })
})

describe('what JSON cannot hold is refused', () => {
  it.each([
    ['undefined', undefined],
    ['a bigint', 1n],
    ['a function', () => 1],
    ['a symbol', Symbol('s')],
    ['a date', new Date(0)],
    ['a map', new Map()],
    ['bytes', new Uint8Array(1)],
    ['an object that inherits', Object.create({ inherited: 1 })],
    ['a boxed string', Object('text')],
    ['a lone high surrogate', '\ud800'],
    ['a lone low surrogate', 'text\udc00text'],
    ['surrogates in the wrong order', '\udc00\ud800'],
  ])('%s', (_, value) => {
    expect(() => canonicalize(value)).toThrow(unsupported)
    expect(() => canonicalize([value])).toThrow(unsupported)
    expect(() => canonicalize({ name: value })).toThrow(unsupported)
  })

  it('a hole in an array', () => {
    const holed = [1]
    holed[2] = 3
    expect(() => canonicalize(holed)).toThrow(unsupported)
  })

  it('a lone surrogate in a name', () => {
    expect(() => canonicalize({ '\ud800': 1 })).toThrow(unsupported)
  })

  it('a lone surrogate far into a long text', () => {
    expect(() => canonicalize(`${'a'.repeat(10_000)}\ud800`)).toThrow(unsupported)
    expect(() => canonicalize(`${'é'.repeat(10_000)}\udfff${'é'.repeat(10)}`)).toThrow(unsupported)
  })

  it('nesting beyond the limit, before the stack is exhausted', () => {
    const nest = (depth: number) => {
      let value: unknown = 0
      for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { value }
      return value
    }
    expect(canonicalize(nest(canonicalDepthMax))).toContain('0')
    expect(() => canonicalize(nest(canonicalDepthMax + 1))).toThrow(unsupported)
    expect(() => canonicalize(nest(200_000))).toThrow(unsupported)
  })

  it('a cycle', () => {
    const cycle: Record<string, unknown> = {}
    cycle.self = cycle
    expect(() => canonicalize(cycle)).toThrow(unsupported)
  })
})

describe('objects', () => {
  it('without a prototype are plain', () => {
    expect(canonicalize(Object.assign(Object.create(null), { b: 1, a: 2 }))).toBe('{"a":2,"b":1}')
  })

  it('with names that look like numbers are sorted as texts', () => {
    expect(canonicalize({ 10: 0, 9: 0, 1: 0, '01': 0 })).toBe('{"01":0,"1":0,"10":0,"9":0}')
  })

  it('with the name __proto__ keep it', () => {
    expect(canonicalize(JSON.parse('{"b":1,"__proto__":{"a":1}}'))).toBe(
      '{"__proto__":{"a":1},"b":1}',
    )
  })

  it('whose names fall into the same slot of the order cache do not take each other’s order', () => {
    const kinds = Array.from({ length: 40 }, (_, kind) =>
      Object.fromEntries(['z', 'b', 'y', 'a'].map((name) => [`${name}${kind % 10}`, kind])),
    )
    for (let round = 0; round < 3; round++) {
      for (const object of kinds) {
        expect(Object.keys(JSON.parse(canonicalize(object)))).toEqual(Object.keys(object).sort())
      }
    }
  })

  it('of many names are sorted too', () => {
    const names = Array.from({ length: 200 }, (_, at) => `n${(at * 7919) % 200}`)
    const object = Object.fromEntries(names.map((name) => [name, 0]))
    expect(Object.keys(JSON.parse(canonicalize(object)))).toEqual(names.toSorted())
  })
})

describe('any JSON value', () => {
  const json = fc.jsonValue({ maxDepth: 5, stringUnit: 'grapheme' })

  /** The definition, without any shortcut. */
  const slowly = (value: unknown): string => {
    if (Array.isArray(value)) return `[${value.map(slowly).join(',')}]`
    if (typeof value !== 'object' || value === null) return JSON.stringify(value)
    const parts = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1))
    return `{${parts.map(([name, part]) => `${JSON.stringify(name)}:${slowly(part)}`).join(',')}}`
  }

  it('has the text that the definition gives', () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(canonicalize(value)).toBe(slowly(value))
      }),
    )
  })

  it('is the same value when read again, with the same text', () => {
    fc.assert(
      fc.property(json, (value) => {
        const text = canonicalize(value)
        expect(canonicalize(JSON.parse(text))).toBe(text)
      }),
    )
  })

  it('any string either has JSON’s own text or a lone surrogate', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.nat(0xffff).map((code) => String.fromCharCode(code)) }),
        (text) => {
          const expected = /\p{Surrogate}/u.test(text) ? 'error' : JSON.stringify(text)
          let actual = 'error'
          try {
            actual = canonicalize(text)
          } catch {
            actual = 'error'
          }
          expect(actual).toBe(expected)
        },
      ),
    )
  })

  it('any finite double reads back as itself', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(Number(canonicalize(value))).toBe(value === 0 ? 0 : value)
      }),
    )
  })
})

describe('integers only', () => {
  it.each([0.5, 2 ** 53, -(2 ** 53), 1e300, Number.NaN])('refuses %s', (number) => {
    expect(() => canonicalizeIntegers({ a: [number] })).toThrow(unsupported)
  })

  it('writes what canonicalize writes', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.maxSafeInteger()), (value) => {
        expect(canonicalizeIntegers(value)).toBe(canonicalize(value))
      }),
    )
  })
})

describe('a runtime without isWellFormed', () => {
  it('finds lone surrogates all the same', async () => {
    const original = Object.getOwnPropertyDescriptor(String.prototype, 'isWellFormed')
    Reflect.deleteProperty(String.prototype, 'isWellFormed')
    vi.resetModules()
    const older = await import('./canonical.ts')
    Reflect.defineProperty(String.prototype, 'isWellFormed', original ?? {})
    expect(() => older.canonicalize('\ud800')).toThrow(unsupported)
    expect(older.canonicalize('\u{1f600}')).toBe('"\u{1f600}"')
  })
})
