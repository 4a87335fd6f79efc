/**
 * The one schema of `affidavit.yaml`: every key with what it means, its unit, default and limit. The
 * reference page is rendered from here (config-reference.ts), so a key cannot exist undocumented.
 *
 * Invariants: unknown keys are refused; every key has a default, so that an empty file is a valid
 * one; names are snake_case here and camelCase in the program (config.ts converts, nothing else does).
 *
 * @module
 */
import { z } from 'zod'

/** What the reference page says about a key, beside what its schema shows. */
export interface KeyDoc {
  /** One or two sentences: what it decides, and what follows from the choice. */
  readonly text: string
  readonly unit?: string
  /** Admissible values in words, where the schema does not show them (numbers, choices). */
  readonly limit?: string
  /** Environment variable that overrides the file. */
  readonly env?: string
}

/** Documentation of each key's schema. */
export const keyDocs = z.registry<KeyDoc>()

const mebibyte = 1024 * 1024

function documented<Schema extends z.ZodType>(schema: Schema, doc: KeyDoc): Schema {
  keyDocs.add(schema, doc)
  return schema
}

function integer(doc: KeyDoc & { default: number; min: number; max: number }) {
  return documented(z.int().min(doc.min).max(doc.max).default(doc.default), doc)
}

const name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits, dots and hyphens')
const nameLimit = 'lower-case letters, digits, `.` and `-`; at most 63'

const address = z
  .string()
  .regex(/^(\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, 'host:port, e.g. 127.0.0.1:8787')

const upstreamUrl = z
  .string()
  .refine(isPlainHttpUrl, 'an http:// or https:// address without credentials, query or fragment')

function isPlainHttpUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const url = new URL(text)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return false
  return url.username === '' && url.password === '' && url.search === '' && url.hash === ''
}

const retentionClass = () =>
  z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'lower-case letters, digits and hyphens')
const classification = () => z.enum(['PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED'])

const secretReference = z.union([
  z.strictObject({ env: z.string().min(1) }),
  z.strictObject({ file: z.string().min(1) }),
])

const application = z.strictObject({
  retention_class: documented(retentionClass().optional(), {
    text: 'Retention class of the application’s records; a log of its own per class and quarter.',
    limit: 'lower-case letters, digits, `-`; at most 32',
  }),
  data_classification: documented(classification().optional(), {
    text: 'Classification that its records start with; a caller can raise it, never lower it.',
  }),
  delivery: documented(z.enum(['strict', 'standard']).optional(), {
    text: 'Delivery for this application; see `gateway.delivery`.',
  }),
  fail_open: documented(z.boolean().optional(), {
    text:
      'Forward this application’s requests **unrecorded** while the ledger is down, and record each ' +
      'gap as `capture.gap` when it is back. Holds only for callers whose gateway key names the ' +
      'application, and under `gateway.default_application` for those that present no key. Off unless set.',
  }),
})

const upstream = z.strictObject({
  anthropic: documented(upstreamUrl.default('https://api.anthropic.com'), {
    text: 'Where requests for Claude’s API go. A path is put before the request’s own.',
    limit: '`http://` or `https://` address',
    env: 'AFFIDAVIT_UPSTREAM_ANTHROPIC',
  }),
  connections: integer({
    text: 'Connections to the upstream at most; further requests wait for one.',
    default: 1024,
    min: 1,
    max: 65_535,
  }),
  connect_timeout_ms: integer({
    text: 'Time to connect, TLS included, before a caller gets 502.',
    unit: 'ms',
    default: 10_000,
    min: 100,
    max: 120_000,
  }),
  headers_timeout_ms: integer({
    text: 'Time from the whole request sent to the first byte of the answer. 0 waits without end.',
    unit: 'ms',
    default: 900_000,
    min: 0,
    max: 86_400_000,
  }),
  body_timeout_ms: integer({
    text: 'Silence in an answer after which it counts as cut. 0 waits without end.',
    unit: 'ms',
    default: 900_000,
    min: 0,
    max: 86_400_000,
  }),
  keep_alive_ms: integer({
    text: 'Idle time after which a connection to the upstream is closed.',
    unit: 'ms',
    default: 30_000,
    min: 1_000,
    max: 600_000,
  }),
})

