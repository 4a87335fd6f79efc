import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '@affidavit/sdk/capture'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  createGatewayKey,
  gatewayKeysPath,
  listGatewayKeys,
  openGatewayKeys,
  revokeGatewayKey,
} from './keys.ts'

let directory = ''
let path = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'affidavit-keys-'))
  path = gatewayKeysPath(directory, 'gw-1')
})
afterEach(() => rmSync(directory, { recursive: true }))

const clock: Clock = {
  nowMicros: () => Date.UTC(2026, 10, 23) * 1000,
  monotonicMs: () => 0,
}
const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))
const create = (named: { user?: string; application?: string }) =>
  createGatewayKey(path, named, { clock, random })

describe('a key', () => {
  test('is found by its text and by nothing else', () => {
    const { key, text } = create({ user: 'jane', application: 'billing-bot' })
    expect(text).toMatch(/^afk_[a-z2-7]{12}_[A-Za-z0-9_-]{43}$/)
    const keys = openGatewayKeys(path)
    expect(keys.find(text)).toMatchObject({ id: key.id, user: 'jane', application: 'billing-bot' })
    const last = text.at(-1) === 'A' ? 'B' : 'A'
    for (const wrong of [
      '',
      'afk_',
      text.slice(0, -1),
      `${text}x`,
      `${text.slice(0, -1)}${last}`,
    ]) {
      expect(keys.find(wrong)).toBeUndefined()
    }
  })

  test('is nowhere in the file, which is for the owner only', () => {
    const { text } = create({ user: 'jane' })
    const secret = text.split('_').slice(2).join('_')
    expect(readFileSync(path, 'utf8')).not.toContain(secret)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(join(directory, 'gw-1'))).toEqual(['keys.json'])
  })

  test('names a user, an application, or both', () => {
    expect(create({ user: 'jane' }).key).toMatchObject({ user: 'jane', application: null })
    expect(create({ application: 'bot' }).key).toMatchObject({ user: null, application: 'bot' })
    expect(() => create({})).toThrow('names a user')
    expect(() => create({ user: ' ' })).toThrow('characters')
    expect(() => create({ user: 'x'.repeat(257) })).toThrow('characters')
  })

  test('two keys of one user are two keys', () => {
    const [first, second] = [create({ user: 'jane' }), create({ user: 'jane' })]
    expect(first.text).not.toBe(second.text)
    const keys = openGatewayKeys(path)
    expect(keys.find(first.text)?.id).toBe(first.key.id)
    expect(keys.find(second.text)?.id).toBe(second.key.id)
    expect(keys.all()).toHaveLength(2)
  })
})

describe('a change of the file', () => {
  test('takes effect with the next look-up: a new key, and a revoked one', () => {
    const changes: (readonly [number, number])[] = []
    const keys = openGatewayKeys(path, (before, after) =>
      changes.push([before.length, after.length]),
    )
    expect(keys.all()).toEqual([])
    const { key, text } = create({ user: 'jane' })
    expect(keys.find(text)?.id).toBe(key.id)
    expect(keys.find(text)?.id).toBe(key.id)
    revokeGatewayKey(path, key.id, clock)
    expect(keys.find(text)).toBeUndefined()
    expect(keys.all()).toMatchObject([{ id: key.id, revokedAt: '2026-11-23T00:00:00.000000Z' }])
    expect(changes).toEqual([
      [0, 1],
      [1, 1],
    ])
  })

  test('that removes or damages it leaves no key', () => {
    const { text } = create({ user: 'jane' })
    const keys = openGatewayKeys(path)
    const good = readFileSync(path)
    for (const bad of [
      '{',
      '{"v":2,"keys":[]}',
      '{"v":1}',
      '{"v":1,"keys":[{}]}',
      '{"v":1,"keys":[7]}',
    ]) {
      writeFileSync(path, bad)
      expect(keys.find(text)).toBeUndefined()
    }
    writeFileSync(path, good)
    expect(keys.find(text)).toBeDefined()
    rmSync(path)
    expect(keys.find(text)).toBeUndefined()
  })

  test('is refused on a damaged file: nothing of it is lost', () => {
    create({ user: 'jane' })
    writeFileSync(path, '{"v":1,')
    expect(() => create({ user: 'joe' })).toThrow('damaged')
    expect(() => listGatewayKeys(path)).toThrow('damaged')
    expect(readFileSync(path, 'utf8')).toBe('{"v":1,')
  })

  test('while another process changes it is refused; a lock of a dead one is taken', () => {
    create({ user: 'jane' })
    writeFileSync(`${path}.lock`, `${process.pid}\n`)
    expect(() => create({ user: 'joe' })).toThrow(`Process ${process.pid}`)
    // Above every system's largest process id.
    writeFileSync(`${path}.lock`, '99999999\n')
    create({ user: 'joe' })
    expect(listGatewayKeys(path)).toHaveLength(2)
  })
})

test('a revoked key stays listed, with the first time of its revocation', () => {
  const { key } = create({ user: 'jane' })
  const revoked = revokeGatewayKey(path, key.id, clock)
  const later = { ...clock, nowMicros: () => clock.nowMicros() + 1e6 }
  expect(revokeGatewayKey(path, key.id, later)).toEqual(revoked)
  expect(listGatewayKeys(path)).toEqual([{ ...key, revokedAt: '2026-11-23T00:00:00.000000Z' }])
  expect(revokeGatewayKey(path, 'none', clock)).toBeUndefined()
})

test('without a file there are no keys', () => {
  expect(listGatewayKeys(path)).toEqual([])
})
