import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createHashKeys, systemClock } from '@affidavit/sdk/capture'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { configFrom } from '../base/config.ts'
import { silentLog } from '../base/log.ts'
import { createPolicies } from '../control/policies.ts'
import type { GatewayKey } from '../control/keys.ts'
import { openMarks, type Marks } from './marks.ts'
import { createIngest, ingestPath } from './receive.ts'
import { completedDraft, FakeIngestStore, FakeMarksFile, startedDraft } from './testing.ts'

const key: GatewayKey = {
  id: 'abcdefghijkl',
  user: null,
  application: 'billing-bot',
  createdAt: '2026-11-23T00:00:00.000000Z',
  revokedAt: null,
}

let server: Server
let url = ''
let store: FakeIngestStore
let file: FakeMarksFile
let marks: Marks | undefined
let keyOfToken: GatewayKey
const counts: Record<string, number> = {}

beforeEach(async () => {
  store = new FakeIngestStore()
  file = new FakeMarksFile()
  marks = await openMarks(file, store.recent())
  keyOfToken = key
  for (const name of Object.keys(counts)) delete counts[name]
  const config = configFrom({
    gateway: { applications: { 'billing-bot': { retention_class: 'financial' } } },
  })
  const handler = createIngest({
    store,
    marks: () => marks,
    keys: { find: (token) => (token === 'afk_good' ? keyOfToken : undefined), all: () => [] },
    policies: createPolicies(config),
    hashKeys: createHashKeys({ mode: 'tenant', version: '1', key: new Uint8Array(32) }),
    defaultApplication: 'unnamed',
    bodyBytesMax: 64 * 1024,
    clock: systemClock,
    log: silentLog,
    count: (result) => {
      counts[result] = (counts[result] ?? 0) + 1
    },
  })
  server = createServer(handler)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${ingestPath}`
})
afterEach(() => {
  server.closeAllConnections()
  server.close()
})

const item = (seq: number, body: object = startedDraft(), epoch = 1, id = 'spool-1') => ({
  writer: { id, epoch, seq },
  body,
})

async function post(body: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: 'Bearer afk_good', ...headers },
    body,
  })
  return { status: response.status, body: await response.json() }
}

const ndjson = (...items: object[]) => `${items.map((it) => JSON.stringify(it)).join('\n')}\n`

describe('records', () => {
  test('are written under this gateway’s own ruling', async () => {
    const start = startedDraft()
    const end = completedDraft({ event_id: start.event_id })
    const reply = await post(ndjson(item(0, start), item(1, end)))
    expect(reply).toEqual({ status: 200, body: { accepted: [0, 1], refused: [] } })
    expect(store.entries).toHaveLength(2)
    const [started, completed] = store.entries
    expect(started).toMatchObject({
      kind: 'interaction.started',
      event_id: start.event_id,
      user_id: 'sub_jane',
      session_id: 's-1',
      application_id: 'billing-bot',
      identity_trust: {
        application: 'verified',
        session: 'client-asserted',
        user: 'client-asserted',
      },
      retention_class: 'financial',
      capture_source: 'middleware',
      ingest: { epoch: 1, id: 'spool-1', key: key.id, seq: 0 },
    })
    expect(started).not.toHaveProperty('subject_claim')
    expect(started?.policy_version).toMatch(/^config:/)
    expect(completed).toMatchObject({ kind: 'interaction.completed', completion_tokens: 4 })
  })

  test('of a key that names a user have that user', async () => {
    keyOfToken = { ...key, user: 'joe', application: null }
    await post(ndjson(item(0)))
    expect(store.entries[0]).toMatchObject({
      user_id: 'sub_joe',
      application_id: 'claimed-app',
      identity_trust: { application: 'client-asserted', user: 'verified' },
      retention_class: 'standard',
    })
  })

  test('may come as a JSON array', async () => {
    const reply = await post(JSON.stringify([item(0), item(1)]))
    expect(reply.body.accepted).toEqual([0, 1])
  })

  test('a gap that the application tells of is written as its own', async () => {
    const gap = {
      kind: 'capture.gap',
      v: 1,
      event_id: startedDraft().event_id,
      timestamp: '2026-11-23T10:00:00.000000Z',
      ended_at: '2026-11-23T10:05:00.000000Z',
      application_id: 'x',
      retention_class: 'y',
      requests: 7,
      reason: 'spool_damaged',
    }
    await post(ndjson(item(0, gap)))
    expect(store.entries[0]).toMatchObject({
      kind: 'capture.gap',
      requests: 7,
      application_id: 'billing-bot',
      retention_class: 'financial',
    })
  })

  test('fields that are not known, and names of people, do not get through', async () => {
    const draft = completedDraft({
      prompt: 'my secret prompt',
      stop_sequence: 'Jane Doe said',
      model: 'jane@acme.example',
      upstream: { 'anthropic-organization-id': 'Acme Jane' },
      route: 'POST /v1/messages?user=jane',
      client: 'jane doe',
      request: { bytes: 1, wire_digest: 'ab'.repeat(32), parsed: 'json', text: 'secret' },
      user_id: 'jane@acme.example',
    })
    await post(ndjson(item(0, draft)))
    const text = JSON.stringify(store.entries[0])
    expect(text).not.toMatch(/secret|Jane|jane@/)
    expect(store.entries[0]).toMatchObject({ route: 'OTHER /*' })
    expect(store.entries[0]?.model).toMatch(/^hash:/)
  })
})

describe('once', () => {
  test('what is sent again is accepted again and not written again', async () => {
    const body = ndjson(item(0), item(1))
    await post(body)
    const again = await post(body)
    expect(again.body.accepted).toEqual([0, 1])
    expect(store.entries).toHaveLength(2)
    expect(counts).toEqual({ written: 2, repeated: 2 })
  })

  test('also by two connections at once', async () => {
    const body = ndjson(...Array.from({ length: 20 }, (_, seq) => item(seq)))
    const replies = await Promise.all([post(body), post(body), post(body)])
    for (const reply of replies) expect(reply.body.accepted).toHaveLength(20)
    expect(store.entries).toHaveLength(20)
  })

  test('also after a restart', async () => {
    await post(ndjson(item(0), item(1)))
    marks = await openMarks(file, store.recent())
    await post(ndjson(item(0), item(1), item(2)))
    expect(store.entries).toHaveLength(3)
  })

  test('also when the crash came between the entry and its mark', async () => {
    file.failing = true
    expect((await post(ndjson(item(0), item(1)))).status).toBe(503)
    expect(store.entries).toHaveLength(2)
    const empty = new FakeMarksFile()
    marks = await openMarks(empty, store.recent())
    const again = await post(ndjson(item(0), item(1), item(2)))
    expect(again.body.accepted).toEqual([0, 1, 2])
    expect(store.entries).toHaveLength(3)
  })

  test('the numbers of one spool say nothing about another’s, of another key neither', async () => {
    await post(ndjson(item(5)))
    await post(ndjson(item(0, startedDraft(), 1, 'spool-2')))
    keyOfToken = { ...key, id: 'mnopqrstuvwx' }
    await post(ndjson(item(0)))
    expect(store.entries).toHaveLength(3)
  })

  test('a new epoch begins anew, an old one is over', async () => {
    await post(ndjson(item(5)))
    await post(ndjson(item(0, startedDraft(), 2)))
    expect(store.entries).toHaveLength(2)
    expect((await post(ndjson(item(9)))).body.accepted).toEqual([9])
    expect(store.entries).toHaveLength(2)
  })
})

describe('failures', () => {
  test('a record that can never be written is refused by itself', async () => {
    const reply = await post(
      ndjson(
        item(0),
        item(1, { kind: 'nonsense' }),
        item(2, startedDraft({ bytes: 1, v: 2 })),
        item(3),
      ),
    )
    expect(reply.body).toEqual({
      accepted: [0, 3],
      refused: [
        { seq: 1, code: 'ERR_ENTRY_MALFORMED' },
        { seq: 2, code: 'ERR_ENTRY_MALFORMED' },
      ],
    })
    expect(counts).toEqual({ written: 2, refused: 2 })
  })

  test('it is refused again when it comes again, though the mark has passed it', async () => {
    const body = ndjson(item(0), item(1, {}), item(2))
    await post(body)
    expect((await post(body)).body.refused).toEqual([{ seq: 1, code: 'ERR_ENTRY_MALFORMED' }])
  })

  test('the first that cannot be written now ends the request; those behind come again, in order', async () => {
    store.failAfter = 2
    const body = ndjson(...Array.from({ length: 5 }, (_, seq) => item(seq)))
    expect((await post(body)).body).toEqual({ accepted: [0, 1], refused: [] })
    expect(store.entries).toHaveLength(2)
    store.failAfter = Infinity
    expect((await post(body)).body.accepted).toEqual([0, 1, 2, 3, 4])
    expect(store.entries.map((entry) => (entry.ingest as { seq: number }).seq)).toEqual([
      0, 1, 2, 3, 4,
    ])
  })

  test('an entry that the ledger finds too large is refused for good', async () => {
    store.failAfter = 0
    store.failCode = 'ERR_ENTRY_TOO_LARGE'
    expect((await post(ndjson(item(0)))).body.refused).toEqual([
      { seq: 0, code: 'ERR_ENTRY_TOO_LARGE' },
    ])
  })

  test('a name that cannot be made durable is for later', async () => {
    store.namesFail = true
    expect((await post(ndjson(item(0)))).body).toEqual({ accepted: [], refused: [] })
  })

  test('a closed store takes nothing', async () => {
    store.closedBy = 'ERR_LEDGER_DISK_FULL'
    expect((await post(ndjson(item(0)))).status).toBe(503)
    store.closedBy = undefined
    marks = undefined
    expect((await post(ndjson(item(0)))).body.accepted).toEqual([])
    expect(store.entries).toHaveLength(0)
  })

  test.each([
    ['no JSON', '{'],
    ['no writer', '{"body":{}}'],
    ['a strange spool', JSON.stringify(item(0, {}, 1, 'a b'))],
    ['a negative number', JSON.stringify(item(-1))],
    ['two spools', ndjson(item(0), item(1, {}, 1, 'other'))],
    ['two epochs', ndjson(item(0), item(0, {}, 2))],
    ['numbers that do not rise', ndjson(item(1), item(1))],
  ])('%s is 400', async (_, body) => {
    expect((await post(body)).status).toBe(400)
    expect(store.entries).toHaveLength(0)
  })

  test('a body that is too large is 413', async () => {
    expect((await post('x'.repeat(65 * 1024))).status).toBe(413)
  })

  test('only a good gateway key gets in, by POST', async () => {
    expect((await post(ndjson(item(0)), { authorization: 'Bearer afk_bad' })).status).toBe(401)
    expect((await post(ndjson(item(0)), { authorization: '' })).status).toBe(401)
    expect((await fetch(url, { headers: { authorization: 'Bearer afk_good' } })).status).toBe(405)
    expect(
      (await post(ndjson(item(0)), { authorization: '', 'x-api-key': 'afk_good' })).status,
    ).toBe(200)
  })

  test('no records are no fault', async () => {
    expect((await post('')).body).toEqual({ accepted: [], refused: [] })
  })
})
