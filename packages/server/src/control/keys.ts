/**
 * Gateway keys: what callers present to the gateway instead of, or beside, a provider's key. A key
 * makes the identity that it names verified.
 *
 *     afk_<id: 12 of a-z2-7>_<secret: 43 base64url characters, 256 random bits>
 *
 * The file `<dataDir>/<instance>/keys.json` (0600) holds, of each key, SHA-256(salt ‖ whole key) and a
 * salt of its own; the key itself is shown once, when it is made. One unsalted fast hash would do for
 * 256 random bits; the salt keeps two stores from showing that they hold one key.
 *
 * Invariants: the file is replaced whole (durable-file.ts); a change takes effect with the next
 * request, because every look-up checks that the file is still the one that was read; a file that is
 * missing or damaged holds no key at all.
 *
 * @module
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { closeSync, openSync, readFileSync, rmSync, statSync, writeSync, type Stats } from 'node:fs'
import { dirname, join } from 'node:path'
import { AuditError, fromBase64, toBase64 } from '@affidavit/format'
import { formatMicros, type Clock } from '@affidavit/sdk/capture'
import {
  hasCode,
  makeDirectory,
  readFileIfPresent,
  replaceFile,
  secretMode,
} from '../base/durable-file.ts'

/** What every gateway key begins with; no provider's key does. */
export const gatewayKeyPrefix = 'afk_'

/** A key without its secret. */
export interface GatewayKey {
  readonly id: string
  /** The user that it stands for; `null` when callers name their users themselves. */
  readonly user: string | null
  /** The application that it stands for; `null` when callers name it themselves. */
  readonly application: string | null
  readonly createdAt: string
  /** When it was revoked; `null` while it is good. */
  readonly revokedAt: string | null
}

/** Keys in one file at most. */
export const gatewayKeysMax = 100_000
const nameCharsMax = 256
const idLength = 12
const secretBytes = 32
const saltBytes = 16
const idAlphabet = 'abcdefghijklmnopqrstuvwxyz234567'
const keyPattern = /^afk_([a-z2-7]{12})_[A-Za-z0-9_-]{43}$/

interface StoredKey extends GatewayKey {
  readonly salt: string
  readonly sha256: string
}

/** Looks keys up as requests come. */
export interface GatewayKeys {
  /** The key that `token` is, if it is known and not revoked. */
  find(token: string): GatewayKey | undefined
  /** Every key right now, revoked ones included. */
  all(): readonly GatewayKey[]
}

/** Where the keys of an instance are. */
export function gatewayKeysPath(dataDir: string, instance: string): string {
  return join(dataDir, instance, 'keys.json')
}

/** Told of a change: the keys before and after, in the file's order. */
type OnChange = (before: readonly GatewayKey[], after: readonly GatewayKey[]) => void

/**
 * Opens the keys in the file at `path`; the file may come later. `onChange` is called from look-ups, not
 * for the first reading.
 */
export function openGatewayKeys(path: string, onChange?: OnChange): GatewayKeys {
  let byId = new Map<string, StoredKey>()
  let seen: Stats | undefined
  let loaded = false

  function refresh(): void {
    const now = statSync(path, { throwIfNoEntry: false })
    if (loaded && isSameFile(seen, now)) return
    const before = byId
    byId = new Map(readKeysOrNone(path).map((key) => [key.id, key]))
    seen = now
    if (loaded) onChange?.(listOf(before), listOf(byId))
    loaded = true
  }

  return {
    find(token) {
      refresh()
      const key = byId.get(keyPattern.exec(token)?.[1] ?? '')
      if (key === undefined || key.revokedAt !== null) return undefined
      return timingSafeEqual(digestOf(token, key.salt), Buffer.from(key.sha256, 'hex'))
        ? key
        : undefined
    },
    all() {
      refresh()
      return listOf(byId)
    },
  }
}

/** What making a key needs. */
export interface NewGatewayKey {
  readonly user?: string
  readonly application?: string
}

/**
 * Makes a key; the text that is returned is nowhere else.
 *
 * @throws AuditError `ERR_CONFIG_INVALID` when it names nobody, or the file is being changed or damaged.
 */
export function createGatewayKey(
  path: string,
  named: NewGatewayKey,
  sources: { readonly clock: Clock; random(bytes: number): Uint8Array },
): { readonly key: GatewayKey; readonly text: string } {
  const { user = null, application = null } = named
  if (user === null && application === null) {
    throw invalid('A gateway key names a user, an application, or both.')
  }
  for (const name of [user, application]) {
    if (name !== null && (name.trim() === '' || name.length > nameCharsMax)) {
      throw invalid(`A user or application has 1 … ${nameCharsMax} characters.`)
    }
  }
  const id = [...sources.random(idLength)].map((byte) => idAlphabet.charAt(byte & 31)).join('')
  const secret = Buffer.from(sources.random(secretBytes)).toString('base64url')
  const text = `${gatewayKeyPrefix}${id}_${secret}`
  const salt = toBase64(sources.random(saltBytes))
  const createdAt = formatMicros(sources.clock.nowMicros())
  const key: GatewayKey = { id, user, application, createdAt, revokedAt: null }
  const stored: StoredKey = { ...key, salt, sha256: digestOf(text, salt).toString('hex') }
  editKeys(path, (keys) => {
    if (keys.length >= gatewayKeysMax) throw invalid(`There are ${gatewayKeysMax} keys already.`)
    return [...keys, stored]
  })
  return { key, text }
}

