import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { answerTo } from './answer.ts'
import { createLibrary, openLibrary } from './library.ts'
import { parseMode, triggeredMode } from './modes.ts'
import { parsePrompt, type Prompt } from './prompt.ts'
import { sampleOf } from './sample.ts'
import { createSeeded } from './seeded.ts'
import { asObject, messagesBody } from './testing.ts'

const library = openLibrary()

function promptOf(fields: Readonly<Record<string, unknown>> = {}): Prompt {
  const prompt = parsePrompt(Buffer.from(messagesBody(fields)), { version: '', counting: false })
  if ('fault' in prompt) throw new Error(prompt.fault)
  return prompt
}

const answer = (
  fields: Readonly<Record<string, unknown>> = {},
  mode: Parameters<typeof answerTo>[0]['mode'] = 'ok',
) => answerTo({ prompt: promptOf(fields), mode, seeded: createSeeded('a'), library, hugeBytes: 9 })

const bash = { name: 'Bash', input_schema: { type: 'object' } }
const weather = {
  name: 'weather',
  input_schema: {
    type: 'object',
    properties: { city: { type: 'string' }, days: { type: 'integer', minimum: 1 } },
    required: ['city', 'days'],
  },
}

describe('what is answered', () => {
  test('every recorded question gets a recorded answer', () => {
    for (const { turns } of library.conversations) {
      const asked = turns.slice(0, 1).map(({ content }) => content)
      const answers = library.conversations
        .filter((other) => other.turns[0]?.content.trim() === asked[0]?.trim())
        .map((other) => other.turns[1]?.content)
      expect(answers).toContain(library.answerTo(asked, createSeeded('x')))
    }
  })

  test('the whole conversation decides before its last question does', () => {
    const small = createLibrary([
      { id: '1', turns: turnsOf('Hi', 'Hello.', 'More', 'First answer.') },
      { id: '2', turns: turnsOf('Yo', 'Hello.', 'More', 'Second answer.') },
    ])
    for (const seed of ['a', 'b', 'c']) {
      expect(small.answerTo(['Yo', 'Hello.', 'More'], createSeeded(seed))).toBe('Second answer.')
    }
    expect(small.answerTo(['Unheard of'], createSeeded('a'))).toBeUndefined()
  })

  test('an unknown question gets sentences', () => {
    expect(answer().content[0]?.['text']).toMatch(/^[A-Z].+[.!?]$/su)
  })

  test('max_tokens of the request ends the answer', () => {
    const cut = answer({ max_tokens: 5 })
    expect(cut.stopReason).toBe('max_tokens')
    expect(String(cut.content[0]?.['text']).length).toBeLessThanOrEqual(20)
    expect(answer({ max_tokens: 0 }).content).toEqual([])
  })

  test('a stop sequence of the request ends the answer', () => {
    const cut = answer({ stop_sequences: ['ZZZ', ' '] })
    expect(cut.stopReason).toBe('stop_sequence')
    expect(cut.stopSequence).toBe(' ')
    expect(cut.content[0]?.['text']).not.toContain(' ')
  })

  test('thinking comes first when it is asked for, and without its text when omitted', () => {
    const shown = answer({ thinking: { type: 'enabled', budget_tokens: 1024 } })
    expect(shown.content.map(({ type }) => type)).toEqual(['thinking', 'text'])
    expect(shown.thinkingTokens).toBeGreaterThan(0)
    const omitted = answer({ thinking: { type: 'adaptive', display: 'omitted' } })
    expect(omitted.content[0]?.['thinking']).toBe('')
    expect(omitted.content[0]?.['signature']).not.toBe('')
    expect(answer({ thinking: { type: 'disabled' } }).content).toHaveLength(1)
  })

  test('a forced tool is called with an input that its schema admits', () => {
    const made = answer({ tools: [bash, weather], tool_choice: { type: 'tool', name: 'weather' } })
    expect(made.stopReason).toBe('tool_use')
    const input = asObject(made.content[0]?.['input'])
    expect(Object.keys(input)).toEqual(['city', 'days'])
    expect(input['days']).toBe(1)
  })

  test('after the tool result comes an answer that uses it', () => {
    const messages = [
      { role: 'user', content: 'USE_TOOL' },
      { role: 'assistant', content: [{ type: 'tool_use', id: 't', name: 'Bash', input: {} }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: 'forty-two' }] },
    ]
    const made = answer({ messages, tools: [bash] }, 'tool_use')
    expect(made.stopReason).toBe('end_turn')
    expect(made.content[0]?.['text']).toContain('forty-two')
  })

  test('a structured answer is JSON of its schema', () => {
    const made = answer({
      output_config: { format: { type: 'json_schema', schema: weather.input_schema } },
    })
    const text = String(made.content[0]?.['text'])
    expect(Object.keys(asObject(JSON.parse(text)))).toEqual(['city', 'days'])
  })

  test('two models answer a fallback turn, and both are counted', () => {
    const made = answer({}, 'multi_model')
    expect(made.iterations.map(({ type }) => type)).toEqual(['message', 'fallback_message'])
    expect(made.iterations[0]?.model).toBe('claude-sonnet-5-5')
    expect(made.model).not.toBe('claude-sonnet-5-5')
  })
})

