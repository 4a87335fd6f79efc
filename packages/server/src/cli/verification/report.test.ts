import { expect, test } from 'vitest'
import { createTerminal } from '../terminal.ts'
import { createFindingList, exitOfFindings, findingsPerKindMax } from './finding.ts'
import type { LedgerSummary } from './ledger-check.ts'
import { ownKeyRemark, reportJson, reportText } from './report.ts'
import type { Trust } from './trust.ts'

const stream = { write: () => true, once: () => {} }
const { colours } = createTerminal({ stdout: stream, stderr: stream, env: {} })
const own: Trust = { kind: 'own' }
const given: Trust = { kind: 'given', policy: { logs: [], members: [], quorum: 'none' } }

const ledger: LedgerSummary = {
  name: 'gw-1',
  writerId: 'a'.repeat(16),
  logs: [
    {
      origin: 'audit.test/gw-1/standard/2026q4',
      where: 'gw-1/ledger/logs/standard/2026q4',
      treeSize: 1_234_567,
      rootHash: 'ab'.repeat(32),
      entries: 1_234_567,
      checkpoints: 3,
      intact: true,
    },
  ],
  chain: { entries: 9, epochs: 1, paired: 4, open: 1, last: null, unmatchedEnds: [] },
  isPartial: false,
  tail: { entries: 2, tornBytes: 17 },
  notices: Array.from({ length: 7 }, (_, index) => ({ what: 'stray', where: `file-${index}` })),
}

test('the text says what was verified, in numbers that people read', () => {
  const text = reportText({
    trust: given,
    ledgers: [ledger],
    findings: createFindingList(),
    colours,
  })
  for (const part of [
    'gw-1  writer aaaa',
    'ok  audit.test/gw-1/standard/2026q4  1,234,567 entries, 3 checkpoints',
    'chain: 9 entries in 1 epoch, 4 interactions whole, 1 open',
    'write-ahead log: 2 entries not integrated, 17 bytes of an unfinished write',
    'note: stray: file-4',
    'note: and 2 more such files',
    'Everything verifies.',
  ]) {
    expect(text).toContain(part)
  }
  expect(text).not.toContain(ownKeyRemark)
})

test('trust in the log’s own key is always said to be that', () => {
  const text = reportText({ trust: own, ledgers: [ledger], findings: createFindingList(), colours })
  expect(text).toContain(ownKeyRemark)
})

test('logs without a head, and some logs of a writer, are said to be that', () => {
  const { tail: _, ...rest } = ledger
  const part = { ...rest, tail: undefined, isPartial: true }
  const text = reportText({ trust: own, ledgers: [part], findings: createFindingList(), colours })
  expect(text).toContain('no head here')
  expect(text).toContain('other logs of the writer are not here')
})

function manyFindings() {
  const findings = createFindingList()
  for (let count = 0; count < findingsPerKindMax + 5; count += 1) {
    findings.add({ kind: 'gap', what: 'a gap', where: 'a log', leafIndex: count })
  }
  findings.add({
    kind: 'altered',
    what: 'an entry\u001b[31m',
    where: 'a file',
    byteOffset: 7,
    leafIndex: 3,
    eventId: 'id',
    expected: 'aa',
    actual: 'bb',
    evidence: { kind: 'inclusion', leafHash: 'aa', receipt: 'r' },
  })
  return findings
}

test('findings are told with their place, the many are counted, the worst decides', () => {
  const text = reportText({ trust: own, ledgers: [], findings: manyFindings(), colours })
  expect(text).toContain('altered: an entry\\u{1b}[31m')
  expect(text).toMatch(
    /file +a file\n +byte +7\n +entry +3\n +event_id +id\n +expected +aa\n +actual +bb/,
  )
  expect(text).toContain('a proof of inclusion is in the output of --json')
  expect(text).toContain('… and 5 more of the same kinds.')
  expect(text).toContain('(exit code 11)')
})

test('the JSON has every finding that was kept, the counts of all, and the evidence', () => {
  const findings = manyFindings()
  const report: unknown = JSON.parse(
    reportJson({ path: '/data', trust: given, ledgers: [], findings }),
  )
  expect(report).toMatchObject({
    ok: false,
    verdict: 'altered',
    exit: 11,
    trust: 'given',
    finding_counts: { gap: findingsPerKindMax + 5, altered: 1 },
    findings: expect.arrayContaining([
      {
        kind: 'altered',
        exit: 11,
        what: 'an entry\u001b[31m',
        where: 'a file',
        byte_offset: 7,
        leaf_index: 3,
        event_id: 'id',
        expected: 'aa',
        actual: 'bb',
        evidence: { kind: 'inclusion', leafHash: 'aa', receipt: 'r' },
      },
    ]),
  })
})

test('a part is reported with its bounds', () => {
  const range = {
    origin: 'audit.test/gw-1/standard/2026q4',
    from: 10,
    to: 2000,
    treeSize: 5000,
    chain: ledger.chain,
    isPartial: false,
  }
  const findings = createFindingList()
  const text = reportText({ trust: own, ledgers: [], range, findings, colours })
  expect(text).toContain('entries 10 to 2,000 of 5,000')
  const report: unknown = JSON.parse(
    reportJson({ path: '/', trust: own, ledgers: [], range, findings }),
  )
  expect(report).toMatchObject({ ok: true, range: { from: 10, to: 2000, tree_size: 5000 } })
})

test('the exit of several kinds is the lowest, of none it is ok', () => {
  const counts = (kinds: readonly ('wal' | 'gap' | 'signature')[]) =>
    new Map(kinds.map((kind) => [kind, 1]))
  expect(exitOfFindings(counts(['wal', 'gap']))).toBe('gap')
  expect(exitOfFindings(counts(['wal', 'signature', 'gap']))).toBe('signature')
  expect(exitOfFindings(counts([]))).toBe('ok')
})
