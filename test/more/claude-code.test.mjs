/**
 * Claude Code itself, in print mode, through a real gateway with the simulator behind it. The client
 * is large, so it has a lockfile of its own in this folder; the first run installs it.
 *
 *     node --test test/more/claude-code.test.mjs
 *
 * @module
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { createHash, createHmac, randomBytes, randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '../..')
const dist = (path) => new URL(`../../packages/server/dist/${path}`, import.meta.url).href
const program = join(
  here,
  `node_modules/@anthropic-ai/claude-code-${process.platform}-${process.arch}/claude`,
)
const installMsMax = 240_000
const runMsMax = 60_000
const lack = whatIsLacking()

/** The reason why Claude Code cannot run here; `false` if it can. */
function whatIsLacking() {
  if (!existsSync(join(root, 'packages/server/dist/cli/main.js'))) return 'not compiled'
  if (!existsSync(program)) {
    spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
      cwd: here,
      stdio: ['ignore', 2, 2],
      timeout: installMsMax,
    })
  }
  if (!existsSync(program)) return 'Claude Code could not be installed'
  const { status } = spawnSync(program, ['--version'], { timeout: runMsMax })
  return status === 0 ? false : 'Claude Code does not run on this machine'
}

/** The parts of a running pair; `before` fills it. */
const pair = {}
const directories = []

function makeDirectory() {
  const directory = mkdtempSync(join(tmpdir(), 'affidavit-claude-code-'))
  directories.push(directory)
  return directory
}

async function startPair() {
  const { startSimulator } = await import(dist('simulate/simulator.js'))
  const { startGateway } = await import(dist('processes/gateway.js'))
  const { configFrom } = await import(dist('base/config.js'))
  const dataDir = makeDirectory()
  const simulator = await startSimulator({ record: 'bodies' })
  const gateway = await startGateway({
    config: configFrom({
      deployment: 'audit.example',
      instance: 'gw-1',
      data_dir: dataDir,
      log: { level: 'error' },
      ledger: { segment_bytes: 1024 * 1024 },
      gateway: {
        listen: '127.0.0.1:0',
        upstream: { anthropic: simulator.url },
        provider_keys: { anthropic: { env: 'PROVIDER_KEY' } },
      },
    }),
    sources: {
      env: { PROVIDER_KEY: 'sk-held-by-the-gateway' },
      directory: dataDir,
      readFile: () => undefined,
    },
  })
  return { simulator, gateway, dataDir }
}

/** Runs `claude -p prompt` in a home of its own. */
function claude(prompt, { parameters = [], env = {}, url = pair.gateway.url } = {}) {
  const home = makeDirectory()
  return new Promise((resolve) => {
    const all = ['-p', prompt, '--output-format', 'json', ...parameters]
    const child = spawn(program, all, {
      cwd: home,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: runMsMax,
      env: {
        HOME: home,
        PATH: process.env.PATH,
        ANTHROPIC_BASE_URL: url,
        ANTHROPIC_API_KEY: 'sk-of-the-caller',
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
        ...env,
      },
    })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (text) => (stdout += text))
    child.stderr.on('data', (text) => (stderr += text))
    child.on('close', (code) => resolve({ code, stderr, ...resultIn(stdout) }))
  })
}

/** The text that the user sees, and the session's id. */
function resultIn(stdout) {
  try {
    const printed = JSON.parse(stdout)
    const last = Array.isArray(printed) ? printed.at(-1) : printed
    return { text: String(last.result), session: last.session_id, failed: last.is_error }
  } catch {
    return { text: stdout, session: undefined, failed: true }
  }
}

