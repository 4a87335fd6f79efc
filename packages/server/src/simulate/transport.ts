/**
 * How each mode treats the connection: what is sent, when, and how it ends. Pure; deliver.ts obeys.
 *
 * @module
 */
import { gzipSync } from 'node:zlib'
import { type Mode } from './modes.ts'
import { type Reply } from './reply.ts'

/** Orders for sending one reply. */
export interface Transport {
  readonly reply: Reply
  /**
   * `end`: as HTTP ends a body. `reset`: RST after the last part. `close`: FIN after the last part,
   * without the end that HTTP framing asks for. `open`: the body never ends. `silent`: nothing is
   * sent at all, until the caller gives up.
   */
  readonly ending: 'end' | 'reset' | 'close' | 'open' | 'silent'
  /** Whether the status line is sent at all. */
  readonly head: boolean
  readonly slow: 'no' | 'first-byte' | 'every-part'
  /** Value of content-length; `undefined` for a chunked body. */
  readonly declaredBytes: number | undefined
  readonly informational: boolean
  readonly closeDelimited: boolean
  readonly trailer: boolean
}

/** Plans the delivery of `reply` in its mode. */
export function transportOf(reply: Reply): Transport {
  const { mode, streaming } = reply.facts
  const plain: Transport = {
    reply,
    ending: 'end',
    head: true,
    slow: 'no',
    declaredBytes: streaming ? undefined : bytesIn(reply.parts),
    informational: false,
    closeDelimited: false,
    trailer: false,
  }
  return plans[mode]?.(plain) ?? plain
}

/** Bytes in all of `parts`. */
export function bytesIn(parts: readonly Buffer[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0)
}

type Plan = (plain: Transport) => Transport

const repeated = [
  ['X-Simulated-Twice', 'one'],
  ['x-simulated-twice', 'two'],
  ['X-SIMULATED-TWICE', 'one'],
  ['set-cookie', 'a=1; Path=/'],
  ['Set-Cookie', 'b=2; Path=/'],
  ['vary', 'accept-encoding'],
  ['Vary', 'origin'],
].flat()

const plans: Partial<Record<Mode, Plan>> = {
  cut: (plain) => (plain.reply.facts.streaming ? cut(plain, 'reset') : plain),
  cut_any: (plain) => cut(plain, 'reset'),
  truncated: (plain) => cut(plain, 'close'),
  end_early: (plain) => (plain.reply.facts.streaming ? cut(plain, 'end') : plain),
  reset: (plain) => ({ ...withParts(plain, []), ending: 'reset', head: false }),
  slow_first_byte: (plain) => ({ ...plain, slow: 'first-byte' }),
  slow_drip: (plain) => ({ ...plain, slow: 'every-part' }),
  never_end: (plain) => (plain.reply.facts.streaming ? { ...plain, ending: 'open' } : plain),
  hang: (plain) => ({ ...withParts(plain, []), ending: 'silent', head: false }),
  empty_body: (plain) => ({ ...withParts(plain, []), declaredBytes: 0 }),
  no_content: (plain) => ({
    ...withParts({ ...plain, reply: { ...plain.reply, status: 204 } }, []),
    declaredBytes: undefined,
  }),
  gzip: gzipped,
  duplicate_headers: (plain) => withHeaders(plain, repeated),
  informational: (plain) => ({ ...plain, informational: true }),
  close_delimited: (plain) => ({ ...plain, closeDelimited: true, declaredBytes: undefined }),
  trailers: (plain) => ({ ...plain, trailer: true, declaredBytes: undefined }),
  redirect: (plain) => {
    const moved = withHeaders(plain, ['location', 'https://example.com/v1/messages'])
    return {
      ...withParts({ ...moved, reply: { ...moved.reply, status: 307 } }, []),
      declaredBytes: 0,
    }
  },
}

/** Half of the reply is sent; a declared length stays that of the whole. */
function cut(plain: Transport, ending: 'reset' | 'close' | 'end'): Transport {
  const { parts, facts } = plain.reply
  const [first] = parts
  if (!facts.streaming && first !== undefined) {
    return { ...withParts(plain, [first.subarray(0, first.length >> 1)]), ending }
  }
  return { ...withParts(plain, parts.slice(0, Math.max(2, parts.length >> 1))), ending }
}

function gzipped(plain: Transport): Transport {
  const coded = gzipSync(Buffer.concat(plain.reply.parts))
  const sent = withParts(withHeaders(plain, ['content-encoding', 'gzip']), [coded])
  return { ...sent, declaredBytes: plain.declaredBytes === undefined ? undefined : coded.length }
}

function withParts(plain: Transport, parts: readonly Buffer[]): Transport {
  return { ...plain, reply: { ...plain.reply, parts } }
}

function withHeaders(plain: Transport, headers: readonly string[]): Transport {
  return { ...plain, reply: { ...plain.reply, headers: [...plain.reply.headers, ...headers] } }
}
