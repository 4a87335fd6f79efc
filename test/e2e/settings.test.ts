import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { type Mode } from '../../packages/server/src/simulate/modes.ts'
import {
  apiHeaders,
  messagesBody,
  send,
  valuesOf,
} from '../../packages/server/src/simulate/testing.ts'
import { type Completed, isCompleted, type Pair, type PairOptions, startPair } from './harness.ts'
import { digestsOf, plainPromptHash, sha256 } from './hashes.ts'

const open: Pair[] = []

afterEach(async () => {
  for (const pair of open.splice(0)) await pair.close()
})

async function start(options: PairOptions): Promise<Pair> {
  const pair = await startPair(options)
  open.push(pair)
  return pair
}

async function exchange(
  pair: Pair,
  { user, body = messagesBody() }: { user?: string; body?: string } = {},
): Promise<Completed> {
  const headers = user === undefined ? apiHeaders : [...apiHeaders, 'x-audit-user', user]
  const seen = await send(pair.url, { headers, body })
  await pair.idle()
  return pair.record(valuesOf(seen.rawHeaders, 'x-audit-event-id')[0])
}

describe('standard delivery', () => {
  test.each(['ok', 'thinking', 'cut', 'mid_error', 'error_429', 'huge', 'gzip'] as const)(
    '%s: the same bytes, and the record follows',
    async (mode: Mode) => {
      const pair = await start({ gateway: { delivery: 'standard' } })
      for (const stream of [false, true]) {
        pair.simulator.clear()
        const headers = [...apiHeaders, 'x-simulate-mode', mode, 'x-simulate-bytes', '2000000']
        const seen = await send(pair.url, { headers, body: messagesBody({ stream }) })
        await pair.idle()
        const [sent] = pair.simulator.requests
        expect(sha256(seen.body)).toBe(sent?.sent.bodySha256)
        expect(seen.end === 'complete').toBe(sent?.sent.end === 'complete')
        const record = await pair.record(valuesOf(seen.rawHeaders, 'x-audit-event-id')[0])
        expect(record.response.wire_digest).toBe(digestsOf(pair.dataDir).keyed(sha256(seen.body)))
      }
    },
  )
})

describe('digests', () => {
  test('plain: prompt_hash is the bare SHA-256 that anyone can compute', async () => {
    const pair = await start({ config: { hashing: { mode: 'plain' } } })
    const body = messagesBody()
    const record = await exchange(pair, { body })
    expect(record.hash).toEqual({ alg: 'sha256', key_id: 'plain' })
    expect(record.prompt_hash).toBe(plainPromptHash(body))
    expect(record.request.wire_digest).toBe(sha256(body))
  })

  test('subject: the same prompt has another hash for another user, the same for the same', async () => {
    const pair = await start({ config: { hashing: { mode: 'subject' } } })
    const hashOf = async (user: string) => (await exchange(pair, { user })).prompt_hash
    const [first, again, other] = [await hashOf('u-1'), await hashOf('u-1'), await hashOf('u-2')]
    expect(again).toBe(first)
    expect(other).not.toBe(first)
  })

  test('tenant: the same prompt has the same hash for everybody', async () => {
    const pair = await start({})
    const hashOf = async (user: string) => (await exchange(pair, { user })).prompt_hash
    expect(await hashOf('u-2')).toBe(await hashOf('u-1'))
  })
})

describe('addresses', () => {
  test.each([
    ['masked', '127.0.0.0/24'],
    ['full', '127.0.0.1'],
    ['none', null],
  ])('%s', async (setting, expected) => {
    const pair = await start({ gateway: { ip_address: setting } })
    expect((await exchange(pair)).ip_address).toBe(expected)
  })

  test('a trusted proxy’s word is taken, another’s is not', async () => {
    const forwarded = [...apiHeaders, 'x-forwarded-for', '203.0.113.77']
    const addressWith = async (gateway: Record<string, unknown>) => {
      const pair = await start({ gateway })
      const seen = await send(pair.url, { headers: forwarded, body: messagesBody() })
      return (await pair.record(valuesOf(seen.rawHeaders, 'x-audit-event-id')[0])).ip_address
    }
    expect(await addressWith({ trusted_proxies: ['127.0.0.1'] })).toBe('203.0.113.0/24')
    expect(await addressWith({})).toBe('127.0.0.0/24')
  })
})

describe('a restart', () => {
  test('keeps users’ handles, digests and the chain of entries', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'affidavit-e2e-'))
    const first = await startPair({ dataDir })
    const before = await exchange(first, { user: 'u-77' })
    await first.close()
    const second = await startPair({ dataDir })
    const after = await exchange(second, { user: 'u-77' })
    const entries = await second.entries()
    await second.close()
    rmSync(dataDir, { recursive: true })
    expect(after.user_id).toBe(before.user_id)
    expect(after.prompt_hash).toBe(before.prompt_hash)
    expect([before.writer.epoch, after.writer.epoch]).toEqual([1, 2])
    expect(entries.filter(isCompleted)).toHaveLength(2)
    const opened = entries.filter(({ kind }) => kind === 'ledger.opened')
    expect(opened).toMatchObject([{ interrupted: 0 }, { interrupted: 0, torn_bytes: 0 }])
  })
})
