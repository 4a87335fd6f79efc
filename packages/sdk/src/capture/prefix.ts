/**
 * Conversations remembered, so that a turn costs its new text. Each request of a conversation resends
 * everything before it; a SHA-256 midstate at the end of the part that was digested before proves, in
 * the same pass that digests the whole body, that this part is unchanged. What was learned from it is
 * then taken over, and only the rest is parsed:
 *
 *     {"model":…,"messages":[ m0 , m1 , … mk , mk+1 … ],"tools":[…],…}
 *     └──────────── remembered ───────────┘└─ parsed ─┘└─ remembered by its own digest ─┘
 *
 * Invariants:
 * - The result is that of the full analysis, bit for bit; in any doubt the full analysis is made.
 * - Only bytes with the same SHA-256 are taken for the same: a session id is a hint where to look.
 * - Nothing remembered holds content: digests, ids, names and positions only.
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { createHash, hash } from 'node:crypto'
import type { PrefixCache, PrefixedAnalysis } from './analysis.ts'
import { defaultLimits, type CaptureLimits } from './limits.ts'
import {
  analyseMembers,
  analyseMessages,
  assemblePrompt,
  joinMessages,
  messagesMember,
  type Member,
  type Messages,
} from './prompt.ts'
import { memberOf, parseRaw, parseRawBytes, type RawNode } from './raw-json.ts'

/** Conversations looked at for one hint: branches, and conversations that begin alike. */
const branchesMax = 4
/** Messages from the end among which clients move `cache_control` from turn to turn. */
const movingMessagesMax = 6
const hintBytes = 256
const digestRowBytes = 200

/** What is known of the first `bytes` bytes of a conversation's body. */
interface Remembered {
  readonly bytes: number
  readonly sha256: string
  /** Members before `messages`. */
  readonly head: readonly Member[]
  readonly messages: Messages
  readonly tail: Tail
}

/** What follows the messages, from the bracket that closes them. */
interface Tail {
  readonly bytes: number
  readonly sha256: string
  readonly members: readonly Member[]
}

/** Makes an empty cache. One serves all requests of a process. */
export function createPrefixCache(limits: Partial<CaptureLimits> = {}): PrefixCache {
  return new ConversationCache({ ...defaultLimits, ...limits })
}

class ConversationCache implements PrefixCache {
  readonly #limits: CaptureLimits
  /** By hint; least recently used first. */
  readonly #conversations = new Map<string, readonly Remembered[]>()
  #bytes = 0

  constructor(limits: CaptureLimits) {
    this.#limits = limits
  }

  get count(): number {
    return this.#conversations.size
  }

  get bytes(): number {
    return this.#bytes
  }

  analyse(body: Uint8Array, hint: string): PrefixedAnalysis | null {
    if (body.length < this.#limits.prefixBytesMin) return null
    const key = hint === '' ? hintOf(body) : hint
    const branches = this.#conversations.get(key) ?? []
    const pass = new Pass(body)
    const known = pass.longestOf(branches)
    const parts = (known === null ? null : continued(body, known)) ?? whole(body)
    if (parts === null) return null
    const messages = joinMessages(
      parts.known === null ? parts.added : [parts.known.messages, ...parts.added],
    )
    const next = pass.remember(parts, messages)
    if (next !== null) this.#keep(key, branches, known, next)
    return {
      wireSha256: pass.end(),
      analysis: assemblePrompt([...parts.head, messagesMember(messages), ...parts.tail]),
    }
  }

  #keep(
    key: string,
    branches: readonly Remembered[],
    known: Remembered | null,
    next: Remembered,
  ): void {
    const others = branches.filter((branch) => branch !== known && branch.sha256 !== next.sha256)
    const kept = [next, ...others].slice(0, branchesMax)
    this.#drop(key)
    this.#conversations.set(key, kept)
    this.#bytes += sizeOf(key, kept)
    for (const oldest of this.#conversations.keys()) {
      const isFull =
        this.#conversations.size > this.#limits.prefixEntriesMax ||
        this.#bytes > this.#limits.prefixCacheBytesMax
      if (!isFull) return
      this.#drop(oldest)
    }
  }

