import { cpSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ensureIdentityKeys, openIdentitySealer } from './identity-keys.ts'
import { resolveHandles, ringPath } from './resolve.ts'
import { openRingFile } from './ring-file.ts'
import { december, november, openTestRing } from './testing.ts'

let directory = ''
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'affidavit-resolve-'))
  await ensureIdentityKeys(directory)
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

async function openRealRing() {
  const file = await openRingFile(ringPath(directory, 'gw-1'))
  return openTestRing(file, { sealer: await openIdentitySealer(directory) })
}

test('handles resolve to the names that they were minted for, in a copy of the directory too', async () => {
  const ring = await openRealRing()
  const jane = await ring.subject('jane@acme.example', november)
  const janeLater = await ring.subject('jane@acme.example', december)
  const session = await ring.identifier('session', 'a b', november)
  await ring.subject('joe@acme.example', november)
  await ring.close()
  const copy = mkdtempSync(join(tmpdir(), 'affidavit-copy-'))
  cpSync(directory, copy, { recursive: true })
  try {
    const wanted = new Set([jane, janeLater, session, 'sub_unknown'])
    expect(await resolveHandles(copy, 'gw-1', wanted)).toEqual([
      { kind: 'user', handle: jane, month: '2026-11', name: 'jane@acme.example' },
      { kind: 'user', handle: janeLater, month: '2026-12', name: 'jane@acme.example' },
      { kind: 'session', handle: session, month: '2026-11', name: 'a b' },
    ])
  } finally {
    rmSync(copy, { recursive: true })
  }
})

test('a restart on a real disk finds the handle again, and the file is for its owner', async () => {
  const ring = await openRealRing()
  const jane = await ring.subject('jane', november)
  await ring.close()
  const again = await openRealRing()
  expect(again.subject('jane', november)).toBe(jane)
  await again.close()
  expect(statSync(ringPath(directory, 'gw-1')).mode & 0o777).toBe(0o600)
})

test('an instance without a ring resolves nothing', async () => {
  expect(await resolveHandles(directory, 'none', new Set(['sub_x']))).toEqual([])
})

test('without the private key nobody is named', async () => {
  const ring = await openRealRing()
  const jane = await ring.subject('jane', november)
  await ring.close()
  rmSync(join(directory, 'keys', 'identity.key'))
  await expect(resolveHandles(directory, 'gw-1', new Set([jane]))).rejects.toMatchObject({
    code: 'ERR_IDENTITY_KEY_MISSING',
  })
})

test('a row that was sealed to another key is said to be one', async () => {
  const ring = await openRealRing()
  const jane = await ring.subject('jane', november)
  await ring.close()
  rmSync(join(directory, 'keys'), { recursive: true })
  await ensureIdentityKeys(directory)
  await expect(resolveHandles(directory, 'gw-1', new Set([jane]))).rejects.toMatchObject({
    code: 'ERR_IDENTITY_UNSEALABLE',
  })
})
