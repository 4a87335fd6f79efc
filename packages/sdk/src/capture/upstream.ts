/**
 * Response headers: what tells how to read the body, and the few that are worth keeping in a record.
 * An allow-list, because records cannot be deleted.
 *
 * @module
 */
import type { CaptureSource } from '@affidavit/format'
import { contentCoding } from './encoding.ts'
import { responseHeadersSha256 } from './headers.ts'
import { identifierCharsMax } from './limits.ts'

export interface UpstreamHeaders {
  readonly status: number
  readonly contentType: string
  readonly encoding: string | null
  readonly requestId: string | null
  readonly kept: Readonly<Record<string, string>> | null
  readonly sha256: Uint8Array
}

const keptMax = 40
const keptNames: ReadonlySet<string> = new Set([
  'anthropic-organization-id',
  'anthropic-workspace-id',
  'retry-after',
  'retry-after-ms',
  'traceresponse',
  'x-should-retry',
])
const keptPrefixes = ['anthropic-ratelimit-', 'anthropic-priority-', 'anthropic-fast-']

/** Reads the head of a response. In-process doors see bodies that `fetch` has decoded already. */
export function upstreamHeaders(
  status: number,
  raw: readonly string[],
  source: CaptureSource,
): UpstreamHeaders {
  const kept: [string, string][] = []
  let contentType = ''
  let encoding: string | null = null
  let requestId: string | null = null
  let otherRequestId: string | null = null
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase()
    const value = raw[at + 1] ?? ''
    if (name === 'content-type') contentType = value.trim().toLowerCase()
    else if (name === 'content-encoding') encoding = contentCoding(value)
    else if (name === 'request-id') requestId = value
    else if (name === 'x-amzn-requestid') otherRequestId = value
    else if (isKept(name) && kept.length < keptMax) kept.push([name, printable(value)])
  }
  return {
    status,
    contentType,
    encoding: source === 'gateway' ? encoding : null,
    requestId: requestId ?? otherRequestId,
    kept: kept.length === 0 ? null : sorted(kept),
    sha256: responseHeadersSha256(raw),
  }
}

function isKept(name: string): boolean {
  return keptNames.has(name) || keptPrefixes.some((prefix) => name.startsWith(prefix))
}

function sorted(pairs: [string, string][]): Record<string, string> {
  pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return Object.fromEntries(pairs)
}

/** Printable ASCII, bounded: a record's size must not depend on what upstream invents. */
function printable(value: string): string {
  return value.slice(0, identifierCharsMax).replace(/[^ !#-[\]-~]/g, '?')
}
