/**
 * Hex, base64 and UTF-8: what goes in comes out, and a text has one form only.
 *
 * @module
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  concatBytes,
  equalBytes,
  fromBase64,
  fromHex,
  toBase64,
  toHex,
  utf8Decode,
  utf8Encode,
} from './bytes.ts'

const malformed = expect.objectContaining({ code: 'ERR_BYTES_MALFORMED' })
const bytes = fc.uint8Array({ maxLength: 100 })

/** Whether a decoder takes `text` and gives it back. */
function survives(text: string, decode: (text: string) => Uint8Array, encode: typeof toHex) {
  try {
    return encode(decode(text)) === text
  } catch {
    return true
  }
}

describe('hexadecimal', () => {
  it('round-trips, and agrees with the platform', () => {
    fc.assert(
      fc.property(bytes, (input) => {
        expect(toHex(input)).toBe(Buffer.from(input).toString('hex'))
        expect(fromHex(toHex(input))).toEqual(input)
      }),
    )
  })

  it.each(['0', '000', '0g', 'AB', ' 00', '0 ', '0x', '-1', 'é0', '\u{1f600}'])(
    'refuses %j',
    (text) => {
      expect(() => fromHex(text)).toThrow(malformed)
    },
  )

  it('decodes no text that it would not write', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(survives(text, fromHex, toHex)).toBe(true)
      }),
    )
  })
})

describe('base64', () => {
  it('round-trips, and agrees with the platform', () => {
    fc.assert(
      fc.property(bytes, (input) => {
        expect(toBase64(input)).toBe(Buffer.from(input).toString('base64'))
        expect(fromBase64(toBase64(input))).toEqual(input)
      }),
    )
  })

  // RFC 4648 section 10.
  it.each([
    ['', ''],
    ['f', 'Zg=='],
    ['fo', 'Zm8='],
    ['foo', 'Zm9v'],
    ['foob', 'Zm9vYg=='],
    ['fooba', 'Zm9vYmE='],
    ['foobar', 'Zm9vYmFy'],
  ])('of %j is %j', (plain, text) => {
    expect(toBase64(utf8Encode(plain))).toBe(text)
    expect(utf8Decode(fromBase64(text))).toBe(plain)
  })

  it.each([
    ['no padding', 'Zg'],
    ['too little padding', 'Zg='],
    ['too much padding', 'Zm8=='],
    ['padding alone', '===='],
    ['padding inside', 'Z=g='],
    ['a group after padding', 'Zg==Zg=='],
    ['unused bits that are set, one byte', 'Zh=='],
    ['unused bits that are set, two bytes', 'Zm9='],
    ['the URL alphabet', 'Zm-_'],
    ['a line break', 'Zm9v\n'],
    ['a space', 'Zm9 '],
    ['a character beyond ASCII', 'Zm9é'],
  ])('refuses %s', (_, text) => {
    expect(() => fromBase64(text)).toThrow(malformed)
  })

  it('decodes no text that it would not write', () => {
    const digits = fc.string({ unit: fc.constantFrom('A', 'Z', 'a', 'z', '0', '9', '+', '/', '=') })
    fc.assert(
      fc.property(digits, (text) => {
        expect(survives(text, fromBase64, toBase64)).toBe(true)
      }),
    )
  })
})

describe('UTF-8', () => {
  it('round-trips well-formed text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(utf8Decode(utf8Encode(text))).toBe(text)
      }),
    )
  })

  it('keeps a byte-order mark, so that two byte strings are never one text', () => {
    expect(utf8Decode(fromHex('efbbbf61'))).toBe('\ufeffa')
    expect(utf8Encode('\ufeffa')).toEqual(fromHex('efbbbf61'))
  })

  it.each([
    ['a lone continuation byte', '80'],
    ['a cut sequence', 'e282'],
    ['an overlong form', 'c080'],
    ['a surrogate', 'eda080'],
    ['a code point beyond Unicode', 'f4908080'],
    ['0xff', 'ff'],
  ])('refuses %s', (_, hex) => {
    expect(() => utf8Decode(fromHex(hex))).toThrow(malformed)
  })
})

describe('joining and comparing', () => {
  it('joins in order into bytes of their own', () => {
    const part = fromHex('0102')
    const whole = concatBytes(part, new Uint8Array(0), fromHex('03'))
    part[0] = 9
    expect(toHex(whole)).toBe('010203')
    expect(concatBytes()).toEqual(new Uint8Array(0))
  })

  it('is equal exactly when every byte is', () => {
    fc.assert(
      fc.property(bytes, bytes, (left, right) => {
        expect(equalBytes(left, right)).toBe(toHex(left) === toHex(right))
        expect(equalBytes(left, new Uint8Array(left))).toBe(true)
      }),
    )
    expect(equalBytes(fromHex('00'), fromHex('0000'))).toBe(false)
  })
})
