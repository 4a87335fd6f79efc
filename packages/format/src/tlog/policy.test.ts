/**
 * Trust policies: what the specification allows, what it forbids, and who makes a quorum.
 *
 * @module
 */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concatBytes, utf8Encode } from '../bytes.ts'
import { isAuditError } from '../errors.ts'
import { mutationsOf } from '../testing.ts'
import { signCheckpoint } from './checkpoint.ts'
import { createCosigner, type Cosigner } from './cosignature.ts'
import { createSigner, formatSignatureLine, formatVerifierKey, parseNote } from './note.ts'
import {
  evaluatePolicy,
  formatPolicy,
  parsePolicy,
  policyForLogs,
  policyLinesMax,
  reachesQuorum,
} from './policy.ts'

const malformed = expect.objectContaining({ code: 'ERR_POLICY_MALFORMED' })
const hasCode = (code: string) => expect.objectContaining({ code })
const seedOf = (number: number) => new Uint8Array(32).fill(number)

const log = createSigner({ name: 'log.example/a', seed: seedOf(1) })
const otherLog = createSigner({ name: 'log.example/b', seed: seedOf(2) })
const witnesses = ['X1', 'X2', 'X3', 'Y1', 'Y2', 'Y3'].map((name, at) => ({
  name,
  cosigner: createCosigner({ name: `${name.toLowerCase()}.example/w`, seed: seedOf(10 + at) }),
}))
const vkeyOf = (name: string) => witnesses.find((witness) => witness.name === name)?.cosigner.vkey

/** The example of the specification. */
const example = `log ${log.vkey}

witness X1 ${vkeyOf('X1')}
witness X2 ${vkeyOf('X2')}
witness X3 ${vkeyOf('X3')}
group X-witnesses 2 X1 X2 X3

witness Y1 ${vkeyOf('Y1')}
witness Y2 ${vkeyOf('Y2')}
witness Y3 ${vkeyOf('Y3')}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
`

