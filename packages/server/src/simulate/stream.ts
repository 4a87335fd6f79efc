/**
 * An answer as server-sent events, in the grammar of the Messages API:
 *
 *     stream := message_start block* message_delta+ message_stop      (ping anywhere)
 *     block  := content_block_start content_block_delta* content_block_stop
 *
 * and the odd but legal, or plainly broken, spellings of it that some modes ask for.
 *
 * @module
 */
import { type Answer, type Block } from './answer.ts'
import { finalUsage, startUsage } from './message.ts'
import { type Mode } from './modes.ts'
import { type Seeded } from './seeded.ts'

/** A `data:` object; its `type` is also the event's name. */
type Event = Readonly<Record<string, unknown>> & { readonly type: string }

const pingEveryEvents = 128
const ping: Event = { type: 'ping' }

/** The frames of `answer` as `mode` spells them; each string is one event with its empty line. */
export function framesOf(
  answer: Answer,
  options: { mode: Mode; seeded: Seeded; deltaChars: number },
): string[] {
  const events = withPings(eventsOf(answer, options), options.mode)
  const spell = spellings[options.mode]
  return spell === undefined ? events.map(frame) : spell(events)
}

/** One event as it stands on the wire. */
export function frame(event: Event): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

/** The first `units` UTF-16 units of `text`, less one if that would halve a character. */
export function sliceWellFormed(text: string, units: number): string {
  const last = text.charCodeAt(units - 1)
  const halved = last >= 0xd800 && last < 0xdc00 && units < text.length
  return text.slice(0, halved ? units - 1 : units)
}

function eventsOf(
  answer: Answer,
  { mode, seeded, deltaChars }: { mode: Mode; seeded: Seeded; deltaChars: number },
): Event[] {
  const started = {
    type: 'message_start',
    message: {
      id: answer.id,
      type: 'message',
      role: 'assistant',
      // A fallback block switches the model; until then the requested one speaks.
      model: answer.iterations[0]?.model ?? answer.model,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      stop_details: null,
      usage: startUsage(answer),
    },
  }
  const blocks = answer.content.flatMap((block, index) => {
    const last = index === answer.content.length - 1
    const partial = last ? answer.partialInput : undefined
    return blockEvents(block, index, { seeded, deltaChars, partial })
  })
  return [started, ...blocks, ...deltas(answer, mode), { type: 'message_stop' }]
}

function deltas(answer: Answer, mode: Mode): Event[] {
  const final = {
    type: 'message_delta',
    delta: {
      stop_reason: answer.stopReason,
      stop_sequence: answer.stopSequence,
      stop_details: answer.stopDetails,
    },
    usage: finalUsage(answer),
  }
  if (mode !== 'cumulative') return [final]
  const growing = (share: number) => ({
    type: 'message_delta',
    delta: { stop_reason: null, stop_sequence: null },
    usage: {
      output_tokens: Math.max(1, Math.floor(answer.outputTokens * share)),
      input_tokens: null,
    },
  })
  return [growing(0.3), growing(0.7), final]
}

function blockEvents(
  block: Block,
  index: number,
  options: { seeded: Seeded; deltaChars: number; partial: string | undefined },
): Event[] {
  const [empty, parts] = dismantled(block, options)
  return [
    { type: 'content_block_start', index, content_block: empty },
    ...parts.map((delta) => ({ type: 'content_block_delta', index, delta })),
    { type: 'content_block_stop', index },
  ]
}

