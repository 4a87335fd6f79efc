import { AuditError } from '@affidavit/format'
import { expect, test } from 'vitest'
import { createLog, errorFields, type LogFields, type LogLevel } from './log.ts'

function lines(options: { level?: LogLevel; pretty?: boolean }, fields: LogFields): string[] {
  const written: string[] = []
  const log = createLog({
    level: options.level ?? 'info',
    pretty: options.pretty ?? false,
    write: (line) => written.push(line),
    now: () => '2026-11-23T14:00:00.123456Z',
  })
  log.debug(fields, 'looked')
  log.info(fields, 'sequenced')
  log.error(fields, 'stopped')
  return written
}

test('a JSON line has the time, the level, the fact and the fields', () => {
  const [line] = lines({}, { entries: 3, log: undefined })
  expect(JSON.parse(line ?? '')).toEqual({
    time: '2026-11-23T14:00:00.123456Z',
    level: 'info',
    fact: 'sequenced',
    entries: 3,
  })
})

test('lines below the level are not written', () => {
  expect(lines({ level: 'error' }, {})).toHaveLength(1)
  expect(lines({ level: 'debug' }, {})).toHaveLength(3)
})

test('a line for people keeps control characters out of the terminal', () => {
  const [line] = lines({ pretty: true }, { path: 'a\u001b[31m\nb', plain: 'x-1', gone: undefined })
  expect(line).toBe('14:00:00.123 info  sequenced path="a\\u001b[31m\\nb" plain=x-1\n')
})

test('the message of a foreign error is not logged, its code is', () => {
  const foreign = Object.assign(new Error('sk-ant-secret'), { code: 'EIO' })
  expect(errorFields(foreign)).toEqual({ code: 'EIO' })
  expect(errorFields(new TypeError('sk-ant-secret'))).toEqual({ code: 'TypeError' })
  const own = new AuditError('ERR_LEDGER_STOPPED', 'stopped', { cause: foreign })
  expect(errorFields(own)).toEqual({ code: 'ERR_LEDGER_STOPPED', message: 'stopped', cause: 'EIO' })
})
