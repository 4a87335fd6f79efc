import { createHmac, createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createHashKeys } from './hash-keys.ts'

const sha256 = createHash('sha256').update('x').digest('hex')

describe('keyed digests', () => {
  test('are HMAC-SHA-256 over the 32 bytes of the digest, for keys of any length', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 100 }),
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        (key, digest) => {
          const keys = createHashKeys({ mode: 'tenant', version: '1', key })
          const expected = createHmac('sha256', key).update(digest).digest('hex')
          expect(keys.digest(Buffer.from(digest).toString('hex'), null)).toBe(expected)
          expect(keys.digest(digest, 'sub_1')).toBe(expected)
        },
      ),
    )
  })

  test('are made with the subject’s own key in subject mode', () => {
    const keyOf = (subject: string) => new Uint8Array(32).fill(subject.length)
    const keys = createHashKeys({ mode: 'subject', key: new Uint8Array(32), subjectKey: keyOf })
    const hmac = (key: Uint8Array) =>
      createHmac('sha256', key).update(Buffer.from(sha256, 'hex')).digest('hex')
    expect(keys.digest(sha256, 'sub_1')).toBe(hmac(keyOf('sub_1')))
    expect(keys.digest(sha256, null)).toBe(hmac(new Uint8Array(32)))
    expect([keys.keyId('sub_1'), keys.keyId(null)]).toEqual(['subject:sub_1', 'subject:none'])
  })

  test('are the bare digest in plain mode', () => {
    const keys = createHashKeys({ mode: 'plain' })
    expect(keys.digest(sha256, 'sub_1')).toBe(sha256)
    expect(keys.keyId('sub_1')).toBe('plain')
  })
})

describe('fingerprints', () => {
  test('are keyed, in a domain of their own', () => {
    const key = new Uint8Array(32).fill(3)
    const keys = createHashKeys({ mode: 'tenant', version: '2', key })
    const expected = createHmac('sha256', key)
      .update('affidavit credential fingerprint\nsk-1')
      .digest('hex')
    expect(keys.fingerprint('sk-1')).toBe(expected.slice(0, 32))
    expect(keys.keyId(null)).toBe('tenant:2')
    expect(createHashKeys({ mode: 'plain' }).fingerprint('sk-1')).not.toBe(keys.fingerprint('sk-1'))
  })
})