  #drop(key: string): void {
    const branches = this.#conversations.get(key)
    if (branches === undefined) return
    this.#conversations.delete(key)
    this.#bytes -= sizeOf(key, branches)
  }
}

/** A body in its parts. */
interface Parts {
  /** What the body begins with. */
  readonly known: Remembered | null
  readonly head: readonly Member[]
  /** Messages that are new, digested and as they were parsed. */
  readonly added: readonly Messages[]
  readonly nodes: readonly RawNode[]
  /** What to add to a position of theirs to get an offset in the body. */
  readonly shift: number
  readonly tail: readonly Member[]
  /** Offset of the bracket that closes the messages. */
  readonly tailStart: number
  /** The tail, if it is the one that was remembered. */
  readonly knownTail: Tail | null
}

/** The parts of a body of which nothing is known; `null` where the full analysis is to be made. */
function whole(body: Uint8Array): Parts | null {
  const buffer = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  if (!isUtf8(buffer)) return null
  const root = parseRawBytes(buffer)
  if (root === null || root.hasDuplicates) return null
  const list = memberOf(root, 'messages')
  if (list?.kind !== 'array') return null
  return {
    known: null,
    head: analyseMembers(root, (node) => node.start < list.start),
    added: analyseMessages(list.values, 0),
    nodes: list.values,
    shift: 0,
    tail: analyseMembers(root, (node) => node.start > list.start),
    tailStart: list.end - 1,
    knownTail: null,
  }
}

const comma = 0x2c
const rightBracket = 0x5d
const listStart = '{"messages":['

/** The parts of a body that begins as `known` does; `null` where the full analysis is to be made. */
function continued(body: Uint8Array, known: Remembered): Parts | null {
  const rest = Buffer.from(body.buffer, body.byteOffset + known.bytes, body.length - known.bytes)
  const from = firstMessageAt(rest)
  if (from < 0) return null
  const knownTail = sharedTail(rest, from, known.tail)
  const end = knownTail === null ? rest.length : rest.length - knownTail.bytes
  const added = rest.subarray(from, end)
  if (!isUtf8(added)) return null
  const text = added.toString('latin1')
  // Either way the text is valid if and only if the body is: what was left out was valid, and ended
  // and begins at a bracket or a comma of the list.
  const root = parseRaw(knownTail === null ? listStart + text : `${listStart}${text}]}`)
  const list = memberOf(root ?? undefined, 'messages')
  if (root === null || list?.start !== listStart.length - 1 || root.hasDuplicates) return null
  const tail = knownTail?.members ?? analyseMembers(root, (node) => node !== list)
  const headKeys = known.head.map((member) => member.key)
  if (tail.some(({ key }) => headKeys.includes(key))) return null
  const shift = known.bytes + from - listStart.length
  return {
    known,
    head: known.head,
    added: analyseMessages(list.values, known.messages.count),
    nodes: list.values,
    shift,
    tail,
    tailStart: list.end - 1 + shift,
    knownTail,
  }
}

/** Where the next message begins, or the bracket that closes the list; -1 if it is neither. */
function firstMessageAt(rest: Buffer): number {
  const at = afterSpace(rest, 0)
  if (rest[at] === rightBracket) return at
  if (rest[at] !== comma) return -1
  const next = afterSpace(rest, at + 1)
  return rest[next] === rightBracket ? -1 : next
}

function afterSpace(bytes: Buffer, from: number): number {
  let at = from
  while (at < bytes.length && isSpace(bytes[at])) at++
  return at
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}

function sharedTail(rest: Buffer, from: number, tail: Tail): Tail | null {
  const start = rest.length - tail.bytes
  if (start < from) return null
  return hash('sha256', rest.subarray(start), 'hex') === tail.sha256 ? tail : null
}

/** The one pass over a body: its digest, and on the way the digests of its beginnings. */
class Pass {
  readonly #body: Uint8Array
  readonly #hash = createHash('sha256')
  #at = 0

