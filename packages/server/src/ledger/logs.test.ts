import { describe, expect, test } from 'vitest'
import { instanceKeyOf } from './key.ts'
import { createLogTable } from './logs.ts'
import { quarterAt, quarterNamed } from './quarter.ts'
import { failureOf } from './testing.ts'

const key = instanceKeyOf(new Uint8Array(32).fill(9))
const micros = (iso: string) => Date.parse(iso) * 1000

function createTable(sealed: ReadonlyMap<string, { size: number; root: Uint8Array }> = new Map()) {
  return createLogTable({ name: 'audit.example/gw-1', directory: '/logs', epoch: 1, key, sealed })
}

describe('quarters', () => {
  test.each([
    ['2026-01-01T00:00:00Z', '2026q1'],
    ['2026-03-31T23:59:59.999Z', '2026q1'],
    ['2026-04-01T00:00:00Z', '2026q2'],
    ['2026-12-31T23:59:59.999Z', '2026q4'],
    ['2027-01-01T00:00:00Z', '2027q1'],
  ])('%s is in %s', (iso, name) => {
    const quarter = quarterAt(micros(iso))
    expect(quarter.name).toBe(name)
    expect(quarterNamed(name)).toEqual(quarter)
    expect(quarterAt(quarter.endMicros).name > name).toBe(true)
    expect(quarterAt(quarter.endMicros - 1).name).toBe(name)
  })
})

describe('the table of logs', () => {
  test('names a log by deployment, instance, class and quarter, and signs under that name', () => {
    const log = createTable().logFor('standard', micros('2026-11-23T14:00:00Z'))
    expect(log).toMatchObject({
      path: 'standard/2026q4',
      origin: 'audit.example/gw-1/standard/2026q4',
      directory: '/logs/standard/2026q4',
    })
    expect(log.signer.name).toBe(log.origin)
  })

  test('gives the same log for a class until the quarter ends, and never an older one', () => {
    const table = createTable()
    const first = table.logFor('standard', micros('2026-11-23T14:00:00Z'))
    expect(table.logFor('standard', micros('2026-12-31T23:59:59Z'))).toBe(first)
    const next = table.logFor('standard', micros('2027-01-01T00:00:00Z'))
    expect(next.path).toBe('standard/2027q1')
    expect(table.logFor('standard', micros('2026-11-23T14:00:00Z'))).toBe(next)
    expect(table.logFor('other', micros('2026-11-23T14:00:00Z')).path).toBe('other/2027q1')
  })

  test('knows from sealed and recovered logs which quarter has begun', () => {
    const sealed = new Map([['standard/2026q4', { size: 1, root: new Uint8Array(32) }]])
    const now = micros('2026-01-01T00:00:00Z')
    expect(createTable(sealed).logFor('standard', now).path).toBe('standard/2026q4')
    const table = createTable()
    table.open('long/2027q2')
    expect(table.logFor('standard', now).path).toBe('standard/2027q2')
  })

  test('seals a log of a past quarter when all of it is agreed and published', () => {
    const table = createTable()
    const log = table.logFor('standard', micros('2026-11-23T14:00:00Z'))
    log.sequenced = 5
    table.logFor('standard', micros('2027-01-01T00:00:00Z'))
    table.seal()
    expect(table.active.has(log.path)).toBe(true)
    log.agreed = { size: 5, root: new Uint8Array(32), note: '' }
    table.seal()
    expect(table.active.has(log.path)).toBe(true)
    log.publishedSize = 5
    table.seal()
    expect(table.active.has(log.path)).toBe(false)
    expect(table.sealed.get(log.path)).toMatchObject({ size: 5 })
  })

  test('refuses to grow more logs at once than an instance should have', async () => {
    const table = createTable()
    const now = micros('2026-11-23T14:00:00Z')
    for (let number = 0; number < 256; number++) table.logFor(`class-${number}`, now)
    const refused = Promise.resolve().then(() => table.logFor('one-more', now))
    expect((await failureOf(refused)).code).toBe('ERR_LEDGER_BUSY')
    expect(table.logFor('class-7', now).path).toBe('class-7/2026q4')
    // Also after a recovery, which opens logs by their path.
    const recovered = createTable()
    for (let number = 0; number < 256; number++) recovered.open(`class-${number}/2026q4`)
    expect(recovered.logFor('class-7', now).path).toBe('class-7/2026q4')
  })
})
