import { stampEntry } from '@affidavit/format'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { beginStamp, finishStamp } from './stamp.ts'

test('a stamp in two steps is the stamp of the format', () => {
  const hex = (length: number) =>
    fc.string({
      unit: fc.constantFrom('0', '7', '9', 'a', 'f'),
      minLength: length,
      maxLength: length,
    })
  fc.assert(
    fc.property(fc.maxSafeNat(), hex(16), hex(64), fc.maxSafeNat(), (epoch, id, prev, seq) => {
      const writer = { epoch, id, log: 'standard/2026q4' }
      const body = '{"a":"}","b":{}}'
      const stamp = finishStamp(beginStamp(writer), prev, seq)
      expect(body.slice(0, -1) + stamp).toBe(stampEntry(body, { ...writer, prev, seq }))
    }),
  )
})
