/**
 * One pass over a raw header list: what capture needs to know, and a digest over what is forwarded.
 * Headers are an open list; duplicates and order count in the digest.
 *
 * Invariant: the value of a credential header is in no result; `credential` holds its keyed
 * fingerprint.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { HashKeys } from './exchange.ts'
import { betasMax } from './limits.ts'

/** Headers whose values are secrets; they are left out of digests and of everything else. */
const credentialNames = [
  'api-key',
  'authorization',
  'cookie',
  'proxy-authorization',
  'set-cookie',
  'x-amz-security-token',
  'x-api-key',
  'x-audit-key',
  'x-goog-api-key',
]

/**
 * Headers about one hop (RFC 9110 §7.6.1), and those that a gateway sets anew. They differ between the
 * two sides of a proxy, so they say nothing about what was forwarded.
 */
const hopNames = [
  'accept-encoding',
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

const claimPrefix = 'x-audit-'

/** What to do with a header, by name. */
interface HeaderKind {
  readonly name: string
  readonly isCredential: boolean
  /** Counts in the digest. */
  readonly isForwarded: boolean
}

// Clients send the same few names in the same spelling, so each spelling is looked at once.
const kinds = new Map<string, HeaderKind>()
const kindsMax = 1024
const nameCharsMax = 64

/** Name in lower case and treatment of a header as it was spelled on the wire. */
export function headerKind(rawName: string): HeaderKind {
  const known = kinds.get(rawName)
  if (known !== undefined) return known
  const name = rawName.toLowerCase()
  const isCredential = credentialNames.includes(name)
  const isForwarded = !isCredential && !hopNames.includes(name) && !name.startsWith(claimPrefix)
  const kind = { name, isCredential, isForwarded }
  if (kinds.size < kindsMax && rawName.length <= nameCharsMax) kinds.set(rawName, kind)
  return kind
}

/** The headers of a request. */
export interface RequestHeaders {
  /** First value of each header that is not a credential, by lower-case name. */
  readonly values: ReadonlyMap<string, string>
  /** All `anthropic-beta` values of all lines, in order. */
  readonly betas: readonly string[]
  readonly credential: { readonly kind: string; readonly fingerprint: string } | null
  /** Hex SHA-256 of `name:value\n` for each forwarded header, names in lower case. */
  readonly sha256: string
}

const noBetas: readonly string[] = []

/** Reads a request's headers. */
export function readRequestHeaders(raw: readonly string[], keys: HashKeys): RequestHeaders {
  const values = new Map<string, string>()
  let secrets: Map<string, string> | null = null
  let betas = noBetas
  let text = ''
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const { name, isCredential, isForwarded } = headerKind(raw[at] ?? '')
    const value = raw[at + 1] ?? ''
    if (isCredential) {
      secrets ??= new Map()
      if (!secrets.has(name)) secrets.set(name, value)
      continue
    }
    if (!values.has(name)) values.set(name, value)
    if (name === 'anthropic-beta') betas = [...betas, ...splitList(value)].slice(0, betasMax)
    if (isForwarded) text += `${name}:${value}\n`
  }
  return {
    values,
    betas,
    credential: secrets === null ? null : readCredential(secrets, keys),
    sha256: hash('sha256', text, 'hex'),
  }
}

function splitList(value: string): string[] {
  return value
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

/**
 * Kind and fingerprint of the presented credential; a gateway key comes before what is passed on. The
 * scheme is not part of the fingerprint: SDK 1.x sends the API key as a bearer token, older clients as
 * `x-api-key`, and both are one key.
 */
function readCredential(
  secrets: ReadonlyMap<string, string>,
  keys: HashKeys,
): RequestHeaders['credential'] {
  const key = secrets.get('x-audit-key') ?? secrets.get('x-api-key') ?? secrets.get('api-key')
  if (key !== undefined && key !== '') return credentialOf(key, 'api-key', keys)
  const authorization = secrets.get('authorization')
  if (authorization === undefined || authorization === '') return null
  const space = authorization.indexOf(' ')
  const scheme = authorization.slice(0, Math.max(0, space)).toLowerCase()
  const token = authorization.slice(space + 1).trim()
  if (scheme === 'bearer') return credentialOf(token, 'bearer', keys)
  if (scheme === 'basic') return { fingerprint: keys.fingerprint(token), kind: 'basic' }
  return { fingerprint: keys.fingerprint(authorization), kind: 'other' }
}

function credentialOf(
  secret: string,
  otherwise: string,
  keys: HashKeys,
): RequestHeaders['credential'] {
  return { fingerprint: keys.fingerprint(secret), kind: kindOf(secret, otherwise) }
}

function kindOf(secret: string, otherwise: string): string {
  if (secret.startsWith('afk_')) return 'gateway-key'
  if (!secret.startsWith('sk-ant-')) return otherwise
  if (secret.startsWith('sk-ant-oat')) return 'oauth'
  return secret.startsWith('sk-ant-admin') ? 'admin-key' : 'api-key'
}
