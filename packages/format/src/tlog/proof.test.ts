/**
 * Receipts: one text for one receipt, and nothing in it that can be changed.
 *
 * @module
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concatBytes, toBase64, utf8Encode } from '../bytes.ts'
import { isAuditError } from '../errors.ts'
import { leafHash } from '../hash.ts'
import { createTestLog, faultsOf, testEntries } from '../testing.ts'
import { createCosigner } from './cosignature.ts'
import { inclusionProof, rootOf } from './merkle.ts'
import { formatSignatureLine, parseNote } from './note.ts'
import { parsePolicy, policyForLogs } from './policy.ts'
import { formatProof, parseProof, verifyProof } from './proof.ts'

const malformed = expect.objectContaining({ code: 'ERR_PROOF_MALFORMED' })
const hasCode = (code: string) => expect.objectContaining({ code })

const log = createTestLog({ entries: testEntries(15) })
const leaves = log.entries.map(leafHash)
const readHash = (level: number, index: number) =>
  rootOf(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level))
const hashes = await inclusionProof(readHash, { leafIndex: 6, treeSize: 15 })
const checkpoint = log.checkpointAt(15)
const leaf = leafHash(log.entries[6] ?? new Uint8Array(0))
const receipt = formatProof({ index: 6, hashes, checkpoint })
const policy = policyForLogs(log.vkey)

describe('the text of a receipt', () => {
  it('is taken apart and put together to the same text', () => {
    expect(formatProof(parseProof(receipt))).toBe(receipt)
    expect(parseProof(utf8Encode(receipt))).toEqual({ index: 6, hashes, checkpoint })
  })

  it('with extra bytes, or without hashes, is so too', () => {
    const extra = utf8Encode('context')
    const withExtra = formatProof({ index: 6, hashes, checkpoint, extra })
    expect(withExtra).toContain('\nextra Y29udGV4dA==\nindex 6\n')
    expect(parseProof(withExtra).extra).toEqual(extra)
    const alone = formatProof({ index: 0, hashes: [], checkpoint: log.checkpointAt(1) })
    expect(alone).toMatch(/^c2sp\.org\/tlog-proof@v1\nindex 0\n\naudit\.example/)
    expect(formatProof(parseProof(alone))).toBe(alone)
  })

  it('of any receipt round-trips', () => {
    const hash = fc.uint8Array({ minLength: 32, maxLength: 32 })
    const receipts = fc.record(
      {
        index: fc.maxSafeNat(),
        hashes: fc.array(hash, { maxLength: 63 }),
        checkpoint: fc.constant(checkpoint),
        extra: fc.uint8Array({ minLength: 1, maxLength: 50 }),
      },
      { requiredKeys: ['index', 'hashes', 'checkpoint'] },
    )
    fc.assert(
      fc.property(receipts, (any) => {
        expect(parseProof(formatProof(any))).toEqual(any)
      }),
    )
  })

  it('no text one change away is read as this one', () => {
    const reformat = (bytes: Uint8Array) => utf8Encode(formatProof(parseProof(bytes)))
    const small = formatProof({
      index: 1,
      hashes: hashes.slice(0, 1),
      checkpoint: log.checkpointAt(2),
      extra: Uint8Array.of(1),
    })
    expect(faultsOf(utf8Encode(small), reformat)).toEqual([])
  })

  const [hash = ''] = hashes.map(toBase64)
  it.each([
    ['nothing', ''],
    ['another version', receipt.replace('@v1', '@v2')],
    ['no header', receipt.replace(/^[^\n]*\n/, '')],
    ['no index', receipt.replace('index 6\n', '')],
    ['a negative index', receipt.replace('index 6', 'index -1')],
    ['an index with a leading zero', receipt.replace('index 6', 'index 06')],
    ['an index with a space after it', receipt.replace('index 6', 'index 6 ')],
    ['an index of 2^53', receipt.replace('index 6', 'index 9007199254740992')],
    ['two indices', receipt.replace('index 6\n', 'index 6\nindex 6\n')],
    ['extra after the index', receipt.replace('index 6\n', 'index 6\nextra AA==\n')],
    ['extra twice', receipt.replace('index', 'extra AA==\nextra AA==\nindex')],
    ['empty extra', receipt.replace('index', 'extra \nindex')],
    ['extra that is not canonical', receipt.replace('index', 'extra AB==\nindex')],
    ['a short hash', receipt.replace(hash, toBase64(new Uint8Array(31)))],
    ['a long hash', receipt.replace(hash, toBase64(new Uint8Array(33)))],
    ['an empty hash', receipt.replace(hash, '')],
    ['a hash that is not canonical', receipt.replace(hash, `${hash.slice(0, 42)}B=`)],
    ['too many hashes', receipt.replace(hash, Array.from({ length: 61 }, () => hash).join('\n'))],
    ['no empty line', receipt.replace('\n\n', '\n')],
    ['no checkpoint', receipt.slice(0, receipt.indexOf('\n\n') + 2)],
    ['a checkpoint without a signature', receipt.slice(0, receipt.lastIndexOf('\n\n') + 1)],
    ['a note that is no checkpoint', receipt.replace('\n15\n', '\nfifteen\n')],
    ['Windows line ends', receipt.replaceAll('\n', '\r\n')],
    ['too much of it', receipt.replace('index', `extra ${'A'.repeat(1_000_000)}\nindex`)],
  ])('with %s is refused', (_, broken) => {
    expect(broken).not.toBe(receipt)
    expect(() => parseProof(broken)).toThrow(malformed)
    expect(() => verifyProof(broken, { leafHash: leaf, policy })).toThrow(malformed)
  })

  it('that is not UTF-8 is refused', () => {
    const bytes = concatBytes(utf8Encode(receipt), Uint8Array.of(0xff))
    expect(() => parseProof(bytes)).toThrow(malformed)
  })

  it.each([
    ['a negative index', { index: -1 }],
    ['too many hashes', { hashes: Array.from({ length: 64 }, () => leaf) }],
    ['a short hash', { hashes: [new Uint8Array(31)] }],
    ['empty extra bytes', { extra: new Uint8Array(0) }],
  ])('is not made with %s', (_, changes) => {
    expect(() => formatProof({ index: 6, hashes, checkpoint, ...changes })).toThrow(
      'assertion failed',
    )
  })
})

describe('verifying a receipt', () => {
  it('gives the index and the checkpoint', () => {
    const verified = verifyProof(receipt, { leafHash: leaf, policy })
    expect(verified.leafIndex).toBe(6)
    expect(verified.checkpoint).toMatchObject({ treeSize: 15, witnessed: [] })
    expect(verified.checkpoint.log.key.name).toBe(verified.checkpoint.origin)
  })

  it('holds for no other leaf, index or log', () => {
    for (const [at, other] of leaves.entries()) {
      const expected = at === 6 ? 'verified' : 'ERR_PROOF_INVALID'
      const moved = formatProof({ index: at, hashes, checkpoint })
      expect(outcome(() => verifyProof(receipt, { leafHash: other, policy }))).toBe(expected)
      expect(outcome(() => verifyProof(moved, { leafHash: leaf, policy }))).toBe(expected)
    }
    const stranger = createTestLog({ entries: testEntries(15), origin: 'another.example/log' })
    expect(() =>
      verifyProof(receipt, { leafHash: leaf, policy: policyForLogs(stranger.vkey) }),
    ).toThrow(hasCode('ERR_NOTE_UNVERIFIED'))
  })

  it('fails for any changed byte', () => {
    const bytes = utf8Encode(receipt)
    const verifying = Array.from(bytes.keys()).filter((at) => {
      const changed = bytes.with(at, (bytes[at] ?? 0) ^ 1)
      return outcome(() => verifyProof(changed, { leafHash: leaf, policy })) === 'verified'
    })
    expect(verifying).toEqual([])
  })

  it('asks for the witnesses of the policy', () => {
    const witness = createCosigner({ name: 'w.example', seed: new Uint8Array(32).fill(2) })
    const strict = parsePolicy(`log ${log.vkey}\nwitness w ${witness.vkey}\nquorum w\n`)
    expect(() => verifyProof(receipt, { leafHash: leaf, policy: strict })).toThrow(
      hasCode('ERR_POLICY_UNSATISFIED'),
    )
    const line = formatSignatureLine(witness.cosign(parseNote(checkpoint).text, 1_700_000_000))
    const cosigned = formatProof({ index: 6, hashes, checkpoint: checkpoint + line })
    expect(verifyProof(cosigned, { leafHash: leaf, policy: strict }).checkpoint.witnessed).toEqual([
      { name: 'w', timeSeconds: 1_700_000_000 },
    ])
  })
})

function outcome(verify: () => unknown): string {
  try {
    verify()
    return 'verified'
  } catch (error) {
    return isAuditError(error) ? error.code : String(error)
  }
}
