import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isOpaqueId, safeIdentifier } from './identifiers.ts'
import { tenantKeys } from './testing.ts'

describe('an opaque id', () => {
  test.each([
    '11111111-2222-4333-8444-555555555555',
    'claude-sonnet-5-5',
    'toolu_01ABC',
    'user-4711',
    'arn:aws:bedrock:us-east-1:1:x/y',
    'a',
    'v1.2.3',
    '100%',
    '1.2.3',
    'x'.repeat(128),
  ])('is %s', (value) => {
    expect(isOpaqueId(value)).toBe(true)
  })

  test.each([
    ['an address', 'jo@example.com'],
    ['an encoded address', 'jo%40example.com'],
    ['words', 'Jo Doe'],
    ['a tab', 'Jo\tDoe'],
    ['a name beyond ASCII', 'José'],
    ['an IP address', '203.0.113.77'],
    ['nothing', ''],
    ['too long', 'x'.repeat(129)],
    ['a quote', 'a"b'],
    ['a backslash', 'a\\b'],
    ['a control character', 'a\u007fb'],
  ])('is not %s', (_, value) => {
    expect(isOpaqueId(value)).toBe(false)
  })
})

describe('a safe identifier', () => {
  test('is the id itself, or a keyed hash that is an opaque id', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.emailAddress()),
        (value) => {
          const safe = safeIdentifier(value, tenantKeys, null)
          expect(isOpaqueId(safe)).toBe(true)
          if (isOpaqueId(value)) expect(safe).toBe(value)
          else expect(safe).toMatch(/^hash:[0-9a-f]{32}$/)
        },
      ),
    )
  })

  test('is the same for the same value, and differs for another', () => {
    expect(safeIdentifier('Jo Doe', tenantKeys, null)).toBe(
      safeIdentifier('Jo Doe', tenantKeys, null),
    )
    expect(safeIdentifier('Jo Doe', tenantKeys, null)).not.toBe(
      safeIdentifier('Jo Dow', tenantKeys, null),
    )
  })
})
