/**
 * The answer, assembled from stream events or read from a JSON body: usage, stop reason, models, tool
 * names, errors, and the digest of the canonical message (docs/spec/hashes.md §4). Both forms of one
 * message give the same digest.
 *
 * Invariants:
 * - Unknown events and members change nothing that is known.
 * - Nothing throws. What cannot be understood costs the digest (`isLossy`), never a wrong one.
 *
 * @module
 */
import { blockSha256 } from './blocks.ts'
import type { BlockDigest } from './analysis.ts'
import { arrayOf, countOf, isObject, parseJson, stringOf, type JsonObject } from './json.ts'
import { modelsMax, type CaptureLimits } from './limits.ts'
import {
  canonicalText,
  decode,
  itemsOf,
  memberOf,
  rawOf,
  stringAt,
  toBinary,
  type RawNode,
} from './raw-json.ts'
import { openOutputBlock, type OutputBlock } from './output-block.ts'
import { sha256OfBinary } from './sha256.ts'
import { emptyUsage, mergeUsage } from './usage.ts'

const toolUseTypes: ReadonlySet<string> = new Set(['tool_use', 'server_tool_use', 'mcp_tool_use'])

/** Events that carry the message; data of theirs that is no JSON is a part of the message lost. */
const messageEvents: ReadonlySet<string> = new Set([
  'message_start',
  'content_block_start',
  'content_block_delta',
  'content_block_stop',
  'message_delta',
])

interface OpenBlock {
  readonly block: OutputBlock
  readonly position: number
}

/** Reads one answer. Members tell what is known so far. */
export class MessageReader {
  readonly usage = emptyUsage()
  readonly blocks: BlockDigest[] = []
  readonly models: string[] = []
  readonly toolCalls: string[] = []
  toolCallCount = 0
  messageId: string | null = null
  model: string | null = null
  stopReason: string | null = null
  stopSequence: string | null = null
  refusalCategory: string | null = null
  errorType: string | null = null
  requestId: string | null = null
  /** Usage that will not change any more has been reported. */
  hasFinalUsage = false
  /** `message_stop` has been seen. */
  hasStopped = false
  /** The first delta of content has been seen. */
  hasContent = false
  /** Some of the message could not be understood; it has no canonical digest. */
  isLossy = false
  readonly #limits: CaptureLimits
  readonly #open = new Map<unknown, OpenBlock>()
  #hasMessage = false
  #role: unknown = null

  constructor(limits: CaptureLimits) {
    this.#limits = limits
  }

  /**
   * Takes one stream event; `data` is `null` if it was too large to keep. Returns whether the event
   * ends the message: `message_stop` or `error`, by its name or by the type in its data.
   */
  takeEvent(name: string, data: string | null): boolean {
    if (name === 'ping') return false
    const event = data === null ? undefined : parseJson(data)
    if (!isObject(event)) {
      if (messageEvents.has(name) || data === null) this.isLossy = true
      return this.#take(name, {})
    }
    const type = stringOf(event['type']) ?? name
    try {
      const isTerminal = this.#take(type, event)
      return isTerminal || (name !== type && isTerminalName(name) && this.#take(name, event))
    } catch {
      // Content nests too deep for a canonical form. No terminal event has any.
      this.isLossy = true
      return false
    }
  }

  /** Takes a whole JSON body, which must be an object. */
  takeBody(root: RawNode): void {
    const body = membersBut(root, 'content')
    const type = body['type']
    if (type === 'error') this.#takeError(body)
    else if (type === 'message') {
      this.#takeMessage(body, itemsOf(memberOf(root, 'content')))
      this.hasFinalUsage = true
    } else if (countOf(body['input_tokens']) !== null) {
      mergeUsage(this.usage, body)
      this.hasFinalUsage = true
    }
  }

  /** Hex SHA-256 of the canonical message as it stands; ends open blocks. `null` if there is none. */
  end(): string | null {
    try {
      for (const index of Array.from(this.#open.keys())) this.#endBlock(index)
      return this.#hasMessage && !this.isLossy ? this.#digest() : null
    } catch {
      this.isLossy = true
      return null
    }
  }

  #take(type: string, event: JsonObject): boolean {
    switch (type) {
      case 'content_block_delta':
        this.#takeDelta(event)
        return false
      case 'content_block_start':
        this.#startBlock(event)
        return false
      case 'content_block_stop':
        this.#endBlock(event['index'])
        return false
      case 'message_start':
        this.#startMessage(event['message'])
        return false
      case 'message_delta':
        this.#takeMessageDelta(event)
        return false
      case 'message_stop':
        this.hasStopped = true
        return true
      case 'error':
        this.#takeError(event)
        return true
      default:
        return false
    }
  }

  #startMessage(message: unknown): void {
    if (isObject(message)) this.#takeMessage(message, arrayOf(message['content']).map(rawOf))
  }

  #takeMessage(message: JsonObject, content: readonly RawNode[]): void {
    this.#hasMessage = true
    this.messageId = stringOf(message['id'])
    this.#role = message['role'] ?? null
    this.#noteModel(message['model'])
    this.model = stringOf(message['model'])
    mergeUsage(this.usage, message['usage'])
    this.#takeStop(message)
    for (const block of content) {
      const type = stringAt(memberOf(block, 'type')) ?? ''
      if (type !== 'text') this.#noteBlock(membersBut(block, 'content', 'input'))
      this.#pushBlock(type, blockSha256(block))
    }
    this.#noteIterations()
  }