const limits = z.strictObject({
  request_body_bytes: integer({
    text: 'Largest request body; above it 413. Claude’s own limit is 32 MiB.',
    unit: 'bytes',
    default: 32 * mebibyte,
    min: 1024,
    max: 512 * mebibyte,
  }),
  request_bodies_bytes: integer({
    text: 'Request bodies held at one time, all together; above it 429 with `retry-after`.',
    unit: 'bytes',
    default: 1024 * mebibyte,
    min: mebibyte,
    max: 64 * 1024 * mebibyte,
  }),
  exchanges: integer({
    text: 'Exchanges at one time; above it 429 with `retry-after`.',
    unit: 'exchanges',
    default: 10_000,
    min: 1,
    max: 60_000,
  }),
  header_bytes: integer({
    text: 'Headers of one request, and of one answer.',
    unit: 'bytes',
    default: 128 * 1024,
    min: 8 * 1024,
    max: mebibyte,
  }),
  held_answer_bytes: integer({
    text:
      'In strict delivery, how much of an answer that is not a stream is kept back, headers ' +
      'included, until its record is on disk; of a larger one the last piece is kept back.',
    unit: 'bytes',
    default: mebibyte,
    min: 0,
    max: 64 * mebibyte,
  }),
  linger_ms: integer({
    text: 'How long an upstream may keep a stream open after its last frame.',
    unit: 'ms',
    default: 500,
    min: 0,
    max: 60_000,
  }),
  stalled_ms: integer({
    text: 'How long a caller may take nothing of an answer that waits for it.',
    unit: 'ms',
    default: 900_000,
    min: 1_000,
    max: 86_400_000,
  }),
  keep_alive_ms: integer({
    text: 'Idle time after which a caller’s connection is closed; longer than any load balancer’s.',
    unit: 'ms',
    default: 620_000,
    min: 1_000,
    max: 3_600_000,
  }),
  shutdown_ms: integer({
    text: 'How long a stopping gateway lets running exchanges finish before it ends them.',
    unit: 'ms',
    default: 30_000,
    min: 0,
    max: 3_600_000,
  }),
  ingest_body_bytes: integer({
    text: 'Largest body that the ingest endpoint takes.',
    unit: 'bytes',
    default: 8 * mebibyte,
    min: 64 * 1024,
    max: 64 * mebibyte,
  }),
})

const gateway = z.strictObject({
  listen: documented(address.default('127.0.0.1:8787'), {
    text: 'Address that callers use. It speaks HTTP: put TLS in front before leaving loopback.',
    limit: '`host:port`; port 0 takes a free one',
    env: 'AFFIDAVIT_GATEWAY_LISTEN',
  }),
  metrics_listen: documented(address.nullable().default(null), {
    text:
      'Address of its own for `GET /metrics`, for a scraper on another host. Without it, metrics ' +
      'are at `/affidavit/metrics`, for callers on loopback only.',
    limit: '`host:port`',
  }),
  delivery: documented(z.enum(['strict', 'standard']).default('strict'), {
    text:
      '`strict`: the end of an answer reaches the caller only when its record is on disk. ' +
      '`standard`: the answer passes at once and the record is written right after.',
  }),
  unknown_paths: documented(z.enum(['record', 'deny']).default('record'), {
    text:
      'What happens to paths that are not known: recorded as opaque bytes and forwarded, or ' +
      'refused with 451.',
  }),
  require_gateway_key: documented(z.boolean().default(false), {
    text: 'Refuse callers without a gateway key (401), so that every identity is verified.',
  }),
  default_application: documented(z.string().min(1).max(128).default('unnamed'), {
    text: '`application_id` of callers that name none.',
    limit: '1 … 128 characters',
  }),
  retention_class: documented(retentionClass().default('standard'), {
    text: 'Retention class of records whose application sets none.',
    limit: 'lower-case letters, digits, `-`; at most 32',
  }),
  data_classification: documented(classification().default('INTERNAL'), {
    text: 'Classification of records whose application sets none.',
  }),
  ip_address: documented(z.enum(['masked', 'full', 'none']).default('masked'), {
    text: 'Caller’s address in records: masked to /24 or /48, whole, or left out.',
  }),
  trusted_proxies: documented(z.array(z.string()).max(256).default([]), {
    text:
      'Addresses and CIDR ranges whose `X-Forwarded-For` is believed. The nearest address that is ' +
      'not one of them is the caller’s.',
    limit: 'at most 256 addresses or ranges',
  }),
  provider_keys: documented(z.strictObject({ anthropic: secretReference.optional() }).default({}), {
    text:
      'Provider keys that the gateway holds, by provider (`anthropic`), each as `{ env: NAME }` or ' +
      '`{ file: PATH }`. Sent as `x-api-key` for callers that present a gateway key and no key of ' +
      'the provider’s.',
    limit: 'references only; a key itself is refused here',
  }),
  applications: documented(z.record(z.string().min(1).max(128), application).default({}), {
    text: 'Settings per application id, each overriding the gateway’s own.',
    limit: 'application ids of at most 128 characters',
  }),
  upstream: upstream.prefault({}),
  limits: limits.prefault({}),
})

