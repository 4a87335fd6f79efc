/**
 * The ingest endpoint: takes the records that SDKs made inside applications.
 *
 *     POST /affidavit/v1/ingest                       authorization: Bearer <gateway key>
 *     {"writer":{"id":"…","epoch":7,"seq":41},"body":{…}}        NDJSON, or a JSON array of the same
 *
 *     200 {"accepted":[41,42],"refused":[{"seq":43,"code":"ERR_ENTRY_MALFORMED"}]}
 *
 * Invariants:
 * - `accepted` means sequenced: on this gateway's disk, under this gateway's writer.
 * - Each (gateway key, spool, epoch, seq) is written once, also when it is sent twice, by two
 *   connections at once, or across a restart (marks.ts).
 * - Records of a spool are written in the order of their numbers. The first that cannot be written now
 *   ends the request; those behind it are neither accepted nor refused, and come again.
 * - A record that can never be written (malformed, too large) is refused by itself.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { canonicalize, isAuditError, type AuditErrorCode, type EntryBody } from '@affidavit/format'
import type { Clock, HashKeys } from '@affidavit/sdk/capture'
import { errorFields, type Log } from '../base/log.ts'
import type { GatewayKey, GatewayKeys } from '../control/keys.ts'
import { withClaim, type Policies } from '../control/policies.ts'
import { bodyOf, parseDraft, type Draft, type DraftRuling } from './drafts.ts'
import { isTaken, type Mark, type Marks, type SpoolName } from './marks.ts'

/** Path of the endpoint. */
export const ingestPath = '/affidavit/v1/ingest'

/** What the endpoint needs of the ledger and the key ring. */
export interface IngestStore {
  readonly closedBy: AuditErrorCode | undefined
  append(entry: { readonly retentionClass: string; readonly body: string }): Promise<unknown>
  subject(user: string, atMicros: number): string | Promise<string>
  identifier(
    kind: 'session' | 'application',
    value: string,
    atMicros: number,
  ): string | Promise<string>
}

export interface IngestOptions {
  readonly store: IngestStore
  /** The marks of now; they are opened again with the store. */
  marks(): Marks | undefined
  readonly keys: GatewayKeys
  readonly policies: Policies
  readonly hashKeys: HashKeys
  readonly defaultApplication: string
  readonly bodyBytesMax: number
  readonly clock: Clock
  readonly log: Log
  count(result: 'written' | 'repeated' | 'refused'): void
}

/** Requests worked on at one time; more are asked to come again. */
export const ingestRequestsMax = 64
const recordsMax = 10_000

interface Item {
  readonly writer: string
  readonly mark: Mark
  readonly body: unknown
}

interface Outcome {
  readonly accepted: number[]
  readonly refused: { readonly seq: number; readonly code: AuditErrorCode }[]
}

/** Makes the handler for `ingestPath`. */
export function createIngest(
  options: IngestOptions,
): (request: IncomingMessage, response: ServerResponse) => void {
  const spools = createQueues()
  let running = 0
  return (request, response) => {
    const fail = (status: number, type: string) => reply(response, status, { error: { type } })
    if (request.method !== 'POST') return fail(405, 'invalid_request_error')
    const key = options.keys.find(keyIn(request))
    if (key === undefined) return fail(401, 'authentication_error')
    if (options.store.closedBy !== undefined) return fail(503, options.store.closedBy)
    if (running >= ingestRequestsMax) return fail(429, 'rate_limit_error')
    running++
    receive(options, spools, { request, key })
      .then(({ status, body }) => reply(response, status, body))
      .catch((error: unknown) => {
        options.log.error(errorFields(error), 'ingest failed')
        fail(503, 'api_error')
      })
      .finally(() => {
        running--
      })
  }
}

interface Reply {
  readonly status: number
  readonly body: object
}

async function receive(
  options: IngestOptions,
  spools: Queues,
  { request, key }: { readonly request: IncomingMessage; readonly key: GatewayKey },
): Promise<Reply> {
  const text = await readBody(request, options.bodyBytesMax)
  if (text === undefined) return { status: 413, body: { error: { type: 'request_too_large' } } }
  const items = parseItems(text)
  const [first] = items ?? []
  if (items === undefined)
    return { status: 400, body: { error: { type: 'invalid_request_error' } } }
  if (first === undefined) return { status: 200, body: { accepted: [], refused: [] } }
  const spool: SpoolName = { key: key.id, writer: first.writer }
  const outcome = await spools.run(`${spool.key}\n${spool.writer}`, () =>
    take(options, { spool, key, items }),
  )
  return { status: 200, body: outcome }
}

/** Writes the records of one spool, in order, until the first that cannot be written now. */
async function take(
  options: IngestOptions,
  { spool, key, items }: { spool: SpoolName; key: GatewayKey; items: readonly Item[] },
): Promise<Outcome> {
  const marks = options.marks()
  const outcome: Outcome = { accepted: [], refused: [] }
  if (marks === undefined) return outcome
  let last: Mark | undefined
  for (const { mark, body } of items) {
    const draft = parseDraft(body)
    const result =
      'faults' in draft
        ? refuseFaulty(options, mark, draft.faults)
        : isTaken(mark, marks.of(spool))
          ? 'repeated'
          : // One after the other: what follows a record that failed must not be in the ledger before it.
            await write(options, { draft, key, spool, mark })
    if (result === 'later') break
    if (result === 'written') last = mark
    if (result === 'written' || result === 'repeated') outcome.accepted.push(mark.seq)
    else outcome.refused.push({ seq: mark.seq, code: result })
    options.count(result === 'written' || result === 'repeated' ? result : 'refused')
  }
  if (last !== undefined) await marks.advance(spool, last)
  return outcome
}

