/**
 * Subject handles: the names under which people stand in the ledger. A handle is 128 random bits,
 * minted per (user, UTC month); the key ring maps it to the user, sealed to the identity key, whose
 * private half this process does not need.
 *
 * Invariants:
 * - A row is durable before its handle is handed out, so every handle in the ledger can be resolved.
 * - One user has one handle a month, also across restarts and however many requests come at once, as
 *   long as fewer than `subjectsMax` names are active in the month. Beyond that a name that was
 *   forgotten gets a second row; both resolve to it.
 * - After a failed append the ring mints nothing more until it is opened again: what the file then
 *   holds is not known.
 *
 * Recovery reads the file with the function that tests and the resolver use (ring-rows.ts): a torn
 * last line is cut, because its append was never acknowledged.
 *
 * @module
 */
import { AuditError, hmacSha256, toBase64, toHex, fromBase64, utf8Encode } from '@affidavit/format'
import type { HashKeys } from '@affidavit/sdk/capture'
import { isOpaqueId, safeIdentifier } from '@affidavit/sdk/capture'
import { errorFields, type Log } from '../base/log.ts'
import { sealedNameBytesMax, type IdentitySealer } from './identity-keys.ts'
import type { RingFile } from './ring-file.ts'
import { formatRow, scanRows, type RingRow } from './ring-rows.ts'

/** Names held in memory at most; see the second invariant. */
export const subjectsMax = 250_000
/** Rows waiting for the disk at most; beyond it callers are refused. */
export const pendingRowsMax = 4096

const handleBytes = 16
const saltBytes = 32

export interface KeyRingOptions {
  readonly file: RingFile
  readonly sealer: IdentitySealer
  /** The instance's own key, 32 bytes: finds rows again, and makes subjects' hash keys. */
  readonly lookupKey: Uint8Array
  /** Names that are not opaque ids are replaced under these keys. */
  readonly identifierKeys: HashKeys
  random(bytes: number): Uint8Array
  readonly log: Log
  /** Micros since the epoch: which month's rows are read into memory. */
  readonly nowMicros: number
}

/** The part of the key ring that capture needs. */
export interface KeyRing {
  /**
   * Handle of `user` in the month of `atMicros`: at once when it is known, else when its row is durable.
   *
   * @throws AuditError `ERR_AUDIT_UNAVAILABLE` (also as a rejection) when it cannot be made durable.
   */
  subject(user: string, atMicros: number): string | Promise<string>
  /** `value` if it is an opaque id, else its keyed hash, the original sealed and durable like a user. */
  identifier(
    kind: 'session' | 'application',
    value: string,
    atMicros: number,
  ): string | Promise<string>
  /** Hash key of a subject handle that this ring has handed out. */
  subjectHashKey(handle: string): Uint8Array
  /** Whether new names can be minted. */
  readonly open: boolean
  close(): Promise<void>
}

/** Opens the ring: reads the month's rows, cuts a torn tail. */
export async function openKeyRing(options: KeyRingOptions): Promise<KeyRing> {
  const names = createKnownNames(monthOf(options.nowMicros))
  const scan = await scanRows(options.file, (row) => names.add(row))
  if (scan.tornBytes > 0) await options.file.truncate(scan.wholeBytes)
  if (scan.tornBytes > 0 || scan.damagedRows > 0) {
    const { tornBytes, damagedRows, rows } = scan
    options.log.warn({ tornBytes, damagedRows, rows }, 'key ring repaired')
  }
  return createRing(options, names)
}

interface WantedName {
  readonly kind: RingRow['kind']
  readonly name: string
  readonly lookup: string
}

function createRing(options: KeyRingOptions, names: KnownNames): KeyRing {
  const writer = createRowWriter(options.file, options.log)
  const minting = new Map<string, Promise<string>>()

  function resolveName(kind: RingRow['kind'], name: string, atMicros: number) {
    const known = names.at(monthOf(atMicros))
    const key = nameKey(kind, name)
    const cached = known.byName.get(key)
    if (cached !== undefined) return cached
    const lookup = lookupOf(options.lookupKey, kind, known.month, name)
    const found = known.byLookup.get(lookup)
    if (found === undefined) return minting.get(lookup) ?? mint({ kind, name, lookup }, known)
    setBounded(known.byName, key, found)
    return found
  }

  function mint(wanted: WantedName, known: KnownMonth): Promise<string> {
    if (minting.size >= pendingRowsMax) {
      return Promise.reject(unavailable('too many new names wait for the disk'))
    }
    const promise = mintRow(wanted, known).finally(() => minting.delete(wanted.lookup))
    minting.set(wanted.lookup, promise)
    return promise
  }

  async function mintRow({ kind, name, lookup }: WantedName, known: KnownMonth): Promise<string> {
    const { month } = known
    const handle =
      kind === 'user'
        ? `sub_${base64url(options.random(handleBytes))}`
        : safeIdentifier(name, options.identifierKeys, null)
    const sealed = await options.sealer.seal(bounded(name), { kind, handle, month })
    const salt = kind === 'user' ? { salt: toBase64(options.random(saltBytes)) } : {}
    const row: RingRow = { kind, handle, month, lookup, key: options.sealer.keyId, sealed, ...salt }
    await writer.append(row)
    names.add(row)
    setBounded(known.byName, nameKey(kind, name), handle)
    return handle
  }

  return {
    get open() {
      return writer.open
    },
    subject: (user, atMicros) => resolveName('user', user, atMicros),
    identifier: (kind, value, atMicros) =>
      isOpaqueId(value) ? value : resolveName(kind, value, atMicros),
    subjectHashKey(handle) {
      const salt = names.saltOf(handle)
      if (salt === undefined) throw unavailable('the hash key of a subject is not in memory')
      return hmacSha256(options.lookupKey, Buffer.concat([utf8Encode('hash\n'), salt]))
    },
    async close() {
      await writer.close()
    },
  }
}

