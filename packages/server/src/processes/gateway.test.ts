import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '@affidavit/sdk/capture'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { configFrom } from '../base/config.ts'
import { silentLog } from '../base/log.ts'
import { createGatewayKey, gatewayKeysPath, revokeGatewayKey } from '../control/keys.ts'
import {
  answerWithStream,
  callRaw,
  chunked,
  jsonAnswer,
  messageRequest,
  parseAnswer,
  startRawUpstream,
  streamFrames,
  streamHead,
  type RawUpstream,
} from '../gateway/testing.ts'
import { completedDraft, startedDraft } from '../ingest/testing.ts'
import { openLedgerReader } from '../ledger/read.ts'
import { resolveHandles } from '../vault/resolve.ts'
import { startGateway, type RunningGateway } from './gateway.ts'

type Entry = Record<string, unknown>

let directory = ''
let upstream: RawUpstream
const running: RunningGateway[] = []

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'affidavit-gateway-'))
  upstream = await startRawUpstream()
})
afterEach(async () => {
  for (const gateway of running.splice(0)) await gateway.close()
  await upstream.close()
  rmSync(directory, { recursive: true })
})

async function start(settings: Record<string, unknown> = {}): Promise<RunningGateway> {
  const { gateway: own, ...rest } = settings
  const config = configFrom({
    data_dir: directory,
    ledger: { segment_bytes: 1024 * 1024 },
    ...rest,
    gateway: {
      listen: '127.0.0.1:0',
      upstream: { anthropic: upstream.url },
      limits: { shutdown_ms: 200 },
      ...(own as object),
    },
  })
  const env = { HELD: 'sk-ant-held' }
  const sources = { env, directory, readFile: () => undefined }
  const gateway = await startGateway({ config, log: silentLog, sources })
  running.push(gateway)
  return gateway
}

async function stop(gateway: RunningGateway): Promise<void> {
  running.splice(running.indexOf(gateway), 1)
  await gateway.close()
}

async function exchange(gateway: RunningGateway, request = messageRequest()) {
  const caller = await callRaw(gateway.port)
  caller.send(request)
  await caller.closed
  return parseAnswer(caller.received())
}

/** Every entry of the data directory, in the order of writing. */
async function entries(): Promise<Entry[]> {
  const reader = await openLedgerReader(join(directory, 'gateway'))
  const found: Entry[] = []
  for (const log of await reader.logs()) {
    for await (const { entry } of reader.readEntries(log)) {
      found.push(JSON.parse(Buffer.from(entry).toString('utf8')) as Entry)
    }
  }
  for await (const { entry } of reader.readUnintegrated()) {
    found.push(JSON.parse(Buffer.from(entry).toString('utf8')) as Entry)
  }
  const at = ({ writer }: Entry) => {
    const { epoch, seq } = writer as { epoch: number; seq: number }
    return epoch * 1e6 + seq
  }
  return found.toSorted((a, b) => at(a) - at(b))
}

const ofKind = (found: readonly Entry[], kind: string) => found.filter((it) => it.kind === kind)

