/**
 * The caller's address. `X-Forwarded-For` is believed only from configured proxies, and read from its
 * right end: the nearest address that is not a proxy of ours is the caller's, because everything left of
 * it was written by the caller.
 *
 * @module
 */
import { BlockList, isIP } from 'node:net'
import { AuditError } from '@affidavit/format'
import { headerValue } from './headers.ts'

/** Finds the caller's address; `undefined` when the socket is gone. */
export type ClientAddress = (
  remote: string | undefined,
  raw: readonly string[],
) => string | undefined

// Addresses in one X-Forwarded-For that are looked at.
const hopsMax = 32

/**
 * Makes the function for these proxies (addresses or CIDR ranges).
 *
 * @throws AuditError `ERR_CONFIG_INVALID`
 */
export function createClientAddress(trustedProxies: readonly string[]): ClientAddress {
  if (trustedProxies.length === 0) return (remote) => remote
  const trusted = new BlockList()
  for (const range of trustedProxies) addRange(trusted, range)
  return (remote, raw) => {
    if (remote === undefined || !isIn(trusted, remote)) return remote
    const hops = forwardedFor(raw)
    let nearest = remote
    for (let at = hops.length - 1; at >= 0 && isIn(trusted, nearest); at--) {
      const hop = hops[at] ?? ''
      if (isIP(hop) === 0) return nearest
      nearest = hop
    }
    return nearest
  }
}

/** Whether `address` is of this machine. */
export function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return false
  const plain = unmapped(address)
  return plain === '::1' || (isIP(plain) === 4 && plain.startsWith('127.'))
}

/** All hops of all header lines, in order. */
function forwardedFor(raw: readonly string[]): string[] {
  const hops: string[] = []
  for (let at = 0; at + 1 < raw.length; at += 2) {
    if ((raw[at] ?? '').toLowerCase() !== 'x-forwarded-for') continue
    for (const part of (raw[at + 1] ?? '').split(',')) hops.push(unmapped(part.trim()))
  }
  return hops.slice(-hopsMax)
}

/** Whether the request came through any proxy at all. */
export function isForwarded(raw: readonly string[]): boolean {
  return ['x-forwarded-for', 'forwarded', 'via'].some(
    (name) => headerValue(raw, name) !== undefined,
  )
}

function isIn(list: BlockList, address: string): boolean {
  const plain = unmapped(address)
  const family = isIP(plain)
  return family !== 0 && list.check(plain, family === 4 ? 'ipv4' : 'ipv6')
}

/** An IPv4 address inside IPv6 is the IPv4 address. */
function unmapped(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

function addRange(list: BlockList, range: string): void {
  const [address = '', bits, ...rest] = range.split('/')
  const family = isIP(address)
  const bitsMax = family === 4 ? 32 : 128
  const length = bits === undefined ? bitsMax : Number(bits)
  if (family === 0 || rest.length > 0 || bits === '' || !(length >= 0 && length <= bitsMax)) {
    throw new AuditError(
      'ERR_CONFIG_INVALID',
      'gateway.trusted_proxies: each is an address or a range such as 10.0.0.0/8.',
    )
  }
  list.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6')
}