/** Entries of one session, on disk, in order; the tail is read first, so that none is missed. */
async function recordsOf(session) {
  const { parseEntry } = await import('@affidavit/format')
  const { openLedgerReader } = await import(dist('ledger/read.js'))
  const reader = await openLedgerReader(join(pair.dataDir, 'gw-1'))
  const found = new Map()
  const add = (bytes) => {
    const entry = parseEntry(bytes)
    if (entry.session_id === session) found.set(entry.writer.seq, entry)
  }
  for await (const { entry } of reader.readUnintegrated()) add(entry)
  for (const log of await reader.logs()) {
    for await (const { entry } of reader.readEntries(log)) add(entry)
  }
  const entries = [...found.values()].toSorted((a, b) => a.writer.seq - b.writer.seq)
  const completed = entries.filter(({ kind }) => kind === 'interaction.completed')
  const started = entries.filter(({ kind }) => kind === 'interaction.started')
  assert.deepEqual(
    completed.map(({ event_id: id }) => id).toSorted(),
    started.map(({ event_id: id }) => id).toSorted(),
    'every start has its end',
  )
  return completed
}

const parts = (records, ...names) => records.map((record) => names.map((name) => record[name]))

/** Each record's digest of the request is that of the bytes that upstream received. */
function assertBytes(records) {
  const file = JSON.parse(readFileSync(join(pair.dataDir, 'keys/hash-tenant.json'), 'utf8'))
  const key = Buffer.from(file.keys[file.current], 'base64')
  const keyed = (bytes) =>
    createHmac('sha256', key)
      .update(
        createHash('sha256')
          .update(bytes ?? '')
          .digest(),
      )
      .digest('hex')
  const exchanges = new Map(
    pair.simulator.requests.map((exchange) => [keyed(exchange.received.body), exchange]),
  )
  for (const record of records) {
    const exchange = exchanges.get(record.request.wire_digest)
    assert.ok(exchange, 'upstream received what the record says')
    assert.equal(record.response.wire_digest, keyed(exchange.sent.body))
    assert.ok(!exchange.received.rawHeaders.some((name) => /^x-audit-/i.test(name)))
  }
}

const options = { skip: lack, timeout: 120_000 }

if (lack === false) {
  before(async () => Object.assign(pair, await startPair()))
  afterEach(() => pair.simulator.clear())
  after(async () => {
    await pair.simulator.close()
    for (const directory of directories) rmSync(directory, { recursive: true, force: true })
  })
}

test('says hi: one record, with its session, device, model and tokens', options, async () => {
  const session = randomUUID()
  const run = await claude('say hi', { parameters: ['--session-id', session] })
  assert.equal(run.code, 0, run.stderr)
  const records = await recordsOf(session)
  assert.equal(records.length, 1)
  const [record] = records
  const [exchange] = pair.simulator.requests
  assert.equal(record.end_state, 'complete')
  assert.equal(record.model_served, exchange.facts.model)
  assert.equal(record.completion_tokens, exchange.facts.usage.output_tokens)
  assert.equal(record.message_id, exchange.facts.messageId)
  assert.match(record.client, /^claude-cli\/2\.1\.330/)
  assert.match(record.device_id, /^[0-9a-f]{64}$/)
  assert.ok(record.tools_offered.includes('Bash'))
  assertBytes(records)
})

test('runs a tool: two records of one session', options, async () => {
  const run = await claude('USE_TOOL', { parameters: ['--allowedTools', 'Bash'] })
  assert.equal(run.code, 0, run.stderr)
  assert.match(run.text, /simulated-tool-output/)
  const records = await recordsOf(run.session)
  assert.deepEqual(parts(records, 'stop_reason'), [['tool_use'], ['end_turn']])
  assert.deepEqual(records[0].tool_calls, ['Bash'])
  assertBytes(records)
})

test('spawns an agent: its interaction is marked as the agent’s', options, async () => {
  const run = await claude('SPAWN_AGENT', { parameters: ['--allowedTools', 'Agent'] })
  assert.equal(run.code, 0, run.stderr)
  const records = await recordsOf(run.session)
  assert.equal(records.length, 3)
  const agents = records.filter(({ agent_id: id }) => id !== undefined)
  assert.equal(agents.length, 1)
  assertBytes(records)
})

