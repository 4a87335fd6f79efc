/**
 * IP addresses, masked before they stand in a record: /24 for IPv4 and /48 for IPv6 by default, so
 * that a record tells the network and not the machine. An IPv4-mapped IPv6 address counts as IPv4.
 *
 * @module
 */
import type { IpMask } from './exchange.ts'

export const defaultIpMask: IpMask = { v4Bits: 24, v6Bits: 48 }

const groupCount = 8

/** `203.0.113.0/24`, `2001:db8:1::/48`; `null` if `address` is not an IP address. */
export function maskAddress(address: string, mask: IpMask = defaultIpMask): string | null {
  const plain = withoutZone(address)
  const v4 = parseIpv4(plain)
  if (v4 !== null) return formatIpv4(v4, mask.v4Bits)
  const groups = parseIpv6(plain)
  if (groups === null) return null
  if (isMapped(groups)) {
    return formatIpv4((groups[6] ?? 0) * 0x10000 + (groups[7] ?? 0), mask.v4Bits)
  }
  return formatIpv6(groups, mask.v6Bits)
}

function withoutZone(address: string): string {
  const zone = address.indexOf('%')
  return zone < 0 ? address : address.slice(0, zone)
}

/** 32-bit number, or `null`. Four decimal parts, nothing shorter: `1.2` is not an address here. */
function parseIpv4(text: string): number | null {
  let value = 0
  let part = -1
  let parts = 0
  for (let at = 0; at <= text.length; at++) {
    const code = at === text.length ? 0x2e : text.charCodeAt(at)
    if (code === 0x2e) {
      if (part < 0 || part > 255) return null
      value = value * 256 + part
      part = -1
      parts++
    } else if (code >= 0x30 && code <= 0x39) {
      part = (part < 0 ? 0 : part) * 10 + (code - 0x30)
      if (part > 255) return null
    } else {
      return null
    }
  }
  return parts === 4 ? value : null
}

/** Eight 16-bit groups, or `null` (RFC 4291 §2.2, with a dotted IPv4 tail allowed). */
function parseIpv6(text: string): number[] | null {
  const halves = text.split('::')
  if (text === '' || halves.length > 2) return null
  const head = parseGroups(halves[0] ?? '')
  const tail = parseGroups(halves[1] ?? '')
  if (head === null || tail === null) return null
  const missing = groupCount - head.length - tail.length
  if (halves.length === 1) return missing === 0 ? head : null
  if (missing < 1) return null
  return [...head, ...Array.from({ length: missing }, () => 0), ...tail]
}

function parseGroups(text: string): number[] | null {
  if (text === '') return []
  const groups: number[] = []
  for (const part of text.split(':')) {
    if (part.includes('.')) {
      const v4 = parseIpv4(part)
      if (v4 === null) return null
      groups.push(Math.floor(v4 / 0x10000), v4 % 0x10000)
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return null
      groups.push(Number.parseInt(part, 16))
    }
  }
  return groups.length > groupCount ? null : groups
}

function isMapped(groups: readonly number[]): boolean {
  return groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
}

function formatIpv4(value: number, bits: number): string {
  const kept = bits >= 32 ? value : Math.floor(value / 2 ** (32 - bits)) * 2 ** (32 - bits)
  const parts = [kept / 0x1000000, kept / 0x10000, kept / 0x100, kept]
  const text = parts.map((part) => Math.floor(part) % 256).join('.')
  return bits >= 32 ? text : `${text}/${bits}`
}

function formatIpv6(groups: readonly number[], bits: number): string {
  const masked = groups.map((group, index) => {
    const kept = Math.min(16, Math.max(0, bits - index * 16))
    return Math.floor(group / 2 ** (16 - kept)) * 2 ** (16 - kept)
  })
  const text = compress(masked)
  return bits >= 128 ? text : `${text}/${bits}`
}

/** RFC 5952 §4: lower case, the first longest run of zero groups as `::`. */
function compress(groups: readonly number[]): string {
  let start = -1
  let length = 1
  for (let from = 0; from < groups.length; from++) {
    let to = from
    while (to < groups.length && groups[to] === 0) to++
    if (to - from > length) {
      start = from
      length = to - from
    }
  }
  const hex = groups.map((group) => group.toString(16))
  if (start < 0) return hex.join(':')
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`
}