/** Revokes the key with `id`; `undefined` if there is none. A revoked key stays listed. */
export function revokeGatewayKey(path: string, id: string, clock: Clock): GatewayKey | undefined {
  let revoked: StoredKey | undefined
  editKeys(path, (keys) =>
    keys.map((key) => {
      if (key.id !== id) return key
      revoked = { ...key, revokedAt: key.revokedAt ?? formatMicros(clock.nowMicros()) }
      return revoked
    }),
  )
  return revoked === undefined ? undefined : withoutSecret(revoked)
}

/** Every key, revoked ones included, in the order in which they were made. */
export function listGatewayKeys(path: string): GatewayKey[] {
  return readKeys(path).map(withoutSecret)
}

function listOf(keys: ReadonlyMap<string, StoredKey>): GatewayKey[] {
  return [...keys.values()].map(withoutSecret)
}

function withoutSecret({ id, user, application, createdAt, revokedAt }: StoredKey): GatewayKey {
  return { id, user, application, createdAt, revokedAt }
}

function digestOf(text: string, salt: string): Buffer {
  return createHash('sha256').update(fromBase64(salt)).update(text).digest()
}

function isSameFile(left: Stats | undefined, right: Stats | undefined): boolean {
  if (left === undefined || right === undefined) return left === right
  return left.ino === right.ino && left.mtimeMs === right.mtimeMs && left.size === right.size
}

function editKeys(path: string, edit: (keys: readonly StoredKey[]) => StoredKey[]): void {
  makeDirectory(dirname(path))
  withLock(`${path}.lock`, () => {
    const keys = edit(readKeys(path)).map(toWire)
    replaceFile(path, `${JSON.stringify({ v: 1, keys }, null, 1)}\n`, secretMode)
  })
}

/** Two commands that change the file at once: the second is told. A lock of a dead process is taken. */
function withLock(path: string, work: () => void): void {
  let descriptor: number
  try {
    descriptor = openSync(path, 'wx', secretMode)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
    const holder = Number(readFileIfPresent(path)?.toString('utf8').trim())
    if (Number.isInteger(holder) && holder > 0 && isAlive(holder)) {
      throw invalid(`Process ${holder} is changing the keys. Try again when it is done.`)
    }
    rmSync(path, { force: true })
    descriptor = openSync(path, 'wx', secretMode)
  }
  try {
    writeSync(descriptor, `${process.pid}\n`)
    work()
  } finally {
    closeSync(descriptor)
    rmSync(path, { force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return hasCode(error, 'EPERM')
  }
}

function toWire(key: StoredKey) {
  const { id, user, application, createdAt, revokedAt, salt, sha256 } = key
  return { id, user, application, created_at: createdAt, revoked_at: revokedAt, salt, sha256 }
}

function readKeysOrNone(path: string): StoredKey[] {
  try {
    return readKeys(path)
  } catch {
    // A damaged file must not open the door: callers are refused until it is repaired.
    return []
  }
}

function readKeys(path: string): StoredKey[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return []
    throw error
  }
  const keys = parseKeys(text)
  if (keys === undefined) {
    throw invalid(`${path} is damaged; no gateway key is accepted. Put back a copy of it.`)
  }
  return keys
}

function parseKeys(text: string): StoredKey[] | undefined {
  try {
    const { v, keys } = JSON.parse(text) as { v?: unknown; keys?: unknown }
    if (v !== 1 || !Array.isArray(keys)) return undefined
    const parsed = keys.map(parseKey)
    return parsed.every((key) => key !== undefined) ? parsed : undefined
  } catch {
    return undefined
  }
}

function parseKey(value: unknown): StoredKey | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const wire = value as Record<string, unknown>
  const { id, salt, sha256, user, application, created_at: createdAt, revoked_at: revokedAt } = wire
  const isTextOrNull = (it: unknown): it is string | null => it === null || typeof it === 'string'
  if (typeof id !== 'string' || typeof salt !== 'string' || typeof createdAt !== 'string') {
    return undefined
  }
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) return undefined
  if (!isTextOrNull(user) || !isTextOrNull(application) || !isTextOrNull(revokedAt))
    return undefined
  return { id, salt, sha256, user, application, createdAt, revokedAt }
}

function invalid(what: string): AuditError {
  return new AuditError('ERR_CONFIG_INVALID', what)
}