describe('a policy file', () => {
  it('is read as the specification explains its example', () => {
    const policy = parsePolicy(example)
    expect(policy.logs.map(({ key }) => key.name)).toEqual(['log.example/a'])
    expect(policy.members.map(({ name }) => name)).toEqual([
      'X1',
      'X2',
      'X3',
      'X-witnesses',
      'Y1',
      'Y2',
      'Y3',
      'Y-witnesses',
      'X-and-Y',
    ])
    const groups = policy.members.filter((member) => member.kind === 'group')
    expect(groups.map(({ threshold }) => threshold)).toEqual([2, 1, 2])
    expect(policy.quorum).toBe('X-and-Y')
  })

  it('is one policy whatever its spaces, comments and empty lines', () => {
    const loose = example
      .replaceAll(' ', ' \t ')
      .replaceAll('\n', ' \t\n\n  # a comment, é, with log and quorum\n\t')
    expect(parsePolicy(`# first\n${loose}\n`)).toEqual(parsePolicy(example))
  })

  it('is formatted to a text that is read as the same policy', () => {
    const policy = parsePolicy(example)
    const text = formatPolicy(policy)
    expect(parsePolicy(text)).toEqual(policy)
    expect(formatPolicy(parsePolicy(text))).toBe(text)
    expect(text).not.toMatch(/#|\n\n|\t| {2}| \n/)
  })

  it('keeps URLs', () => {
    const text = `log ${log.vkey} https://log.example/a\nwitness w ${vkeyOf('X1')} https://w\nquorum w\n`
    expect(parsePolicy(text).logs[0]?.url).toBe('https://log.example/a')
    expect(formatPolicy(parsePolicy(text))).toBe(text)
  })

  it('may have no log and no witness', () => {
    expect(parsePolicy('quorum none\n')).toEqual({ logs: [], members: [], quorum: 'none' })
  })

  it('a changed byte is refused, or is another policy, or was between words', () => {
    const text = formatPolicy(
      parsePolicy(`log ${log.vkey} u\nwitness w ${vkeyOf('X1')}\ngroup g 1 w\nquorum g\n`),
    )
    const words = (line: string) => line.split(/[ \t]+/).filter((word) => word !== '')
    const faults: string[] = []
    for (const mutation of mutationsOf(utf8Encode(text))) {
      const changed = new TextDecoder('latin1').decode(mutation)
      try {
        const isSamePolicy = formatPolicy(parsePolicy(mutation)) === text
        const lines = changed.split('\n').map(words)
        const isSameText =
          JSON.stringify(lines.filter((line) => line.length > 0)) ===
          JSON.stringify(
            text
              .split('\n')
              .map(words)
              .filter((line) => line.length > 0),
          )
        if (isSamePolicy && !isSameText) faults.push(changed)
      } catch (error) {
        if (!isAuditError(error, 'ERR_POLICY_MALFORMED'))
          faults.push(`${changed}: ${String(error)}`)
      }
    }
    expect(faults).toEqual([])
  })

  const w1 = `witness w1 ${vkeyOf('X1')}\n`
  const w2 = `witness w2 ${vkeyOf('X2')}\n`
  const none = 'quorum none\n'
  it.each([
    ['nothing', ''],
    ['no quorum', `log ${log.vkey}\n`],
    ['two quorums', `${none}${none}`],
    ['a quorum of nobody', 'quorum\n'],
    ['a quorum of two names', `${w1}${w2}quorum w1 w2\n`],
    ['a quorum that is not defined', 'quorum w1\n'],
    ['a quorum that is defined later', `quorum w1\n${w1}`],
    ['an unknown keyword', `logs ${log.vkey}\n${none}`],
    ['a keyword in capitals', `LOG ${log.vkey}\n${none}`],
    ['no last newline', none.trimEnd()],
    ['a comment as its last line without an end', `${none}# comment`],
    ['a carriage return', 'quorum none\r\n'],
    ['a NUL', `${none}\0\n`],
    ['a form feed', `\f${none}`],
    ['a delete character', `# \u007f\n${none}`],
    ['a log without a key', `log\n${none}`],
    ['a log with too many words', `log ${log.vkey} u v\n${none}`],
    ['a log key that is none', `log x\n${none}`],
    ['a log twice', `log ${log.vkey}\nlog ${log.vkey}\n${none}`],
    [
      'a log key under two names',
      `log ${log.vkey}\nlog ${createSigner({ name: 'renamed', seed: seedOf(1) }).vkey}\n${none}`,
    ],
    ['a witness without a key', `witness w\n${none}`],
    ['a witness with too many words', `witness w ${vkeyOf('X1')} u v\n${none}`],
    ['a witness with the key of a log', `witness w ${log.vkey}\n${none}`],
    ['a witness called none', `witness none ${vkeyOf('X1')}\n${none}`],
    ['two witnesses of one name', `${w1}witness w1 ${vkeyOf('X2')}\n${none}`],
    ['two witnesses of one key', `${w1}witness w2 ${vkeyOf('X1')}\n${none}`],
    [
      'two witnesses of one key under two key names',
      `${w1}witness w2 ${createCosigner({ name: 'renamed', seed: seedOf(10) }).vkey}\n${none}`,
    ],
    ['a group called none', `${w1}group none any w1\n${none}`],
    ['a group with the name of a witness', `${w1}${w2}group w1 any w2\n${none}`],
    ['two groups of one name', `${w1}${w2}group g any w1\ngroup g any w2\n${none}`],
    ['a group without members', `group g any\n${none}`],
    ['a group without a rule', `group g\n${none}`],
    ['a group of undefined members', `group g any w1\n${none}`],
    ['a group that contains itself', `${w1}group g any w1 g\n${none}`],
    ['a group with the member none', `group g any none\n${none}`],
    ['a member twice in one group', `${w1}group g 2 w1 w1\n${none}`],
    ['a member in two groups', `${w1}group g any w1\ngroup h any w1\n${none}`],
    ['a threshold of zero', `${w1}group g 0 w1\n${none}`],
    ['a threshold above the members', `${w1}group g 2 w1\n${none}`],
    ['a threshold with a leading zero', `${w1}group g 01 w1\n${none}`],
    ['a negative threshold', `${w1}group g -1 w1\n${none}`],
    ['a threshold in capitals', `${w1}group g ALL w1\n${none}`],
    ['too many lines', `${'\n'.repeat(policyLinesMax)}${none}`],
  ])('with %s is refused', (_, text) => {
    expect(() => parsePolicy(text)).toThrow(malformed)
  })

  it('names the line that is wrong, and not its key', () => {
    expect(() => parsePolicy(`# one\n\nlog x\n${none}`)).toThrow(/line 3/)
    expect(() => parsePolicy(`log PRIVATE+KEY+secret\n${none}`)).not.toThrow(/secret/)
  })

  it('holds 64 logs, witnesses and groups', () => {
    const lines = Array.from({ length: 64 }, (_, at) => {
      const seed = seedOf(100 + at)
      const logKey = createSigner({ name: `log${at}`, seed }).vkey
      const witnessKey = createCosigner({ name: `wit${at}`, seed }).vkey
      return `log ${logKey}\nwitness w${at} ${witnessKey}\ngroup g${at} any w${at}\n`
    })
    const policy = parsePolicy(`${lines.join('')}${none}`)
    expect([policy.logs.length, policy.members.length]).toEqual([64, 128])
  })
})

describe('octets above ASCII', () => {
  it('are opaque: a name is itself and no other, in UTF-8 or not', () => {
    const kelvin = `witness \u212a ${vkeyOf('X1')}\nwitness K ${vkeyOf('X2')}\nquorum \u212a\n`
    expect(parsePolicy(kelvin).quorum).toBe('\u212a')
    const latin = concatBytes(
      utf8Encode('# '),
      Uint8Array.of(0xe9, 0xff),
      utf8Encode(`\nwitness `),
      Uint8Array.of(0xe9),
      utf8Encode(` ${vkeyOf('X1')}\nquorum `),
      Uint8Array.of(0xe9),
      utf8Encode('\n'),
    )
    expect(parsePolicy(latin).quorum).toBe('\u00e9')
    const other = concatBytes(latin.subarray(0, -2), Uint8Array.of(0xe8), utf8Encode('\n'))
    expect(() => parsePolicy(other)).toThrow(malformed)
  })

  it('in a key name are UTF-8 even where the file is not', () => {
    const named = createSigner({ name: 'l\u00f6g.example', seed: seedOf(3) })
    const file = concatBytes(
      utf8Encode(`log ${named.vkey}\nquorum none\n#`),
      Uint8Array.of(0xff, 0x0a),
    )
    expect(parsePolicy(file).logs[0]?.key.name).toBe('l\u00f6g.example')
    expect(parsePolicy(`log ${named.vkey}\nquorum none\n`).logs[0]?.key.name).toBe(
      'l\u00f6g.example',
    )
  })
})

describe('a quorum', () => {
  const policy = parsePolicy(example)

  it('is reached exactly by two of the X and one of the Y', () => {
    const names = witnesses.map(({ name }) => name)
    fc.assert(
      fc.property(fc.subarray(names), (present) => {
        const [x, y] = ['X', 'Y'].map(
          (letter) => present.filter((name) => name[0] === letter).length,
        )
        const expected = (x ?? 0) >= 2 && (y ?? 0) >= 1
        expect(reachesQuorum(policy, new Set(present))).toBe(expected)
      }),
    )
  })

  it('is not reached by who calls itself like a group', () => {
    expect(reachesQuorum(policy, new Set(['X-and-Y', 'X-witnesses', 'Y-witnesses']))).toBe(false)
  })

  it('of none is reached by nobody', () => {
    expect(reachesQuorum(parsePolicy('quorum none\n'), new Set())).toBe(true)
  })

  it('of one witness is reached by that one', () => {
    const one = parsePolicy(`witness w ${vkeyOf('X1')}\nquorum w\n`)
    expect(reachesQuorum(one, new Set(['w']))).toBe(true)
    expect(reachesQuorum(one, new Set())).toBe(false)
  })
})

describe('a checkpoint under a policy', () => {
  const policy = parsePolicy(example)
  const checkpoint = { origin: log.name, treeSize: 9, rootHash: new Uint8Array(32) }
  const signed = signCheckpoint(checkpoint, log)
  const { text } = parseNote(signed)
  const cosign = (cosigner: Cosigner, time: number) =>
    formatSignatureLine(cosigner.cosign(text, time))
  const by = (...names: string[]) =>
    signed +
    witnesses
      .filter(({ name }) => names.includes(name))
      .map(({ cosigner }, at) => cosign(cosigner, 1_000 + at))
      .join('')

  it('is trusted when the quorum cosigned it', () => {
    const trusted = evaluatePolicy(policy, by('X1', 'X3', 'Y2'))
    expect(trusted.witnessed).toEqual([
      { name: 'X1', timeSeconds: 1_000 },
      { name: 'X3', timeSeconds: 1_001 },
      { name: 'Y2', timeSeconds: 1_002 },
    ])
    expect(trusted).toMatchObject(checkpoint)
    expect(trusted.log.key.name).toBe(log.name)
  })

  it.each([[[]], [['X1', 'X2', 'X3']], [['X1', 'Y1', 'Y2', 'Y3']]])(
    'is not trusted by %j alone',
    (names) => {
      expect(() => evaluatePolicy(policy, by(...names))).toThrow(hasCode('ERR_POLICY_UNSATISFIED'))
    },
  )

  it('is refused for one false cosignature, though the others make the quorum', () => {
    const [first] = witnesses
    if (first === undefined) throw new Error('there are witnesses')
    const cosignature = first.cosigner.cosign(`${text}x\n`, 5)
    const file = by('X2', 'X3', 'Y1') + formatSignatureLine(cosignature)
    expect(() => evaluatePolicy(policy, file)).toThrow(hasCode('ERR_NOTE_UNVERIFIED'))
  })

  it('gains nothing by unknown cosigners', () => {
    const stranger = createCosigner({ name: 'x1.example/w', seed: seedOf(99) })
    const file = by('X2', 'Y1') + cosign(stranger, 5)
    expect(() => evaluatePolicy(policy, file)).toThrow(hasCode('ERR_POLICY_UNSATISFIED'))
  })

  it('is not counted twice for two cosignatures of one witness', () => {
    const [first] = witnesses
    if (first === undefined) throw new Error('there are witnesses')
    const file = by('X1', 'Y1') + cosign(first.cosigner, 6)
    expect(() => evaluatePolicy(policy, file)).toThrow(hasCode('ERR_POLICY_UNSATISFIED'))
  })

  it('needs the signature of its log', () => {
    const foreign = signCheckpoint(checkpoint, otherLog)
    const line = witnesses.map(({ cosigner }) => cosign(cosigner, 1)).join('')
    expect(() => evaluatePolicy(policy, foreign + line)).toThrow(hasCode('ERR_NOTE_UNVERIFIED'))
    expect(() => evaluatePolicy(policyForLogs(log.vkey, otherLog.vkey), foreign)).toThrow(
      hasCode('ERR_NOTE_UNVERIFIED'),
    )
  })

  it('is not signed by a witness whose key has the name of the log', () => {
    const impostor = createCosigner({ name: log.name, seed: seedOf(50) })
    const trusting = parsePolicy(`log ${otherLog.vkey}\nwitness w ${impostor.vkey}\nquorum none\n`)
    const unsigned = `${text}\n${formatSignatureLine(impostor.cosign(text, 1))}`
    expect(() => evaluatePolicy(trusting, unsigned)).toThrow(hasCode('ERR_NOTE_UNVERIFIED'))
  })

  it('names the log that signed it when a log has an old and a new key', () => {
    const renewed = createSigner({ name: log.name, seed: seedOf(60) })
    const both = policyForLogs(log.vkey, renewed.vkey)
    const trusted = evaluatePolicy(both, signCheckpoint(checkpoint, renewed))
    expect(formatVerifierKey(trusted.log.key)).toBe(renewed.vkey)
  })

  it('of any accepted log is trusted', () => {
    const either = parsePolicy(`log ${log.vkey}\nlog ${otherLog.vkey}\nquorum none\n`)
    expect(evaluatePolicy(either, signed).origin).toBe(log.name)
    const other = signCheckpoint({ ...checkpoint, origin: otherLog.name }, otherLog)
    expect(evaluatePolicy(either, other).origin).toBe(otherLog.name)
  })

  it('of a log that is not accepted is refused', () => {
    const empty = parsePolicy('quorum none\n')
    expect(() => evaluatePolicy(empty, signed)).toThrow(hasCode('ERR_NOTE_UNVERIFIED'))
  })
})
