import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Answer, answerTo, type Block } from './answer.ts'
import { openLibrary } from './library.ts'
import { type Mode, modes } from './modes.ts'
import { parsePrompt, type Prompt } from './prompt.ts'
import { createSeeded } from './seeded.ts'
import { framesOf, sliceWellFormed } from './stream.ts'
import { asObject, eventsIn, messagesBody } from './testing.ts'

const library = openLibrary()

/** Modes whose stream is a whole message in the ordinary spelling. */
const wellFormed = modes.filter(
  (mode) => !/^(mid_|early_|crlf$|cr$|bom$|multi_data|no_|garbage|unknown_fields)/.test(mode),
)

function promptOf(fields: Readonly<Record<string, unknown>> = {}): Prompt {
  const prompt = parsePrompt(Buffer.from(messagesBody(fields)), { version: '', counting: false })
  if ('fault' in prompt) throw new Error(prompt.fault)
  return prompt
}

function answer(mode: Mode, fields: Readonly<Record<string, unknown>> = {}): Answer {
  const seeded = createSeeded(`test ${mode}`)
  return answerTo({ prompt: promptOf(fields), mode, seeded, library, hugeBytes: 20_000 })
}

function stream(made: Answer, mode: Mode): string {
  return framesOf(made, { mode, seeded: createSeeded('pieces'), deltaChars: 24 }).join('')
}

/** Puts a message together from the events of its stream, as the official SDK does. */
function assembled(events: readonly Record<string, unknown>[]): {
  content: Block[]
  stopReason: unknown
  usage: Record<string, unknown>
} {
  const content: Record<string, unknown>[] = []
  const json = new Map<number, string>()
  let usage: Record<string, unknown> = {}
  let stopReason: unknown = null
  for (const event of events) {
    const index = Number(event['index'])
    const block = content[index] ?? {}
    if (event['type'] === 'message_start') usage = asObject(asObject(event['message'])['usage'])
    if (event['type'] === 'content_block_start') content.push(asObject(event['content_block']))
    if (event['type'] === 'message_delta') {
      stopReason = asObject(event['delta'])['stop_reason']
      const news = Object.entries(asObject(event['usage'])).filter(([, value]) => value !== null)
      usage = { ...usage, ...Object.fromEntries(news) }
    }
    if (event['type'] === 'content_block_stop' && json.has(index)) {
      block['input'] = JSON.parse(json.get(index) ?? '')
    }
    if (event['type'] !== 'content_block_delta') continue
    const delta = asObject(event['delta'])
    if (delta['type'] === 'text_delta') append(block, 'text', delta)
    if (delta['type'] === 'thinking_delta') append(block, 'thinking', delta)
    if (delta['type'] === 'signature_delta') block['signature'] = delta['signature']
    if (delta['type'] === 'input_json_delta') {
      json.set(index, (json.get(index) ?? '') + String(delta['partial_json']))
    }
    if (delta['type'] === 'citations_delta') {
      const known = Array.isArray(block['citations']) ? block['citations'] : []
      block['citations'] = [...known, delta['citation']]
    }
  }
  return {
    content: content.map((block) => ({ ...block, type: String(block['type']) })),
    stopReason,
    usage,
  }
}

function append(
  block: Record<string, unknown>,
  name: string,
  delta: Readonly<Record<string, unknown>>,
): void {
  block[name] = String(block[name]) + String(delta[name])
}

describe('the grammar of streams', () => {
  test.each(wellFormed)('%s: start, blocks in order, delta, stop', (mode) => {
    const names = eventsIn(stream(answer(mode), mode))
      .map((event) => String(event['type']))
      .filter((type) => type !== 'ping')
    const block = '(content_block_start (content_block_delta )*content_block_stop )*'
    expect(`${names.join(' ')} `).toMatch(
      new RegExp(`^message_start ${block}(message_delta )+message_stop $`),
    )
  })

  test.each(wellFormed)('%s: block indexes count up from 0', (mode) => {
    const starts = eventsIn(stream(answer(mode), mode)).filter(
      ({ type }) => type === 'content_block_start',
    )
    expect(starts.map(({ index }) => index)).toEqual(starts.map((_, index) => index))
  })

  test.each(wellFormed.filter((mode) => mode !== 'partial_tool_json'))(
    '%s: the deltas make the blocks of the whole message',
    (mode) => {
      const fields = { thinking: { type: 'enabled', budget_tokens: 1024 } }
      const made = answer(mode, fields)
      const { content, stopReason, usage } = assembled(eventsIn(stream(made, mode)))
      expect(content).toEqual(made.content)
      expect(stopReason).toBe(made.stopReason)
      expect(usage['output_tokens']).toBe(made.outputTokens)
    },
  )

  test('a tool call that max_tokens cuts has JSON that does not parse', () => {
    const made = answer('partial_tool_json')
    const events = eventsIn(stream(made, 'partial_tool_json'))
    expect(() => assembled(events)).toThrow(SyntaxError)
  })

  test('usage grows and is final in the last delta', () => {
    const made = answer('cumulative')
    const outputs = eventsIn(stream(made, 'cumulative'))
      .filter(({ type }) => type === 'message_delta')
      .map(({ usage }) => Number(asObject(usage)['output_tokens']))
    expect(outputs).toHaveLength(3)
    expect(outputs).toEqual(outputs.toSorted((a, b) => a - b))
    expect(outputs.at(-1)).toBe(made.outputTokens)
  })

  test('a stream ends in an error event in the middle, and nothing follows it', () => {
    const text = stream(answer('mid_error'), 'mid_error')
    const events = eventsIn(text)
    expect(events.at(-1)?.['type']).toBe('error')
    expect(text).not.toContain('message_stop')
    expect(text).not.toContain('message_delta')
  })

  test.each(['crlf', 'cr'] as const)('%s: no other line end is left', (mode) => {
    const text = stream(answer(mode), mode)
    expect(text.replaceAll(mode === 'crlf' ? '\r\n' : '\r', '')).not.toMatch(/[\r\n]/)
  })

  test('a stream may begin with a byte order mark', () => {
    expect(stream(answer('bom'), 'bom').charCodeAt(0)).toBe(0xfeff)
  })
})

describe('pieces of text', () => {
  test('are never cut inside a character, and join to the whole', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.integer({ min: 2, max: 40 }),
        (text, units) => {
          const pieces: string[] = []
          for (let rest = text; rest !== ''; rest = rest.slice(pieces.at(-1)?.length)) {
            pieces.push(sliceWellFormed(rest, units))
          }
          expect(pieces.join('')).toBe(text)
          for (const piece of pieces) expect(Buffer.from(piece).toString()).toBe(piece)
        },
      ),
    )
  })
})
