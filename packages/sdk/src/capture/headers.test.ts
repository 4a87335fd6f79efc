import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readRequestHeaders } from './headers.ts'
import { tenantKeys } from './testing.ts'

const read = (...raw: string[]) => readRequestHeaders(raw, tenantKeys)

describe('the digest of headers', () => {
  const base = ['Accept', '*/*', 'anthropic-beta', 'a']
  const digest = (...raw: string[]) => read(...raw).sha256

  test('depends on names, values, order and duplicates', () => {
    const digests = [
      digest(...base),
      digest('Accept', '*/*', 'anthropic-beta', 'b'),
      digest('anthropic-beta', 'a', 'Accept', '*/*'),
      digest(...base, 'anthropic-beta', 'a'),
      digest(...base, 'x-new', ''),
    ]
    expect(new Set(digests).size).toBe(digests.length)
  })

  test('does not depend on spelling of names, hops, claims and credentials', () => {
    const same = digest(
      'ACCEPT',
      '*/*',
      'Anthropic-Beta',
      'a',
      'Host',
      'h',
      'Connection',
      'close',
      'Content-Length',
      '5',
      'x-audit-user',
      'jo',
      'X-Audit-Anything',
      'x',
      'authorization',
      'Bearer s',
      'X-Api-Key',
      's',
      'Cookie',
      's',
    )
    expect(same).toBe(digest(...base))
  })
})

describe('a credential', () => {
  const kindOf = (...raw: string[]) => read(...raw).credential?.kind ?? null

  test.each([
    ['api-key', ['x-api-key', 'sk-ant-api03-1']],
    ['api-key', ['Authorization', 'Bearer sk-ant-api03-1']],
    ['api-key', ['x-api-key', 'opaque-value']],
    ['api-key', ['api-key', 'opaque-value']],
    ['oauth', ['authorization', 'bearer sk-ant-oat01-1']],
    ['admin-key', ['x-api-key', 'sk-ant-admin01-1']],
    ['gateway-key', ['Authorization', 'Bearer afk_1_2']],
    ['gateway-key', ['x-api-key', 'sk-ant-api03-1', 'x-audit-key', 'afk_1_2']],
    ['bearer', ['Authorization', 'Bearer eyJ.x.y']],
    ['basic', ['Authorization', 'Basic am86cHc=']],
    ['other', ['Authorization', 'AWS4-HMAC-SHA256 Credential=x']],
    [null, ['Authorization', '']],
    [null, ['Accept', '*/*']],
  ])('is of kind %s', (kind, raw) => {
    expect(kindOf(...raw)).toBe(kind)
  })

  test('has one fingerprint in either header, and another under another key', () => {
    const fingerprint = (...raw: string[]) => read(...raw).credential?.fingerprint
    const asKey = fingerprint('x-api-key', 'sk-ant-api03-1')
    expect(fingerprint('Authorization', 'Bearer sk-ant-api03-1')).toBe(asKey)
    expect(fingerprint('x-api-key', 'sk-ant-api03-2')).not.toBe(asKey)
    expect(asKey).toMatch(/^[0-9a-f]{32}$/)
  })
})

describe('what is read', () => {
  test('is the first of several values, and every beta of every line', () => {
    const { betas, values } = read(
      'User-Agent',
      'a',
      'user-agent',
      'b',
      'anthropic-beta',
      'x, y,',
      'Anthropic-Beta',
      'z',
    )
    expect(values.get('user-agent')).toBe('a')
    expect(betas).toEqual(['x', 'y', 'z'])
  })

  test('never holds a credential', () => {
    const { values } = read(
      'x-api-key',
      's',
      'authorization',
      's',
      'cookie',
      's',
      'x-audit-key',
      's',
    )
    expect([...values]).toEqual([])
  })

  test('is read from any list, odd ones included', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(fc.string(), fc.constantFrom('anthropic-beta', 'Authorization', '__proto__')),
        ),
        (raw) => {
          expect(readRequestHeaders(raw, tenantKeys).sha256).toHaveLength(64)
        },
      ),
    )
  })
})
