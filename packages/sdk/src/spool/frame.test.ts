import { concatBytes, utf8Decode, utf8Encode } from '@affidavit/format'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { chainStart, encodeFrame, frameOverheadBytes, scanFrames } from './frame.ts'

const writerId = '0123456789abcdef'

function segmentOf(texts: readonly string[]): { bytes: Uint8Array; ends: number[] } {
  const parts: Uint8Array[] = []
  const ends: number[] = []
  let prev = chainStart
  let end = 0
  for (const [seq, text] of texts.entries()) {
    const payload = utf8Encode(JSON.stringify(text))
    const frame = encodeFrame({ kind: 'record', writerId, epoch: 3, seq, payload, prev })
    parts.push(frame.bytes)
    end += frame.bytes.length
    ends.push(end)
    prev = frame.hash
  }
  return { bytes: concatBytes(...parts), ends }
}

const textsOf = (bytes: Uint8Array) =>
  scanFrames(bytes, chainStart).frames.map((frame) => JSON.parse(utf8Decode(frame.payload)))

test('what was framed is found again, with its identity and order', () => {
  fc.assert(
    fc.property(fc.array(fc.string(), { maxLength: 8 }), (texts) => {
      const scan = scanFrames(segmentOf(texts).bytes, chainStart)
      expect(scan.damages).toEqual([])
      expect(scan.tornBytes).toBe(0)
      expect(scan.frames.map((frame) => JSON.parse(utf8Decode(frame.payload)))).toEqual(texts)
      expect(scan.frames.map(({ seq, epoch }) => [seq, epoch])).toEqual(
        texts.map((_, at) => [at, 3]),
      )
    }),
  )
})

test('a segment cut at any byte keeps every whole frame and calls the rest torn', () => {
  const texts = ['one', 'two', 'three']
  const { bytes, ends } = segmentOf(texts)
  for (let cut = 0; cut <= bytes.length; cut++) {
    const scan = scanFrames(bytes.subarray(0, cut), chainStart)
    const whole = ends.filter((end) => end <= cut)
    expect(scan.frames).toHaveLength(whole.length)
    expect(scan.damages).toEqual([])
    expect(scan.tornBytes).toBe(cut - (whole.at(-1) ?? 0))
  }
})

test('a tail of zeros, as a file system may leave it, is torn', () => {
  const { bytes } = segmentOf(['one', 'two'])
  const half = bytes.slice()
  half.fill(0, bytes.length - 60)
  expect(scanFrames(half, chainStart)).toMatchObject({ damages: [], tornBytes: half.length / 2 })
  const padded = concatBytes(bytes, new Uint8Array(500))
  expect(scanFrames(padded, chainStart)).toMatchObject({ damages: [], tornBytes: 500 })
})

test('a flipped byte anywhere is noticed, and costs no other frame', () => {
  const texts = ['one', 'two', 'three']
  const { bytes, ends } = segmentOf(texts)
  for (let at = 0; at < bytes.length; at++) {
    const flipped = bytes.slice()
    flipped[at] = (flipped[at] ?? 0) ^ 0x10
    const scan = scanFrames(flipped, chainStart)
    const hit = ends.findIndex((end) => at < end)
    expect(textsOf(flipped)).toEqual(texts.filter((_, index) => index !== hit))
    // In the last frame a changed length is not told from an unfinished write; it is cut and counted.
    expect(scan.damages.length + scan.tornBytes).toBeGreaterThan(0)
    expect(hit < texts.length - 1 ? scan.damages.length : 1).toBe(1)
  }
})

test('a frame taken out, put in twice or moved is noticed', () => {
  const { bytes, ends } = segmentOf(['one', 'two', 'six'])
  const [first = 0, second = 0] = ends
  const parts = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]
  const [a, b, c] = parts
  const empty = new Uint8Array(0)
  for (const order of [
    [a, c],
    [b, a, c],
    [a, b, b, c],
    [b, c],
  ]) {
    const shuffled = concatBytes(...order.map((part) => part ?? empty))
    expect(scanFrames(shuffled, chainStart).damages.length).toBeGreaterThan(0)
  }
})

test('content that looks like a frame is not one', () => {
  const inner = segmentOf(['inner']).bytes
  const { bytes } = segmentOf([Buffer.from(inner).toString('latin1'), 'after'])
  bytes[frameOverheadBytes] = 0xff
  expect(textsOf(bytes)).toEqual(['after'])
})

test('no bytes make the scan throw or run over', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (noise) => {
      const { bytes } = segmentOf(['x'])
      const scan = scanFrames(concatBytes(noise, bytes, noise), undefined)
      expect(scan.frames.length).toBeGreaterThanOrEqual(1)
    }),
  )
})
