/**
 * Headers on their way through, both directions. Lists are flat (name, value, name, value …) as they
 * were on the wire: order, spelling and duplicates are kept, unknown names pass.
 *
 * What is not forwarded: headers about one hop (RFC 9110 section 7.6.1) and those that `connection`
 * names; `host` and `content-length`, which the other side's connection sets anew; `x-audit-*`;
 * gateway keys. `accept-encoding` becomes `identity` in its place, so that answers can be read.
 *
 * @module
 */
import { gatewayKeyPrefix } from '../control/keys.ts'

const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

// `expect` is answered here: the body is read whole before anything is forwarded.
const requestOnly: ReadonlySet<string> = new Set(['host', 'content-length', 'expect'])

const auditPrefix = 'x-audit-'
/** Response header with the id of the record. */
export const eventIdHeader = 'x-audit-event-id'

/**
 * Headers to send upstream.
 *
 * @param providerKey key that the gateway adds as `x-api-key`, if it holds one for this caller.
 */
export function requestHeadersFor(raw: readonly string[], providerKey: string | null): string[] {
  const named = namedByConnection(raw)
  const out: string[] = []
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? ''
    const value = raw[at + 1] ?? ''
    const lower = name.toLowerCase()
    if (hopByHop.has(lower) || requestOnly.has(lower) || lower.startsWith(auditPrefix)) continue
    if (named !== undefined && named.has(lower)) continue
    if (isGatewayCredential(lower, value)) continue
    out.push(name, lower === 'accept-encoding' ? 'identity' : value)
  }
  if (providerKey !== null) out.push('x-api-key', providerKey)
  return out
}

/**
 * Headers to send to the caller. `eventId` is added, unless the exchange is not recorded; one from
 * upstream is taken out, because it would name a record of another gateway.
 */
export function responseHeadersFor(raw: readonly string[], eventId: string | null): string[] {
  const named = namedByConnection(raw)
  const out: string[] = []
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? ''
    const lower = name.toLowerCase()
    if (hopByHop.has(lower) || lower === eventIdHeader) continue
    if (named !== undefined && named.has(lower)) continue
    out.push(name, raw[at + 1] ?? '')
  }
  if (eventId !== null) out.push(eventIdHeader, eventId)
  return out
}

/** Raw response headers as text; header bytes are Latin-1. */
export function headerText(raw: readonly Buffer[]): string[] {
  const out: string[] = []
  for (const bytes of raw) out.push(bytes.toString('latin1'))
  return out
}

/** First value of a header, by its lower-case name. */
export function headerValue(raw: readonly string[], wanted: string): string | undefined {
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? ''
    if (name.length === wanted.length && name.toLowerCase() === wanted) return raw[at + 1]
  }
  return undefined
}

/** The gateway key in a credential header; `undefined` if the header carries something else. */
export function gatewayKeyIn(lowerName: string, value: string): string | undefined {
  if (lowerName === 'x-audit-key') return value.trim()
  if (lowerName === 'x-api-key') return ifGatewayKey(value.trim())
  if (lowerName !== 'authorization') return undefined
  const space = value.indexOf(' ')
  if (space < 0 || value.slice(0, space).toLowerCase() !== 'bearer') return undefined
  return ifGatewayKey(value.slice(space + 1).trim())
}

function ifGatewayKey(token: string): string | undefined {
  return token.startsWith(gatewayKeyPrefix) ? token : undefined
}

function isGatewayCredential(lowerName: string, value: string): boolean {
  // The two names first: this runs for every header of every request.
  if (lowerName !== 'authorization' && lowerName !== 'x-api-key') return false
  return gatewayKeyIn(lowerName, value) !== undefined
}

/** Names that `connection` lists beside `close` and `keep-alive`; nearly always none. */
function namedByConnection(raw: readonly string[]): Set<string> | undefined {
  let named: Set<string> | undefined
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? ''
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue
    for (const part of (raw[at + 1] ?? '').toLowerCase().split(',')) {
      const token = part.trim()
      if (token === '' || token === 'close' || token === 'keep-alive') continue
      named ??= new Set()
      named.add(token)
    }
  }
  return named
}
