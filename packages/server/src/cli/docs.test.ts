import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { auditErrorCodes, traitsOf } from '@affidavit/format'
import { expect, test } from 'vitest'
import { exits } from './exit.ts'

function page(path: string): string {
  return readFileSync(fileURLToPath(new URL(`../../../../docs/${path}`, import.meta.url)), 'utf8')
}

/** Rows of the tables in a page whose first cell is in backquotes or a number. */
function rowsOf(text: string): string[][] {
  const rows = text.split('\n').filter((line) => /^\| *(`|\d)/.test(line))
  return rows.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

const errorRows = rowsOf(page('errors.md'))

test('docs/errors.md has every code once, and no other', () => {
  const documented = errorRows.map(([code]) => code?.replaceAll('`', ''))
  expect(documented.toSorted()).toEqual([...auditErrorCodes].toSorted())
})

test('docs/errors.md has the status and the retry advice of the code', () => {
  const documented = errorRows.map(([code, status, repeat]) => `${code} ${status} ${repeat}`)
  const actual = [...auditErrorCodes].map((code) => {
    const { httpStatus, retryable } = traitsOf(code)
    return `\`${code}\` ${httpStatus} ${retryable ? 'yes' : 'no'}`
  })
  expect(documented.toSorted()).toEqual(actual.toSorted())
})

test('each error says what happened and what to do', () => {
  const silent = errorRows.filter(([, , , happened = '', advice = '']) => {
    return !/^[A-Z`].{20,}\.$/.test(happened) || !/^[A-Z`].{10,}\.$/.test(advice)
  })
  expect(silent).toEqual([])
})

test('docs/operate/cli.md has every exit code with its meaning', () => {
  const rows = rowsOf(page('operate/cli.md')).filter(([code = '']) => /^\d+$/.test(code))
  const documented = rows.map(([code, name, meaning]) => [
    Number(code),
    name?.replaceAll('`', ''),
    meaning,
  ])
  const actual = Object.entries(exits).map(([name, { code, meaning }]) => [code, name, meaning])
  expect(documented).toEqual(actual)
})

test('no two exits share a code, and none is one that a shell uses', () => {
  const codes = Object.values(exits).map(({ code }) => code)
  expect(new Set(codes).size).toBe(codes.length)
  expect(codes.every((code) => code < 64)).toBe(true)
})
