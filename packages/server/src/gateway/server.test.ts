import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { GatewayKey } from '../control/keys.ts'
import {
  answerWithStream,
  callRaw,
  chunked,
  messageJson,
  messageRequest,
  parseAnswer,
  startRawUpstream,
  startTestGateway,
  streamFrames,
  streamHead,
  type RawUpstream,
  type TestGateway,
} from './testing.ts'

let upstream: RawUpstream
let gateway: TestGateway
const start = async (settings: Record<string, unknown> = {}) => {
  gateway = await startTestGateway(upstream.url, settings)
}
beforeEach(async () => {
  upstream = await startRawUpstream()
})
afterEach(async () => {
  await gateway.close()
  await upstream.close()
})

async function exchange(request: string) {
  const caller = await callRaw(gateway.port)
  caller.send(request)
  await caller.closed
  return parseAnswer(caller.received())
}

const get = (path: string, headers: readonly string[] = []) =>
  exchange(
    [`GET ${path} HTTP/1.1`, 'Host: g', 'connection: close', ...headers, '', ''].join('\r\n'),
  )

const key: GatewayKey = {
  id: 'abcdefghijkl',
  user: 'jane',
  application: 'billing-bot',
  createdAt: '2026-11-23T00:00:00.000000Z',
  revokedAt: null,
}
const token = `afk_abcdefghijkl_${'A'.repeat(43)}`

describe('gateway keys', () => {
  test.each([
    ['x-api-key', [`x-api-key: ${token}`]],
    ['a bearer token', [`Authorization: Bearer ${token}`]],
    ['a bearer token in odd case', [`authorization: BEARER  ${token} `]],
    ['both', [`Authorization: Bearer ${token}`, `X-Api-Key: ${token}`]],
  ])('as %s: identity is verified, the key never leaves, the held key does', async (_, headers) => {
    await start({ providerKey: 'sk-ant-held' })
    gateway.keys.byText.set(token, key)
    const request = messageRequest({ headers }).replace('x-api-key: sk-ant-secret\r\n', '')
    expect((await exchange(request)).status).toBe(200)
    expect(upstream.requests[0]?.head).not.toContain('afk_')
    expect(upstream.requests[0]?.headers).toContain('x-api-key: sk-ant-held')
    expect(gateway.ledger.ofKind('interaction.completed')[0]).toMatchObject({
      application_id: 'billing-bot',
      identity_trust: { application: 'verified', user: 'verified', session: 'none' },
    })
  })

  test('in x-audit-key: the caller’s own key passes, none is added', async () => {
    await start({ providerKey: 'sk-ant-held' })
    gateway.keys.byText.set(token, key)
    expect((await exchange(messageRequest({ headers: [`X-Audit-Key: ${token}`] }))).status).toBe(
      200,
    )
    expect(upstream.requests[0]?.headers).toContain('x-api-key: sk-ant-secret')
    expect(upstream.requests[0]?.head).not.toContain('held')
    expect(upstream.requests[0]?.head).not.toContain('afk_')
  })

  test('one that is not known is refused, and nothing of it goes anywhere', async () => {
    await start({ providerKey: 'sk-ant-held' })
    for (const header of [
      `x-api-key: ${token}`,
      `x-audit-key: nonsense`,
      `authorization: Bearer ${token}`,
    ]) {
      const answer = await exchange(messageRequest({ headers: [header] }))
      expect(answer.status).toBe(401)
      expect(JSON.parse(answer.body.toString()).error.type).toBe('authentication_error')
      expect(answer.body.toString()).not.toContain(token)
    }
    expect(upstream.requests).toHaveLength(0)
    expect(gateway.ledger.entries).toHaveLength(0)
    expect(gateway.metrics()).toContain('affidavit_refusals_total{code="ERR_CREDENTIAL_REFUSED"} 3')
  })

  test('two different ones in one request are refused', async () => {
    await start()
    const other = `afk_bbbbbbbbbbbb_${'B'.repeat(43)}`
    gateway.keys.byText.set(token, key).set(other, { ...key, id: 'bbbbbbbbbbbb' })
    const headers = [`x-audit-key: ${token}`, `Authorization: Bearer ${other}`]
    expect((await exchange(messageRequest({ headers }))).status).toBe(401)
  })

  test('a good one without any key for Claude is refused with what to do', async () => {
    await start()
    gateway.keys.byText.set(token, key)
    const request = messageRequest({ headers: [`x-audit-key: ${token}`] }).replace(
      'x-api-key: sk-ant-secret\r\n',
      '',
    )
    const answer = await exchange(request)
    expect(answer.status).toBe(401)
    expect(answer.body.toString()).toContain('gateway.provider_keys.anthropic')
  })

  test('can be required', async () => {
    await start({ require_gateway_key: true })
    expect((await exchange(messageRequest())).status).toBe(401)
    gateway.keys.byText.set(token, key)
    expect((await exchange(messageRequest({ headers: [`x-audit-key: ${token}`] }))).status).toBe(
      200,
    )
  })

  test('a held key is never added for callers without one', async () => {
    await start({ providerKey: 'sk-ant-held' })
    await exchange(messageRequest().replace('x-api-key: sk-ant-secret\r\n', ''))
    expect(upstream.requests[0]?.head).not.toContain('held')
  })

  test('a claim of another user does not override the key, and is flagged', async () => {
    await start()
    gateway.keys.byText.set(token, key)
    await exchange(messageRequest({ headers: [`x-audit-key: ${token}`, 'x-audit-user: joe'] }))
    await exchange(messageRequest({ headers: [`x-audit-key: ${token}`, 'x-audit-user: jane'] }))
    const [other, same] = gateway.ledger.ofKind('interaction.completed')
    expect(other?.policy_flags).toEqual(['identity.claim_overridden'])
    expect(same?.policy_flags).toEqual([])
    expect(other?.user_id).toBe(same?.user_id)
  })
})

