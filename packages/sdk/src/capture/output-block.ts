/**
 * One content block of an answer, digested while its deltas pass. Its digest is that of the same block
 * in a non-streamed answer (docs/spec/hashes.md §4), and text is not kept: only tool input is, because
 * its canonical form is known at its end.
 *
 * @module
 */
import { blockSha256, blockText } from './blocks.ts'
import { arrayOf, type JsonObject } from './json.ts'
import type { CaptureLimits } from './limits.ts'
import { canonicalText, fromBinary, parseRaw, rawOf, toBinary } from './raw-json.ts'
import { RunningDigest, RunningEscape } from './running-digest.ts'
import { sha256OfBinary, sha256OfText } from './sha256.ts'

/** A block that is still open. */
export interface OutputBlock {
  readonly type: string
  delta(delta: JsonObject): void
  /** Hex digest of the block as it stands. Ends it. */
  end(): string
}

/** Opens a block with the `content_block` of its start event. */
export function openOutputBlock(start: JsonObject, limits: CaptureLimits): OutputBlock {
  const type = typeof start['type'] === 'string' ? start['type'] : ''
  if (type === 'text') return new TextBlock(start)
  return type === 'thinking' ? new ThinkingBlock(start) : new OtherBlock(type, start, limits)
}

/** Deltas that this version does not know: bound by a digest of their own, so that none is lost. */
class UnknownDeltas {
  #digest: RunningDigest | null = null

  add(delta: JsonObject): void {
    this.#digest ??= new RunningDigest()
    this.#digest.add(`${textOf(delta)}\n`)
  }

  /** The member that tells of them; none if there were none. */
  members(): Record<string, string> {
    return this.#digest === null ? {} : { unknown_deltas: quoted(this.#digest.end()) }
  }
}

/** The plain and the cited form are digested side by side: which one holds is known at the end. */
class TextBlock implements OutputBlock {
  readonly type = 'text'
  readonly #start: JsonObject
  readonly #escape = new RunningEscape()
  readonly #unknown = new UnknownDeltas()
  /** Of the block up to its text, and what comes after it. */
  readonly #plain: RunningDigest
  readonly #tail: string
  /** Of the text as a JSON string; made when more has come than is kept. */
  #quoted: RunningDigest | null = null
  #citations: RunningDigest | null = null

  constructor(start: JsonObject) {
    this.#start = start
    const { head, tail } = frameOf(start)
    this.#plain = new RunningDigest(`${head}"`)
    this.#tail = `"${tail}`
    if (typeof start['text'] === 'string') this.#addText(start['text'])
    for (const citation of arrayOf(start['citations'])) this.#addCitation(citation)
  }

  delta(delta: JsonObject): void {
    const { text, type } = delta
    if (type === 'text_delta' && typeof text === 'string') this.#addText(text)
    else if (type === 'citations_delta') this.#addCitation(delta['citation'] ?? null)
    else this.#unknown.add(delta)
  }