test('repeats a turn without streaming after an error event: two records', options, async () => {
  const run = await claude('SIMULATE:mid_error')
  assert.equal(run.code, 0, run.stderr)
  const records = await recordsOf(run.session)
  assert.deepEqual(parts(records, 'streaming', 'end_state', 'error_type'), [
    [true, 'upstream_error', 'overloaded_error'],
    [false, 'complete', null],
  ])
  assertBytes(records)
})

test('repeats a cut stream: the cut is on record', options, async () => {
  pair.simulator.setMode({ mode: 'cut', count: 1 })
  const run = await claude('please go on')
  assert.equal(run.code, 0, run.stderr)
  const records = await recordsOf(run.session)
  assert.deepEqual(parts(records, 'end_state'), [['upstream_cut'], ['complete']])
})

test('waits out 529: every attempt is on record', options, async () => {
  pair.simulator.setMode({ mode: 'error_529', count: 2 })
  const run = await claude('please try')
  assert.equal(run.code, 0, run.stderr)
  const records = await recordsOf(run.session)
  assert.deepEqual(parts(records, 'http_status', 'end_state'), [
    [529, 'upstream_error'],
    [529, 'upstream_error'],
    [200, 'complete'],
  ])
})

test('shows a refusal with 451 at once', options, async () => {
  const run = await claude('SIMULATE:refuse_451')
  assert.equal(run.failed, true)
  assert.match(run.text, /451/)
  assert.equal(pair.simulator.requests.length, 1)
  assert.deepEqual(parts(await recordsOf(run.session), 'http_status'), [[451]])
})

test('shows the gateway’s own 503 at once, and nothing reaches Claude', options, async () => {
  const broken = await startPair()
  await broken.gateway.store.close()
  const run = await claude('say hi', { url: broken.gateway.url })
  assert.equal(run.failed, true)
  assert.match(run.text, /503 Affidavit: the audit store is not available/)
  assert.equal(broken.simulator.requests.length, 0)
  await broken.gateway.close()
  await broken.simulator.close()
})

test(
  'presents a gateway key: the user is verified, upstream sees the held key only',
  options,
  async () => {
    const { createGatewayKey, gatewayKeysPath } = await import(dist('control/keys.js'))
    const { systemClock } = await import('@affidavit/sdk/capture')
    const { text: key } = createGatewayKey(
      gatewayKeysPath(pair.dataDir, 'gw-1'),
      { user: 'user-007', application: 'claude-code' },
      { clock: systemClock, random: randomBytes },
    )
    const run = await claude('say hi', { env: { ANTHROPIC_API_KEY: key } })
    assert.equal(run.code, 0, run.stderr)
    const [record] = await recordsOf(run.session)
    assert.equal(record.identity_trust.user, 'verified')
    assert.equal(record.application_id, 'claude-code')
    const headers = JSON.stringify(pair.simulator.requests[0].received.rawHeaders)
    assert.ok(headers.includes('sk-held-by-the-gateway'))
    assert.ok(!headers.includes(key))
  },
)

test(
  'a gateway key that is not known is refused once, and nothing reaches Claude',
  options,
  async () => {
    const run = await claude('say hi', {
      env: { ANTHROPIC_API_KEY: `afk_aaaaaaaaaaaa_${'A'.repeat(43)}` },
    })
    assert.equal(run.failed, true)
    assert.match(run.text, /gateway key/)
    assert.equal(pair.simulator.requests.length, 0)
  },
)

test('its connectivity probe passes', options, async () => {
  const run = await claude('say hi', { env: { CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '' } })
  assert.equal(run.code, 0, run.stderr)
  const records = await recordsOf(run.session)
  assert.ok(records.length >= 1)
  assert.ok(records.every(({ end_state: state }) => state === 'complete'))
})

test('the log that all these runs left verifies', options, async () => {
  await pair.gateway.close()
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, 'packages/server/bin/affidavit.mjs'), 'verify', pair.dataDir],
    { encoding: 'utf8' },
  )
  assert.equal(status, 0, stdout + stderr)
})
