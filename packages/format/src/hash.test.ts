/**
 * The same bytes from both implementations: Node's own and the one for browsers.
 *
 * @module
 */
import { ed25519 } from '@noble/curves/ed25519.js'
import { sha512 } from '@noble/hashes/sha2.js'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { concatBytes, fromHex, toHex, utf8Encode } from './bytes.ts'
import * as native from './hash.ts'

type Hash = typeof native

/** Loads hash.ts anew, as it is in a browser: without `process.getBuiltinModule`. */
async function loadWithoutNode(): Promise<Hash> {
  vi.resetModules()
  vi.stubGlobal('process', Object.create(process, { getBuiltinModule: { value: undefined } }))
  const browser = await import('./hash.ts')
  vi.unstubAllGlobals()
  return browser
}

let browser: Hash
beforeAll(async () => {
  browser = await loadWithoutNode()
})
afterAll(() => vi.resetModules())

const bytes = fc.uint8Array({ maxLength: 300 })
const seeds = fc.uint8Array({ minLength: 32, maxLength: 32 })
const few = { numRuns: 15 }
const orderEight = fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')

describe('without node:crypto', () => {
  it('is another instance of the module, which has no platform', async () => {
    expect(browser.sha256).not.toBe(native.sha256)
    vi.stubGlobal('process', undefined)
    const { nodeCrypto } = await import('./node-crypto.ts')
    expect(nodeCrypto()).toBeUndefined()
    vi.unstubAllGlobals()
    expect(nodeCrypto()).toBeDefined()
  })

  it('a platform that lacks a member counts as none', async () => {
    const { nodeCrypto } = await import('./node-crypto.ts')
    vi.stubGlobal('process', { getBuiltinModule: () => ({ hash: () => '' }) })
    expect(nodeCrypto()).toBeUndefined()
    vi.stubGlobal('process', { getBuiltinModule: () => undefined })
    expect(nodeCrypto()).toBeUndefined()
    vi.unstubAllGlobals()
  })

  it('SHA-256 and HMAC are the same', () => {
    fc.assert(
      fc.property(bytes, bytes, (key, data) => {
        expect(browser.sha256(data)).toEqual(native.sha256(data))
        expect(browser.sha256Hex(data)).toBe(native.sha256Hex(data))
        expect(browser.hmacSha256(key, data)).toEqual(native.hmacSha256(key, data))
        expect(browser.leafHash(data)).toEqual(native.leafHash(data))
      }),
    )
  })

  it('text is hashed as UTF-8', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(browser.sha256Hex(text)).toBe(native.sha256Hex(text))
        expect(native.sha256Hex(text)).toBe(native.sha256Hex(utf8Encode(text)))
      }),
    )
  })

  it('each makes the signatures of the other and verifies them', () => {
    fc.assert(
      fc.property(seeds, bytes, (seed, message) => {
        const publicKey = native.ed25519PublicKey(seed)
        const signature = native.ed25519Sign(seed, message)
        expect(browser.ed25519PublicKey(seed)).toEqual(publicKey)
        expect(browser.ed25519Sign(seed, message)).toEqual(signature)
        expect(browser.ed25519Verify(publicKey, message, signature)).toBe(true)
        expect(native.ed25519Verify(publicKey, message, signature)).toBe(true)
      }),
      few,
    )
  })

  it('both refuse a signature with any bit changed', () => {
    const seed = new Uint8Array(32).fill(9)
    const publicKey = native.ed25519PublicKey(seed)
    const message = utf8Encode('message')
    const signature = native.ed25519Sign(seed, message)
    fc.assert(
      fc.property(fc.nat(63), fc.nat(7), (at, bit) => {
        const changed = new Uint8Array(signature)
        changed[at] = (changed[at] ?? 0) ^ (1 << bit)
        expect(native.ed25519Verify(publicKey, message, changed)).toBe(false)
        expect(browser.ed25519Verify(publicKey, message, changed)).toBe(false)
      }),
      few,
    )
  })
})

