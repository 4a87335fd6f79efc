/**
 * The answer, assembled from stream events or read from a JSON body: usage, stop reason, models, tool
 * names, errors, and the digest of the canonical message (docs/spec/hashes.md §4). Both forms of one
 * message give the same digest.
 *
 * Invariant: unknown events and members change nothing that is known.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { blockText, sha256Hex } from './blocks.ts'
import { canonicalText } from './canonical-json.ts'
import type { BlockDigest } from './exchange.ts'
import { arrayOf, countOf, isObject, stringOf, type JsonObject } from './json.ts'
import { modelsMax, type CaptureLimits } from './limits.ts'
import { openOutputBlock, type OutputBlock } from './output-block.ts'
import { mergeUsage, type UsageState } from './usage.ts'

/** What is known of the answer so far. */
export interface MessageState {
  readonly usage: UsageState
  readonly blocks: BlockDigest[]
  readonly models: string[]
  readonly toolCalls: string[]
  toolCallCount: number
  messageId: string | null
  model: string | null
  role: unknown
  stopReason: string | null
  stopSequence: string | null
  refusalCategory: string | null
  errorType: string | null
  requestId: string | null
  hasMessage: boolean
  hasFinalUsage: boolean
  hasStopped: boolean
  /** Some of the message could not be understood; it has no canonical digest. */
  isLossy: boolean
}

export interface MessageReader {
  readonly state: MessageState
  /** Takes one stream event. Returns whether it ends the message (`message_stop`, `error`). */
  event(name: string, data: string | null): boolean
  /** Whether the event just taken was the first with content. */
  readonly hasContent: boolean
  /** Takes a whole JSON body. */
  body(body: JsonObject): void
  /** SHA-256 of the canonical message as it stands; ends open blocks. `null` if there is none. */
  end(): Uint8Array | null
}

const toolUseTypes: ReadonlySet<string> = new Set(['tool_use', 'server_tool_use', 'mcp_tool_use'])

/** Makes a reader of one answer. */
export function createMessageReader(limits: CaptureLimits): MessageReader {
  const state = emptyState()
  const open = new Map<unknown, { readonly block: OutputBlock; readonly position: number }>()
  let hasContent = false

  function startBlock(event: JsonObject): void {
    const start = isObject(event['content_block']) ? event['content_block'] : {}
    noteBlock(state, start, limits)
    endBlock(event)
    if (state.blocks.length >= limits.outputBlocksMax) {
      state.isLossy = true
      return
    }
    const block = openOutputBlock(start, limits)
    open.set(event['index'], { block, position: state.blocks.length })
    state.blocks.push(outputDigest(block.type, state.blocks.length, ''))
  }

  function endBlock(event: JsonObject): void {
    const opened = open.get(event['index'])
    if (opened === undefined) return
    open.delete(event['index'])
    const { block, position } = opened
    state.blocks[position] = outputDigest(block.type, position, block.end())
  }

  function delta(event: JsonObject): void {
    hasContent = true
    const opened = open.get(event['index'])
    if (opened === undefined || !isObject(event['delta'])) state.isLossy = true
    else opened.block.delta(event['delta'])
  }

  function take(type: string, event: JsonObject): boolean {
    if (type === 'content_block_delta') delta(event)
    else if (type === 'content_block_start') startBlock(event)
    else if (type === 'content_block_stop') endBlock(event)
    else if (type === 'message_start') readMessage(state, event['message'], limits)
    else if (type === 'message_delta') readMessageDelta(state, event)
    else if (type === 'message_stop') state.hasStopped = true
    else if (type === 'error') readError(state, event)
    return type === 'message_stop' || type === 'error'
  }

  return {
    state,
    get hasContent() {
      return hasContent
    },
    event(name, data) {
      const event = data === null ? undefined : parseEvent(data)
      if (!isObject(event)) {
        if (name !== 'ping') state.isLossy = true
        return take(name === 'message_stop' || name === 'error' ? name : '', {})
      }
      const type = stringOf(event['type']) ?? name
      const isTerminal = guarded(state, () => take(type, event))
      if (name === type || (name !== 'message_stop' && name !== 'error')) return isTerminal
      return take(name, event)
    },
    body(body) {
      if (body['type'] === 'error') readError(state, body)
      else if (body['type'] === 'message') {
        guarded(state, () => readMessage(state, body, limits))
        state.hasFinalUsage = true
      } else if (countOf(body['input_tokens']) !== null) {
        mergeUsage(state.usage, body)
        state.hasFinalUsage = true
      }
    },
    end() {
      guarded(state, () => {
        for (const index of [...open.keys()]) endBlock({ index })
      })
      return state.hasMessage && !state.isLossy ? messageSha256(state) : null
    },
  }
}