describe('policy', () => {
  test('an application’s settings hold for its key', async () => {
    await start({
      applications: {
        'billing-bot': { retention_class: 'financial', data_classification: 'RESTRICTED' },
      },
    })
    gateway.keys.byText.set(token, key)
    await exchange(messageRequest({ headers: [`x-audit-key: ${token}`] }))
    await exchange(messageRequest({ headers: ['x-audit-application: billing-bot'] }))
    expect(gateway.ledger.ofKind('interaction.completed')).toMatchObject([
      {
        retention_class: 'financial',
        data_classification: 'RESTRICTED',
        classification_source: 'policy',
      },
      {
        retention_class: 'standard',
        data_classification: 'INTERNAL',
        classification_source: 'default',
      },
    ])
  })

  test('a caller can raise the classification, not lower it', async () => {
    await start({ data_classification: 'CONFIDENTIAL' })
    await exchange(messageRequest({ headers: ['x-audit-classification: restricted'] }))
    await exchange(messageRequest({ headers: ['x-audit-classification: public'] }))
    expect(gateway.ledger.ofKind('interaction.completed')).toMatchObject([
      { data_classification: 'RESTRICTED', classification_source: 'client' },
      { data_classification: 'CONFIDENTIAL', classification_source: 'default' },
    ])
  })

  test('no header of the caller’s switches recording off', async () => {
    await start()
    const headers = ['x-audit-record: off', 'x-audit-mode: none', 'x-no-log: 1', 'DNT: 1']
    await exchange(messageRequest({ headers }))
    expect(gateway.ledger.ofKind('interaction.completed')).toHaveLength(1)
  })
})

describe('paths', () => {
  test('an unknown path is recorded as opaque bytes and forwarded', async () => {
    await start()
    expect((await exchange(messageRequest({ path: '/v1/brand/new?x=1' }))).status).toBe(200)
    expect(gateway.ledger.ofKind('interaction.completed')[0]).toMatchObject({
      operation: 'opaque',
      route: 'POST /v1/*',
      prompt_hash: null,
      request: { parsed: 'opaque' },
    })
  })

  test('an unknown path is denied by setting, says so, and is recorded', async () => {
    await start({ unknown_paths: 'deny' })
    const answer = await exchange(messageRequest({ path: '/v1/brand/new' }))
    expect(answer.status).toBe(451)
    expect(JSON.parse(answer.body.toString()).error.type).toBe('permission_error')
    expect(answer.headers).toContain('x-should-retry: false')
    const [denied] = gateway.ledger.ofKind('interaction.completed')
    expect(answer.headers).toContain(`x-audit-event-id: ${denied?.event_id}`)
    expect(denied).toMatchObject({
      end_state: 'gateway_terminated',
      status: 'blocked',
      http_status: 451,
      error_type: 'permission_error',
    })
    expect((await exchange(messageRequest())).status).toBe(200)
    expect(upstream.requests).toHaveLength(1)
  })

  test('Claude Code’s probe is answered here and not recorded', async () => {
    await start()
    const { status, body } = await exchange(
      'HEAD /api/hello HTTP/1.1\r\nHost: g\r\nconnection: close\r\n\r\n',
    )
    expect([status, body.length]).toEqual([200, 0])
    expect(upstream.requests).toHaveLength(0)
    expect(gateway.ledger.entries).toHaveLength(0)
  })

  test('a path prefix of the upstream is put in front', async () => {
    gateway = await startTestGateway(`${upstream.url}/base/`)
    await exchange(messageRequest({ path: '/v1/messages?beta=true' }))
    expect(upstream.requests[0]?.head).toMatch(/^POST \/base\/v1\/messages\?beta=true HTTP/)
  })

  test.each(['*', 'example.com:443'])('a target %s is not forwarded', async (target) => {
    await start()
    const answer = await exchange(
      `OPTIONS ${target} HTTP/1.1\r\nHost: g\r\nconnection: close\r\n\r\n`,
    )
    expect(answer.status).toBe(400)
    expect(upstream.requests).toHaveLength(0)
  })
})