/** What is known of one month. */
interface KnownMonth {
  readonly month: string
  /** Name as given → handle: what nearly every request finds. */
  readonly byName: Map<string, string>
  /** Lookup → handle: what the file holds. */
  readonly byLookup: Map<string, string>
}

interface KnownNames {
  add(row: RingRow): void
  /** The month to use for `month`: itself, or the nearest of the two newest. */
  at(month: string): KnownMonth
  saltOf(handle: string): Uint8Array | undefined
}

/**
 * Names of the two newest months. An older month never returns: a clock that was set back, or a record
 * that comes late, must not mint a name of the past anew.
 */
function createKnownNames(now: string): KnownNames {
  const salts = new Map<string, Uint8Array>()
  let newest = emptyMonth(now)
  let previous = emptyMonth(monthBefore(now))
  return {
    add(row) {
      const known = [newest, previous].find((it) => it.month === row.month)
      if (known === undefined) return
      setBounded(known.byLookup, row.lookup, row.handle)
      if (row.salt !== undefined) setBounded(salts, row.handle, fromBase64(row.salt))
    },
    at(month) {
      if (month > newest.month) {
        previous = newest
        newest = emptyMonth(month)
      }
      return month === newest.month ? newest : previous
    },
    saltOf: (handle) => salts.get(handle),
  }
}

function emptyMonth(month: string): KnownMonth {
  return { month, byName: new Map(), byLookup: new Map() }
}

function monthBefore(month: string): string {
  const [year = 0, number = 1] = month.split('-').map(Number)
  return new Date(Date.UTC(year, number - 2)).toISOString().slice(0, 7)
}

interface RowWriter {
  readonly open: boolean
  append(row: RingRow): Promise<void>
  close(): Promise<void>
}

/** Appends rows in the order of arrival; all that queued while one write ran go with the next. */
function createRowWriter(file: RingFile, log: Log): RowWriter {
  let queue: { line: Uint8Array; resolve: () => void; reject: (error: Error) => void }[] = []
  let running: Promise<void> | undefined
  let state: 'open' | 'failed' | 'closed' = 'open'

  async function drain(): Promise<void> {
    while (queue.length > 0) {
      const batch = queue
      queue = []
      try {
        if (state !== 'open') throw unavailable('the key ring is not open')
        await file.append(Buffer.concat(batch.map((item) => item.line)))
        for (const item of batch) item.resolve()
      } catch (cause) {
        if (state === 'open') {
          state = 'failed'
          log.error({ rows: batch.length, ...errorFields(cause) }, 'key ring write failed')
        }
        const error = unavailable('a row of the key ring could not be written', cause)
        for (const item of batch) item.reject(error)
      }
    }
    running = undefined
  }

  return {
    get open() {
      return state === 'open'
    },
    append(row) {
      return new Promise<void>((resolve, reject) => {
        queue.push({ line: formatRow(row), resolve, reject })
        running ??= drain()
      })
    },
    async close() {
      await running
      state = 'closed'
      await file.close()
    },
  }
}

const dayMicros = 86_400_000_000
let lastDay = -1
let lastMonth = ''

/** UTC month of a moment: `2026-11`. Asked for several times a request, nearly always of one day. */
export function monthOf(micros: number): string {
  const day = Math.floor(micros / dayMicros)
  if (day !== lastDay) {
    lastMonth = new Date(Math.floor(micros / 1000)).toISOString().slice(0, 7)
    lastDay = day
  }
  return lastMonth
}

function lookupOf(key: Uint8Array, kind: RingRow['kind'], month: string, name: string): string {
  return toHex(hmacSha256(key, utf8Encode(`${kind}\n${month}\n${name}`)))
}

function nameKey(kind: RingRow['kind'], name: string): string {
  return kind === 'user' ? `u${name}` : kind === 'session' ? `s${name}` : `a${name}`
}

function setBounded<Value>(map: Map<string, Value>, key: string, value: Value): void {
  if (map.size >= subjectsMax && !map.has(key)) {
    const oldest = map.keys().next()
    if (!oldest.done) map.delete(oldest.value)
  }
  map.set(key, value)
}

/** A name longer than can be sealed is cut at a character; claims are bounded far below that. */
function bounded(name: string): string {
  if (Buffer.byteLength(name) <= sealedNameBytesMax) return name
  let end = Math.floor(sealedNameBytesMax / 4)
  if (/[\uD800-\uDBFF]/.test(name.charAt(end - 1))) end--
  return name.slice(0, end)
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}

function unavailable(what: string, cause?: unknown): AuditError {
  return new AuditError(
    'ERR_AUDIT_UNAVAILABLE',
    `Nothing was forwarded: ${what}. Recorded exchanges are not affected. The store is reopened by itself.`,
    { cause },
  )
}
