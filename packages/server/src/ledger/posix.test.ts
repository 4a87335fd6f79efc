import { isAuditError, parseEntry, verifyLog } from '@affidavit/format'
import { systemClock } from '@affidavit/sdk/capture'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openLedger } from './ledger.ts'
import { openLedgerReader } from './read.ts'
import { failureOf, interactionEntry, plainEntry } from './testing.ts'

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ledger-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

async function openAt(path: string) {
  return await openLedger({
    directory: path,
    deployment: 'audit.example',
    instance: 'gw-1',
    clock: systemClock,
    random: randomBytes,
    segmentBytes: 1 << 18,
  })
}

/** Verifies every log below an instance's directory, as an auditor would; returns how many entries. */
async function verifyAt(path: string): Promise<number> {
  let count = 0
  for (const log of await (await openLedgerReader(path)).logs()) {
    const files = {
      read: (file: string) =>
        Promise.resolve().then(() => {
          try {
            return readFileSync(join(log.directory, file))
          } catch {
            return undefined
          }
        }),
      list: () =>
        readdirSync(log.directory, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => relative(log.directory, join(entry.parentPath, entry.name))),
    }
    const { findings, intact, entriesHashed } = await verifyLog(files, log.vkey ?? '')
    expect(findings).toEqual([])
    expect(intact).toBe(true)
    count += entriesHashed
  }
  return count
}

describe('a ledger on the real file system', () => {
  test('records, publishes, closes, opens again and verifies', async () => {
    const first = await openAt(directory)
    const placed = await Promise.all(
      Array.from({ length: 700 }, async (_, at) => {
        const append = plainEntry(at, 1000, at % 3 === 0 ? 'long' : 'standard')
        const { entry } = await first.ledger.append(append)
        return Buffer.from(entry)
      }),
    )
    await first.ledger.close()
    const second = await openAt(directory)
    expect(second.recovery).toMatchObject({ epoch: 2, recoveredEntries: 0, tornBytes: 0 })
    await second.ledger.close()
    // Two entries that say the ledger was opened.
    expect(await verifyAt(directory)).toBe(702)
    const reader = await openLedgerReader(directory)
    for (const at of [0, 1, 255, 699]) {
      const { event_id: id } = parseEntry(placed[at] ?? new Uint8Array())
      const [found] = await reader.findByEventId(id)
      expect(Buffer.compare(found?.entry ?? Buffer.of(), placed[at] ?? Buffer.of(1))).toBe(0)
    }
  })

  test('copied at any moment while it runs, opens from the copy with everything acknowledged', async () => {
    const { ledger } = await openAt(directory)
    const acknowledged: number[] = []
    for (let round = 0; round < 4; round++) {
      const numbers = Array.from({ length: 150 }, (_, at) => round * 1000 + at)
      await Promise.all(numbers.map((number) => ledger.append(plainEntry(number, 500))))
      await ledger.append(interactionEntry('started', 9000 + round))
      acknowledged.push(...numbers)
      if (round % 2 === 0) await ledger.publish()
      const copy = `${directory}-copy-${round}`
      cpSync(directory, copy, { recursive: true })
      try {
        const { ledger: revived, recovery } = await openAt(copy)
        expect(recovery.interrupted).toBe(round + 1)
        await revived.close()
        // The opening of each epoch, one start a round, and as many interruptions.
        expect(await verifyAt(copy)).toBe(acknowledged.length + 2 + 2 * (round + 1))
      } finally {
        rmSync(copy, { recursive: true })
      }
    }
    await ledger.close()
  })

  test('is refused to a second opening, by name of the holder', async () => {
    const { ledger } = await openAt(directory)
    const error = await failureOf(openAt(directory))
    expect(error.code).toBe('ERR_LEDGER_LOCKED')
    expect(error.message).toContain(`pid ${process.pid}`)
    await ledger.close()
    const { ledger: next } = await openAt(directory)
    await next.close()
  })

  test('lets nobody but its owner read it', async () => {
    const { ledger } = await openAt(directory)
    await ledger.append(plainEntry(1))
    await ledger.close()
    for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
      const mode = statSync(join(entry.parentPath, entry.name)).mode & 0o077
      expect([entry.name, mode]).toEqual([entry.name, 0])
    }
  })

  test('whose disk refuses to write says so with a code', async () => {
    const error: unknown = await openAt(join('/dev/null', 'x')).catch((reason: unknown) => reason)
    expect(isAuditError(error, 'ERR_LEDGER_WRITE_FAILED')).toBe(true)
  })
})