describe('limits', () => {
  test('a body that says that it is too large is refused before it is read', async () => {
    await start({ limits: { request_body_bytes: 1024 } })
    const caller = await callRaw(gateway.port)
    caller.send('POST /v1/messages HTTP/1.1\r\nHost: g\r\ncontent-length: 1025\r\n\r\n')
    await caller.until('request_too_large')
    caller.socket.destroy()
    const answer = parseAnswer(caller.received())
    expect(answer.status).toBe(413)
    expect(JSON.parse(answer.body.toString()).error.type).toBe('request_too_large')
    expect(gateway.ledger.entries).toHaveLength(0)
  })

  test('a body that turns out to be too large is refused, and what was held is let go', async () => {
    await start({ limits: { request_body_bytes: 1024 } })
    const caller = await callRaw(gateway.port)
    caller.send('POST /v1/messages HTTP/1.1\r\nHost: g\r\ntransfer-encoding: chunked\r\n\r\n')
    caller.send(chunked('x'.repeat(1025)))
    await caller.until('request_too_large')
    expect(parseAnswer(caller.received()).status).toBe(413)
    expect(gateway.context.bodies.bytes).toBe(0)
    expect(upstream.requests).toHaveLength(0)
    caller.socket.destroy()
  })

  test.each(['content-length: 20000000', 'transfer-encoding: chunked'])(
    'a caller that writes all of it before it reads still gets the answer (%s)',
    async (framing) => {
      await start({ limits: { request_body_bytes: 1024 } })
      const caller = await callRaw(gateway.port)
      caller.send(
        `POST /v1/messages HTTP/1.1\r\nHost: g\r\nconnection: close\r\n${framing}\r\n\r\n`,
      )
      caller.socket.pause()
      const body = Buffer.alloc(20_000_000, 'x')
      const bytes = framing.startsWith('content')
        ? body
        : Buffer.concat([chunked(body), Buffer.from('0\r\n\r\n')])
      await new Promise((resolve) => caller.socket.write(bytes, resolve))
      caller.socket.resume()
      expect(await caller.closed).toBe('end')
      expect(parseAnswer(caller.received()).status).toBe(413)
    },
  )

  test('a body of exactly the limit passes', async () => {
    await start({ limits: { request_body_bytes: 1024 } })
    const body = 'x'.repeat(1024)
    const answer = await exchange(
      `POST /v1/messages HTTP/1.1\r\nHost: g\r\nconnection: close\r\ncontent-length: 1024\r\n\r\n${body}`,
    )
    expect(answer.status).toBe(200)
  })

  test('more exchanges than the limit are told to come again', async () => {
    await start({ limits: { exchanges: 1 } })
    let finish = () => {}
    upstream.answer = (request) => {
      finish = () => answerWithStream(request)
    }
    const first = await callRaw(gateway.port)
    first.send(messageRequest({ stream: true }))
    await upstream.received(1)
    const second = await exchange(messageRequest())
    expect(second.status).toBe(429)
    expect(second.headers).toContain('retry-after: 1')
    expect(second.headers).toContain('x-should-retry: true')
    finish()
    await first.closed
    expect(parseAnswer(first.received()).isWhole).toBe(true)
  })

  test('more request bytes than may be held at one time are told to come again', async () => {
    await start({ limits: { request_bodies_bytes: 1024 * 1024 } })
    gateway.context.bodies.bytes = 1024 * 1024
    const answer = await exchange(messageRequest())
    expect(answer.status).toBe(429)
    expect(gateway.context.bodies.bytes).toBe(1024 * 1024)
  })

  test('headers beyond the limit are 431 in Claude’s shape', async () => {
    await start({ limits: { header_bytes: 8192 } })
    const answer = await exchange(messageRequest({ headers: [`x-big: ${'x'.repeat(9000)}`] }))
    expect(answer.status).toBe(431)
    expect(JSON.parse(answer.body.toString()).type).toBe('error')
  })

  test('what is not HTTP is answered and closed', async () => {
    await start()
    const answer = await exchange('\u0016\u0003\u0001\r\n\r\n')
    expect(answer.status).toBe(400)
  })

  test('100-continue is answered', async () => {
    await start()
    const caller = await callRaw(gateway.port)
    caller.send(
      'POST /v1/messages HTTP/1.1\r\nHost: g\r\nconnection: close\r\nExpect: 100-continue\r\ncontent-length: 2\r\n\r\n',
    )
    await caller.until('100 Continue')
    caller.send('{}')
    await caller.closed
    expect(caller.text()).toContain(messageJson)
    expect(upstream.requests[0]?.head.toLowerCase()).not.toContain('expect')
  })
})