  #takeMessageDelta(event: JsonObject): void {
    if (isObject(event['delta'])) this.#takeStop(event['delta'])
    if (!isObject(event['usage'])) return
    mergeUsage(this.usage, event['usage'])
    this.hasFinalUsage = true
    this.#noteIterations()
  }

  #takeStop(holder: JsonObject): void {
    this.stopReason = stringOf(holder['stop_reason']) ?? this.stopReason
    this.stopSequence = stringOf(holder['stop_sequence']) ?? this.stopSequence
    const details = holder['stop_details']
    if (isObject(details)) this.refusalCategory = stringOf(details['category'])
  }

  #takeError(body: JsonObject): void {
    const error = body['error']
    this.errorType = (isObject(error) ? stringOf(error['type']) : null) ?? 'unknown_error'
    this.requestId = stringOf(body['request_id'])
  }

  #startBlock(event: JsonObject): void {
    const start = isObject(event['content_block']) ? event['content_block'] : {}
    this.#endBlock(event['index'])
    this.#noteBlock(start)
    // The block tells a stream's reader that another model goes on from here; a whole message names
    // that model already.
    const to = start['type'] === 'fallback' ? start['to'] : undefined
    if (isObject(to)) this.model = stringOf(to['model']) ?? this.model
    const block = openOutputBlock(start, this.#limits)
    if (this.#pushBlock(block.type, '')) {
      this.#open.set(event['index'], { block, position: this.blocks.length - 1 })
    }
  }

  #takeDelta(event: JsonObject): void {
    this.hasContent = true
    const opened = this.#open.get(event['index'])
    const delta = event['delta']
    if (opened === undefined || !isObject(delta)) this.isLossy = true
    else opened.block.delta(delta)
  }

  #endBlock(index: unknown): void {
    const opened = this.#open.get(index)
    if (opened === undefined) return
    this.#open.delete(index)
    const { block, position } = opened
    this.blocks[position] = outputDigest(block.type, position, block.end())
  }

  #pushBlock(type: string, sha256: string): boolean {
    if (this.blocks.length >= this.#limits.outputBlocksMax) {
      this.isLossy = true
      return false
    }
    this.blocks.push(outputDigest(type, this.blocks.length, sha256))
    return true
  }

  /** Notes tool names and models of a block as it starts. */
  #noteBlock(block: JsonObject): void {
    const type = block['type']
    if (typeof type !== 'string') return
    if (toolUseTypes.has(type)) {
      this.toolCallCount++
      const name = stringOf(block['name'])
      if (name !== null && this.toolCalls.length < this.#limits.namesMax) this.toolCalls.push(name)
    } else if (type === 'fallback') {
      for (const end of [block['from'], block['to']])
        if (isObject(end)) this.#noteModel(end['model'])
    }
  }

  #noteIterations(): void {
    for (const { model } of this.usage.iterations ?? []) this.#noteModel(model)
  }

  #noteModel(value: unknown): void {
    const model = stringOf(value)
    if (model === null || this.models.length >= modelsMax) return
    if (!this.models.includes(model)) this.models.push(model)
  }

  #digest(): string {
    const content = this.blocks.map((block) => `"${block.sha256}"`).join(',')
    const role = this.#role === 'assistant' ? '"assistant"' : canonicalText(rawOf(this.#role))
    const text =
      `{"content":[${content}],"model":${quoted(this.model)},"role":${role}` +
      `,"stop_reason":${quoted(this.stopReason)},"stop_sequence":${quoted(this.stopSequence)}}`
    return sha256OfBinary(text)
  }
}

/** An object without the members in which content is. */
function membersBut(node: RawNode, ...left: readonly string[]): JsonObject {
  const members: Record<string, unknown> = {}
  for (let at = 0; at < node.keys.length; at++) {
    const key = node.keys[at]
    const member = node.values[at]
    if (key === undefined || member === undefined || left.includes(key)) continue
    if (key !== '__proto__') members[key] = decode(member)
  }
  return members
}

// ASCII that needs no escape.
const isPlainText = /^[ !#-[\]-~]*$/

/** Canonical binary text of a string or `null`. */
function quoted(value: string | null): string {
  if (value === null) return 'null'
  return isPlainText.test(value) ? `"${value}"` : toBinary(JSON.stringify(value))
}

function isTerminalName(name: string): boolean {
  return name === 'message_stop' || name === 'error'
}

function outputDigest(type: string, index: number, sha256: string): BlockDigest {
  return { kind: 'output', type, role: 'assistant', messageIndex: -1, index, sha256 }
}