  end(): string {
    const rest = this.#escape.end()
    const added = this.#unknown.members()
    if (this.#citations === null && Object.keys(added).length === 0) {
      return this.#plain.end(rest + this.#tail)
    }
    added['text'] = quoted(this.#quoted?.end(`${rest}"`) ?? sha256OfText(`"${rest}"`))
    if (this.#citations !== null) added['citations'] = quoted(this.#citations.end(']'))
    return sha256OfBinary(blockText(rawOf(this.#start), added))
  }

  #addText(text: string): void {
    const ready = this.#escape.add(text)
    if (ready === '') return
    this.#plain.add(ready)
    this.#quoted ??= new RunningDigest('"')
    this.#quoted.add(ready)
  }

  #addCitation(citation: unknown): void {
    if (this.#citations === null) this.#citations = new RunningDigest('[')
    else this.#citations.add(',')
    this.#citations.add(textOf(citation))
  }
}

const bareFrame = { head: '{"text":', tail: ',"type":"text"}' }

/** Canonical text of an uncited text block, before and after its text. */
function frameOf(start: JsonObject): { readonly head: string; readonly tail: string } {
  if (Object.keys(start).every((key) => key === 'type' || key === 'text')) return bareFrame
  const { citations: _, ...rest } = start
  // No JSON text has the mark where a value stands, and in a string the quotes would be escaped.
  const mark = '"text":@'
  const text = fromBinary(blockText(rawOf(rest), { text: '@' }))
  const at = text.indexOf(mark)
  return { head: text.slice(0, at + mark.length - 1), tail: text.slice(at + mark.length) }
}

class ThinkingBlock implements OutputBlock {
  readonly type = 'thinking'
  readonly #start: JsonObject
  readonly #escape = new RunningEscape()
  readonly #thinking = new RunningDigest('"')
  readonly #unknown = new UnknownDeltas()
  #signature: unknown

  constructor(start: JsonObject) {
    this.#start = start
    this.#signature = start['signature'] ?? null
    if (typeof start['thinking'] === 'string') this.#add(start['thinking'])
  }

  delta(delta: JsonObject): void {
    const { thinking, type } = delta
    if (type === 'thinking_delta' && typeof thinking === 'string') this.#add(thinking)
    else if (type === 'signature_delta') this.#signature = delta['signature'] ?? null
    else this.#unknown.add(delta)
  }

  end(): string {
    const added = this.#unknown.members()
    added['thinking'] = quoted(this.#thinking.end(`${this.#escape.end()}"`))
    const { signature: _, ...rest } = this.#start
    if (this.#signature !== null) {
      added['signature'] = quoted(sha256OfText(textOf(this.#signature)))
    }
    return sha256OfBinary(blockText(rawOf(rest), added))
  }

  #add(thinking: string): void {
    this.#thinking.add(this.#escape.add(thinking))
  }
}

/** Tool use, results, compaction, and whatever comes next. */
class OtherBlock implements OutputBlock {
  readonly type: string
  readonly #limits: CaptureLimits
  readonly #unknown = new UnknownDeltas()
  #block: JsonObject
  #input = ''
  #longInput: RunningDigest | null = null

  constructor(type: string, start: JsonObject, limits: CaptureLimits) {
    this.type = type
    this.#block = start
    this.#limits = limits
  }

  delta(delta: JsonObject): void {
    const { type, partial_json: input } = delta
    if (type === 'input_json_delta' && typeof input === 'string') this.#addInput(input)
    else if (type === 'compaction_delta') {
      this.#block = { ...this.#block, content: delta['content'] ?? null }
    } else this.#unknown.add(delta)
  }

  end(): string {
    const added = this.#unknown.members()
    const { input: _, ...rest } = this.#block
    if (this.#longInput !== null) added['input_raw'] = quoted(this.#longInput.end())
    else if (this.#input !== '') {
      const input = parseRaw(toBinary(this.#input))
      // Input that is no JSON (cut off by `max_tokens`) stands by the digest of its text.
      if (input === null) added['input_raw'] = quoted(sha256OfText(this.#input))
      else added['input'] = canonicalText(input)
    }
    if (Object.keys(added).length === 0) return blockSha256(rawOf(this.#block))
    const hasInput = 'input' in added || 'input_raw' in added
    return sha256OfBinary(blockText(rawOf(hasInput ? rest : this.#block), added))
  }

  #addInput(text: string): void {
    const isLong = this.#input.length + text.length > this.#limits.toolInputCharsMax
    if (this.#longInput === null && !isLong) {
      this.#input += text
      return
    }
    this.#longInput ??= new RunningDigest(this.#input)
    this.#input = ''
    this.#longInput.add(text)
  }
}

/** Canonical text in UTF-16. */
function textOf(value: unknown): string {
  return fromBinary(canonicalText(rawOf(value)))
}

function quoted(digest: string): string {
  return `"${digest}"`
}