describe('end to end on a real ledger', () => {
  test('each exchange is a start and an end in the log, under one id', async () => {
    const gateway = await start()
    const answer = await exchange(
      gateway,
      messageRequest({ headers: ['x-audit-user: jane@acme.example', 'x-audit-session: s 1'] }),
    )
    upstream.answer = answerWithStream
    await exchange(gateway, messageRequest({ stream: true }))
    await stop(gateway)
    const found = await entries()
    expect(found[0]).toMatchObject({ kind: 'ledger.opened' })
    const [started, second] = ofKind(found, 'interaction.started')
    const [completed, streamed] = ofKind(found, 'interaction.completed')
    expect(answer.headers).toContain(`x-audit-event-id: ${started?.event_id}`)
    expect(completed).toMatchObject({ event_id: started?.event_id, end_state: 'complete' })
    expect(streamed).toMatchObject({ event_id: second?.event_id, completion_tokens: 5 })
    const text = readdirSync(join(directory, 'gateway'), { recursive: true, withFileTypes: true })
      .filter((file) => file.isFile() && file.name !== 'keys.json')
      .map((file) => readFileSync(join(file.parentPath, file.name), 'latin1'))
      .join('')
    expect(text).not.toMatch(/jane|sk-ant|s 1"|Grüße/)
    const handles = new Set([String(started?.user_id), String(started?.session_id)])
    const named = await resolveHandles(directory, 'gateway', handles)
    expect(named.map((it) => it.name).toSorted()).toEqual(['jane@acme.example', 's 1'])
  })

  test('a user keeps the handle across restarts', async () => {
    const request = messageRequest({ headers: ['x-audit-user: jane'] })
    for (let run = 0; run < 2; run++) {
      const gateway = await start()
      await exchange(gateway, request)
      await stop(gateway)
    }
    const users = ofKind(await entries(), 'interaction.completed').map((entry) => entry.user_id)
    expect(users[0]).toMatch(/^sub_/)
    expect(users[1]).toBe(users[0])
  })

  test.each(['tenant', 'subject', 'plain'])(
    'digests of mode %s are what the record says',
    async (mode) => {
      const gateway = await start({ hashing: { mode } })
      await exchange(gateway, messageRequest({ headers: ['x-audit-user: jane'] }))
      await exchange(gateway, messageRequest({ headers: ['x-audit-user: joe'] }))
      await stop(gateway)
      const [jane, joe] = ofKind(await entries(), 'interaction.completed')
      expect(JSON.stringify(jane?.hash)).toContain(
        mode === 'subject' ? `subject:${jane?.user_id}` : mode,
      )
      expect(jane?.prompt_hash === joe?.prompt_hash).toBe(mode !== 'subject')
    },
  )

  test('a second gateway on the same directory refuses to start', async () => {
    await start()
    await expect(start()).rejects.toMatchObject({ code: 'ERR_LEDGER_LOCKED' })
  })

  test('metrics can have an address of their own', async () => {
    const taken = await start()
    const other = `127.0.0.1:${taken.port}`
    const second = start({ instance: 'other', gateway: { metrics_listen: other } })
    await expect(second).rejects.toMatchObject({ code: 'EADDRINUSE' })
    const third = await start({ instance: 'other', gateway: { metrics_listen: '127.0.0.1:0' } })
    expect(third.metrics.render()).toContain('affidavit_store_open 1')
  })

  test('an address in use lets the ledger go again', async () => {
    const first = await start()
    const second = start({ instance: 'other', gateway: { listen: `127.0.0.1:${first.port}` } })
    await expect(second).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await start({ instance: 'other' })
  })

  test('a shutdown in the middle of a stream leaves no open interaction', async () => {
    upstream.answer = ({ socket }) => {
      socket.write(streamHead)
      socket.write(chunked(streamFrames[0] ?? ''))
    }
    const gateway = await start()
    const caller = await callRaw(gateway.port)
    caller.send(messageRequest({ stream: true }))
    await caller.until('message_start')
    await stop(gateway)
    await start()
    const found = await entries()
    expect(ofKind(found, 'interaction.completed')).toMatchObject([
      { end_state: 'gateway_terminated' },
    ])
    expect(ofKind(found, 'interaction.interrupted')).toEqual([])
  })
})

describe('gateway keys', () => {
  test('made and revoked while the gateway runs take effect at once', async () => {
    const gateway = await start({
      gateway: { require_gateway_key: true, provider_keys: { anthropic: { env: 'HELD' } } },
    })
    const path = gatewayKeysPath(directory, 'gateway')
    const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))
    const { key, text } = createGatewayKey(path, { user: 'jane' }, { clock: systemClock, random })
    const request = messageRequest().replace('sk-ant-secret', text)
    expect((await exchange(gateway, request)).status).toBe(200)
    expect(upstream.requests[0]?.headers).toContain('x-api-key: sk-ant-held')
    revokeGatewayKey(path, key.id, systemClock)
    expect((await exchange(gateway, request)).status).toBe(401)
    expect(upstream.requests).toHaveLength(1)
  })

  test('the ledger tells of a key’s life, and of the gateway’s', async () => {
    const gateway = await start()
    const path = gatewayKeysPath(directory, 'gateway')
    const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))
    const { key, text } = createGatewayKey(path, { user: 'jane' }, { clock: systemClock, random })
    const request = messageRequest({ headers: [`x-audit-key: ${text}`] })
    await exchange(gateway, request)
    revokeGatewayKey(path, key.id, systemClock)
    await exchange(gateway, request)
    await stop(gateway)
    const events = ofKind(await entries(), 'control.event')
    expect(events.map((event) => event.action)).toEqual([
      'gateway.started',
      'key.created',
      'key.revoked',
      'gateway.stopped',
    ])
    expect(events[1]?.details).toEqual({ key_id: key.id })
  })

  test('a held provider key that is missing starts nothing', async () => {
    const missing = start({ gateway: { provider_keys: { anthropic: { env: 'NONE' } } } })
    await expect(missing).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' })
    await start()
  })
})

describe('ingest', () => {
  test('records of an SDK are in the ledger once, also across a restart that lost the marks', async () => {
    const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))
    const path = gatewayKeysPath(directory, 'gateway')
    const { text } = createGatewayKey(path, { application: 'bot' }, { clock: systemClock, random })
    const drafts = [startedDraft(), completedDraft()].map((body, seq) =>
      JSON.stringify({ writer: { id: 'spool', epoch: 1, seq }, body }),
    )
    const post = async (gateway: RunningGateway) => {
      const response = await fetch(`${gateway.url}/affidavit/v1/ingest`, {
        method: 'POST',
        headers: { authorization: `Bearer ${text}` },
        body: drafts.join('\n'),
      })
      return [response.status, await response.json()]
    }
    const first = await start()
    expect(await post(first)).toEqual([200, { accepted: [0, 1], refused: [] }])
    await stop(first)
    writeFileSync(join(directory, 'gateway', 'keyring', 'ingest.jsonl'), '')
    const second = await start()
    expect(await post(second)).toEqual([200, { accepted: [0, 1], refused: [] }])
    await stop(second)
    const found = (await entries()).filter((entry) => 'ingest' in entry)
    expect(found.map((entry) => entry.kind)).toEqual([
      'interaction.started',
      'interaction.completed',
    ])
    expect(found[0]).toMatchObject({ application_id: 'bot', capture_source: 'middleware' })
    expect(jsonAnswer).toContain('200 OK')
  })
})
