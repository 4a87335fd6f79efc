/**
 * One pass over the raw header list of a request: what capture needs to know, and a digest over what
 * is forwarded. Headers are an open list; duplicates and order are kept in the digest.
 *
 * Invariant: the value of a credential header is in no result but `credential`, which holds a keyed
 * fingerprint.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { HashKeys } from './exchange.ts'

/** Headers whose values are secrets; they are left out of digests and of everything else. */
const credentialHeaders: ReadonlySet<string> = new Set([
  'authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'x-amz-security-token',
  'x-affidavit-key',
])

/**
 * Headers that say something about one hop, or that a gateway sets anew (RFC 9110 §7.6.1, and
 * `accept-encoding`, `host`, `content-length`). They differ between the two sides of a proxy.
 */
const hopHeaders: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'content-length',
  'accept-encoding',
  'expect',
])

const claimPrefix = 'x-audit-'

/** Headers that capture reads, by lower-case name; the first of several wins. */
export interface RequestHeaders {
  readonly values: ReadonlyMap<string, string>
  /** All `anthropic-beta` values of all lines, in order. */
  readonly betas: readonly string[]
  readonly credential: { readonly kind: string; readonly fingerprint: string } | null
  readonly sha256: Uint8Array
}

const wanted: ReadonlySet<string> = new Set([
  'anthropic-version',
  'content-encoding',
  'user-agent',
  'x-audit-application',
  'x-audit-classification',
  'x-audit-session',
  'x-audit-user',
  'x-claude-code-agent-id',
  'x-claude-code-parent-agent-id',
  'x-claude-code-session-id',
  'x-client-app',
  'x-stainless-retry-count',
])

/** Reads a request's headers. */
export function readRequestHeaders(raw: readonly string[], keys: HashKeys): RequestHeaders {
  const values = new Map<string, string>()
  const secrets = new Map<string, string>()
  const betas: string[] = []
  let text = ''
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase()
    const value = raw[at + 1] ?? ''
    if (credentialHeaders.has(name)) {
      if (!secrets.has(name)) secrets.set(name, value)
      continue
    }
    if (wanted.has(name) && !values.has(name)) values.set(name, value)
    if (name === 'anthropic-beta') readBetas(value, betas)
    if (isForwarded(name)) text += `${name}:${value}\n`
  }
  return {
    values,
    betas,
    credential: readCredential(secrets, keys),
    sha256: hash('sha256', text, 'buffer'),
  }
}

/** SHA-256 over the headers of a response, by the same rule as for requests. */
export function responseHeadersSha256(raw: readonly string[]): Uint8Array {
  let text = ''
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase()
    if (!credentialHeaders.has(name) && isForwarded(name)) text += `${name}:${raw[at + 1] ?? ''}\n`
  }
  return hash('sha256', text, 'buffer')
}

function isForwarded(name: string): boolean {
  return !hopHeaders.has(name) && !name.startsWith(claimPrefix)
}

function readBetas(value: string, betas: string[]): void {
  for (const part of value.split(',')) {
    const beta = part.trim()
    if (beta !== '') betas.push(beta)
  }
}

/**
 * Kind and fingerprint of the presented credential. The scheme is not part of the fingerprint: SDK 1.x
 * sends the API key as a bearer token, older clients as `x-api-key`, and both are one key.
 */
function readCredential(
  secrets: ReadonlyMap<string, string>,
  keys: HashKeys,
): RequestHeaders['credential'] {
  const apiKey = secrets.get('x-api-key') ?? secrets.get('api-key')
  if (apiKey !== undefined && apiKey !== '') {
    return { fingerprint: keys.fingerprint(apiKey), kind: kindOf(apiKey, 'api-key') }
  }
  const authorization = secrets.get('authorization')
  if (authorization === undefined || authorization === '') return null
  const space = authorization.indexOf(' ')
  const scheme = authorization.slice(0, Math.max(0, space)).toLowerCase()
  const token = authorization.slice(space + 1).trim()
  if (scheme === 'bearer')
    return { fingerprint: keys.fingerprint(token), kind: kindOf(token, 'bearer') }
  if (scheme === 'basic') return { fingerprint: keys.fingerprint(token), kind: 'basic' }
  return { fingerprint: keys.fingerprint(authorization), kind: 'other' }
}

function kindOf(secret: string, otherwise: string): string {
  if (secret.startsWith('sk-ant-oat')) return 'oauth'
  if (secret.startsWith('sk-ant-admin')) return 'admin-key'
  if (secret.startsWith('sk-ant-')) return 'api-key'
  return otherwise
}
