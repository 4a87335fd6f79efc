/**
 * The message that the simulator answers with: its content blocks, why it stopped and what it used,
 * as a pure function of the prompt, the mode and a seed.
 *
 * @module
 */
import { type Library } from './library.ts'
import { type Mode } from './modes.ts'
import { type InputTokens, type OfferedTool, type Prompt } from './prompt.ts'
import { citedBlock, serverToolBlocks } from './cited.ts'
import { sampleOf } from './sample.ts'
import { type Seeded } from './seeded.ts'
import { sliceWellFormed } from './stream.ts'

/** A content block as it stands in a whole message. */
export type Block = Readonly<Record<string, unknown>> & { readonly type: string }

/** One model's part of the work, as `usage.iterations` lists it. */
export interface Iteration {
  readonly type: string
  readonly model: string
  readonly outputTokens: number
}

/** An answer before it is written as JSON or as a stream. */
export interface Answer {
  readonly id: string
  /** The model that the message names. */
  readonly model: string
  readonly content: readonly Block[]
  readonly stopReason: string
  readonly stopSequence: string | null
  readonly stopDetails: Block | null
  readonly input: InputTokens
  readonly outputTokens: number
  readonly thinkingTokens: number
  readonly webSearches: number
  readonly iterations: readonly Iteration[]
  /** Raw JSON text of the last tool call when it is cut, and so no JSON. */
  readonly partialInput?: string
}

/** What an answer is made from. */
export interface AnswerSource {
  readonly prompt: Prompt
  readonly mode: Mode
  readonly seeded: Seeded
  readonly library: Library
  /** Size of a `huge` answer's text. */
  readonly hugeBytes: number
}

interface Draft {
  content: Block[]
  stopReason: string
  stopSequence?: string
  stopDetails?: Block
  model?: string
  webSearches?: number
  iterations?: Iteration[]
  partialInput?: string
}

const charsPerToken = 4
const fallbackModel = 'claude-haiku-5-5'

/** Answers `source.prompt` in `source.mode`. */
export function answerTo(source: AnswerSource): Answer {
  const { prompt, seeded } = source
  const id = `msg_01${seeded.id(22)}`
  const drawn = draftOf(source)
  const draft = drafts[source.mode] === undefined ? limited(drawn, prompt) : drawn
  const content = withThinking(draft.content, source)
  const thoughts = content.filter(({ type }) => type === 'thinking')
  return {
    id,
    model: draft.model ?? prompt.model,
    content,
    stopReason: draft.stopReason,
    stopSequence: draft.stopSequence ?? null,
    stopDetails: draft.stopDetails ?? null,
    input: prompt.input,
    outputTokens: tokensIn(content),
    thinkingTokens: thoughts.length === 0 ? 0 : tokensIn(thoughts),
    webSearches: draft.webSearches ?? 0,
    iterations: draft.iterations ?? [],
    ...(draft.partialInput === undefined ? {} : { partialInput: draft.partialInput }),
  }
}

/** Tokens of `content` at four characters each; every message has at least one. */
export function tokensIn(content: readonly Block[]): number {
  const chars = content.reduce((sum, block) => sum + JSON.stringify(block).length - 20, 0)
  return Math.max(1, Math.ceil(chars / charsPerToken))
}

function draftOf(source: AnswerSource): Draft {
  const { prompt, mode, seeded } = source
  const make = drafts[mode]
  if (make !== undefined) return make(source)
  if (prompt.forcedTool !== undefined && prompt.tools.length > 0) return toolDraft(source)
  if (prompt.answerSchema !== undefined) {
    return { content: [text(JSON.stringify(sampleOf(prompt.answerSchema, seeded)))], ...endTurn }
  }
  return plain(source)
}

const endTurn = { stopReason: 'end_turn' } as const

/** Modes that change the message itself; all the others send a plain one. */
const drafts: Partial<Record<Mode, (source: AnswerSource) => Draft>> = {
  tool_use: toolDraft,
  spawn_agent: toolDraft,
  parallel_tools: (source) => ({
    content: [
      text('I will look at both.'),
      toolCall(source, source.prompt.tools[0]),
      toolCall(source, source.prompt.tools[1] ?? source.prompt.tools[0]),
    ],
    stopReason: 'tool_use',
  }),
  server_tools: (source) => ({
    content: serverToolBlocks(source.seeded, source.library.prose(source.seeded, 200)),
    ...endTurn,
    webSearches: 1,
  }),
  citations: (source) => ({
    content: [
      text('The document says: '),
      citedBlock(source.seeded, source.library.prose(source.seeded, 120)),
    ],
    ...endTurn,
  }),
  multi_model: multiModel,
  refusal: () => ({
    content: [],
    stopReason: 'refusal',
    stopDetails: { type: 'refusal', category: 'cyber', explanation: 'Simulated refusal.' },
  }),
  max_tokens: (source) => ({ ...plain(source), stopReason: 'max_tokens' }),
  stop_sequence: (source) => ({
    ...plain(source),
    stopReason: 'stop_sequence',
    stopSequence: source.prompt.stopSequences[0] ?? 'END',
  }),
  pause_turn: (source) => ({ ...plain(source), stopReason: 'pause_turn' }),
  context_exceeded: (source) => ({
    ...plain(source),
    stopReason: 'model_context_window_exceeded',
  }),
  partial_tool_json: (source) => ({
    content: [{ ...toolCall(source, source.prompt.tools[0]), input: {} }],
    stopReason: 'max_tokens',
    partialInput: '{"command":"echo the rest is mis',
  }),
  empty_content: () => ({ content: [], ...endTurn }),
  multibyte: () => ({
    content: [text('é ß ñ · … “”  日本語 漢字 · 👩‍🚀🧪🗝️ 𝔘𝔫𝔦 '.repeat(12))],
    ...endTurn,
  }),
  huge: ({ seeded, library, hugeBytes }) => {
    const paragraphs = library.prose(seeded, 64 * 1024)
    const copies = Math.ceil(hugeBytes / paragraphs.length)
    return { content: [text(paragraphs.repeat(copies).slice(0, hugeBytes))], ...endTurn }
  },
  unknown_fields: (source) => ({
    ...plain(source),
    content: [
      { type: 'tomorrow_block', shade: 'blue', nested: { depth: [1, 2, 3] } },
      ...plain(source).content,
    ],
  }),
}

