import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { gatewayKeyIn, headerValue, requestHeadersFor, responseHeadersFor } from './headers.ts'

const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,12}$/)
const value = fc.stringMatching(/^[!-~]([ -~]{0,20}[!-~])?$/)
const list = fc.array(fc.tuple(name, value)).map((pairs) => pairs.flat())

const special =
  /^(connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|host|content-length|expect|accept-encoding|x-audit-.*|authorization|x-api-key)$/i

describe('requests', () => {
  test('any list without special names passes as it is', () => {
    fc.assert(
      fc.property(list, (raw) => {
        fc.pre(raw.every((text, at) => at % 2 === 1 || !special.test(text)))
        expect(requestHeadersFor(raw, null)).toEqual(raw)
      }),
    )
  })

  test('whatever the list, no audit header and no gateway key gets through', () => {
    const hostile = fc.array(
      fc.oneof(
        fc.tuple(name, value),
        fc.tuple(fc.constantFrom('x-audit-user', 'X-Audit-Key', 'X-AUDIT-'), value),
        fc.tuple(
          fc.constantFrom('Authorization', 'X-API-Key', 'x-api-key', 'authorization'),
          fc.constantFrom('afk_x', 'Bearer afk_x', 'bearer  afk_x', ' afk_x '),
        ),
      ),
    )
    fc.assert(
      fc.property(hostile, (pairs) => {
        const out = requestHeadersFor(pairs.flat(), null)
        for (let at = 0; at < out.length; at += 2) {
          const lower = out[at]?.toLowerCase() ?? ''
          expect(lower.startsWith('x-audit-')).toBe(false)
          expect(gatewayKeyIn(lower, out[at + 1] ?? '')).toBeUndefined()
        }
      }),
    )
  })

  test('what connection names is dropped, and connection itself', () => {
    const raw = ['Connection', 'close, X-One ,', 'x-one', '1', 'X-Two', '2', 'connection', 'x-two']
    expect(requestHeadersFor(raw, null)).toEqual([])
  })

  test('every accept-encoding becomes identity in its place', () => {
    expect(requestHeadersFor(['A', '1', 'Accept-Encoding', 'br', 'B', '2'], null)).toEqual([
      'A',
      '1',
      'Accept-Encoding',
      'identity',
      'B',
      '2',
    ])
  })
})

describe('responses', () => {
  test('hop-by-hop headers go, the event id comes, the rest stays', () => {
    const raw = ['Transfer-Encoding', 'chunked', 'A', '1', 'X-Audit-Event-Id', 'theirs', 'a', '2']
    expect(responseHeadersFor(raw, 'ours')).toEqual([
      'A',
      '1',
      'a',
      '2',
      'x-audit-event-id',
      'ours',
    ])
    expect(responseHeadersFor(raw, null)).toEqual(['A', '1', 'a', '2'])
  })
})

test('the first value of a header is found in any case', () => {
  expect(headerValue(['X', '1', 'Via', 'a', 'via', 'b'], 'via')).toBe('a')
  expect(headerValue(['X', '1'], 'via')).toBeUndefined()
})