describe('own paths', () => {
  test('healthz is up while the process is; readyz while records can be made', async () => {
    await start()
    expect((await get('/affidavit/healthz')).status).toBe(200)
    expect(JSON.parse((await get('/affidavit/readyz')).body.toString())).toEqual({
      ready: true,
      draining: false,
    })
    const { store } = gateway.context
    Object.assign(gateway.context, {
      store: Object.create(store, { closedBy: { value: 'ERR_LEDGER_DISK_FULL' } }),
    })
    const ready = await get('/affidavit/readyz')
    expect(ready.status).toBe(503)
    expect(JSON.parse(ready.body.toString())).toMatchObject({ code: 'ERR_LEDGER_DISK_FULL' })
    expect((await get('/affidavit/healthz')).status).toBe(200)
  })

  test('metrics are for loopback, and not through a proxy on this machine', async () => {
    await start()
    const answer = await get('/affidavit/metrics')
    expect(answer.status).toBe(200)
    expect(answer.body.toString()).toContain('affidavit_store_open 1')
    for (const header of ['X-Forwarded-For: 1.2.3.4', 'Forwarded: for=1.2.3.4', 'Via: 1.1 x']) {
      expect((await get('/affidavit/metrics', [header])).status).toBe(403)
    }
  })

  test('anything else below /affidavit/ is not forwarded', async () => {
    await start()
    expect((await get('/affidavit/secrets')).status).toBe(404)
    expect(upstream.requests).toHaveLength(0)
  })
})

describe('shutdown', () => {
  test('what runs finishes, what comes is refused a connection', async () => {
    await start({ limits: { shutdown_ms: 30_000 } })
    let finish = () => {}
    upstream.answer = ({ socket }) => {
      socket.write(streamHead)
      socket.write(chunked(streamFrames[0] ?? ''))
      finish = () => {
        for (const text of streamFrames.slice(1)) socket.write(chunked(text))
        socket.write('0\r\n\r\n')
      }
    }
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true, close: false }))
    await caller.until('message_start')
    const idle = await callRaw(gateway.port)
    const closing = gateway.close()
    await idle.closed
    await expect(callRaw(gateway.port).then((late) => late.closed)).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    })
    finish()
    await caller.closed
    await closing
    expect(parseAnswer(caller.received()).body.toString()).toBe(streamFrames.join(''))
    expect(gateway.ledger.openInteractions).toBe(0)
  })

  test('what does not finish in time is ended, recorded, and seen as broken by its caller', async () => {
    await start({ limits: { shutdown_ms: 20 } })
    upstream.answer = ({ socket }) => {
      socket.write(streamHead)
      socket.write(chunked(streamFrames[0] ?? ''))
    }
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await caller.until('message_start')
    await gateway.close()
    await caller.closed
    expect(parseAnswer(caller.received()).isWhole).toBe(false)
    expect(gateway.ledger.ofKind('interaction.completed')[0]).toMatchObject({
      end_state: 'gateway_terminated',
    })
  })
})
