import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Answer, answerTo } from './answer.ts'
import { openLibrary } from './library.ts'
import { type Mode, modes } from './modes.ts'
import { parsePrompt, type Prompt } from './prompt.ts'
import { createSeeded } from './seeded.ts'
import { framesOf, sliceWellFormed } from './stream.ts'
import { asObject, eventsIn, messageFrom, messagesBody } from './testing.ts'

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
      const message = messageFrom(eventsIn(stream(made, mode)))
      expect(message['content']).toEqual(made.content)
      expect(message['stop_reason']).toBe(made.stopReason)
      expect(message['model']).toBe(made.model)
      expect(asObject(message['usage'])['output_tokens']).toBe(made.outputTokens)
    },
  )

  test('a tool call that max_tokens cuts has JSON that does not parse', () => {
    const made = answer('partial_tool_json')
    const message = messageFrom(eventsIn(stream(made, 'partial_tool_json')))
    expect(message['content']).toMatchObject([{ input: { invalid: made.partialInput } }])
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
