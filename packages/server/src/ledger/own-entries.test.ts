import { canonicalize, entryBytesMax, parseEntry, stampEntry, utf8Encode } from '@affidavit/format'
import { describe, expect, test } from 'vitest'
import { heartbeatBody, interruptedBody, openedBody } from './own-entries.ts'
import { createTestClock, interactionEntry } from './testing.ts'

const stamp = { epoch: 1, id: '0'.repeat(16), log: 'standard/2026q4', prev: '0'.repeat(64), seq: 0 }
const random = (bytes: number) => new Uint8Array(bytes).fill(5)

function parseBody(body: string) {
  return parseEntry(utf8Encode(stampEntry(body, stamp)))
}

describe("the ledger's own entries", () => {
  test('are canonical, of the standard class, and carry an id of their moment', () => {
    const sources = { clock: createTestClock(), random }
    const found = { recoveredEntries: 4, interrupted: 2, tornBytes: 1 }
    for (const body of [openedBody(sources, found), heartbeatBody(sources)]) {
      expect(parseBody(body)).toMatchObject({
        v: 1,
        retention_class: 'standard',
        timestamp: expect.stringMatching(/^2026-11-23T14:00:00\.\d{6}Z$/),
        event_id: expect.stringMatching(/^01a208b4-db00-7505-8505-050505050505$/),
      })
    }
  })

  test('an interruption repeats its start and adds that it has no outcome', () => {
    const { body } = interactionEntry('started', 3)
    const start = parseBody(body)
    const { writer: _, ...known } = start
    const { writer: __, ...interrupted } = parseBody(
      interruptedBody({ clock: createTestClock() }, { ...start }),
    )
    expect(interrupted).toEqual({
      ...known,
      kind: 'interaction.interrupted',
      logged_at: '2026-11-23T14:00:00.000000Z',
      status: 'incomplete',
      end_state: 'abandoned',
    })
  })

  test('an interruption of the largest start leaves out what it can do without, and fits', () => {
    const value: unknown = JSON.parse(interactionEntry('started', 3).body)
    const start = {
      ...Object(value),
      tools_offered: ['x'.repeat(64_900)],
      route: 'POST /v1/messages',
    }
    const parsed = parseBody(canonicalize(start))
    const body = interruptedBody({ clock: createTestClock() }, { ...parsed })
    expect(Buffer.byteLength(stampEntry(body, stamp))).toBeLessThan(entryBytesMax)
    const interrupted = parseBody(body)
    expect(interrupted).toMatchObject({ route: 'POST /v1/messages', event_id: parsed.event_id })
    expect(interrupted).not.toHaveProperty('tools_offered')
  })
})