describe('signatures of a hostile signer', () => {
  const { Point } = ed25519
  const order = Point.Fn.ORDER
  const message = utf8Encode('message')
  const seed = new Uint8Array(32).fill(6)
  const publicKey = native.ed25519PublicKey(seed)
  const honest = native.ed25519Sign(seed, message)
  const torsion = Point.fromBytes(orderEight)
  const scalarOf = (encoded: Uint8Array) => BigInt(`0x${toHex(encoded.toReversed())}`)
  const bytesOf = (scalar: bigint) => fromHex(scalar.toString(16).padStart(64, '0')).toReversed()

  /** A signature with the secret scalar, whose R has a part of low order. */
  function signWith(lowOrder: typeof torsion, nonce: bigint): Uint8Array {
    const secret = ed25519.utils.getExtendedPublicKey(seed).scalar
    const r = Point.BASE.multiply(nonce).add(lowOrder).toBytes()
    const k = scalarOf(sha512(concatBytes(r, publicKey, message))) % order
    return concatBytes(r, bytesOf((nonce + k * secret) % order))
  }

  it('made as an honest one is made verify', () => {
    const signature = signWith(Point.ZERO, 12_345n)
    expect(native.ed25519Verify(publicKey, message, signature)).toBe(true)
    expect(browser.ed25519Verify(publicKey, message, signature)).toBe(true)
  })

  it('with a part of low order in R are refused by both', () => {
    for (let times = 1n; times < 8n; times++) {
      const signature = signWith(torsion.multiplyUnsafe(times), 12_345n)
      expect(native.ed25519Verify(publicKey, message, signature)).toBe(false)
      expect(browser.ed25519Verify(publicKey, message, signature)).toBe(false)
    }
  })

  it('with a scalar that is not reduced are refused by both', () => {
    const scalar = scalarOf(honest.subarray(32))
    for (const other of [scalar + order, scalar + 2n * order, order, 2n ** 256n - 1n]) {
      const signature = concatBytes(honest.subarray(0, 32), bytesOf(other))
      expect(native.ed25519Verify(publicKey, message, signature)).toBe(false)
      expect(browser.ed25519Verify(publicKey, message, signature)).toBe(false)
    }
  })

  it('with an R or a scalar of nothing are refused by both', () => {
    const zero = new Uint8Array(32)
    for (const r of [zero, Point.ZERO.toBytes(), orderEight, honest.subarray(0, 32)]) {
      for (const scalar of [zero, bytesOf(1n)]) {
        const signature = concatBytes(r, scalar)
        expect(native.ed25519Verify(publicKey, message, signature)).toBe(false)
        expect(browser.ed25519Verify(publicKey, message, signature)).toBe(false)
      }
    }
  })

  it('are no signatures under a key that is no point', () => {
    const noPoint = new Uint8Array(32).fill(2)
    expect(native.ed25519Verify(noPoint, message, honest)).toBe(false)
    expect(browser.ed25519Verify(noPoint, message, honest)).toBe(false)
  })
})

