import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createHmac } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toBase64 } from '@affidavit/format'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { hashKeysFor, openLookupKey, openTenantHashKeys } from './hash-keys.ts'
import { seededRandom } from './testing.ts'

let directory = ''
const path = () => join(directory, 'keys', 'hash-tenant.json')
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'affidavit-hash-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

const never = () => {
  throw new Error('not asked for')
}

describe('the tenant’s keys', () => {
  test('are made once, for the owner only, and read again', () => {
    const first = openTenantHashKeys(directory, seededRandom('a'))
    const again = openTenantHashKeys(directory, seededRandom('b'))
    expect(again).toEqual(first)
    expect(first.current).toBe('1')
    expect(first.keys.get('1')).toHaveLength(32)
    expect(statSync(path()).mode & 0o777).toBe(0o600)
  })

  test('new records use the current version, old versions stay', () => {
    openTenantHashKeys(directory, seededRandom('a'))
    const file = JSON.parse(readFileSync(path(), 'utf8'))
    file.keys['2'] = toBase64(new Uint8Array(32).fill(2))
    file.current = '2'
    writeFileSync(path(), JSON.stringify(file))
    const keys = openTenantHashKeys(directory, never)
    expect([...keys.keys.keys()]).toEqual(['1', '2'])
    expect(hashKeysFor('tenant', keys, never).keyId(null)).toBe('tenant:2')
  })

  test.each([
    ['no JSON', '{'],
    ['null', 'null'],
    ['no keys', '{"current":"1"}'],
    ['a current version that is not there', '{"current":"2","keys":{}}'],
    ['a short key', '{"current":"1","keys":{"1":"AAAA"}}'],
    ['a key that is no text', '{"current":"1","keys":{"1":7}}'],
    ['a strange version', `{"current":"a b","keys":{"a b":"${toBase64(new Uint8Array(32))}"}}`],
  ])('a file with %s is refused', (_, text) => {
    openTenantHashKeys(directory, seededRandom('a'))
    writeFileSync(path(), text)
    expect(() => openTenantHashKeys(directory, never)).toThrow('not a key file of ours')
  })
})

describe('the lookup key', () => {
  test('is made once, and read again', () => {
    const first = openLookupKey(directory, seededRandom('a'))
    expect(openLookupKey(directory, seededRandom('b'))).toEqual(first)
    expect(first).toHaveLength(32)
  })

  test('a damaged file is refused: a new key would lose every handle', () => {
    openLookupKey(directory, seededRandom('a'))
    writeFileSync(join(directory, 'keyring', 'lookup.key'), 'affidavit-lookup-v1 AAAA\n')
    expect(() => openLookupKey(directory, never)).toThrow('backup')
  })
})

describe('digests', () => {
  const sha256 = new Uint8Array(32).fill(9)

  test('tenant mode is HMAC-SHA-256 under the current key', () => {
    const tenant = openTenantHashKeys(directory, seededRandom('a'))
    const keys = hashKeysFor('tenant', tenant, never)
    const key = tenant.keys.get('1') ?? new Uint8Array(0)
    const expected = createHmac('sha256', key).update(sha256).digest('hex')
    expect(keys.digest(sha256, 'sub_x')).toBe(expected)
    expect(keys.digest(sha256, null)).toBe(expected)
  })

  test('subject mode uses the subject’s key, and the tenant’s where nobody is named', () => {
    const tenant = openTenantHashKeys(directory, seededRandom('a'))
    const own = new Uint8Array(32).fill(5)
    const asked: string[] = []
    const keys = hashKeysFor('subject', tenant, (handle) => {
      asked.push(handle)
      return own
    })
    expect(keys.digest(sha256, 'sub_x')).toBe(
      createHmac('sha256', own).update(sha256).digest('hex'),
    )
    expect(keys.digest(sha256, null)).toBe(
      hashKeysFor('tenant', tenant, never).digest(sha256, null),
    )
    expect(keys.keyId('sub_x')).toBe('subject:sub_x')
    expect(asked).toEqual(['sub_x'])
  })

  test('plain mode is the bare digest; credentials are keyed all the same', () => {
    const tenant = openTenantHashKeys(directory, seededRandom('a'))
    const plain = hashKeysFor('plain', tenant, never)
    expect(plain.digest(sha256, 'sub_x')).toBe('09'.repeat(32))
    expect(plain.fingerprint('k')).toBe(hashKeysFor('tenant', tenant, never).fingerprint('k'))
  })
})
