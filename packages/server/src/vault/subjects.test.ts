import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatRow, parseRow, scanRows, type RingRow } from './ring-rows.ts'
import { monthOf, pendingRowsMax } from './subjects.ts'
import { december, FakeRingFile, november, openTestRing, seededRandom } from './testing.ts'

const handlePattern = /^sub_[A-Za-z0-9_-]{22}$/

describe('handles', () => {
  test('a user gets one handle a month, and the second request gets it at once', async () => {
    const file = new FakeRingFile()
    const ring = await openTestRing(file)
    const first = await ring.subject('jane@acme.example', november)
    expect(first).toMatch(handlePattern)
    expect(ring.subject('jane@acme.example', november)).toBe(first)
    expect(await ring.subject('joe@acme.example', november)).not.toBe(first)
    expect(await ring.subject('jane@acme.example', december)).not.toBe(first)
    expect(file.lines).toHaveLength(3)
  })

  test('nothing in a row names the user but what is sealed', async () => {
    const file = new FakeRingFile()
    const ring = await openTestRing(file)
    await ring.subject('jane@acme.example', november)
    const { sealed, ...rest } = parseRow(Buffer.from(file.lines[0] ?? '')) as RingRow
    expect(JSON.stringify(rest)).not.toContain('jane')
    expect(Buffer.from(sealed, 'base64').toString()).toContain('jane@acme.example')
  })

  test('a handle is handed out only when its row is durable', async () => {
    const file = new FakeRingFile()
    file.held = true
    const ring = await openTestRing(file)
    let handle: string | undefined
    const minted = Promise.resolve(ring.subject('jane', november)).then((it) => {
      handle = it
      return it
    })
    while (file.appends === 0) await new Promise((resolve) => setImmediate(resolve))
    expect(handle).toBeUndefined()
    expect(file.bytes).toHaveLength(0)
    file.release()
    await minted
    expect(file.lines[0]).toContain(handle)
  })

  test('requests of one user that come at once get one handle and one row', async () => {
    const file = new FakeRingFile()
    const ring = await openTestRing(file)
    const handles = await Promise.all(
      Array.from({ length: 100 }, () => ring.subject('jane', november)),
    )
    expect(new Set(handles).size).toBe(1)
    expect(file.lines).toHaveLength(1)
  })

  test('new users that come at once share writes', async () => {
    const file = new FakeRingFile()
    const ring = await openTestRing(file)
    const users = Array.from({ length: 100 }, (_, at) => `user-${at}`)
    const handles = await Promise.all(users.map((user) => ring.subject(user, november)))
    expect(new Set(handles).size).toBe(100)
    expect(file.lines).toHaveLength(100)
    expect(file.appends).toBeLessThan(20)
  })

  test('a restart finds the handle again, in the same month and in the one before', async () => {
    const file = new FakeRingFile()
    const ring = await openTestRing(file)
    const handle = await ring.subject('jane', november)
    await ring.close()
    const again = await openTestRing(file.reopened())
    expect(again.subject('jane', november)).toBe(handle)
    const later = await openTestRing(file.reopened(), { nowMicros: december })
    expect(later.subject('jane', november)).toBe(handle)
    expect(later.subject('jane', december)).toBeInstanceOf(Promise)
  })

  test('another lookup key does not find it', async () => {
    const file = new FakeRingFile()
    const handle = await (await openTestRing(file)).subject('jane', november)
    const other = await openTestRing(file.reopened(), { lookupKey: new Uint8Array(32).fill(4) })
    expect(await other.subject('jane', november)).not.toBe(handle)
  })

  test('a clock that is set back mints no second handle of the month', async () => {
    const file = new FakeRingFile()
    const ring = await openTestRing(file)
    const first = await ring.subject('jane', november)
    const second = await ring.subject('jane', december)
    expect(ring.subject('jane', november)).toBe(first)
    expect(ring.subject('jane', Date.UTC(2020, 0, 1) * 1000)).toBe(first)
    expect(ring.subject('jane', december)).toBe(second)
    expect(file.lines).toHaveLength(2)
  })

  test('users, sessions and applications of one name are three names', async () => {
    const ring = await openTestRing(new FakeRingFile())
    const user = await ring.subject('a b', november)
    const session = await ring.identifier('session', 'a b', november)
    expect(user).not.toBe(session)
    expect(ring.subject('a b', november)).toBe(user)
    expect(ring.identifier('session', 'a b', november)).toBe(session)
  })

  test('any name, of any length and characters, gets a handle and is found again', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ minLength: 1, unit: 'binary', maxLength: 200 }),
        async (user) => {
          const file = new FakeRingFile()
          const handle = await (await openTestRing(file)).subject(user, november)
          expect(handle).toMatch(handlePattern)
          expect((await openTestRing(file.reopened())).subject(user, november)).toBe(handle)
        },
      ),
      { numRuns: 50 },
    )
  })

  test('a name longer than can be sealed is cut, and still gets a handle', async () => {
    const ring = await openTestRing(new FakeRingFile())
    expect(await ring.subject('🌍'.repeat(5000), november)).toMatch(handlePattern)
  })
})

