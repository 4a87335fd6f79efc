/**
 * Fakes for the vault's tests: a ring file that loses what was not made durable, and fails as told.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { createHashKeys, type HashKeys } from '@affidavit/sdk/capture'
import { silentLog } from '../base/log.ts'
import type { IdentitySealer } from './identity-keys.ts'
import type { RingFile } from './ring-file.ts'
import { openKeyRing, type KeyRing, type KeyRingOptions } from './subjects.ts'

/** A ring file in memory. */
export class FakeRingFile implements RingFile {
  /** What is durable. */
  bytes: Buffer
  appends = 0
  /** How the next append fails: nothing of it is kept, half of it is, or all of it is. */
  failNext: 'lost' | 'half' | 'kept' | undefined
  /** Appends wait until `release`. */
  held = false
  readonly #waiting: (() => void)[] = []
  #broken = false

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.bytes = Buffer.from(bytes)
  }

  read(position: number, length: number): Promise<Uint8Array> {
    // Short reads at odd places: a reader may not rely on whole lines or whole chunks.
    const most = Math.min(length, 1 + ((position * 7919) % 1000))
    return Promise.resolve(Buffer.from(this.bytes.subarray(position, position + most)))
  }

  truncate(size: number): Promise<void> {
    this.bytes = this.bytes.subarray(0, size)
    return Promise.resolve()
  }

  async append(bytes: Uint8Array): Promise<void> {
    if (this.#broken) throw new Error('a file that failed was written to again')
    this.appends++
    if (this.held) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    const fate = this.failNext
    this.failNext = undefined
    const kept =
      fate === undefined || fate === 'kept' ? bytes.length : fate === 'half' ? bytes.length >> 1 : 0
    this.bytes = Buffer.concat([this.bytes, bytes.subarray(0, kept)])
    if (fate === undefined) return
    this.#broken = true
    throw Object.assign(new Error('as the test wants'), { code: 'EIO' })
  }

  release(): void {
    this.held = false
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  /** The file as the next process finds it. */
  reopened(): FakeRingFile {
    return new FakeRingFile(this.bytes)
  }

  get lines(): string[] {
    return this.bytes.toString('utf8').split('\n').slice(0, -1)
  }
}

/** A sealer that anyone can open: tests of the ring need no cryptography. */
export const openSealer: IdentitySealer = {
  keyId: '0123456789abcdef',
  seal: (name, { kind, handle, month }) =>
    Promise.resolve(Buffer.from(`${kind} ${handle} ${month} ${name}`, 'utf8').toString('base64')),
}

export const identifierKeys: HashKeys = createHashKeys({
  mode: 'tenant',
  version: '1',
  key: new Uint8Array(32).fill(7),
})

/** Bytes that look random and are the same in every run. */
export function seededRandom(seed: string): (bytes: number) => Uint8Array {
  let count = 0
  return (bytes) => {
    const parts: Buffer[] = []
    for (let have = 0; have < bytes; have += 32) {
      parts.push(createHash('sha256').update(`${seed} ${count++}`).digest())
    }
    return Buffer.concat(parts).subarray(0, bytes)
  }
}

/** 23 November 2026, in microseconds. */
export const november = Date.UTC(2026, 10, 23) * 1000
export const december = Date.UTC(2026, 11, 1) * 1000

/** Opens a ring on `file`. */
export function openTestRing(
  file: RingFile,
  options: Partial<KeyRingOptions> = {},
): Promise<KeyRing> {
  return openKeyRing({
    file,
    sealer: openSealer,
    lookupKey: new Uint8Array(32).fill(3),
    identifierKeys,
    random: seededRandom(`${Math.random()}`),
    log: silentLog,
    nowMicros: november,
    ...options,
  })
}
