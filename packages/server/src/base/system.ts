/**
 * The machine's own timers, randomness and standard error: what processes hand to parts that take them
 * as parameters.
 *
 * @module
 */
import { randomFillSync } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { formatMicros, type Clock } from '@affidavit/sdk/capture'
import type { Config } from './config.ts'
import { createLog, type Log } from './log.ts'

const randomPoolBytes = 4096

/** The log that a process writes to standard error. */
export function standardLog({ level, format }: Config['log'], clock: Clock): Log {
  return createLog({
    level,
    pretty: format === 'pretty' || (format === 'auto' && process.stderr.isTTY),
    write: (line) => process.stderr.write(line),
    now: () => formatMicros(clock.nowMicros()),
  })
}

/** A timer that does not keep the process alive; returns what stops it. */
export function startTimer(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms)
  timer.unref()
  return () => clearTimeout(timer)
}

/** Waits; ends early, without an error, when `signal` aborts. Does not keep the process alive. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal, ref: false }).catch(() => undefined)
}

/** The system's random bytes, fetched a page at a time: a call per request would cost as much as its hashes. */
export function pooledRandom(): (bytes: number) => Uint8Array {
  const pool = Buffer.alloc(randomPoolBytes)
  let used = randomPoolBytes
  return (bytes) => {
    if (bytes > randomPoolBytes / 4) return randomFillSync(Buffer.alloc(bytes))
    if (used + bytes > randomPoolBytes) {
      randomFillSync(pool)
      used = 0
    }
    const taken = Buffer.from(pool.subarray(used, used + bytes))
    // Bytes that were handed out are nowhere else.
    pool.fill(0, used, used + bytes)
    used += bytes
    return taken
  }
}