function emptyState(): MessageState {
  return {
    usage: new Map(),
    blocks: [],
    models: [],
    toolCalls: [],
    toolCallCount: 0,
    messageId: null,
    model: null,
    role: null,
    stopReason: null,
    stopSequence: null,
    refusalCategory: null,
    errorType: null,
    requestId: null,
    hasMessage: false,
    hasFinalUsage: false,
    hasStopped: false,
    isLossy: false,
  }
}

function parseEvent(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    return undefined
  }
}

/** Content that nests too deep has no canonical form: the message then has no digest. */
function guarded<T>(state: MessageState, work: () => T): T | false {
  try {
    return work()
  } catch {
    state.isLossy = true
    return false
  }
}

function readMessage(state: MessageState, message: unknown, limits: CaptureLimits): void {
  if (!isObject(message)) return
  state.hasMessage = true
  state.messageId = stringOf(message['id'])
  state.role = message['role'] ?? null
  noteModel(state, message['model'], true)
  mergeUsage(state.usage, message['usage'])
  readStop(state, message)
  for (const block of arrayOf(message['content'])) {
    if (isObject(block)) noteBlock(state, block, limits, { keepsModel: true })
    if (state.blocks.length >= limits.outputBlocksMax) state.isLossy = true
    else {
      const type = isObject(block) ? (stringOf(block['type']) ?? '') : ''
      state.blocks.push(outputDigest(type, state.blocks.length, sha256Hex(blockText(block))))
    }
  }
  noteIterations(state)
}

function readMessageDelta(state: MessageState, event: JsonObject): void {
  if (isObject(event['delta'])) readStop(state, event['delta'])
  if (isObject(event['usage'])) {
    mergeUsage(state.usage, event['usage'])
    state.hasFinalUsage = true
    noteIterations(state)
  }
}

function readStop(state: MessageState, holder: JsonObject): void {
  state.stopReason = stringOf(holder['stop_reason']) ?? state.stopReason
  const sequence = holder['stop_sequence']
  if (typeof sequence === 'string') state.stopSequence = sequence
  const details = holder['stop_details']
  if (isObject(details)) state.refusalCategory = stringOf(details['category'])
}

function readError(state: MessageState, body: JsonObject): void {
  const error = body['error']
  state.errorType = (isObject(error) ? stringOf(error['type']) : null) ?? 'unknown_error'
  state.requestId = stringOf(body['request_id'])
}

/** Notes tool names and models of a block as it starts. */
function noteBlock(
  state: MessageState,
  block: JsonObject,
  limits: CaptureLimits,
  options = { keepsModel: false },
): void {
  const type = stringOf(block['type']) ?? ''
  if (toolUseTypes.has(type)) {
    state.toolCallCount++
    const name = stringOf(block['name'])
    if (name !== null && state.toolCalls.length < limits.namesMax) state.toolCalls.push(name)
  } else if (type === 'fallback') {
    const { from, to } = block
    if (isObject(from)) noteModel(state, from['model'], false)
    // The block tells a stream's reader that another model goes on from here.
    if (isObject(to)) noteModel(state, to['model'], !options.keepsModel)
  }
}

function noteIterations(state: MessageState): void {
  const iterations = state.usage.get('iterations')
  if (!Array.isArray(iterations)) return
  for (const row of iterations) if (isObject(row)) noteModel(state, row['model'], false)
}

function noteModel(state: MessageState, value: unknown, isServing: boolean): void {
  const model = stringOf(value)
  if (model === null) return
  if (isServing) state.model = model
  if (state.models.length < modelsMax && !state.models.includes(model)) state.models.push(model)
}

function outputDigest(type: string, index: number, sha256: string): BlockDigest {
  return { kind: 'output', type, role: 'assistant', messageIndex: -1, index, sha256 }
}

function messageSha256(state: MessageState): Uint8Array {
  const content = state.blocks.map((block) => `"${block.sha256}"`).join(',')
  const text =
    `{"content":[${content}],"model":${canonicalText(state.model)},"role":${canonicalText(state.role)},` +
    `"stop_reason":${canonicalText(state.stopReason)},"stop_sequence":${canonicalText(state.stopSequence)}}`
  return hash('sha256', text, 'buffer')
}
