/**
 * What the caller says about itself: our own `x-audit-*` headers, Claude Code's headers, and
 * `metadata.user_id` in its three forms. All of it is client-asserted; a door that knows better
 * (a gateway key, an OIDC token) overrides it.
 *
 * @module
 */
import type { Classification } from '@affidavit/format'
import type { IdentityClaims } from './exchange.ts'

const clientTokensMax = 6
const claimCharsMax = 1024
const levels: readonly Classification[] = ['PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED']

/** Reads the claims. `metadataUserId` is `metadata.user_id` of the body, if it is a string. */
export function readClaims(
  headers: ReadonlyMap<string, string>,
  metadataUserId: string | null,
): IdentityClaims {
  const metadata = parseMetadataUserId(metadataUserId)
  const auditUser = claim(headers, 'x-audit-user')
  const clientApp = claim(headers, 'x-client-app')
  const agentId = claim(headers, 'x-claude-code-agent-id')
  return {
    userId: auditUser ?? metadata.userId ?? metadata.accountUuid,
    userSource: userSourceOf(auditUser, metadata),
    sessionId:
      claim(headers, 'x-audit-session') ??
      claim(headers, 'x-claude-code-session-id') ??
      metadata.sessionId,
    applicationId: claim(headers, 'x-audit-application') ?? nameOf(clientApp),
    classification: classificationOf(headers.get('x-audit-classification')),
    deviceId: metadata.deviceId,
    accountUuid: metadata.accountUuid,
    agentId,
    parentAgentId: claim(headers, 'x-claude-code-parent-agent-id'),
    isSubagent: agentId !== null,
    clientApp,
  }
}

// A process sees few different clients, each of them again and again.
const knownAgents = new Map<string, string | null>()
const knownAgentsMax = 256

/**
 * Product tokens of a User-Agent, those in comments included, with the version behind a product:
 * `Anthropic/JS 1.12.0`, `claude-cli/2.1.330 agent-sdk/0.3.330`. Other words could be anything.
 */
export function clientTokens(userAgent: string | undefined): string | null {
  if (userAgent === undefined) return null
  const known = knownAgents.get(userAgent)
  if (known !== undefined) return known
  const tokens: string[] = []
  let isAfterProduct = false
  for (const part of userAgent.slice(0, claimCharsMax).split(/[ ,;()]+/)) {
    const isProduct = isProductToken(part)
    const isWanted = isProduct || (isAfterProduct && /^\d{1,6}(\.\d{1,6}){1,2}$/.test(part))
    if (isWanted && tokens.length < clientTokensMax) tokens.push(part)
    isAfterProduct = isProduct
  }
  const client = tokens.length === 0 ? null : tokens.join(' ')
  if (knownAgents.size < knownAgentsMax && userAgent.length <= claimCharsMax) {
    knownAgents.set(userAgent, client)
  }
  return client
}

interface MetadataIdentity {
  readonly userId: string | null
  readonly deviceId: string | null
  readonly accountUuid: string | null
  readonly sessionId: string | null
}

const nobody: MetadataIdentity = {
  userId: null,
  deviceId: null,
  accountUuid: null,
  sessionId: null,
}

/**
 * Claude Code puts a JSON object into this string; older versions put
 * `user_<hash>_account_<uuid>_session_<uuid>`; applications put their own identifier.
 */
export function parseMetadataUserId(value: string | null): MetadataIdentity {
  if (value === null || value === '') return nobody
  if (value.startsWith('{')) return parseObjectForm(value) ?? { ...nobody, userId: bounded(value) }
  if (value.startsWith('user_')) return parseOldForm(value) ?? { ...nobody, userId: bounded(value) }
  return { ...nobody, userId: bounded(value) }
}

function parseObjectForm(value: string): MetadataIdentity | null {
  let parsed: unknown
  try {
    parsed = JSON.parse(value)
  } catch {
    return null
  }
  if (typeof parsed !== 'object' || parsed === null) return null
  const fields = new Map<string, unknown>(Object.entries(parsed))
  if (!fields.has('device_id') && !fields.has('session_id')) return null
  return {
    userId: null,
    deviceId: text(fields.get('device_id')),
    accountUuid: text(fields.get('account_uuid')),
    sessionId: text(fields.get('session_id')),
  }
}

function parseOldForm(value: string): MetadataIdentity | null {
  const account = value.indexOf('_account_')
  const session = value.indexOf('_session_')
  if (account < 0 || session < account) return null
  return {
    userId: null,
    deviceId: text(value.slice('user_'.length, account)),
    accountUuid: text(value.slice(account + '_account_'.length, session)),
    sessionId: text(value.slice(session + '_session_'.length)),
  }
}

function userSourceOf(
  auditUser: string | null,
  metadata: MetadataIdentity,
): IdentityClaims['userSource'] {
  if (auditUser !== null) return 'x-audit-user'
  if (metadata.userId !== null) return 'metadata.user_id'
  return metadata.accountUuid === null ? null : 'account_uuid'
}

/** A claim header. Node reads header bytes as Latin-1; names of people arrive as UTF-8. */
function claim(headers: ReadonlyMap<string, string>, name: string): string | null {
  const value = headers.get(name)
  if (value === undefined) return null
  return text(isAscii(value) ? value.trim() : fromLatin1(value).trim())
}

function fromLatin1(value: string): string {
  const bytes = Buffer.from(value, 'latin1')
  const decoded = bytes.toString('utf8')
  return decoded.includes('�') ? value : decoded
}

function isAscii(value: string): boolean {
  for (let at = 0; at < value.length; at++) if (value.charCodeAt(at) > 0x7f) return false
  return true
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? bounded(value) : null
}

function bounded(value: string): string {
  return value.length > claimCharsMax ? value.slice(0, claimCharsMax) : value
}

function nameOf(clientApp: string | null): string | null {
  if (clientApp === null) return null
  const slash = clientApp.indexOf('/')
  return slash > 0 ? clientApp.slice(0, slash) : clientApp
}

function classificationOf(value: string | undefined): Classification | null {
  if (value === undefined) return null
  const upper = value.trim().toUpperCase()
  return levels.find((level) => level === upper) ?? null
}

/** `name/version`: at least one slash, characters that no sentence and no address has. */
function isProductToken(part: string): boolean {
  if (part.length > 64 || part.length < 3) return false
  let slashes = 0
  for (let at = 0; at < part.length; at++) {
    const code = part.charCodeAt(at)
    if (code === 0x2f) slashes++
    else if (!isTokenCode(code)) return false
  }
  return slashes > 0
}

function isTokenCode(code: number): boolean {
  const isDigit = code >= 0x30 && code <= 0x39
  const isLetter = (code | 0x20) >= 0x61 && (code | 0x20) <= 0x7a
  return isDigit || isLetter || code === 0x2d || code === 0x2e || code === 0x2b || code === 0x5f
}