describe('identifiers', () => {
  test('an opaque id stays as it is, and makes no row', async () => {
    const file = new FakeRingFile()
    const ring = await openTestRing(file)
    const id = '0b8f6f7e-4c55-4c07-a9a0-111111111111'
    expect(ring.identifier('session', id, november)).toBe(id)
    expect(file.appends).toBe(0)
  })

  test.each(['jane@acme.example', 'Jane Doe', 'x'.repeat(129), 'jürgen'])(
    '%s is replaced by a keyed hash, the original sealed',
    async (name) => {
      const file = new FakeRingFile()
      const ring = await openTestRing(file)
      const id = await ring.identifier('application', name, november)
      expect(id).toMatch(/^hash:[0-9a-f]{32}$/)
      expect(file.lines).toHaveLength(1)
      expect(file.lines[0]).not.toContain(name)
      const again = await openTestRing(file.reopened())
      expect(again.identifier('application', name, november)).toBe(id)
    },
  )
})

describe('hash keys of subjects', () => {
  test('each subject has its own, and a restart gives the same', async () => {
    const file = new FakeRingFile()
    const ring = await openTestRing(file)
    const jane = await ring.subject('jane', november)
    const joe = await ring.subject('joe', november)
    const key = ring.subjectHashKey(jane)
    expect(key).toHaveLength(32)
    expect(ring.subjectHashKey(joe)).not.toEqual(key)
    const again = await openTestRing(file.reopened())
    expect(again.subjectHashKey(jane)).toEqual(key)
  })

  test('deleting the row destroys the key', async () => {
    const file = new FakeRingFile()
    const ring = await openTestRing(file)
    const jane = await ring.subject('jane', november)
    await ring.subject('joe', november)
    const erased = new FakeRingFile(Buffer.from(`${file.lines[1]}\n`))
    const again = await openTestRing(erased)
    expect(() => again.subjectHashKey(jane)).toThrow('not in memory')
    expect(await again.subject('jane', november)).not.toBe(jane)
  })
})

describe('failing writes', () => {
  test.each(['lost', 'half', 'kept'] as const)(
    'a write that fails (%s) refuses every waiter, and the next opening goes on',
    async (fate) => {
      const file = new FakeRingFile()
      const ring = await openTestRing(file)
      const before = await ring.subject('before', november)
      file.failNext = fate
      const results = await Promise.allSettled(
        ['jane', 'joe'].map((user) => ring.subject(user, november)),
      )
      for (const result of results) {
        expect(result).toMatchObject({
          status: 'rejected',
          reason: { code: 'ERR_AUDIT_UNAVAILABLE' },
        })
      }
      expect(ring.open).toBe(false)
      // Known names go on; nothing is written to a file whose state is not known.
      expect(ring.subject('before', november)).toBe(before)
      await expect(ring.subject('late', november)).rejects.toThrow('key ring')
      const appends = file.appends

      const next = file.reopened()
      const again = await openTestRing(next)
      expect(again.open).toBe(true)
      expect(again.subject('before', november)).toBe(before)
      expect(await again.subject('jane', november)).toMatch(handlePattern)
      expect(file.appends).toBe(appends)
      const scan = await scanRows(next, () => {})
      expect(scan).toMatchObject({ damagedRows: 0, tornBytes: 0 })
    },
  )

  test('more new names than may wait are refused', async () => {
    const file = new FakeRingFile()
    file.held = true
    const ring = await openTestRing(file)
    const waiting: Promise<unknown>[] = []
    for (let at = 0; at < pendingRowsMax; at++) {
      waiting.push(Promise.resolve(ring.subject(`user-${at}`, november)))
    }
    await expect(ring.subject('one too many', november)).rejects.toThrow('too many')
    file.release()
    await Promise.all(waiting)
    expect(await ring.subject('one too many', november)).toMatch(handlePattern)
  })
})

