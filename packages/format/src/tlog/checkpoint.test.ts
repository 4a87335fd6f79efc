/**
 * Checkpoints: one text for one head, signed by the log that it names.
 *
 * @module
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toBase64, utf8Decode, utf8Encode } from '../bytes.ts'
import { emptyRoot } from '../hash.ts'
import { faultsOf } from '../testing.ts'
import {
  formatCheckpoint,
  openCheckpoint,
  parseCheckpoint,
  signCheckpoint,
  type Checkpoint,
} from './checkpoint.ts'
import { createSigner, createVerifier, signNote } from './note.ts'

const malformed = expect.objectContaining({ code: 'ERR_CHECKPOINT_MALFORMED' })
const unverified = expect.objectContaining({ code: 'ERR_NOTE_UNVERIFIED' })

const origin = 'audit.example/gw-1/standard/2026q4'
const rootHash = new Uint8Array(32).fill(0xa5)
const checkpoint: Checkpoint = { origin, treeSize: 20_852_163, rootHash }
const text = `${origin}\n20852163\n${toBase64(rootHash)}\n`

const log = createSigner({ name: origin, seed: new Uint8Array(32).fill(1) })
const other = createSigner({ name: 'audit.example/other', seed: new Uint8Array(32).fill(2) })

describe('the text of a checkpoint', () => {
  it('is origin, size and root, each on its line', () => {
    expect(formatCheckpoint(checkpoint)).toBe(text)
    expect(parseCheckpoint(text)).toEqual(checkpoint)
  })

  it('of any checkpoint round-trips', () => {
    const line = fc
      .string({ unit: 'grapheme', minLength: 1 })
      .filter((value) => !value.includes('\n'))
    const checkpoints = fc.record(
      {
        origin: line,
        treeSize: fc.maxSafeNat(),
        rootHash: fc.uint8Array({ minLength: 32, maxLength: 32 }),
        extensions: fc.array(line, { minLength: 1, maxLength: 3 }),
      },
      { requiredKeys: ['origin', 'treeSize', 'rootHash'] },
    )
    fc.assert(
      fc.property(checkpoints, (any) => {
        expect(parseCheckpoint(formatCheckpoint(any))).toEqual(any)
      }),
    )
  })

  it('no text one change away is read as this one', () => {
    const reformat = (bytes: Uint8Array) =>
      utf8Encode(formatCheckpoint(parseCheckpoint(utf8Decode(bytes))))
    expect(faultsOf(utf8Encode(text), reformat)).toEqual([])
    const empty = formatCheckpoint({ origin: 'o', treeSize: 0, rootHash: emptyRoot })
    expect(faultsOf(utf8Encode(empty), reformat)).toEqual([])
  })

  const root = toBase64(rootHash)
  it.each([
    ['nothing', ''],
    ['two lines', `${origin}\n1\n`],
    ['no last newline', `${origin}\n1\n${root}`],
    ['an empty origin', `\n1\n${root}\n`],
    ['an empty line at its end', `${origin}\n1\n${root}\n\n`],
    ['an empty extension', `${origin}\n1\n${root}\n\nx\n`],
    ['an empty size', `${origin}\n\n${root}\n`],
    ['a leading zero', `${origin}\n01\n${root}\n`],
    ['two zeros', `${origin}\n00\n${root}\n`],
    ['a sign', `${origin}\n+1\n${root}\n`],
    ['a negative size', `${origin}\n-1\n${root}\n`],
    ['a space', `${origin}\n1 \n${root}\n`],
    ['a fraction', `${origin}\n1.0\n${root}\n`],
    ['an exponent', `${origin}\n1e3\n${root}\n`],
    ['a hexadecimal size', `${origin}\n0x1\n${root}\n`],
    ['other digits', `${origin}\n\u0661\n${root}\n`],
    ['a size of 2^53', `${origin}\n9007199254740992\n${root}\n`],
    ['a size of 2^64', `${origin}\n18446744073709551616\n${root}\n`],
    ['a short root', `${origin}\n1\n${toBase64(rootHash.subarray(1))}\n`],
    ['a long root', `${origin}\n1\n${root}AAAA\n`],
    ['a root without padding', `${origin}\n1\n${root.slice(0, -1)}\n`],
    ['a root with bits that are not used', `${origin}\n1\n${root.replace('aU=', 'aV=')}\n`],
    ['a root in hexadecimal', `${origin}\n1\n${'a5'.repeat(32)}\n`],
  ])('with %s is refused', (_, broken) => {
    expect(broken).not.toBe(text)
    expect(() => parseCheckpoint(broken)).toThrow(malformed)
  })

  it('of the largest tree is read', () => {
    const largest = `${origin}\n9007199254740991\n${root}\n`
    expect(parseCheckpoint(largest).treeSize).toBe(Number.MAX_SAFE_INTEGER)
  })

  it.each([
    ['an origin of two lines', { origin: 'a\nb' }],
    ['an empty origin', { origin: '' }],
    ['a fraction', { treeSize: 0.5 }],
    ['a size of 2^53', { treeSize: 2 ** 53 }],
    ['a short root', { rootHash: new Uint8Array(31) }],
    ['an empty extension', { extensions: [''] }],
  ])('is not made with %s', (_, changes) => {
    expect(() => formatCheckpoint({ ...checkpoint, ...changes })).toThrow('assertion failed')
  })
})

describe('a signed checkpoint', () => {
  const signed = signCheckpoint(checkpoint, log)
  const verifier = createVerifier(log.vkey)

  it('opens with the key of its log', () => {
    expect(openCheckpoint(signed, [verifier])).toMatchObject(checkpoint)
    expect(openCheckpoint(utf8Encode(signed), [verifier]).note.verified).toHaveLength(1)
  })

  it('does not open with the key of another log, whoever else is trusted', () => {
    const foreign = signCheckpoint(checkpoint, other)
    expect(() => openCheckpoint(foreign, [verifier])).toThrow(unverified)
    expect(() => openCheckpoint(foreign, [verifier, createVerifier(other.vkey)])).toThrow(
      unverified,
    )
  })

  it('opens with a key of another name for whom expects that origin', () => {
    const foreign = signCheckpoint(checkpoint, other)
    const trusted = [createVerifier(other.vkey)]
    expect(openCheckpoint(foreign, trusted, { origin }).origin).toBe(origin)
    expect(() => openCheckpoint(foreign, trusted, { origin: 'another' })).toThrow(unverified)
  })

  it('that is no checkpoint is refused though it is signed', () => {
    expect(() => openCheckpoint(signNote('hello\n', log), [verifier])).toThrow(malformed)
  })

  it('may bear more signatures', () => {
    const both = signCheckpoint(checkpoint, log, other)
    expect(openCheckpoint(both, [verifier]).note.signatures).toHaveLength(2)
  })
})
