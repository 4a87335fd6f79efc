/**
 * One content block of an answer, digested while its deltas pass. Its digest is that of the same block
 * in a non-streamed answer (docs/spec/hashes.md §4), and text is not kept: only tool input is, because
 * its canonical form is known at its end.
 *
 * @module
 */
import { blockText, citedText, sha256Hex, thinkingText } from './blocks.ts'
import { canonicalText } from './canonical-json.ts'
import { arrayOf, parseJson, type JsonObject } from './json.ts'
import type { CaptureLimits } from './limits.ts'
import { createRunningDigest, createRunningEscape, type RunningDigest } from './running-digest.ts'

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
  const unknown = createUnknownDeltas()
  if (type === 'text') return openText(start, unknown)
  if (type === 'thinking') return openThinking(start, unknown)
  return openOther(type, start, unknown, limits)
}

/** Deltas that this version does not know: bound by a digest of their own, so that none is lost. */
interface UnknownDeltas {
  add(delta: JsonObject): void
  /** The block with `unknown_deltas` if there were any. */
  seal(block: JsonObject): JsonObject
}

function createUnknownDeltas(): UnknownDeltas {
  let digest: RunningDigest | null = null
  return {
    add(delta) {
      digest ??= createRunningDigest()
      digest.add(`${canonicalText(delta)}\n`)
    },
    seal: (block) => (digest === null ? block : { ...block, unknown_deltas: digest.end() }),
  }
}

/** Text, with the plain and the cited form digested side by side: which one holds is known at the end. */
function openText(start: JsonObject, unknown: UnknownDeltas): OutputBlock {
  const escape = createRunningEscape()
  const quoted = createRunningDigest('"')
  let plain: string | null = ''
  let plainDigest: RunningDigest | null = null
  let citations: RunningDigest | null = null

  function addText(text: string): void {
    const ready = escape.add(text)
    if (plain !== null) plain += text
    if (ready === '') return
    quoted.add(ready)
    plainDigest ??= createRunningDigest('{"text":"')
    plainDigest.add(ready)
    plain = null
  }

  function addCitation(citation: unknown): void {
    if (citations === null) citations = createRunningDigest('[')
    else citations.add(',')
    citations.add(canonicalText(citation))
  }

  if (typeof start['text'] === 'string') addText(start['text'])
  for (const citation of arrayOf(start['citations'])) addCitation(citation)
  const isBare = Object.keys(start).every((key) => bareKeys.has(key))

  return {
    type: 'text',
    delta(delta) {
      if (delta['type'] === 'text_delta' && typeof delta['text'] === 'string')
        addText(delta['text'])
      else if (delta['type'] === 'citations_delta') addCitation(delta['citation'])
      else unknown.add(delta)
    },
    end() {
      const sealed = unknown.seal(start)
      if (citations === null && plain !== null) {
        return sha256Hex(blockText({ ...sealed, text: plain }))
      }
      const rest = escape.end()
      if (citations === null && plainDigest !== null && sealed === start && isBare) {
        return plainDigest.end(`${rest}","type":"text"}`)
      }
      quoted.add(rest)
      const text = quoted.end('"')
      return sha256Hex(citedText(sealed, text, citations?.end(']') ?? null))
    },
  }
}

const bareKeys: ReadonlySet<string> = new Set(['type', 'text', 'citations', 'cache_control'])

function openThinking(start: JsonObject, unknown: UnknownDeltas): OutputBlock {
  const escape = createRunningEscape()
  const thinking = createRunningDigest('"')
  let signature = start['signature']
  if (typeof start['thinking'] === 'string') thinking.add(escape.add(start['thinking']))
  return {
    type: 'thinking',
    delta(delta) {
      if (delta['type'] === 'thinking_delta' && typeof delta['thinking'] === 'string') {
        thinking.add(escape.add(delta['thinking']))
      } else if (delta['type'] === 'signature_delta') {
        signature = delta['signature']
      } else {
        unknown.add(delta)
      }
    },
    end() {
      thinking.add(escape.end())
      return sha256Hex(thinkingText({ ...unknown.seal(start), signature }, thinking.end('"')))
    },
  }
}

/** Tool use, results, compaction, and whatever comes next. */
function openOther(
  type: string,
  start: JsonObject,
  unknown: UnknownDeltas,
  limits: CaptureLimits,
): OutputBlock {
  let block = start
  let input = ''
  let longInput: RunningDigest | null = null

  function addInput(text: string): void {
    if (longInput === null && input.length + text.length <= limits.toolInputCharsMax) {
      input += text
      return
    }
    longInput ??= createRunningDigest(input)
    input = ''
    longInput.add(text)
  }

  return {
    type,
    delta(delta) {
      if (delta['type'] === 'input_json_delta' && typeof delta['partial_json'] === 'string') {
        addInput(delta['partial_json'])
      } else if (delta['type'] === 'compaction_delta') {
        block = { ...block, content: delta['content'] ?? null }
      } else {
        unknown.add(delta)
      }
    },
    end() {
      const sealed = unknown.seal(block)
      if (longInput !== null) return sha256Hex(blockText(withRawInput(sealed, longInput.end())))
      if (input === '') return sha256Hex(blockText(sealed))
      const parsed = parseJson(input)
      const whole =
        parsed === undefined ? withRawInput(sealed, sha256Hex(input)) : { ...sealed, input: parsed }
      return sha256Hex(blockText(whole))
    },
  }
}

/** Tool input that is no JSON (cut off by `max_tokens`) stands in the block by the digest of its text. */
function withRawInput(block: JsonObject, digest: string): JsonObject {
  const { input: _, ...rest } = block
  return { ...rest, input_raw: digest }
}