describe('what is counted', () => {
  const mark = { cache_control: { type: 'ephemeral' } }
  const system = [{ type: 'text', text: 'x'.repeat(400), ...mark }]

  test('a first marked prompt creates the cache, a later turn reads it', () => {
    const first = promptOf({ system }).input
    expect(first.cacheCreation5m).toBe(100)
    expect(first.cacheRead).toBe(0)
    const messages = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello' },
      { role: 'user', content: [{ type: 'text', text: 'y'.repeat(40), ...mark }] },
    ]
    const later = promptOf({ system, messages }).input
    expect(later.cacheRead).toBe(100 + 1 + 2)
    expect(later.cacheCreation5m).toBe(10)
  })

  test('an hour’s mark is counted apart', () => {
    const hour = { cache_control: { type: 'ephemeral', ttl: '1h' } }
    const { input } = promptOf({ system: [{ type: 'text', text: 'x'.repeat(400), ...hour }] })
    expect([input.cacheCreation5m, input.cacheCreation1h]).toEqual([0, 100])
  })

  test('no part of a prompt is counted twice or left out', () => {
    const sizes = fc.array(fc.tuple(fc.integer({ min: 1, max: 400 }), fc.boolean()), {
      minLength: 1,
      maxLength: 12,
    })
    fc.assert(
      fc.property(sizes, (blocks) => {
        const messages = blocks.map(([chars, marked], index) => ({
          role: index % 2 === 0 ? 'user' : 'assistant',
          content: [{ type: 'text', text: 'x'.repeat(chars), ...(marked ? mark : {}) }],
        }))
        const { input } = promptOf({ messages })
        const total = input.uncached + input.cacheRead + input.cacheCreation5m
        const each = blocks.map(([chars]) => Math.ceil(chars / 4))
        expect(total).toBe(each.reduce((sum, tokens) => sum + tokens, 3))
      }),
    )
  })
})

describe('reading', () => {
  test('any JSON is either a prompt or a fault, never an exception', () => {
    fc.assert(
      fc.property(fc.json(), (json) => {
        parsePrompt(Buffer.from(json), { version: '2026-10-21', counting: true })
      }),
    )
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (messages, tools, system) => {
        const body = JSON.stringify({
          model: 'm',
          max_tokens: 9,
          messages: [messages],
          tools,
          system,
        })
        const prompt = parsePrompt(Buffer.from(body), { version: '', counting: false })
        expect('fault' in prompt ? 0 : prompt.input.uncached).toBeGreaterThanOrEqual(0)
      }),
    )
  })

  test('bytes that are no text are a fault', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const prompt = parsePrompt(bytes, { version: '', counting: false })
        expect(prompt).toHaveProperty('fault')
      }),
    )
  })

  test('names of modes are read in any case, with hyphens, and as bare statuses', () => {
    expect(parseMode(' Mid-Error ')).toBe('mid_error')
    expect(parseMode('529')).toBe('error_529')
    expect(parseMode('toString')).toBeUndefined()
    expect(triggeredMode('SIMULATE:cut')).toBe('cut')
    expect(triggeredMode('REUSE_TOOLS')).toBeUndefined()
  })
})

describe('samples', () => {
  const schemas = fc.letrec((tie) => ({
    schema: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom({ type: 'string' }, { type: 'integer' }, { type: 'boolean' }, { const: 7 }),
      fc.record({ type: fc.constant('array'), items: tie('schema') }),
      fc.record({
        type: fc.constant('object'),
        properties: fc.dictionary(fc.string(), tie('schema'), { maxKeys: 3 }),
      }),
      fc.record({ anyOf: fc.array(tie('schema'), { maxLength: 2 }) }),
    ),
  })).schema

  test('exist for every schema, also for one that is none', () => {
    fc.assert(
      fc.property(schemas, (schema) => {
        expect(sampleOf(schema, createSeeded('s'))).toEqual(sampleOf(schema, createSeeded('s')))
      }),
    )
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(() => JSON.stringify(sampleOf(value, createSeeded('s')))).not.toThrow()
      }),
    )
  })

  test('a schema that contains itself ends', () => {
    const endless: Record<string, unknown> = { type: 'array' }
    endless['items'] = endless
    expect(() => sampleOf(endless, createSeeded('s'))).not.toThrow()
    const variants: Record<string, unknown> = {}
    variants['anyOf'] = [variants]
    expect(() => sampleOf(variants, createSeeded('s'))).not.toThrow()
  })
})

function turnsOf(...texts: readonly string[]) {
  return texts.map((content, index) => ({
    role: index % 2 === 0 ? ('user' as const) : ('assistant' as const),
    content,
  }))
}
