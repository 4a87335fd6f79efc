import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fromBase64, toBase64 } from '@affidavit/format'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  ensureIdentityKeys,
  openIdentityOpener,
  openIdentitySealer,
  sealedNameBytesMax,
  type SealedFor,
} from './identity-keys.ts'

let directory = ''
const publicPath = () => join(directory, 'keys', 'identity.pub')
const privatePath = () => join(directory, 'keys', 'identity.key')
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'affidavit-identity-'))
  await ensureIdentityKeys(directory)
})
afterEach(() => rmSync(directory, { recursive: true }))

const to: SealedFor = { kind: 'user', handle: 'sub_x', month: '2026-11' }

describe('sealing', () => {
  test('what is sealed with the public key is opened with the private one', async () => {
    const sealer = await openIdentitySealer(directory)
    const opener = await openIdentityOpener(directory)
    expect(opener.keyId).toBe(sealer.keyId)
    for (const name of ['', 'jane@acme.example', 'Jürgen 🌍', 'x'.repeat(sealedNameBytesMax)]) {
      expect(await opener.open(await sealer.seal(name, to), to)).toBe(name)
    }
  })

  test('the same name is sealed differently each time', async () => {
    const sealer = await openIdentitySealer(directory)
    expect(await sealer.seal('jane', to)).not.toBe(await sealer.seal('jane', to))
  })

  test('short names of different length cannot be told apart by length', async () => {
    const sealer = await openIdentitySealer(directory)
    expect((await sealer.seal('a', to)).length).toBe((await sealer.seal('a'.repeat(60), to)).length)
  })

  test('a sealed name opens under no other handle, kind or month', async () => {
    const sealer = await openIdentitySealer(directory)
    const opener = await openIdentityOpener(directory)
    const sealed = await sealer.seal('jane', to)
    const others: SealedFor[] = [
      { ...to, handle: 'sub_y' },
      { ...to, kind: 'session' },
      { ...to, month: '2026-12' },
    ]
    for (const other of others) {
      await expect(opener.open(sealed, other)).rejects.toMatchObject({
        code: 'ERR_IDENTITY_UNSEALABLE',
      })
    }
  })

  test('a flipped bit anywhere is noticed', async () => {
    const sealer = await openIdentitySealer(directory)
    const opener = await openIdentityOpener(directory)
    const bytes = fromBase64(await sealer.seal('jane', to))
    for (let at = 0; at < bytes.length; at += 5) {
      const changed = new Uint8Array(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      await expect(opener.open(toBase64(changed), to)).rejects.toThrow('key ring')
    }
    await expect(opener.open('', to)).rejects.toThrow('key ring')
    await expect(opener.open('???', to)).rejects.toThrow('key ring')
  })

  test('a name that is too long is refused', async () => {
    const sealer = await openIdentitySealer(directory)
    await expect(sealer.seal('x'.repeat(sealedNameBytesMax + 1), to)).rejects.toMatchObject({
      code: 'ERR_ENTRY_TOO_LARGE',
    })
  })
})

describe('the files', () => {
  test('the private half is for the owner only, and a pair is never made anew', async () => {
    expect(statSync(privatePath()).mode & 0o777).toBe(0o600)
    const before = readFileSync(publicPath(), 'utf8')
    await ensureIdentityKeys(directory)
    expect(readFileSync(publicPath(), 'utf8')).toBe(before)
  })

  test('a crash between the two halves is completed with the same pair', async () => {
    const before = readFileSync(publicPath(), 'utf8')
    rmSync(publicPath())
    await ensureIdentityKeys(directory)
    expect(readFileSync(publicPath(), 'utf8')).toBe(before)
  })

  test('a gateway that has the public half only makes no private one', async () => {
    rmSync(privatePath())
    await ensureIdentityKeys(directory)
    await openIdentitySealer(directory)
    await expect(openIdentityOpener(directory)).rejects.toMatchObject({
      code: 'ERR_IDENTITY_KEY_MISSING',
    })
  })

  test('without a public key nothing can be sealed, and the error says what is missing', async () => {
    rmSync(publicPath())
    await expect(openIdentitySealer(directory)).rejects.toThrow('identity.pub is missing')
  })

  test.each(['', 'affidavit-identity-v1 AAAA', 'nonsense', 'affidavit-identity-v1 ???'])(
    'a public key file with %j is refused, and not quoted',
    async (text) => {
      writeFileSync(publicPath(), text)
      await expect(openIdentitySealer(directory)).rejects.toMatchObject({
        code: 'ERR_KEY_MALFORMED',
      })
    },
  )

  test('a private key in the wrong file is not repeated in the error', async () => {
    const secret = readFileSync(privatePath(), 'utf8')
    writeFileSync(publicPath(), secret)
    const error = await openIdentitySealer(directory).catch((it: unknown) => String(it))
    expect(error).not.toContain(secret.split(' ')[1]?.trim())
  })
})
