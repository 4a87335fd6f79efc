import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Entry } from '@affidavit/format'
import { createHashKeys, type HashKeys } from '@affidavit/sdk/capture'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { silentLog } from '../base/log.ts'
import { ensureIdentityKeys, openIdentitySealer } from '../vault/identity-keys.ts'
import { ringPath } from '../vault/resolve.ts'
import { openRingFile } from '../vault/ring-file.ts'
import { openKeyRing } from '../vault/subjects.ts'
import { resolveNames } from './identity.ts'
import { instanceAt } from './settings.ts'
import { createTestRandom, makeFolder } from './testing.ts'

const nowMicros = Date.parse('2026-11-23T14:00:00Z') * 1000

let folder: string
let handle: string

beforeAll(async () => {
  folder = await makeFolder()
  await ensureIdentityKeys(folder)
  await mkdir(join(folder, 'gw-1', 'keyring'), { recursive: true })
  const key = new Uint8Array(32).fill(1)
  const identifierKeys: HashKeys = createHashKeys({ mode: 'tenant', version: '1', key })
  const ring = await openKeyRing({
    file: await openRingFile(ringPath(folder, 'gw-1')),
    sealer: await openIdentitySealer(folder),
    lookupKey: key,
    identifierKeys,
    random: createTestRandom(),
    log: silentLog,
    nowMicros,
  })
  handle = await ring.subject('pat@example.com', nowMicros)
  await ring.close()
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

function entryOf(userId: string | null): Entry {
  const fields = { v: 1, event_id: 'x', timestamp: 'x', session_id: 's', application_id: 'a' }
  return { ...fields, kind: 'interaction.started', user_id: userId } as Entry
}

const instance = () => instanceAt(join(folder, 'gw-1'))

test('whoever holds the identity key sees the name behind a handle', async () => {
  expect(await resolveNames(entryOf(handle), { instance: instance() })).toEqual({
    names: { user_id: 'pat@example.com' },
    keyNeeded: undefined,
  })
})

test('a handle without a row stays a handle', async () => {
  const unknown = entryOf('sub_0123456789abcdefghijkl')
  expect(await resolveNames(unknown, { instance: instance() })).toMatchObject({ names: {} })
})

test('without the key the handle is shown, and which key is needed', async () => {
  const away = join(folder, 'safe.key')
  const home = join(folder, 'keys', 'identity.key')
  await rename(home, away)
  const options = { instance: instance() }
  expect(await resolveNames(entryOf(handle), options)).toEqual({ names: {}, keyNeeded: home })
  expect(await resolveNames(entryOf(null), options)).toEqual({ names: {}, keyNeeded: undefined })
  const named = await resolveNames(entryOf(handle), { ...options, identityKey: away })
  expect(named.names).toEqual({ user_id: 'pat@example.com' })
  await rename(away, home)
})