describe.each([
  ['node:crypto', () => native],
  ['@noble', () => browser],
])('by %s', (_, implementation) => {
  // FIPS 180-4 examples.
  it.each([
    ['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  ])('SHA-256 of %j is as published', (text, digest) => {
    expect(toHex(implementation().sha256(utf8Encode(text)))).toBe(digest)
    expect(implementation().sha256Hex(text)).toBe(digest)
  })

  // RFC 4231 section 4.3.
  it('HMAC-SHA-256 is as published', () => {
    const mac = implementation().hmacSha256(
      utf8Encode('Jefe'),
      utf8Encode('what do ya want for nothing?'),
    )
    expect(toHex(mac)).toBe('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')
  })

  // RFC 8032 section 7.1, TEST 1 to 3.
  it.each([
    {
      seed: '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      publicKey: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
      message: '',
      signature:
        'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    },
    {
      seed: '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
      publicKey: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
      message: '72',
      signature:
        '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    },
    {
      seed: 'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
      publicKey: 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
      message: 'af82',
      signature:
        '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    },
  ])('Ed25519 of $message is as published', ({ seed, publicKey, message, signature }) => {
    const { ed25519PublicKey, ed25519Sign, ed25519Verify } = implementation()
    expect(toHex(ed25519PublicKey(fromHex(seed)))).toBe(publicKey)
    expect(toHex(ed25519Sign(fromHex(seed), fromHex(message)))).toBe(signature)
    expect(ed25519Verify(fromHex(publicKey), fromHex(message), fromHex(signature))).toBe(true)
  })

  it('what is not 32 and 64 bytes long is no key and no signature', () => {
    const { ed25519Verify } = implementation()
    const [key, message, signature] = [new Uint8Array(32), new Uint8Array(1), new Uint8Array(64)]
    expect(ed25519Verify(new Uint8Array(31), message, signature)).toBe(false)
    expect(ed25519Verify(key, message, new Uint8Array(63))).toBe(false)
    expect(ed25519Verify(key, message, new Uint8Array(65))).toBe(false)
  })

  it('a leaf is hashed with a zero before it, a node with a one', () => {
    const { leafHash, nodeHash, sha256 } = implementation()
    const [left, right] = [sha256(utf8Encode('l')), sha256(utf8Encode('r'))]
    expect(leafHash(left)).toEqual(sha256(concatBytes(Uint8Array.of(0), left)))
    expect(nodeHash(left, right)).toEqual(sha256(concatBytes(Uint8Array.of(1), left, right)))
    expect(() => nodeHash(left, new Uint8Array(31))).toThrow('32-byte')
  })

  it('a leaf larger than the reused buffer is hashed all the same', () => {
    const { leafHash, sha256 } = implementation()
    for (const length of [65_534, 65_535, 65_536, 70_000]) {
      const entry = new Uint8Array(length).fill(3)
      expect(leafHash(entry)).toEqual(sha256(concatBytes(Uint8Array.of(0), entry)))
    }
  })

  it('the hash of a long leaf leaves nothing behind for a short one', () => {
    const { leafHash, sha256 } = implementation()
    leafHash(new Uint8Array(500).fill(0xff))
    expect(leafHash(new Uint8Array(0))).toEqual(sha256(Uint8Array.of(0)))
  })

  it('digests belong to the caller', () => {
    const { sha256, emptyRoot } = implementation()
    const first = sha256(new Uint8Array(0))
    first.fill(0)
    expect(sha256(new Uint8Array(0))).toEqual(emptyRoot)
  })
})

describe('public keys', () => {
  const field = 2n ** 255n - 19n
  const encode = (y: bigint, sign = 0) => {
    const key = new Uint8Array(32)
    for (let at = 0, rest = y; at < 32; at++, rest >>= 8n) key[at] = Number(rest & 255n)
    key[31] = (key[31] ?? 0) | (sign << 7)
    return key
  }
  it.each([
    ['the identity', encode(1n)],
    ['the identity with a sign', encode(1n, 1)],
    ['the point of order two', encode(field - 1n)],
    ['a point of order four', encode(0n)],
    ['the other point of order four', encode(0n, 1)],
    ['a point of order eight', orderEight],
    ['a y that is not reduced', encode(field + 1n)],
    ['a y that is not reduced, of high order', encode(field + 3n)],
    ['a y that is on no point', encode(2n)],
    ['31 bytes', new Uint8Array(31)],
    ['33 bytes', new Uint8Array(33)],
  ])('%s is refused', (_, key) => {
    expect(() => native.checkPublicKey(key)).toThrow(
      expect.objectContaining({ code: 'ERR_KEY_MALFORMED' }),
    )
  })

  it('a key plus a point of low order is refused', () => {
    const honest = ed25519.Point.fromBytes(native.ed25519PublicKey(new Uint8Array(32).fill(1)))
    const mixed = honest.add(ed25519.Point.fromBytes(orderEight))
    expect(() => native.checkPublicKey(mixed.toBytes())).toThrow('low order')
    expect(() => native.checkPublicKey(honest.toBytes())).not.toThrow()
  })

  it('a key of ours is accepted', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        expect(() => native.checkPublicKey(native.ed25519PublicKey(seed))).not.toThrow()
      }),
      few,
    )
  })

  it('more keys than are remembered still verify', () => {
    const message = utf8Encode('m')
    const keys = Array.from({ length: 300 }, (_, index) => {
      const seed = new Uint8Array(32)
      new DataView(seed.buffer).setUint32(0, index)
      return { seed, publicKey: native.ed25519PublicKey(seed) }
    })
    for (const { seed, publicKey } of keys) {
      const signature = native.ed25519Sign(seed, message)
      expect(native.ed25519Verify(publicKey, message, signature)).toBe(true)
    }
  })
})
