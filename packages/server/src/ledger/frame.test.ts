import { toHex, utf8Decode, utf8Encode } from '@affidavit/format'
import * as fc from 'fast-check'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { entriesOf } from './testing.ts'
import {
  firstFrameHash,
  frameBytesMax,
  frameHashPrefix,
  frameHeaderBytes,
  frameTrailerBytes,
  readFrame,
  sealFrame,
} from './frame.ts'

/** A frame made the plain way: payload first, then room around it. */
function frameOf(
  entries: readonly Uint8Array[],
  { firstIndex = 0, timeMicros = 0, previousHash = firstFrameHash } = {},
) {
  const payload = Buffer.concat(
    entries.flatMap((entry) => [Uint8Array.of(entry.length >> 8, entry.length & 255), entry]),
  )
  const before = frameHashPrefix.length + frameHeaderBytes
  const buffer = Buffer.alloc(before + payload.length + frameTrailerBytes)
  buffer.set(payload, before)
  const header = { firstIndex, count: entries.length, timeMicros, previousHash }
  return sealFrame(buffer, before + payload.length, header)
}

const someEntries = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), {
  minLength: 1,
  maxLength: 8,
})

describe('a frame', () => {
  test('has the bytes of the specification', () => {
    // The hash is from another program.
    const { bytes } = frameOf([utf8Encode('{"a":1}'), utf8Encode('{"b":2}')], {
      firstIndex: 7,
      timeMicros: 1_795_442_400_000_001,
      previousHash: new Uint8Array(32).fill(0xab),
    })
    expect(toHex(bytes)).toBe(
      '43415746' +
        '01000040' +
        '00000012' +
        '0000000000000007' +
        '00000002' +
        '000660f202777801' +
        'ab'.repeat(32) +
        '00077b2261223a317d' +
        '00077b2262223a327d' +
        'f40015f93750196c71af7fc0ae4c9610ef2d900f938a6a9c84ca3ea329c41306',
    )
  })

  test('of the example is in the specification', () => {
    const page = readFileSync(new URL('../../../../docs/spec/wal.md', import.meta.url), 'utf8')
    const [, example = ''] = /### Example\n[^]*?\n```\n([0-9a-f\s]+)```/.exec(page) ?? []
    const frame = readFrame(Buffer.from(example.replaceAll(/\s/g, ''), 'hex'), 0)
    expect(frame).toMatchObject({ firstIndex: 7, count: 2, timeMicros: 1_795_442_400_000_001 })
    expect(entriesOf(frame).map((entry) => utf8Decode(entry))).toEqual(['{"a":1}', '{"b":2}'])
  })

  test('reads back as what it was made of, at any offset', () => {
    fc.assert(
      fc.property(
        someEntries,
        fc.nat(1000),
        fc.maxSafeNat(),
        fc.maxSafeNat(),
        (entries, offset, firstIndex, timeMicros) => {
          const { bytes, hash } = frameOf(entries, { firstIndex, timeMicros })
          const within = Buffer.concat([Buffer.alloc(offset, 7), bytes, Buffer.alloc(100)])
          const frame = readFrame(within, offset)
          expect(frame).toMatchObject({ firstIndex, timeMicros, count: entries.length })
          expect(entriesOf(frame).map(toHex)).toEqual(entries.map(toHex))
          expect(toHex(frame?.hash ?? new Uint8Array())).toBe(toHex(hash))
          expect(frame?.bytes.length).toBe(bytes.length)
        },
      ),
    )
  })

  test('with any one bit flipped is no frame', () => {
    const { bytes } = frameOf([utf8Encode('{"a":1}'), utf8Encode('{"b":2}')])
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes)
      damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(readFrame(damaged, 0)).toBeUndefined()
    }
  })

  test('cut anywhere is no frame', () => {
    const { bytes } = frameOf([utf8Encode('{"a":1}')])
    for (let length = 0; length < bytes.length; length++) {
      expect(readFrame(bytes.subarray(0, length), 0)).toBeUndefined()
    }
  })

  test('of no sense is no frame, though its hash is right', () => {
    const seal = (payload: Uint8Array, count: number) => {
      const before = frameHashPrefix.length + frameHeaderBytes
      const buffer = Buffer.alloc(before + payload.length + frameTrailerBytes)
      buffer.set(payload, before)
      const header = { firstIndex: 0, count, timeMicros: 0, previousHash: firstFrameHash }
      return sealFrame(buffer, before + payload.length, header).bytes
    }
    const whole = Uint8Array.of(0, 1, 65)
    expect(readFrame(seal(whole, 1), 0)).toBeDefined()
    expect(readFrame(seal(whole, 2), 0)).toBeUndefined()
    expect(readFrame(seal(Uint8Array.of(0, 2, 65), 1), 0)).toBeUndefined()
    expect(readFrame(seal(Uint8Array.of(0, 1, 65, 0), 1), 0)).toBeUndefined()
    expect(readFrame(seal(Uint8Array.of(0, 0), 1), 0)).toBeUndefined()
  })

  test('has an entry and stays within its limit', () => {
    expect(() => frameOf([])).toThrow('payload')
    expect(() =>
      frameOf(Array.from({ length: 17 }, () => new Uint8Array(frameBytesMax / 16 - 1))),
    ).toThrow('payload')
  })
})
