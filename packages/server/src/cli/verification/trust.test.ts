import { AuditError, createSigner, parseVerifierKey } from '@affidavit/format'
import { expect, test } from 'vitest'
import { createTrust, isSameInstance, keysFor, policyFor, quorumFault, readVkey } from './trust.ts'

const seed = new Uint8Array(32).fill(9)
const vkeyOf = (name: string) => createSigner({ name, seed }).vkey
const standard = 'audit.test/gw-1/standard/2026q4'
const financial = 'audit.test/gw-1/financial/2027q1'
const otherInstance = 'audit.test/gw-2/standard/2026q4'

test('a key that was given speaks for the logs of its instance, under their names', () => {
  const trust = createTrust({ vkeys: [vkeyOf(standard)] })
  expect(keysFor(trust, standard, undefined)).toEqual([vkeyOf(standard)])
  expect(keysFor(trust, financial, undefined)).toEqual([vkeyOf(financial)])
  expect(keysFor(trust, otherInstance, undefined)).toEqual([])
})

test('a key with the name of the log wins over one of its instance', () => {
  const foreign = createSigner({ name: financial, seed: new Uint8Array(32).fill(1) }).vkey
  const trust = createTrust({ vkeys: [vkeyOf(standard), foreign] })
  expect(keysFor(trust, financial, undefined)).toEqual([foreign])
})

test('without a key from elsewhere the log’s own is used, and only then', () => {
  const own = parseVerifierKey(vkeyOf(standard))
  expect(keysFor(createTrust({ vkeys: [] }), standard, own)).toEqual([vkeyOf(standard)])
  expect(keysFor(createTrust({ vkeys: [] }), standard, undefined)).toEqual([])
  const given = createTrust({ vkeys: [vkeyOf(otherInstance)] })
  expect(keysFor(given, standard, own)).toEqual([])
})

test('a policy keeps its witnesses when its logs are named after the log', () => {
  const witness = 'Wit1+9b3fb2d5+BFhZSmQj9+SoL+p/nN0Hh76xXmF7QcHfytUrI1XfSClk'
  const policy = `log ${vkeyOf(standard)}\nwitness w ${witness}\nquorum w\n`
  const trust = createTrust({ policy, vkeys: [] })
  const made = policyFor(trust, financial, undefined)
  expect(made.logs.map(({ key }) => key.name)).toEqual([financial])
  expect([made.quorum, made.members.length]).toEqual(['w', 1])
})

test('a checkpoint without the cosignatures that the policy asks for is at fault', () => {
  const witness = 'Wit1+9b3fb2d5+BFhZSmQj9+SoL+p/nN0Hh76xXmF7QcHfytUrI1XfSClk'
  const asking = `log ${vkeyOf(standard)}\nwitness w ${witness}\nquorum w\n`
  const trust = createTrust({ policy: asking, vkeys: [] })
  expect(quorumFault(trust, { origin: standard, text: 'no note' })).toMatch(/./)
  const content = createTrust({ policy: asking.replace('quorum w', 'quorum none'), vkeys: [] })
  expect(quorumFault(content, { origin: standard, text: 'no note' })).toBeUndefined()
})

test('a policy and keys together, and what is neither, are refused', () => {
  expect(() => createTrust({ policy: 'quorum none\n', vkeys: [vkeyOf(standard)] })).toThrow('Both')
  expect(() => createTrust({ policy: 'nonsense\n', vkeys: [] })).toThrow(AuditError)
  expect(() => createTrust({ vkeys: ['nonsense'] })).toThrow(AuditError)
})

test('a key file is read as a key, or not at all', () => {
  expect(readVkey(`${vkeyOf(standard)}\n`)?.name).toBe(standard)
  expect(readVkey(undefined)).toBeUndefined()
  expect(readVkey('')).toBeUndefined()
  expect(readVkey(vkeyOf(standard).replace('+', '-'))).toBeUndefined()
  const cosigner = 'Wit1+9b3fb2d5+BFhZSmQj9+SoL+p/nN0Hh76xXmF7QcHfytUrI1XfSClk'
  expect(readVkey(cosigner)).toBeUndefined()
})

test.each([
  [standard, financial, true],
  [standard, otherInstance, false],
  ['a/b/c/2026q4', 'a/b/c/d/2026q4', false],
  ['standard/2026q4', 'standard/2026q4', false],
  ['example.com/log', 'example.com/log', false],
])('%s and %s are of one instance: %s', (left, right, expected) => {
  expect(isSameInstance(left, right)).toBe(expected)
})
