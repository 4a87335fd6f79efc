import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { maskAddress } from './addresses.ts'

describe('a masked address', () => {
  test.each([
    ['203.0.113.77', '203.0.113.0/24'],
    ['255.255.255.255', '255.255.255.0/24'],
    ['::ffff:203.0.113.77', '203.0.113.0/24'],
    ['::FFFF:cb00:714d', '203.0.113.0/24'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1::/48'],
    ['2001:DB8::1', '2001:db8::/48'],
    ['fe80::1%eth0', 'fe80::/48'],
    ['::1', '::/48'],
    ['::', '::/48'],
    ['1:2:3:4:5:6:7::', '1:2:3::/48'],
    ['64:ff9b::192.0.2.33', '64:ff9b::/48'],
  ])('of %s is %s', (address, expected) => {
    expect(maskAddress(address)).toBe(expected)
  })

  test.each([
    '',
    'localhost',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '1.2.3.4x',
    ' 1.2.3.4',
    '1::2::3',
    '12345::',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    'g::',
    '::1.2.3',
    '1:2:3:4:5:6:7:8::',
  ])('does not exist for %j', (address) => {
    expect(maskAddress(address)).toBeNull()
  })

  test('follows the setting, up to the whole address', () => {
    expect(maskAddress('203.0.113.77', { v4Bits: 20, v6Bits: 0 })).toBe('203.0.112.0/20')
    expect(maskAddress('203.0.113.77', { v4Bits: 0, v6Bits: 0 })).toBe('0.0.0.0/0')
    expect(maskAddress('203.0.113.77', { v4Bits: 32, v6Bits: 0 })).toBe('203.0.113.77')
    expect(maskAddress('2001:db8::1:0:0:7', { v4Bits: 0, v6Bits: 128 })).toBe('2001:db8::1:0:0:7')
    expect(maskAddress('2001:db8:ffff::', { v4Bits: 0, v6Bits: 37 })).toBe('2001:db8:f800::/37')
  })

  test('never holds what the mask takes away, and is masked already', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (address) => {
        const masked = maskAddress(address)
        expect(masked).toMatch(/\/(24|48)$/)
        expect(maskAddress((masked ?? '').replace(/\/.*/, ''))).toBe(masked)
      }),
    )
  })

  test('never fails, whatever is asked', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const masked = maskAddress(text)
        expect(masked === null || masked.length > 0).toBe(true)
      }),
    )
  })
})