const hashing = z.strictObject({
  mode: documented(z.enum(['tenant', 'subject', 'plain']).default('tenant'), {
    text:
      'Digests in records. `tenant`: keyed, comparable across users, not guessable from outside. ' +
      '`subject`: keyed per user and month, erasable. `plain`: bare SHA-256, which confirms a guess.',
  }),
})

const ledger = z.strictObject({
  segment_bytes: integer({
    text: 'Size of one preallocated segment of the write-ahead log.',
    unit: 'bytes',
    default: 64 * mebibyte,
    min: mebibyte,
    max: 1024 * mebibyte,
  }),
  integrate_interval_ms: integer({
    text: 'How often sequenced entries are integrated and published.',
    unit: 'ms',
    default: 1_000,
    min: 10,
    max: 60_000,
  }),
  integrate_entries: integer({
    text: 'Sequenced entries that are integrated without waiting for the interval.',
    unit: 'entries',
    default: 4_096,
    min: 1,
    max: 1_048_576,
  }),
  heartbeat_ms: integer({
    text: 'Time without an entry after which a heartbeat entry is written.',
    unit: 'ms',
    default: 60_000,
    min: 1_000,
    max: 3_600_000,
  }),
  queue_bytes: integer({
    text: 'Entries waiting for the disk at most; above it the store is busy and callers get 503.',
    unit: 'bytes',
    default: 64 * mebibyte,
    min: mebibyte,
    max: 1024 * mebibyte,
  }),
  reopen_ms_max: integer({
    text: 'Longest pause between attempts to reopen a ledger that has stopped.',
    unit: 'ms',
    default: 15_000,
    min: 100,
    max: 600_000,
  }),
})

const log = z.strictObject({
  level: documented(z.enum(['debug', 'info', 'warn', 'error']).default('info'), {
    text: 'Least important line that is written to standard error.',
  }),
  format: documented(z.enum(['auto', 'json', 'pretty']).default('auto'), {
    text: 'JSON lines, or text for people; `auto` writes text on a terminal and JSON elsewhere.',
  }),
})

/** Schema of the whole file. */
export const configSchema = z.strictObject({
  deployment: documented(name.default('affidavit.local'), {
    text: 'First part of every log’s origin. A domain name of yours keeps origins unique.',
    limit: nameLimit,
  }),
  instance: documented(name.default('gateway'), {
    text: 'Name of this gateway within the deployment: second part of its logs’ origins.',
    limit: nameLimit,
  }),
  data_dir: documented(z.string().min(1).default('./.affidavit'), {
    text: 'Directory of everything that is kept: ledger, key ring, keys.',
    limit: 'a path, from the working directory',
    env: 'AFFIDAVIT_DATA_DIR',
  }),
  gateway: gateway.prefault({}),
  hashing: hashing.prefault({}),
  ledger: ledger.prefault({}),
  log: log.prefault({}),
})
