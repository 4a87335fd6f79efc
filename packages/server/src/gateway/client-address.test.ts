import { describe, expect, test } from 'vitest'
import { createClientAddress, isForwarded, isLoopback } from './client-address.ts'

const forwarded = (...values: string[]) => values.flatMap((value) => ['X-Forwarded-For', value])

describe('the caller’s address', () => {
  test('without trusted proxies the header is ignored', () => {
    const find = createClientAddress([])
    expect(find('10.0.0.1', forwarded('1.2.3.4'))).toBe('10.0.0.1')
    expect(find(undefined, [])).toBeUndefined()
  })

  const find = createClientAddress(['10.0.0.0/8', '192.168.1.7', '2001:db8::/32'])

  test.each([
    ['a caller that is no proxy', '8.8.8.8', ['1.2.3.4'], '8.8.8.8'],
    ['one proxy', '10.0.0.1', ['1.2.3.4'], '1.2.3.4'],
    ['a mapped proxy', '::ffff:10.0.0.1', ['1.2.3.4'], '1.2.3.4'],
    ['two proxies', '10.0.0.1', ['1.2.3.4, 192.168.1.7'], '1.2.3.4'],
    ['several lines', '10.0.0.1', ['1.2.3.4', '10.9.9.9'], '1.2.3.4'],
    ['a forged left end', '10.0.0.1', ['9.9.9.9, 1.2.3.4'], '1.2.3.4'],
    ['proxies only', '10.0.0.1', ['10.0.0.2, 10.0.0.3'], '10.0.0.2'],
    ['nonsense', '10.0.0.1', ['not an address'], '10.0.0.1'],
    ['nonsense behind a proxy', '10.0.0.1', ['junk, 10.0.0.2'], '10.0.0.2'],
    ['no header', '10.0.0.1', [], '10.0.0.1'],
    ['IPv6', '2001:db8::1', ['2a00::1'], '2a00::1'],
  ])('%s', (_, remote, values, expected) => {
    expect(find(remote, forwarded(...values))).toBe(expected)
  })

  test.each(['10.0.0.0/33', 'proxy.local', '10.0.0.0/8/8', '::1/129', '10.0.0.1/', '1.2.3.4/x'])(
    '%s is not a proxy',
    (range) => {
      expect(() => createClientAddress([range])).toThrow('gateway.trusted_proxies')
    },
  )
})

test.each([
  ['127.0.0.1', true],
  ['127.9.9.9', true],
  ['::1', true],
  ['::ffff:127.0.0.1', true],
  ['10.0.0.1', false],
  ['127.evil', false],
  [undefined, false],
])('%s is loopback: %s', (address, expected) => {
  expect(isLoopback(address)).toBe(expected)
})

test('a request that names any proxy is forwarded', () => {
  expect(isForwarded(['VIA', '1.1 x'])).toBe(true)
  expect(isForwarded(['Host', 'x'])).toBe(false)
})