describe('what a crash leaves', () => {
  test('a torn last line of any length is cut, and what came before is kept', async () => {
    const whole = new FakeRingFile()
    const ring = await openTestRing(whole, { random: seededRandom('torn') })
    const jane = await ring.subject('jane', november)
    const kept = whole.bytes.length
    await ring.subject('joe', november)
    for (let size = kept; size < whole.bytes.length; size += 7) {
      const torn = new FakeRingFile(whole.bytes.subarray(0, size))
      const again = await openTestRing(torn)
      expect(torn.bytes).toHaveLength(kept)
      expect(again.subject('jane', november)).toBe(jane)
      await again.subject('joe', november)
      expect(torn.lines.every((line) => parseRow(Buffer.from(line)) !== undefined)).toBe(true)
    }
  })

  test('a damaged line is passed over and reported, and hides no other', async () => {
    const file = new FakeRingFile()
    const ring = await openTestRing(file)
    const jane = await ring.subject('jane', november)
    await ring.subject('joe', november)
    const [first, second] = file.lines
    const damaged = new FakeRingFile(Buffer.from(`${second?.replace('"', "'")}\n\n${first}\n`))
    const warnings: unknown[] = []
    const log = {
      debug: () => {},
      info: () => {},
      error: () => {},
      warn: (fields: object) => warnings.push(fields),
    }
    const again = await openTestRing(damaged, { log })
    expect(again.subject('jane', november)).toBe(jane)
    expect(warnings).toEqual([{ tornBytes: 0, damagedRows: 2, rows: 1 }])
  })
})

describe('rows', () => {
  const row: RingRow = {
    kind: 'user',
    handle: 'sub_x',
    month: '2026-11',
    lookup: 'a'.repeat(64),
    key: '0123456789abcdef',
    sealed: 'AAAA',
    salt: 'AAAA',
  }

  test('a row is parsed from what it is formatted to', () => {
    expect(parseRow(formatRow(row).subarray(0, -1))).toEqual(row)
  })

  test.each([
    ['no JSON', '{'],
    ['no object', '7'],
    ['another kind', JSON.stringify({ ...row, kind: 'x' })],
    ['a month that is none', JSON.stringify({ ...row, month: '11/2026' })],
    ['a lookup of another length', JSON.stringify({ ...row, lookup: 'ab' })],
    ['sealed bytes that are no base64', JSON.stringify({ ...row, sealed: '?' })],
    ['a salt that is no base64', JSON.stringify({ ...row, salt: 1 })],
    ['no handle', JSON.stringify({ ...row, handle: undefined })],
  ])('%s is not a row', (_, line) => {
    expect(parseRow(Buffer.from(line))).toBeUndefined()
  })

  test('a line longer than any row is damage, not memory', async () => {
    const file = new FakeRingFile(Buffer.concat([Buffer.alloc(100_000, 'x'), Buffer.from('\n')]))
    const rows: RingRow[] = []
    const scan = await scanRows(file, (it) => rows.push(it))
    expect(scan).toEqual({ rows: 0, damagedRows: 1, wholeBytes: 100_001, tornBytes: 0 })
  })
})

test('a month is a UTC month', () => {
  expect(monthOf(Date.UTC(2026, 10, 30, 23, 59, 59, 999) * 1000 + 999)).toBe('2026-11')
  expect(monthOf(Date.UTC(2026, 11, 1) * 1000)).toBe('2026-12')
})