  constructor(body: Uint8Array) {
    this.#body = body
  }

  /** The longest of `branches` that the body begins with. */
  longestOf(branches: readonly Remembered[]): Remembered | null {
    let longest: Remembered | null = null
    for (const branch of branches.toSorted((a, b) => a.bytes - b.bytes)) {
      if (branch.bytes >= this.#body.length) break
      if (this.#digestAt(branch.bytes) === branch.sha256) longest = branch
    }
    return longest
  }

  /** What to remember of this body; `null` if no message of it is settled. */
  remember(parts: Parts, messages: Messages): Remembered | null {
    const { added, known, nodes } = parts
    const settled = settledCount(nodes)
    const last = nodes[settled - 1]
    const tail = parts.knownTail ?? this.#tailOf(parts)
    if (last === undefined) return known === null ? null : { ...known, tail }
    const bytes = last.end + parts.shift
    return {
      bytes,
      sha256: this.#digestAt(bytes),
      head: known?.head ?? parts.head.map(detachedMember),
      messages: firstOf(messages, added.slice(settled)),
      tail,
    }
  }

  /** Digest of the whole body. Ends the pass. */
  end(): string {
    return this.#hash.update(this.#body.subarray(this.#at)).digest('hex')
  }

  #tailOf(parts: Parts): Tail {
    const bytes = this.#body.subarray(parts.tailStart)
    return {
      bytes: bytes.length,
      sha256: hash('sha256', bytes, 'hex'),
      members: parts.tail.map(detachedMember),
    }
  }

  #digestAt(bytes: number): string {
    // A longer branch that did not match has carried the pass too far.
    if (bytes < this.#at) return hash('sha256', this.#body.subarray(0, bytes), 'hex')
    this.#hash.update(this.#body.subarray(this.#at, bytes))
    this.#at = bytes
    return this.#hash.copy().digest('hex')
  }
}

/** How many of the messages will be resent as they are: those before the first moving marker. */
function settledCount(messages: readonly RawNode[]): number {
  let settled = messages.length
  const first = Math.max(0, messages.length - movingMessagesMax)
  for (let at = messages.length - 1; at >= first; at--) {
    const message = messages[at]
    if (message?.source.slice(message.start, message.end).includes('"cache_control"')) settled = at
  }
  return settled
}

/** `messages` without the `last` ones, as a text of its own. */
function firstOf(messages: Messages, last: readonly Messages[]): Messages {
  let { count } = messages
  let chars = messages.text.length
  let blockCount = messages.blocks.length
  let referenceCount = messages.references.length
  for (const message of last) {
    count--
    chars -= message.text.length + (count === 0 ? 0 : 1)
    blockCount -= message.blocks.length
    referenceCount -= message.references.length
  }
  return {
    text: detached(messages.text.slice(0, chars)),
    count,
    blocks: messages.blocks.slice(0, blockCount),
    references: messages.references.slice(0, referenceCount),
  }
}

function detachedMember(member: Member): Member {
  const { key, name, text } = member
  return {
    ...member,
    key: JSON.parse(JSON.stringify(key)),
    name: detached(name),
    text: text === null ? null : detached(text),
  }
}

/** The same binary text as one of its own: what is cut from a body keeps the whole body in memory. */
function detached(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}

/**
 * Where to look for a conversation without a name: its first message. Applications send the same
 * members and system prompt before that, conversation after conversation.
 */
function hintOf(body: Uint8Array): string {
  const buffer = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  const start = Math.max(0, buffer.indexOf('"messages"'))
  return buffer.toString('latin1', start, start + hintBytes)
}

function sizeOf(key: string, branches: readonly Remembered[]): number {
  let bytes = key.length + digestRowBytes
  for (const { head, messages, tail } of branches) {
    for (const part of [...head, messages, ...tail.members]) {
      bytes += digestRowBytes * (1 + part.blocks.length) + (part.text?.length ?? 0)
      for (const { value } of part.references) bytes += digestRowBytes + value.length
    }
  }
  return bytes
}
