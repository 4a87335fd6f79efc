import type { Entry } from '@affidavit/format'
import type { Clock } from '@affidavit/sdk/capture'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createProgress, patienceMs } from './progress.ts'
import { createLineFormat } from './record-line.ts'
import { recordPage } from './record-page.ts'
import {
  type Terminal,
  columnsUnlimited,
  counted,
  createTerminal,
  cut,
  grouped,
  pad,
  readableBytes,
  visible,
} from './terminal.ts'

function fakeTerminal(options: { tty?: boolean; env?: Record<string, string>; columns?: number }) {
  const written = { stdout: '', stderr: '' }
  const stream = (name: 'stdout' | 'stderr') => ({
    write(text: string) {
      written[name] += text
      return true
    },
    once: () => {},
    isTTY: options.tty ?? false,
    columns: options.columns ?? 80,
  })
  const terminal = createTerminal({
    stdout: stream('stdout'),
    stderr: stream('stderr'),
    env: options.env ?? {},
  })
  return { terminal, written }
}

const interaction: Entry = {
  v: 1,
  kind: 'interaction.completed',
  event_id: '01930000-0000-7000-8000-000000000000',
  timestamp: '2026-11-23T14:03:21.123456Z',
  logged_at: '2026-11-23T14:03:23.000000Z',
  capture_source: 'gateway',
  provider: 'anthropic',
  operation: 'messages.create',
  route: 'POST /v1/messages',
  streaming: true,
  model: 'claude-sonnet-4-5',
  user_id: 'sub_abcdefghijklmnopqrstuv',
  session_id: null,
  application_id: 'billing-bot',
  identity_trust: { application: 'verified', session: 'none', user: 'verified' },
  ip_address: '10.0.0.0/24',
  hash: { alg: 'hmac-sha256', key_id: 'tenant:1' },
  prompt_hash: 'ab'.repeat(32),
  prompt_completeness: 'full',
  request: { bytes: 1234, wire_digest: 'cd'.repeat(32), parsed: 'json' },
  data_classification: 'INTERNAL',
  classification_source: 'default',
  policy_flags: [],
  policy_version: 'config:1',
  retention_class: 'standard',
  prompt_raw: null,
  status: 'success',
  end_state: 'complete',
  http_status: 200,
  stop_reason: 'end_turn',
  error_type: null,
  request_id: 'req_1',
  model_served: 'claude-sonnet-4-5',
  prompt_tokens: 12_345,
  completion_tokens: 67,
  usage_source: 'final',
  response_hash: null,
  response: { bytes: 99, wire_digest: 'ef'.repeat(32), parsed: 'sse' },
  latency_ms: 1877,
  response_raw: null,
  writer: { epoch: 1, id: '0'.repeat(16), log: 'standard/2026q4', prev: '0'.repeat(64), seq: 1 },
}

test('without a terminal there is no colour, no progress, and results are not cut', async () => {
  const { terminal, written } = fakeTerminal({})
  expect(terminal.colours.bad('x')).toBe('x')
  expect(terminal.columns).toBe(columnsUnlimited)
  terminal.status('working')
  await terminal.print('result\n')
  expect(written).toEqual({ stdout: 'result\n', stderr: '' })
})

test('NO_COLOR wins over a terminal, FORCE_COLOR over a pipe', () => {
  const painted = (options: Parameters<typeof fakeTerminal>[0]) =>
    fakeTerminal(options).terminal.colours.bad('x') !== 'x'
  expect(painted({ tty: true })).toBe(true)
  expect(painted({ tty: true, env: { NO_COLOR: '1' } })).toBe(false)
  expect(painted({ env: { FORCE_COLOR: '1' } })).toBe(true)
  expect(painted({ tty: true, env: { TERM: 'dumb' } })).toBe(false)
})

test('progress is removed before anything else is written', async () => {
  const { terminal, written } = fakeTerminal({ tty: true })
  terminal.status('working')
  terminal.note('done\n')
  expect(written.stderr).toBe('working\r\u001b[2Kdone\n')
})

test('characters that a terminal obeys or hides are shown as what they are', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0x10ffff }), (point) => {
      expect(visible(`a${String.fromCodePoint(point)}b`)).not.toMatch(
        /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u,
      )
    }),
  )
  expect(visible('a\u001b[31m\u202eb')).toBe('a\\u{1b}[31m\\u{202e}b')
  expect(visible('plain – 🙂')).toBe('plain – 🙂')
})

test('texts are cut and padded to their columns', () => {
  expect(cut('abcdef', 4)).toBe('abc…')
  expect(cut('abc', 0)).toBe('')
  expect(pad('ab', 4)).toBe('ab  ')
  expect(grouped(1_234_567)).toBe('1,234,567')
  expect(grouped(123)).toBe('123')
  expect(counted(1, 'entry', 'entries')).toBe('1 entry')
  expect(counted(2000, 'entry', 'entries')).toBe('2,000 entries')
  expect(readableBytes(64 * 1024 * 1024)).toBe('64.0 MiB')
  expect(readableBytes(12)).toBe('12 B')
})

