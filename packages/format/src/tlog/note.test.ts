/**
 * Signed notes and keys: what is accepted, what must be refused, and that no byte is free.
 *
 * @module
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  concatBytes,
  fromBase64,
  fromHex,
  toBase64,
  toHex,
  utf8Decode,
  utf8Encode,
} from '../bytes.ts'
import { isAuditError } from '../errors.ts'
import { ed25519PublicKey, sha256 } from '../hash.ts'
import { faultsOf } from '../testing.ts'
import {
  createSigner,
  createVerifier,
  formatNote,
  formatPrivateKey,
  formatSignatureLine,
  formatVerifierKey,
  keyId,
  noteSignaturesMax,
  openNote,
  parseNote,
  parsePrivateKey,
  parseVerifierKey,
  signNote,
  verifySignatures,
} from './note.ts'

const noteMalformed = expect.objectContaining({ code: 'ERR_NOTE_MALFORMED' })
const unverified = expect.objectContaining({ code: 'ERR_NOTE_UNVERIFIED' })
const keyMalformed = expect.objectContaining({ code: 'ERR_KEY_MALFORMED' })

// golang.org/x/mod/sumdb/note: note_test.go and example_test.go.
const neumannSkey = 'PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz'
const neumannVkey = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
const enochVkey = 'EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop'
const text =
  'If you think cryptography is the answer to your problem,\n' +
  "then you don't know what your problem is.\n"

const neumann = createSigner(parsePrivateKey(neumannSkey))
const enoch = createSigner({ name: 'EnochRoot', seed: new Uint8Array(32) })
const note = signNote(text, neumann, enoch)
const [neumannLine = '', enochLine = ''] = note.slice(text.length + 1).split(/(?<=\n)/)
const verifiers = [createVerifier(neumannVkey), createVerifier(enochVkey)]

describe('keys', () => {
  it('of Go’s examples are ours', () => {
    expect(neumann.vkey).toBe(neumannVkey)
    expect(enoch.vkey).toBe(enochVkey)
    expect(toHex(Uint8Array.of(...fromHex('c74f20a3')))).toBe(neumann.keyId.toString(16))
  })

  it('have the id that the specification defines', () => {
    const { publicKey } = parseVerifierKey(neumannVkey)
    const input = concatBytes(utf8Encode('PeterNeumann\n'), Uint8Array.of(1), publicKey)
    const id = new DataView(sha256(input).buffer).getUint32(0)
    expect(keyId('PeterNeumann', 1, publicKey)).toBe(id)
    expect(keyId('PeterNeumann', 4, publicKey)).not.toBe(id)
  })

  it('are written as they were read', () => {
    expect(formatVerifierKey(parseVerifierKey(neumannVkey))).toBe(neumannVkey)
    expect(formatPrivateKey(parsePrivateKey(neumannSkey))).toBe(neumannSkey)
  })

  it('of any name and seed round-trip', () => {
    const names = fc
      .string({ unit: 'grapheme', minLength: 1 })
      .filter((name) => !/[\s+\u0085]/u.test(name))
    const seeds = fc.uint8Array({ minLength: 32, maxLength: 32 })
    fc.assert(
      fc.property(names, seeds, (name, seed) => {
        const signer = createSigner({ name, seed })
        expect(parseVerifierKey(signer.vkey)).toMatchObject({ name, keyId: signer.keyId })
        expect(parsePrivateKey(formatPrivateKey({ name, seed }))).toEqual({ name, seed })
      }),
      { numRuns: 20 },
    )
  })

  it('no part of one is one', () => {
    for (let from = 0; from < neumannVkey.length; from++) {
      for (const to of [from, from + 1, 20, neumannVkey.length - 1]) {
        expect(() => parseVerifierKey(neumannVkey.slice(from, to))).toThrow(keyMalformed)
      }
      const end = neumannVkey.slice(from + 1)
      expect(() => parseVerifierKey(end)).toThrow(keyMalformed)
    }
  })

  it('no text one change away from one is read as another key', () => {
    const verifier = (bytes: Uint8Array) =>
      utf8Encode(formatVerifierKey(parseVerifierKey(utf8Decode(bytes))))
    expect(faultsOf(utf8Encode(neumannVkey), verifier)).toEqual([])
    const secret = (bytes: Uint8Array) =>
      utf8Encode(formatPrivateKey(parsePrivateKey(utf8Decode(bytes))))
    expect(faultsOf(utf8Encode(neumannSkey), secret)).toEqual([])
  })

  const rekey = (type: number, key: Uint8Array, name = 'PeterNeumann') => {
    const id = sha256(concatBytes(utf8Encode(`${name}\n`), Uint8Array.of(type), key)).subarray(0, 4)
    return `${name}+${toHex(id)}+${toBase64(concatBytes(Uint8Array.of(type), key))}`
  }
  const { publicKey } = parseVerifierKey(neumannVkey)

  it.each([
    ['nothing', ''],
    ['an id in capitals', neumannVkey.replace('c74f20a3', 'C74F20A3')],
    ['the id of another key', neumannVkey.replace('c74f20a3', 'af0cfe78')],
    ['a key of 31 bytes', rekey(1, publicKey.subarray(1))],
    ['a key of 33 bytes', rekey(1, concatBytes(publicKey, Uint8Array.of(0)))],
    ['no key', rekey(1, new Uint8Array(0))],
    ['an unknown type', rekey(7, publicKey)],
    ['ECDSA', rekey(2, publicKey)],
    ['an RFC 6962 log key', rekey(5, publicKey)],
    ['ML-DSA-44', rekey(6, new Uint8Array(1_312))],
    ['a key that is no point', rekey(1, new Uint8Array(32).fill(0xff))],
    ['a key of low order', rekey(1, new Uint8Array(32))],
    ['a name with a space', rekey(1, publicKey, 'Peter Neumann')],
    ['a name with a no-break space', rekey(1, publicKey, 'Peter\u00a0Neumann')],
    ['a name with a next-line character', rekey(1, publicKey, 'Peter\u0085Neumann')],
    ['a name with a newline', rekey(1, publicKey, 'Peter\nNeumann')],
    ['an empty name', rekey(1, publicKey, '')],
    ['padding that is missing', neumannVkey.replace(/.$/, '')],
    ['a private key', neumannSkey],
  ])('%s is refused', (_, vkey) => {
    expect(() => parseVerifierKey(vkey)).toThrow(keyMalformed)
  })

  it('that are rightly rekeyed are accepted, so that the refusals above are for their reason', () => {
    expect(rekey(1, publicKey)).toBe(neumannVkey)
    expect(parseVerifierKey(rekey(4, publicKey)).type).toBe(4)
  })

  it('a name may hold a byte-order mark, as Go allows', () => {
    expect(parseVerifierKey(rekey(1, publicKey, '\ufeffx')).name).toBe('\ufeffx')
  })

  it('a private key of another type or without its prefix is refused', () => {
    expect(() => parsePrivateKey(neumannSkey.slice('PRIVATE+KEY+'.length))).toThrow(keyMalformed)
    expect(() => parsePrivateKey(`PRIVATE+KEY+${neumannVkey}`)).toThrow(keyMalformed)
    expect(() => parsePrivateKey(`PRIVATE+KEY+${rekey(4, publicKey)}`)).toThrow(keyMalformed)
  })

  it('an error about a private key does not show it', () => {
    const seed = neumannSkey.slice(-44)
    for (const broken of [`${neumannSkey}=`, neumannSkey.replace('c74f20a3', '00000000'), seed]) {
      let shown = 'no error'
      try {
        parsePrivateKey(broken)
      } catch (error) {
        shown = String(error) + String(error instanceof Error ? error.cause : '')
      }
      expect(shown).toContain('AuditError')
      expect(shown).not.toContain(seed.slice(0, 8))
    }
  })

  it('names that could not be read again are not signed under', () => {
    for (const name of ['', 'a b', 'a+b', '\ud800', 'a\u2003b']) {
      expect(() => createSigner({ name, seed: new Uint8Array(32) })).toThrow('no spaces')
    }
  })

  it('a cosignature key does not verify notes', () => {
    expect(() => createVerifier(rekey(4, publicKey))).toThrow(keyMalformed)
  })
})

describe('a note', () => {
  it('is signed as Go signs it', () => {
    expect(signNote(text, neumann)).toBe(
      `${text}\n\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n`,
    )
  })

  it('is taken apart and put together to the same text', () => {
    expect(formatNote(parseNote(note))).toBe(note)
    expect(formatNote(parseNote(utf8Encode(note)))).toBe(note)
    const { text: body, signatures } = parseNote(note)
    expect(body).toBe(text)
    expect(signatures.map(({ name, keyId: id }) => ({ name, id }))).toEqual([
      { name: 'PeterNeumann', id: neumann.keyId },
      { name: 'EnochRoot', id: enoch.keyId },
    ])
    expect(signatures.map(formatSignatureLine).join('')).toBe(neumannLine + enochLine)
  })

  it('no note one change away is read as this one', () => {
    const reformat = (bytes: Uint8Array) => utf8Encode(formatNote(parseNote(bytes)))
    expect(faultsOf(utf8Encode(note), reformat)).toEqual([])
  })

  it('of any text round-trips and opens', () => {
    const lines = fc.array(
      fc.string({ unit: 'grapheme' }).map((line) => line.replaceAll(/\p{Cc}/gu, '')),
      { minLength: 1, maxLength: 5 },
    )
    fc.assert(
      fc.property(lines, (list) => {
        const body = list.map((line) => `${line}\n`).join('')
        const signed = signNote(body, neumann)
        expect(formatNote(parseNote(signed))).toBe(signed)
        expect(openNote(signed, verifiers).text).toBe(body)
      }),
      { numRuns: 50 },
    )
  })

  it('may hold empty lines: the last one ends the text', () => {
    const odd = `\n\n${text}\n\u2014 not a signature, but text\n\n\n`
    expect(openNote(signNote(odd, neumann), verifiers).text).toBe(odd)
  })

  const line = neumannLine
  // golang.org/x/mod/sumdb/note, note_test.go: badMsgs, and more.
  it.each([
    ['nothing', ''],
    ['text alone', text],
    ['text and an empty line', `${text}\n`],
    ['no empty line', `${text}${line}`],
    ['a signature alone', line],
    ['an empty line and a signature', `\n${line}`],
    ['no newline at its end', `${text}\n${line.trimEnd()}`],
    ['text after its signatures', `${text}\n${line}more\n`],
    ['an empty line after its signatures', `${text}\n${line}\n`],
    ['an empty line between signatures', `${text}\n${line}\n${enochLine}x`],
    ['a control character', `\u0001${text}\n${line}`],
    ['a tab', `\t${text}\n${line}`],
    ['a carriage return', `${text.replace('\n', '\r\n')}\n${line}`],
    ['a NUL', `\0${text}\n${line}`],
    ['a lone surrogate', `\ud800${text}\n${line}`],
    ['another dash', `${text}\n${line.replace('\u2014', '-')}`],
    ['an en dash', `${text}\n${line.replace('\u2014', '\u2013')}`],
    ['two spaces', `${text}\n${line.replace('\u2014 ', '\u2014  ')}`],
    ['a no-break space', `${text}\n${line.replace('\u2014 ', '\u2014\u00a0')}`],
    ['a name with a plus', `${text}\n${line.replace('Peter', 'Peter+')}`],
    ['a name with a space', `${text}\n${line.replace('Peter', 'Peter ')}`],
    ['a name with an em space', `${text}\n${line.replace('Peter', 'Peter\u2003')}`],
    ['no name', `${text}\n${line.replace('PeterNeumann', '')}`],
    ['no signature', `${text}\n\u2014 PeterNeumann\n`],
    ['an empty signature', `${text}\n\u2014 PeterNeumann \n`],
    ['a signature of the key id alone', `${text}\n\u2014 PeterNeumann x08gow==\n`],
    ['base64 without padding', `${text}\n${line.replace('=', '')}`],
    ['base64 with too much padding', `${text}\n${line.replace('=', '==')}`],
    ['base64 with bits that are not used', `${text}\n${line.replace('nAM=', 'nAN=')}`],
    ['base64 of the URL alphabet', `${text}\n${line.replace('/', '_')}`],
    ['a space at the end', `${text}\n${line.replace('\n', ' \n')}`],
    ['too many signatures', `${text}\n${line.repeat(noteSignaturesMax + 1)}`],
    ['too much text', `${'a'.repeat(1_000_000)}\n\n${line}`],
  ])('with %s is refused', (_, signed) => {
    expect(() => parseNote(signed)).toThrow(noteMalformed)
    expect(() => openNote(signed, verifiers)).toThrow(noteMalformed)
  })

  it('that is not UTF-8 is refused', () => {
    const bytes = utf8Encode(note)
    expect(() => parseNote(concatBytes(Uint8Array.of(0xff), bytes))).toThrow(noteMalformed)
  })

  it('with as many signatures as are allowed is read', () => {
    const most = `${text}\n${line.repeat(noteSignaturesMax)}`
    expect(parseNote(most).signatures).toHaveLength(noteSignaturesMax)
  })

  it('is not made of text that could not be read again', () => {
    expect(() => signNote('no newline', neumann)).toThrow('plain text')
    expect(() => signNote('control\u0001\n', neumann)).toThrow('plain text')
    expect(() => formatNote({ text, signatures: [] })).toThrow('has a signature')
  })
})

describe('opening', () => {
  it('verifies every known signature, in the order of the note', () => {
    const opened = openNote(note, verifiers)
    expect(opened.verified.map(({ name }) => name)).toEqual(['PeterNeumann', 'EnochRoot'])
    expect(openNote(note, verifiers.toReversed()).verified).toEqual(opened.verified)
  })

  it('ignores signatures of unknown keys, false ones too', () => {
    const stranger = createSigner({ name: 'Stranger', seed: new Uint8Array(32).fill(1) })
    const line = formatSignatureLine({
      name: 'Stranger',
      keyId: stranger.keyId,
      signature: new Uint8Array(64),
    })
    const opened = openNote(`${text}\n${line}${neumannLine}`, verifiers)
    expect(opened.verified.map(({ name }) => name)).toEqual(['PeterNeumann'])
    expect(opened.signatures).toHaveLength(2)
  })

  it('ignores a key of the same name with another id, and of the same id with another name', () => {
    const [signature] = parseNote(note).signatures
    if (signature === undefined) throw new Error('the note has signatures')
    const otherId = formatSignatureLine({ ...signature, keyId: signature.keyId ^ 1 })
    const otherName = formatSignatureLine({ ...signature, name: 'PeterNewman' })
    for (const line of [otherId, otherName]) {
      expect(openNote(`${text}\n${line}${enochLine}`, verifiers).verified).toHaveLength(1)
      expect(() => openNote(`${text}\n${line}`, verifiers)).toThrow(unverified)
    }
  })

  it('refuses the whole note for one false signature of a known key', () => {
    const changed = note.replace('problem,', 'Problem,')
    expect(() => openNote(changed, verifiers)).toThrow(unverified)
    const [first, second] = parseNote(note).signatures
    if (first === undefined || second === undefined) throw new Error('the note has signatures')
    const swapped = formatSignatureLine({ ...first, signature: second.signature })
    expect(() => openNote(`${text}\n${swapped}${enochLine}`, verifiers)).toThrow(unverified)
    expect(() => openNote(`${text}\n${enochLine}${swapped}`, verifiers)).toThrow(unverified)
  })

  it('counts the first of several signatures of one key', () => {
    const [first] = parseNote(note).signatures
    if (first === undefined) throw new Error('the note has signatures')
    const broken = formatSignatureLine({ ...first, signature: new Uint8Array(64) })
    expect(openNote(`${text}\n${neumannLine}${broken}`, verifiers).verified).toHaveLength(1)
    expect(() => openNote(`${text}\n${broken}${neumannLine}`, verifiers)).toThrow(unverified)
  })

  it('refuses a note that no known key signed', () => {
    expect(() => openNote(note, [])).toThrow(unverified)
    expect(() => openNote(`${text}\n${enochLine}`, [createVerifier(neumannVkey)])).toThrow(
      unverified,
    )
    expect(verifySignatures(parseNote(note), [])).toEqual([])
  })

  it('asks every verifier that has the same name and id', () => {
    const [known] = verifiers
    if (known === undefined) throw new Error('there are verifiers')
    const colliding = { ...known, verify: () => false }
    expect(() => openNote(note, [known, colliding])).toThrow(unverified)
    expect(() => openNote(note, [colliding, known])).toThrow(unverified)
  })

  it('finds any changed bit of the text and of the only signature', () => {
    const single = utf8Encode(signNote(text, neumann))
    const opens = Array.from(single.keys()).filter((at) => {
      const changed = single.with(at, (single[at] ?? 0) ^ 1)
      try {
        return openNote(changed, verifiers).text !== ''
      } catch (error) {
        return !isAuditError(error)
      }
    })
    expect(opens).toEqual([])
  })
})

describe('a signer', () => {
  it('has the public key of its seed', () => {
    const seed = new Uint8Array(32).fill(5)
    expect(createSigner({ name: 'a', seed }).publicKey).toEqual(ed25519PublicKey(seed))
    expect(fromBase64(neumannVkey.split('+')[2] ?? '').subarray(1)).toEqual(neumann.publicKey)
  })
})
