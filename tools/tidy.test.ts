import { existsSync, readFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import {
  codeLines,
  complaintsAbout,
  fileLinesMedianMax,
  fileLinesP95Max,
  importsOf,
  isShipped,
  isTest,
  quantile,
  readSources,
  testRatios,
} from './tidy.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const sources = readSources()

describe('the tree', () => {
  test('every file keeps the habits', () => {
    expect(sources.flatMap(complaintsAbout)).toEqual([])
  })

  test('files are short: median and 95th percentile', () => {
    const lengths = sources.filter(isShipped).map((file) => file.lines)
    expect(quantile(lengths, 0.5)).toBeLessThanOrEqual(fileLinesMedianMax)
    expect(quantile(lengths, 0.95)).toBeLessThanOrEqual(fileLinesP95Max)
  })

  test.each(testRatios)('%s has its share of tests (%d)', (_part, ratio, folders) => {
    const inside = sources.filter(({ path }) => folders.some((folder) => path.startsWith(folder)))
    const count = (files: typeof inside) =>
      files.reduce((sum, file) => sum + codeLines(file.text), 0)
    expect(count(inside.filter(isTest))).toBeGreaterThanOrEqual(
      count(inside.filter(isShipped)) * ratio,
    )
  })

  test('no tracked text names a machine path or a package registry', () => {
    const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
    const forbidden =
      /(^|[\s'"`(=:])\/(work|farm|root)\/|https?:\/\/(registry|deb|proxy|pypi|index|static|repo\d?)\./
    const offenders = tracked
      .split('\0')
      .filter(
        (path) => path !== '' && !/\.(png|gz|jsonl)$/.test(path) && path !== 'tools/tidy.test.ts',
      )
      .filter((path) => forbidden.test(readFileSync(root + path, 'utf8')))
    expect(offenders).toEqual([])
  })
})

describe('ARCHITECTURE.md', () => {
  test('every test that an invariant names exists', () => {
    const text = readFileSync(`${root}ARCHITECTURE.md`, 'utf8')
    const named = [...text.matchAll(/`([a-z0-9/.-]*(?:\.test\.ts|^test\/[a-z]+))`/g)].map(
      (found) => found[1] ?? '',
    )
    expect(named.length).toBeGreaterThan(10)
    const missing = named.filter(
      (path) => !existsSync(root + path) && !existsSync(`${root}packages/${path}`),
    )
    expect(missing).toEqual([])
  })
})

describe('the checks themselves', () => {
  const file = (path: string, text: string) => ({ path, text, lines: text.split('\n').length })
  const opening = '/**\n * Words.\n *\n * @module\n */\n'

  test('an import of a higher rank is refused', () => {
    const complaints = complaintsAbout(
      file('packages/server/src/ledger/x.ts', `${opening}import { y } from '../gateway/y.ts'\n`),
    )
    expect(complaints).toEqual([
      'packages/server/src/ledger/x.ts: ledger (rank 2) imports gateway (rank 3)',
    ])
  })

  test('a node: import inside format is refused', () => {
    const complaints = complaintsAbout(
      file(
        'packages/format/src/x.ts',
        `${opening}import { existsSync, readFileSync } from 'node:fs'\n`,
      ),
    )
    expect(complaints).toHaveLength(1)
  })

  test('a missing docstring, a bad name and a long file are each refused', () => {
    const text = 'export const a = 1\n'.repeat(700)
    expect(complaintsAbout(file('packages/sdk/src/BadName.ts', text))).toHaveLength(3)
  })

  test('imports are found in every form', () => {
    const text =
      "import a from 'a'\nimport 'b'\nexport { c } from 'c'\nconst d = await import('d')\nimport {\n  e,\n} from 'e'\n"
    expect(importsOf(text)).toEqual(['a', 'b', 'c', 'd', 'e'])
  })
})
