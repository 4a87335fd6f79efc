/**
 * Response headers: what tells how to read the body, and the few that are worth keeping in a record.
 * An allow-list, because records cannot be deleted.
 *
 * @module
 */
import type { CaptureSource } from '@affidavit/format'
import { contentCoding } from './encoding.ts'
import { headerKind } from './headers.ts'

/** The head of a response. */
export interface UpstreamHeaders {
  readonly status: number
  /** Lower case, parameters included. */
  readonly contentType: string
  readonly encoding: string | null
  /** SSE. */
  readonly isStream: boolean
  /** JSON or SSE. */
  readonly isReadable: boolean
  readonly requestId: string | null
  /** Kept headers in canonical order of their names; `null` if there are none. */
  readonly kept: Readonly<Record<string, string>> | null
}

// Real answers have at most 17 of them; names and values are short.
const keptMax = 24
const keptNameCharsMax = 64
const keptValueCharsMax = 64
const keptNames: ReadonlySet<string> = new Set([
  'anthropic-organization-id',
  'anthropic-workspace-id',
  'retry-after',
  'retry-after-ms',
  'traceresponse',
  'x-should-retry',
])
// Limits explain an error; on the other answers they would be a fifth of the record.
const keptOfErrorsPrefixes = ['anthropic-ratelimit-', 'anthropic-priority-']
const errorStatusMin = 400

/** Reads the head of a response. In-process doors see bodies that `fetch` has decoded already. */
export function upstreamHeaders(
  status: number,
  raw: readonly string[],
  source: CaptureSource,
): UpstreamHeaders {
  let kept: [string, string][] | null = null
  let contentType = ''
  let encoding: string | null = null
  let requestId: string | null = null
  let otherRequestId: string | null = null
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const { name } = headerKind(raw[at] ?? '')
    const value = raw[at + 1] ?? ''
    if (name === 'content-type') contentType = value.trim().toLowerCase()
    else if (name === 'content-encoding') encoding = contentCoding(value)
    else if (name === 'request-id') requestId = value
    else if (name === 'x-amzn-requestid') otherRequestId = value
    else if (isKept(name, status)) {
      kept ??= []
      if (kept.length < keptMax) kept.push([name, printable(value)])
    }
  }
  const isStream = contentType.startsWith('text/event-stream')
  return {
    status,
    contentType,
    isStream,
    isReadable: isStream || contentType.includes('json'),
    encoding: source === 'gateway' ? encoding : null,
    requestId: requestId ?? otherRequestId,
    kept: kept === null ? null : sorted(kept),
  }
}

function isKept(name: string, status: number): boolean {
  const first = name.charCodeAt(0)
  // a, r, t, x: most headers start otherwise.
  if (first !== 0x61 && first !== 0x72 && first !== 0x74 && first !== 0x78) return false
  if (keptNames.has(name)) return true
  if (status < errorStatusMin || name.length > keptNameCharsMax) return false
  return keptOfErrorsPrefixes.some((prefix) => name.startsWith(prefix)) && isPrintable(name)
}

function sorted(pairs: [string, string][]): Record<string, string> {
  pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const names: Record<string, string> = {}
  for (const [name, value] of pairs) names[name] = value
  return names
}

/** Printable ASCII, bounded: a record's size must not depend on what upstream invents. */
function printable(value: string): string {
  const short = value.length > keptValueCharsMax ? value.slice(0, keptValueCharsMax) : value
  return isPrintable(short) ? short : short.replaceAll(/[^ !#-[\]-~]/g, '?')
}

function isPrintable(value: string): boolean {
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at)
    if (code < 0x20 || code > 0x7e || code === 0x22 || code === 0x5c) return false
  }
  return true
}
