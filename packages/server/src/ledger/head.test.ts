import { utf8Decode, utf8Encode } from '@affidavit/format'
import { describe, expect, test } from 'vitest'
import { formatHead, parseHead, type Head } from './head.ts'
import { failureOf } from './testing.ts'

const head: Head = {
  deployment: 'audit.example',
  instance: 'gw-1',
  epoch: 3,
  wal: {
    segment: '00000000000000000120-0000000003.wal',
    offset: 4096,
    index: 130,
    frameHash: new Uint8Array(32).fill(1),
  },
  writer: { id: '0123456789abcdef', epoch: 3, seq: 10, prev: 'ab'.repeat(32) },
  logs: new Map([
    ['standard/2026q4', { size: 130, root: new Uint8Array(32).fill(2), note: 'n\n' }],
  ]),
  sealed: new Map([['standard/2026q3', { size: 7, root: new Uint8Array(32).fill(3) }]]),
  open: new Map([['standard/2026q4', [100, 129]]]),
}

/** Changes the JSON of the head and repairs nothing else. */
async function afterChange(change: (text: string) => string) {
  const text = change(utf8Decode(formatHead(head)))
  return await failureOf(Promise.resolve().then(() => parseHead(utf8Encode(text))))
}

describe('a head', () => {
  test('reads back as what it was', () => {
    const parsed = parseHead(formatHead(head))
    expect(parsed).toEqual(head)
    expect(formatHead(parsed)).toEqual(formatHead(head))
  })

  test('without logs reads back too', () => {
    const empty = { ...head, logs: new Map(), sealed: new Map(), open: new Map() }
    expect(parseHead(formatHead(empty))).toEqual(empty)
  })

  test.each([
    ['cut', (text: string) => text.slice(0, -2)],
    ['empty', () => ''],
    ['not an object', () => '[]\n'],
    ['with a space more', (text: string) => text.replace(':', ': ')],
    ['with another number', (text: string) => text.replace('"seq":10', '"seq":11')],
    ['with a negative number', (text: string) => text.replace('"seq":10', '"seq":-1')],
    ['with a fraction', (text: string) => text.replace('"seq":10', '"seq":1.5')],
    ['of another version', (text: string) => text.replace('"v":1', '"v":2')],
    ['with a field more', (text: string) => text.replace('{"deployment"', '{"a":1,"deployment"')],
    ['without a field', (text: string) => text.replace(/"epoch":3,/, '')],
    ['with another digest', (text: string) => text.replace(/"digest":"./, '"digest":"x')],
    ['with a path that leaves the folder', (text: string) => text.replaceAll('standard/', '../')],
    [
      'with a segment that leaves the folder',
      (text: string) => text.replace('0000003.wal', '../x'),
    ],
    ['with a segment of another epoch', (text: string) => text.replace('0003.wal', '0002.wal')],
    ['with a list that is none', (text: string) => text.replace('[100,129]', '7')],
  ])('%s is refused', async (_, change) => {
    expect((await afterChange(change)).code).toBe('ERR_LEDGER_CORRUPT')
  })
})