/** The block as it starts, and the deltas that make it whole. */
function dismantled(
  block: Block,
  {
    seeded,
    deltaChars,
    partial,
  }: { seeded: Seeded; deltaChars: number; partial: string | undefined },
): [start: Block, deltas: Block[]] {
  const pieces = (text: string) => piecesOf(text, seeded, deltaChars)
  switch (block.type) {
    case 'text': {
      const citations = Array.isArray(block['citations']) ? block['citations'] : []
      return [
        citations.length > 0
          ? { type: 'text', text: '', citations: [] }
          : { type: 'text', text: '' },
        [
          ...pieces(String(block['text'])).map((text) => ({ type: 'text_delta', text })),
          ...citations.map((citation: unknown) => ({ type: 'citations_delta', citation })),
        ],
      ]
    }
    case 'thinking':
      return [
        { type: 'thinking', thinking: '', signature: '' },
        [
          ...pieces(String(block['thinking'])).map((thinking) => ({
            type: 'thinking_delta',
            thinking,
          })),
          { type: 'signature_delta', signature: block['signature'] },
        ],
      ]
    case 'tool_use':
    case 'server_tool_use':
      return [
        { ...block, input: {} },
        ['', ...pieces(partial ?? JSON.stringify(block['input']))].map((json) => ({
          type: 'input_json_delta',
          partial_json: json,
        })),
      ]
    default:
      return [block, []]
  }
}

/** Cuts `text` into pieces of about `chars` characters, never inside one. */
function piecesOf(text: string, seeded: Seeded, chars: number): string[] {
  const pieces: string[] = []
  for (let rest = text; rest !== '';) {
    const units = chars > 512 ? chars : Math.max(2, Math.ceil(chars / 2) + seeded.below(chars))
    const piece = sliceWellFormed(rest, units)
    pieces.push(piece)
    rest = rest.slice(piece.length)
  }
  return pieces
}

function withPings(events: readonly Event[], mode: Mode): Event[] {
  if (mode === 'pings') return [ping, ...events.flatMap((event) => [event, ping])].slice(0, -1)
  // Nothing follows message_stop, the last event.
  return events.flatMap((event, index) =>
    index < events.length - 1 && (index === 1 || index % pingEveryEvents === pingEveryEvents - 1)
      ? [event, ping]
      : [event],
  )
}

function midError(type: string, message: string) {
  return (events: readonly Event[]): string[] => {
    const half = events.slice(0, Math.max(2, Math.floor(events.length / 2)))
    return [...half, { type: 'error', error: { type, message, details: null } }].map(frame)
  }
}

function relined(lineEnd: string) {
  return (events: readonly Event[]) => events.map((event) => frame(event).replaceAll('\n', lineEnd))
}

/** JSON may be spread over data lines: a parser joins them with line feeds, which JSON ignores. */
function multiData(event: Event): string {
  const lines = JSON.stringify(event, null, 1).split('\n')
  return `event: ${event.type}\n${lines.map((line) => `data:${line}\n`).join('')}\n`
}

const junk: readonly string[] = [
  ': a comment\n\n',
  'event: content_block_delta\n\n',
  'data: {"type":"content_block_delta","index":0,"del\n\n',
  'data: [1,2,3]\n\n',
  'data: null\n\n',
  'id: 7\nretry: 10\nweird: field\nnocolon\n\n',
  'event: ping\ndata: {"type":"ping"}\nevent: ping\ndata:\n\n',
]

const spellings: Partial<Record<Mode, (events: readonly Event[]) => string[]>> = {
  mid_error: midError('overloaded_error', 'Overloaded'),
  mid_permission: midError('permission_error', 'This response was ended by policy.'),
  early_error: () => [
    frame({ type: 'error', error: { type: 'api_error', message: 'Internal server error' } }),
  ],
  crlf: relined('\r\n'),
  cr: relined('\r'),
  bom: (events) => ['\uFEFF', ...events.map(frame)],
  multi_data: (events) => events.map(multiData),
  no_event_names: (events) =>
    events.map((event) => `: keepalive\n\ndata: ${JSON.stringify(event)}\n\n`),
  garbage: (events) =>
    events.flatMap((event, index) => [frame(event), junk[index % junk.length] ?? '']),
  garbage_only: () => ['<!doctype html>\u0000\u0001\n\n', 'data: }{\n\n', '\u{10FFFF}\r\n'],
  no_stop: (events) => events.slice(0, -1).map(frame),
  unknown_fields: (events) =>
    events
      .flatMap((event) => [
        frame({ ...event, tomorrow_field: { deep: [null, 1.5] } }),
        frame({ type: 'tomorrow_event', index: 0, delta: { type: 'tomorrow_delta', n: 1 } }),
      ])
      .slice(0, -1),
}
