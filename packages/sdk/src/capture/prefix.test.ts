import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PrefixCache } from './analysis.ts'
import type { CapturedRequest } from './exchange.ts'
import { createPrefixCache } from './prefix.ts'
import { captureRequest } from './request.ts'
import { options, requestInput, respell, trickyText } from './testing.ts'

const limits = { prefixBytesMin: 0 }

function both(cache: PrefixCache, text: string | Uint8Array, session = 's1') {
  const input = requestInput(text, { rawHeaders: ['X-Claude-Code-Session-Id', session] })
  return {
    cached: captureRequest(input, { ...options, prefixCache: cache }),
    full: captureRequest(input, options),
  }
}

/** Everything that does not depend on the object's identity. */
function facts(captured: CapturedRequest) {
  return JSON.stringify(captured)
}

const block = fc.oneof(
  fc.record(
    {
      type: fc.constant('text'),
      text: trickyText,
      cache_control: fc.constant({ type: 'ephemeral' }),
    },
    { requiredKeys: ['type', 'text'] },
  ),
  fc.record({
    type: fc.constant('image'),
    source: fc.record({ type: fc.constant('file'), file_id: fc.constantFrom('file_1', 'file_2') }),
  }),
)
const message = fc.record({
  role: fc.constantFrom('user', 'assistant', 'system'),
  content: fc.oneof(trickyText, fc.array(block, { maxLength: 2 })),
})
/** What a client does to its list of messages between two requests. */
const turn = fc.oneof(
  { weight: 6, arbitrary: fc.record({ add: fc.array(message, { maxLength: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ drop: fc.nat({ max: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ replaceAt: fc.nat({ max: 5 }), by: message }) },
  { weight: 1, arbitrary: fc.record({ maxTokens: fc.nat() }) },
  {
    weight: 1,
    arbitrary: fc.record({ order: fc.constantFrom('messages-first', 'messages-last') }),
  },
)

describe('a remembered conversation', () => {
  test('gives the same as a full analysis, whatever the turns are', () => {
    fc.assert(
      fc.property(
        fc.array(turn, { maxLength: 10 }),
        fc.nat(),
        fc.boolean(),
        (turns, seed, isSpelled) => {
          const cache = createPrefixCache(limits)
          const messages: unknown[] = []
          let maxTokens = 1
          let order = 'messages-last'
          for (const change of turns) {
            if ('add' in change) messages.push(...change.add)
            else if ('drop' in change) messages.splice(messages.length - change.drop)
            else if ('replaceAt' in change) messages[change.replaceAt] &&= change.by
            else if ('order' in change) order = change.order
            else maxTokens = change.maxTokens
            const rest = {
              tools: [{ name: 't' }],
              max_tokens: maxTokens,
              metadata: { user_id: 'u' },
            }
            const body =
              order === 'messages-first'
                ? { model: 'm', messages, system: 's', ...rest }
                : { model: 'm', system: [{ type: 'text', text: 's' }], ...rest, messages }
            const text = JSON.stringify(body)
            const { cached, full } = both(cache, isSpelled ? respell(text, seed) : text)
            expect(facts(cached)).toBe(facts(full))
          }
        },
      ),
      { numRuns: 200 },
    )
  })

  test('is taken over for all but the new text', () => {
    const cache = createPrefixCache(limits)
    const messages = [{ role: 'user', content: 'one' }]
    const first = both(cache, JSON.stringify({ model: 'm', messages, system: 'x' })).cached
    const more = [...messages, { role: 'assistant', content: 'two' }]
    const second = both(cache, JSON.stringify({ model: 'm', messages: more, system: 'x' })).cached
    const digest = (captured: CapturedRequest, at: number) =>
      captured.blocks.filter((candidate) => candidate.kind === 'message')[at]
    // The very same object: it was not made again.
    expect(digest(second, 0)).toBe(digest(first, 0))
    expect(digest(second, 1)?.messageIndex).toBe(1)
  })

  test('gives the text of blocks that were not parsed again', () => {
    const cache = createPrefixCache(limits)
    const messages = [{ role: 'user', content: 'one' }]
    both(cache, JSON.stringify({ model: 'm', messages }))
    messages.push({ role: 'user', content: 'two' })
    const { cached } = both(cache, JSON.stringify({ model: 'm', messages }))
    expect(cached.blockText(0)).toBe('{"text":"one","type":"text"}')
  })

  test.each([
    ['a comma before the closing bracket', (text: string) => text.replace(']', ',]')],
    [
      'a comma after the last known message',
      (text: string) => text.replace(/,\{"role":"b"[^}]*\}/, ','),
    ],
    ['no comma between messages', (text: string) => text.replace('},{"role":"b"', '}{"role":"b"')],
    ['a second list of messages', (text: string) => text.replace(/\}$/, ',"messages":[]}')],
    [
      'a second list of messages under an escaped name',
      (text: string) => text.replace(/\}$/, ',"m\\u0065ssages":[]}'),
    ],
    [
      'a member twice, before and after',
      (text: string) => text.replace(/\}$/, ',"model":"other"}'),
    ],
    ['a member twice, after', (text: string) => text.replace(/\}$/, ',"x":1,"x":2}')],
    ['something after the end', (text: string) => `${text}x`],
    ['a missing end', (text: string) => text.slice(0, -1)],
    [
      'bytes that are no UTF-8',
      (text: string) => Buffer.from(text.replace('zz', 'z\u00e9'), 'latin1'),
    ],
    ['a byte order mark', (text: string) => `\ufeff${text}`],
  ])('%s changes nothing about the result', (_, spoil) => {
    const cache = createPrefixCache(limits)
    const text = (count: number) =>
      JSON.stringify({
        model: 'm',
        messages: Array.from({ length: count }, (__, at) => ({
          role: at === 0 ? 'a' : 'b',
          content: 'zz',
        })),
        max_tokens: 5,
      })
    both(cache, text(1))
    const spoiled = spoil(text(2))
    const { cached, full } = both(cache, spoiled)
    expect(facts(cached)).toBe(facts(full))
    // And a spoiled body leaves nothing behind that would spoil the next.
    const again = both(cache, text(3))
    expect(facts(again.cached)).toBe(facts(again.full))
    const once = both(cache, spoiled)
    expect(facts(once.cached)).toBe(facts(once.full))
  })

  test('is found by its first message when the caller names no session', () => {
    const cache = createPrefixCache(limits)
    const input = (messages: unknown[]) =>
      requestInput({ model: 'm', system: 'x'.repeat(500), messages }, { rawHeaders: [] })
    captureRequest(input([{ role: 'user', content: 'A' }]), { ...options, prefixCache: cache })
    captureRequest(input([{ role: 'user', content: 'B' }]), { ...options, prefixCache: cache })
    expect(cache.count).toBe(2)
  })

  test('nests as deep as the full analysis allows, and no deeper', () => {
    const deep = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`
    for (const depth of [190, 194, 195, 196, 197, 198, 199, 200, 201]) {
      const cache = createPrefixCache(limits)
      const text = (last: string) =>
        `{"model":"m","messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"x","v":${last}}]}]}`
      both(cache, '{"model":"m","messages":[{"role":"user","content":"a"}]}')
      const { cached, full } = both(cache, text(deep(depth)))
      expect(facts(cached)).toBe(facts(full))
    }
  })
})

describe('the cache', () => {
  const body = (session: number, content: string) =>
    JSON.stringify({ model: 'm', messages: [{ role: 'user', content: `${session}${content}` }] })

  test('forgets the conversation that was used least recently', () => {
    const cache = createPrefixCache({ ...limits, prefixEntriesMax: 3 })
    for (const session of [1, 2, 3, 1, 4]) both(cache, body(session, ''), `s${session}`)
    expect(cache.count).toBe(3)
  })

  test('stays within its bytes and accounts for all of them', () => {
    const cache = createPrefixCache({ ...limits, prefixCacheBytesMax: 20_000 })
    for (let session = 0; session < 200; session++) {
      both(cache, body(session, 'x'.repeat(100)), `s${session}`)
      expect(cache.bytes).toBeLessThanOrEqual(20_000)
    }
    expect(cache.count).toBeGreaterThan(3)
    const tiny = createPrefixCache({ ...limits, prefixCacheBytesMax: 1 })
    both(tiny, body(1, ''))
    expect([tiny.count, tiny.bytes]).toEqual([0, 0])
  })

  test('is not asked about small bodies', () => {
    const cache = createPrefixCache()
    both(cache, body(1, ''))
    expect(cache.count).toBe(0)
  })
})