function refuseFaulty(options: IngestOptions, mark: Mark, faults: readonly string[]) {
  options.log.warn({ ...mark, faults: faults.join(' ') }, 'ingested record refused')
  return 'ERR_ENTRY_MALFORMED' as const
}

interface DraftInHand {
  readonly draft: Draft
  readonly key: GatewayKey
  readonly spool: SpoolName
  readonly mark: Mark
}

/** Writes one record. After a failure that is not final its fate is open: `later`. */
async function write(
  options: IngestOptions,
  item: DraftInHand,
): Promise<'written' | 'later' | 'ERR_ENTRY_TOO_LARGE'> {
  const { draft, spool, mark } = item
  try {
    const ruling = await rule(options, item)
    const body: EntryBody = bodyOf(draft, ruling, options.hashKeys)
    const ingest = { epoch: mark.epoch, id: spool.writer, key: spool.key, seq: mark.seq }
    const text = canonicalize({ ...body, ingest })
    await options.store.append({ retentionClass: ruling.retentionClass, body: text })
    return 'written'
  } catch (error) {
    if (isAuditError(error, 'ERR_ENTRY_TOO_LARGE')) return 'ERR_ENTRY_TOO_LARGE'
    options.log.warn(errorFields(error), 'ingested record cannot be written now')
    return 'later'
  }
}

/** Decides who it was and under which policy. */
async function rule(
  { store, policies, defaultApplication, clock }: IngestOptions,
  { draft, key }: DraftInHand,
): Promise<DraftRuling> {
  const isGap = draft.kind === 'capture.gap'
  const claimedUser = isGap ? null : (draft.subject_claim ?? null)
  const claimedSession = isGap ? null : draft.session_id
  const user = key.user ?? claimedUser
  const application = key.application ?? draft.application_id ?? defaultApplication
  // An application's clock may be ahead; a month that has not begun has no handles.
  const at = Math.min(Date.parse(draft.timestamp) * 1000, clock.nowMicros())
  const policy = policies.of(key.application).record
  const record = withClaim(policy, isGap ? null : draft.data_classification)
  return {
    userId: user === null ? null : await store.subject(user, at),
    sessionId:
      claimedSession === null ? null : await store.identifier('session', claimedSession, at),
    applicationId: await store.identifier('application', application, at),
    trust: {
      application: key.application === null ? 'client-asserted' : 'verified',
      session: claimedSession === null ? 'none' : 'client-asserted',
      user: key.user === null ? (claimedUser === null ? 'none' : 'client-asserted') : 'verified',
    },
    retentionClass: record.retentionClass,
    classification: record.classification,
    classificationSource: record.classificationSource,
    policyVersion: record.policyVersion,
  }
}

interface Queues {
  /** Runs `work` after everything that was queued under `name` before. */
  run<Value>(name: string, work: () => Promise<Value>): Promise<Value>
}

function createQueues(): Queues {
  const tails = new Map<string, Promise<unknown>>()
  return {
    run(name, work) {
      const result = (tails.get(name) ?? Promise.resolve()).then(work)
      const tail: Promise<unknown> = result
        .catch(() => undefined)
        .finally(() => {
          if (tails.get(name) === tail) tails.delete(name)
        })
      tails.set(name, tail)
      return result
    },
  }
}

function keyIn({ headers }: IncomingMessage): string {
  const named = headers['x-audit-key'] ?? headers['x-api-key']
  if (typeof named === 'string') return named.trim()
  const [scheme = '', token = ''] = (headers.authorization ?? '').split(' ', 2)
  return scheme.toLowerCase() === 'bearer' ? token.trim() : ''
}

/** The whole body, or `undefined` when it is too large or breaks off. */
async function readBody(request: IncomingMessage, bytesMax: number): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    const part = chunk as Buffer
    bytes += part.length
    if (bytes > bytesMax) return undefined
    chunks.push(part)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The records of a request; `undefined` unless they are all of one spool and epoch, in order. */
function parseItems(text: string): Item[] | undefined {
  const values = parseValues(text)
  if (values === undefined || values.length > recordsMax) return undefined
  const items: Item[] = []
  for (const value of values) {
    const item = parseItem(value)
    const previous = items.at(-1)
    if (item === undefined) return undefined
    if (previous !== undefined) {
      const isSameSpool = item.writer === previous.writer && item.mark.epoch === previous.mark.epoch
      if (!isSameSpool || item.mark.seq <= previous.mark.seq) return undefined
    }
    items.push(item)
  }
  return items
}

function parseValues(text: string): unknown[] | undefined {
  try {
    if (text.trimStart().startsWith('[')) {
      const values: unknown = JSON.parse(text)
      return Array.isArray(values) ? values : undefined
    }
    const lines = text.split('\n').filter((line) => line.trim() !== '')
    return lines.map((line): unknown => JSON.parse(line))
  } catch {
    return undefined
  }
}

function parseItem(value: unknown): Item | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { writer, body } = value as { writer?: unknown; body?: unknown }
  if (typeof writer !== 'object' || writer === null) return undefined
  const { id, epoch, seq } = writer as { id?: unknown; epoch?: unknown; seq?: unknown }
  if (typeof id !== 'string' || !/^[A-Za-z0-9._-]{1,64}$/.test(id)) return undefined
  if (!isCount(epoch) || !isCount(seq)) return undefined
  return { writer: id, mark: { epoch, seq }, body }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function reply(response: ServerResponse, status: number, body: object): void {
  if (response.destroyed) return
  response.writeHead(status, {
    'content-type': 'application/json',
    // What was not read of a refused body is not a next request.
    ...(status === 413 ? { connection: 'close' } : {}),
  })
  response.end(`${JSON.stringify(body)}\n`)
}