test('a bar appears after two seconds and is removed at the end', () => {
  const shown: string[] = []
  const terminal: Terminal = {
    ...fakeTerminal({}).terminal,
    live: true,
    status: (text) => shown.push(text),
  }
  let nowMs = 0
  const clock: Clock = { nowMicros: () => 0, monotonicMs: () => nowMs }
  const progress = createProgress({ terminal, clock, label: 'x', unit: 'entries', total: 1000 })
  for (nowMs = 0; nowMs < patienceMs; nowMs += 50) progress.update(1)
  expect(shown).toEqual([])
  nowMs = patienceMs
  progress.update(500)
  progress.update(501)
  expect(shown).toHaveLength(1)
  expect(shown[0]).toContain('50 %  500 entries  250/s  2 seconds left')
  progress.end()
  expect(shown.at(-1)).toBe('')
})

test('work of unknown size shows what is done and how fast', () => {
  const shown: string[] = []
  const terminal = { ...fakeTerminal({}).terminal, status: (text: string) => shown.push(text) }
  let nowMs = 0
  const clock: Clock = { nowMicros: () => 0, monotonicMs: () => nowMs }
  const progress = createProgress({ terminal, clock, label: 'x', unit: 'rows', total: 0 })
  nowMs = 4000
  progress.update(8000)
  expect(shown).toEqual(['x  8,000 rows  2,000/s'])
})

const { colours } = fakeTerminal({}).terminal

test('a line has every column when there is room, and the event id always', () => {
  const wide = createLineFormat({ columnsMax: 200, colours })
  expect(wide.line(interaction)).toMatch(
    /^14:03:21\.123 {2}ok +claude-sonnet-4-5 +12,345 → 67 +1\.9 s {2}billing-bot +sub_abcdefg… {2}–/,
  )
  expect(wide.header.indexOf('EVENT ID')).toBe(wide.line(interaction).indexOf('01930000'))
  for (const columnsMax of [60, 80, 100, 120]) {
    const { line } = createLineFormat({ columnsMax, colours })
    expect(line(interaction)).toContain(interaction.event_id)
    expect(line(interaction).length).toBeLessThanOrEqual(columnsMax)
  }
  expect(createLineFormat({ columnsMax: 10, colours }).line(interaction)).toContain('01930000')
})

test('how an interaction ended is told in the words of the record', () => {
  const { line } = createLineFormat({ columnsMax: 200, colours })
  const outcome = (change: object) =>
    line({ ...interaction, ...change })
      .slice(14, 29)
      .trim()
  expect(outcome({ end_state: 'upstream_cut', status: 'incomplete' })).toBe('upstream_cut')
  expect(outcome({ status: 'error', http_status: 529 })).toBe('error 529')
  expect(outcome({ status: 'blocked', http_status: null })).toBe('blocked')
  expect(outcome({ kind: 'interaction.interrupted', end_state: 'abandoned' })).toBe('interrupted')
  expect(outcome({ kind: 'interaction.started' })).toBe('started')
})

test('a name that holds control characters cannot draw on the terminal', () => {
  const { line } = createLineFormat({ columnsMax: 200, colours })
  const hostile = { ...interaction, application_id: '\u001b[2J\u0007x' }
  expect(line(hostile)).toContain('\\u{1b}[2J\\u{7}x')
  expect(recordPage(hostile, { colours })).not.toContain('\u001b')
})

test('facts of the ledger itself have lines too', () => {
  const { line } = createLineFormat({ columnsMax: 200, colours })
  const { writer, event_id, timestamp } = interaction
  const common = { v: 1, event_id, timestamp, retention_class: 'standard', writer } as const
  const gap = { application_id: 'a', requests: 3, reason: 'x', ended_at: timestamp }
  expect(line({ ...common, kind: 'capture.gap', ...gap })).toContain('3 requests passed unrecorded')
  const opened = { product: 'x', recovered_entries: 0, interrupted: 2, torn_bytes: 0 }
  expect(line({ ...common, kind: 'ledger.opened', ...opened })).toContain('epoch 1  2 interrupted')
  expect(line({ ...common, kind: 'ledger.heartbeat' })).toContain('ledger.heartbeat')
  const made = { action: 'key.created', details: {} }
  expect(line({ ...common, kind: 'control.event', ...made })).toContain('key.created')
})

test('a page shows every field that was recorded, also those that it does not know', () => {
  const newer = Object.assign({ novelty: { deep: [1, true] } }, interaction)
  const page = recordPage(newer, { colours })
  for (const part of ['12,345', 'billing-bot', 'req_1', 'novelty', 'deep 1, yes', 'INTERNAL']) {
    expect(page).toContain(part)
  }
  expect(page).toContain('after 1.9 s')
})

test('a page shows what a field was resolved to', () => {
  const replaced = { user_id: 'pat@example.com (sub_x)' }
  expect(recordPage(interaction, { colours, replaced })).toContain('pat@example.com (sub_x)')
})
