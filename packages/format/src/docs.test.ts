/**
 * The specification pages say what the code does: fields, findings and worked examples.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as format from './index.ts'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
const schema = read('./record.ts')
const recordPage = read('../../../docs/spec/record.md')
const ledgerPage = read('../../../docs/spec/ledger-format.md')

/** Fields of each interface of record.ts, optional ones with a question mark. */
const interfaces = new Map(
  [...schema.matchAll(/export (?:interface|type) (\w+)(?: =)? \{\n([^]*?)\n\}/g)].map(
    ([, name = '', body = '']) => [
      name,
      [...body.matchAll(/^ {2}readonly (\w+\??):/gm)].map(([, field = '']) => field),
    ],
  ),
)

/** Cells of the rows of the one table in a section of a page, after its head. */
function rowsOf(page: string, heading: string): string[][] {
  const section = page.split(/^#{2,3} /m).find((text) => text.startsWith(`${heading}\n`)) ?? ''
  return section
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(1)
    .map((line) => line.split('|').map((cell) => cell.trim()))
}

const fieldsOf = (heading: string) =>
  rowsOf(recordPage, heading).map((cells) => (cells[1] ?? '').replaceAll('`', ''))

const sorted = (texts: Iterable<string>) =>
  [...texts].sort((left, right) => (left < right ? -1 : 1))

describe('docs/spec/record.md', () => {
  it('describes every object of the schema', () => {
    expect(interfaces.size).toBeGreaterThan(12)
    const headings = [...recordPage.matchAll(/^## (\w+)$/gm)].map(([, heading]) => heading)
    expect(headings).toEqual(expect.arrayContaining([...interfaces.keys()]))
  })

  it.each([...interfaces])('has the fields of %s, and no others', (name, fields) => {
    const expected = fields.map((field) => field.replace('?', ''))
    expect(sorted(fieldsOf(name))).toEqual(sorted(expected))
  })

  it.each(['RequestFields', 'ResponseFields', 'WireSide', 'UsageIteration', 'CaptureGapBody'])(
    'calls required what %s requires',
    (name) => {
      const required = rowsOf(recordPage, name)
        .filter((cells) => cells[3] === 'required')
        .map((cells) => (cells[1] ?? '').replaceAll('`', ''))
      const expected = (interfaces.get(name) ?? []).filter((field) => !field.endsWith('?'))
      expect(sorted(required)).toEqual(sorted(expected))
    },
  )

  it('lists the kinds of the schema', () => {
    const kinds = [...schema.matchAll(/kind: '([a-z._]+)'/g)].map(([, kind = '']) => kind)
    expect(sorted(fieldsOf('Kinds'))).toEqual(sorted(new Set(kinds)))
  })

  it('shows an entry that is one, with its leaf hash', () => {
    const [, example = ''] = /```json\n(.*)\n```/.exec(recordPage) ?? []
    const bytes = format.utf8Encode(example)
    expect(format.parseEntry(bytes).kind).toBe('ledger.heartbeat')
    expect(recordPage).toContain(format.toHex(format.leafHash(bytes)))
  })
})

describe('docs/spec/ledger-format.md', () => {
  it('lists every kind of finding, notices as such', () => {
    const rows = rowsOf(ledgerPage, 'What verification of a log checks')
    const source = read('./verify/finding.ts')
    const union = /export type FindingKind =([^]*?)\n\n/.exec(source)?.[1] ?? ''
    const notices = /export type NoticeKind = (.*)/.exec(source)?.[1] ?? ''
    const kinds = [...(union + notices).matchAll(/'([a-z-]+)'/g)].map(
      ([, kind = '']) => `\`${kind}\``,
    )
    expect(sorted(rows.map((cells) => cells[1] ?? ''))).toEqual(sorted(kinds))
    const marked = rows.filter((cells) => cells[2]?.startsWith('Notice:')).map((cells) => cells[1])
    expect(marked).toEqual(['`behind`', '`ahead`', '`unexpected`'])
    expect(notices).toBe("'behind' | 'ahead' | 'unexpected'")
  })

  it('has a worked example that is right', () => {
    const entries = ['one', 'two', 'three'].map(format.utf8Encode)
    const hashes = entries.map(format.leafHash)
    const root = format.rootOf(hashes)
    const bundle = format.toHex(format.encodeBundle(entries))
    const rows = rowsOf(ledgerPage, 'Worked example').map((cells) => cells[2] ?? '')
    expect((rows[0] ?? '').replaceAll(/[` ]/g, '')).toBe(bundle)
    expect(rows[1]).toBe(`\`${format.toHex(hashes[0] ?? root)}\``)
    expect(rows[2]).toBe(`\`${format.toHex(root)}\``)
    expect(rows[3]).toBe(`\`${format.toBase64(root)}\``)
  })

  it('names files as the code does', () => {
    const path = format.storedCheckpointPath(4_096)
    expect(ledgerPage).toContain(`\`${path}\``)
    const number = format
      .tilePath({ level: 0, index: 1_234_067, width: 256 })
      .slice('tile/0/'.length)
    expect(ledgerPage).toContain(`1234067 is \`${number}\``)
  })

  it('has an example of a policy that is one', () => {
    const signer = format.createSigner({ name: 'log.example', seed: new Uint8Array(32) })
    const [, example = ''] = /```text\n(log <verifier key>\n[^`]*)```/.exec(ledgerPage) ?? []
    const policy = format.parsePolicy(example.replace('<verifier key>', signer.vkey))
    expect(policy).toEqual(format.policyForLogs(signer.vkey))
  })
})