function plain({ prompt, seeded, library }: AnswerSource): Draft {
  if (prompt.toolResult !== undefined) {
    const shown = prompt.toolResult.trim().slice(0, 500)
    return { content: [text(`The tool answered: ${shown}`)], ...endTurn }
  }
  const recorded = library.answerTo(prompt.turns, seeded)
  return { content: [text(recorded ?? library.prose(seeded, 160 + seeded.below(500)))], ...endTurn }
}

function toolDraft(source: AnswerSource): Draft {
  const { prompt, mode } = source
  const triggered = mode === 'tool_use' || mode === 'spawn_agent'
  // The tool has run: answer now, or the client would ask for ever.
  if (prompt.toolResult !== undefined && triggered) return plain(source)
  const wanted = mode === 'spawn_agent' ? ['Agent', 'Task'] : [prompt.forcedTool, 'Bash']
  const tools = wanted.flatMap((wish) => prompt.tools.find(({ name }) => name === wish) ?? [])
  const tool = tools[0] ?? prompt.tools[0]
  return { content: [toolCall(source, tool)], stopReason: 'tool_use' }
}

function toolCall({ seeded }: AnswerSource, tool: OfferedTool | undefined): Block {
  const name = tool?.name ?? 'Bash'
  const id = `toolu_01${seeded.id(22)}`
  return { type: 'tool_use', id, name, input: toolInput(name, tool?.schema, seeded) }
}

function toolInput(name: string, schema: unknown, seeded: Seeded): unknown {
  if (name === 'Bash') {
    return { command: 'echo simulated-tool-output', description: 'Print one line' }
  }
  if (name === 'Agent' || name === 'Task') {
    return {
      description: 'Simulated part of the work',
      prompt: 'Answer in one sentence.',
      subagent_type: 'general-purpose',
      run_in_background: false,
    }
  }
  return sampleOf(schema, seeded)
}

function multiModel(source: AnswerSource): Draft {
  const { prompt, seeded, library } = source
  const first = text(library.prose(seeded, 60))
  const rest = text(library.prose(seeded, 200))
  return {
    content: [
      first,
      {
        type: 'fallback',
        from: { model: prompt.model },
        to: { model: fallbackModel },
        trigger: { type: 'refusal', category: 'cyber' },
      },
      rest,
    ],
    ...endTurn,
    model: fallbackModel,
    iterations: [
      { type: 'message', model: prompt.model, outputTokens: tokensIn([first]) },
      { type: 'fallback_message', model: fallbackModel, outputTokens: tokensIn([rest]) },
    ],
  }
}

/** Ends a text answer where `max_tokens` or a stop sequence of the request ends it. */
function limited(draft: Draft, prompt: Prompt): Draft {
  const only = draft.content[0]
  if (draft.content.length !== 1 || only?.type !== 'text' || draft.stopReason !== 'end_turn') {
    return draft
  }
  const whole = String(only['text'])
  const stops = prompt.stopSequences.filter((stop) => stop !== '' && whole.includes(stop))
  const stop = stops.toSorted((a, b) => whole.indexOf(a) - whole.indexOf(b))[0]
  const stopped = stop === undefined ? whole : whole.slice(0, whole.indexOf(stop))
  const charsMax = prompt.maxTokens * charsPerToken
  if (stopped.length > charsMax) {
    const cut = sliceWellFormed(stopped, charsMax)
    return { content: cut === '' ? [] : [text(cut)], stopReason: 'max_tokens' }
  }
  if (stop === undefined) return draft
  return { content: [text(stopped)], stopReason: 'stop_sequence', stopSequence: stop }
}

function withThinking(content: Block[], { prompt, mode, seeded, library }: AnswerSource): Block[] {
  if (mode === 'redacted_thinking') {
    const data = seeded.bytes(240).toString('base64')
    return [{ type: 'redacted_thinking', data }, ...content]
  }
  const wanted = mode === 'thinking' || (mode === 'ok' && prompt.thinking !== 'off')
  if (!wanted || prompt.toolResult !== undefined || prompt.forcedTool !== undefined) return content
  const thinking = prompt.thinking === 'omitted' ? '' : library.prose(seeded, 120)
  const signature = seeded.bytes(180).toString('base64')
  return [{ type: 'thinking', thinking, signature }, ...content]
}

function text(value: string): Block {
  return { type: 'text', text: value }
}
