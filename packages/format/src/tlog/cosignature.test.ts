/**
 * Cosignatures: bound to the text and to the time.
 *
 * @module
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromBase64 } from '../bytes.ts'
import { signCheckpoint } from './checkpoint.ts'
import {
  cosignatureTime,
  createAnyVerifier,
  createCosignatureVerifier,
  createCosigner,
} from './cosignature.ts'
import { createSigner, formatSignatureLine, openNote, parseNote, parseVerifierKey } from './note.ts'

const keyMalformed = expect.objectContaining({ code: 'ERR_KEY_MALFORMED' })
const seed = new Uint8Array(32).fill(3)
const witness = createCosigner({ name: 'witness.example/w1', seed })
const log = createSigner({ name: 'log.example', seed: new Uint8Array(32).fill(4) })
const checkpoint = { origin: 'log.example', treeSize: 3, rootHash: new Uint8Array(32) }
const signed = signCheckpoint(checkpoint, log)
const { text } = parseNote(signed)
const time = 1_700_000_000

describe('a cosignature', () => {
  const verifier = createCosignatureVerifier(witness.vkey)
  const cosignature = witness.cosign(text, time)

  it('verifies over its text, at its time', () => {
    expect(verifier.verify(text, cosignature.signature)).toBe(true)
    expect(cosignatureTime(cosignature.signature)).toBe(time)
  })

  it('is a line of the note that it is over', () => {
    const cosigned = signed + formatSignatureLine(cosignature)
    const opened = openNote(cosigned, [verifier, createAnyVerifier(log.vkey)])
    expect(opened.verified.map(({ name }) => name)).toEqual(['log.example', 'witness.example/w1'])
    expect(opened.text).toBe(text)
  })

  it('does not verify over another text', () => {
    expect(verifier.verify(text.replace('3', '4'), cosignature.signature)).toBe(false)
    expect(verifier.verify(`${text}extension\n`, cosignature.signature)).toBe(false)
  })

  it('with any bit changed, of time or signature, does not verify', () => {
    for (let at = 0; at < cosignature.signature.length; at++) {
      const changed = new Uint8Array(cosignature.signature)
      changed[at] = (changed[at] ?? 0) ^ 1
      expect({ at, verifies: verifier.verify(text, changed) }).toEqual({ at, verifies: false })
    }
  })

  it.each([0, 8, 64, 71, 73])('of %i bytes is none', (length) => {
    expect(verifier.verify(text, new Uint8Array(length))).toBe(false)
    expect(() => cosignatureTime(new Uint8Array(length))).toThrow(
      expect.objectContaining({ code: 'ERR_COSIGNATURE_MALFORMED' }),
    )
  })

  it('of a time beyond 2^53 is none', () => {
    const field = new Uint8Array(72)
    field[0] = 0x80
    expect(verifier.verify(text, field)).toBe(false)
    expect(() => cosignatureTime(field)).toThrow('no time')
  })

  it('at any time verifies, whatever array it is a part of', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.nat(9), (seconds, offset) => {
        const { signature } = witness.cosign(text, seconds + 1 > 2 ** 53 - 1 ? 1 : seconds + 1)
        const inside = new Uint8Array(100)
        inside.set(signature, offset)
        expect(verifier.verify(text, inside.subarray(offset, offset + 72))).toBe(true)
      }),
      { numRuns: 20 },
    )
  })

  it('is not made without a time', () => {
    for (const bad of [0, -1, 0.5, Number.NaN]) {
      expect(() => witness.cosign(text, bad)).toThrow('has a time')
    }
  })
})

describe('keys of the two types', () => {
  it('of one seed and name have two ids', () => {
    const signer = createSigner({ name: witness.name, seed })
    expect(signer.publicKey).toEqual(witness.publicKey)
    expect(signer.keyId).not.toBe(witness.keyId)
    expect(parseVerifierKey(witness.vkey).keyId).toBe(witness.keyId)
  })

  it('do not verify each other’s signatures', () => {
    const signer = createSigner({ name: witness.name, seed })
    const plain = signer.sign(text)
    const cosignature = witness.cosign(text, time).signature
    expect(createAnyVerifier(signer.vkey).verify(text, cosignature)).toBe(false)
    expect(createAnyVerifier(witness.vkey).verify(text, plain)).toBe(false)
    expect(createAnyVerifier(signer.vkey).verify(text, plain)).toBe(true)
    expect(createAnyVerifier(witness.vkey).verify(text, cosignature)).toBe(true)
  })

  it('a note key is no cosignature key', () => {
    expect(() => createCosignatureVerifier(log.vkey)).toThrow(keyMalformed)
  })

  it('the published key of another witness is read', () => {
    // transparency-dev/formats, note/note_cosigv1_test.go.
    const vkey = 'remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2'
    expect(parseVerifierKey(vkey)).toMatchObject({
      name: 'remora.n621.de',
      keyId: 0xda77ade7,
      type: 4,
    })
    const stamp = fromBase64('ZGhGuQAAAABm/qTP')
    expect(Number(new DataView(stamp.buffer).getBigUint64(4))).toBe(1_727_964_367)
  })
})
