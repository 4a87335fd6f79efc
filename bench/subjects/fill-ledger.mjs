/**
 * Fills a ledger with interactions as the gateway records them, then waits to be killed. What it
 * leaves is what a crash under load leaves: a part published, a part only in the write-ahead log, and
 * some interactions open.
 *
 *     node fill-ledger.mjs INSTANCE_DIRECTORY ENTRIES
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { canonicalize, newEventId } from '../../packages/format/dist/index.js'
import { formatMicros, systemClock } from '../../packages/sdk/dist/capture.js'
import { openLedger } from '../../packages/server/dist/ledger/ledger.js'

const [, , directory = '', count = '1000000'] = process.argv
const entries = Number(count)
const producers = 512
/** Interactions that are never ended. */
const openAtTheEnd = 200

mkdirSync(directory, { recursive: true })
const { ledger } = await openLedger({
  directory,
  deployment: 'affidavit.local',
  instance: 'gateway',
  clock: systemClock,
  random: (bytes) => new Uint8Array(randomBytes(bytes)),
})

const state = { appended: 0 }
await Promise.all(Array.from({ length: producers }, produce))
for (let open = 0; open < openAtTheEnd; open++) await start()
console.log(JSON.stringify({ appended: state.appended }))
setInterval(() => {}, 60_000)

async function produce() {
  while (state.appended < entries) {
    const { id, timestamp } = await start()
    state.appended++
    const body = canonicalize({ ...requestFields(id, timestamp), ...responseFields(timestamp) })
    await ledger.append({ retentionClass: 'standard', body, closes: id })
  }
}

async function start() {
  state.appended++
  const nowMicros = systemClock.nowMicros()
  const id = newEventId(Math.floor(nowMicros / 1000), new Uint8Array(randomBytes(10)))
  const timestamp = formatMicros(nowMicros)
  const body = canonicalize({ kind: 'interaction.started', ...requestFields(id, timestamp) })
  await ledger.append({ retentionClass: 'standard', body, opens: id })
  return { id, timestamp }
}

function requestFields(id, timestamp) {
  return {
    v: 1,
    event_id: id,
    timestamp,
    capture_source: 'gateway',
    provider: 'anthropic',
    operation: 'messages.create',
    route: 'POST /v1/messages',
    streaming: false,
    model: 'claude-sonnet-4-5',
    user_id: 'sub_3Jc0c1uVwTq9m2Jt0nXb7A',
    session_id: '0198c1f0-5b1e-7c3a-9d2e-6f1a2b3c4d5e',
    application_id: 'bench',
    identity_trust: { application: 'none', session: 'client-asserted', user: 'client-asserted' },
    credential: { kind: 'api_key', fingerprint: 'a3f1c2d4e5b69788' },
    ip_address: '127.0.0.0/24',
    hash: { alg: 'hmac-sha256', key_id: 'tenant:1' },
    prompt_hash: 'c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00',
    prompt_completeness: 'full',
    request: { bytes: 1024, parsed: 'json', block_count: 2, wire_digest: 'd'.repeat(64) },
    data_classification: 'INTERNAL',
    classification_source: 'default',
    policy_flags: [],
    policy_version: 'configuration',
    retention_class: 'standard',
    prompt_raw: null,
  }
}

function responseFields(timestamp) {
  return {
    kind: 'interaction.completed',
    logged_at: timestamp,
    status: 'success',
    end_state: 'complete',
    http_status: 200,
    stop_reason: 'end_turn',
    error_type: null,
    request_id: 'req_000000000000000000000001',
    model_served: 'claude-sonnet-4-5',
    prompt_tokens: 211,
    completion_tokens: 57,
    usage_source: 'final',
    response_hash: 'e'.repeat(64),
    response: { bytes: 1024, parsed: 'json', block_count: 1, wire_digest: 'f'.repeat(64) },
    latency_ms: 812,
    response_raw: null,
  }
}
