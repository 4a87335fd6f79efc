import { sha256, utf8Encode } from '@affidavit/format'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type ChainOptions, createChain } from './chain.ts'
import {
  createFactsBatch,
  type EntryRole,
  entryRoles,
  type FactsBatch,
  type FactsSource,
  formatUuid,
} from './facts.ts'
import type { Finding } from './finding.ts'

interface Fact {
  readonly log: string
  readonly epoch: number
  readonly seq: number
  readonly prev: Uint8Array
  readonly leafHash: Uint8Array
  readonly eventId: Uint8Array
  readonly role: EntryRole
}

/** One step of a writer: `+a` starts interaction a, `-a` ends it, `!` opens an epoch, `.` is other. */
type Step = string

/** What a writer that takes `steps` would have written, each in the log that `logOf` names. */
function write(steps: readonly Step[], logOf: (index: number) => string = () => 'a'): Fact[] {
  let [epoch, seq] = [0, 0]
  let prev: Uint8Array = new Uint8Array(32)
  return steps.map((step, index) => {
    if (step === '!') [epoch, seq] = [epoch + 1, 0]
    const leafHash = sha256(utf8Encode(`${index} ${step}`))
    const eventId = sha256(utf8Encode(step.slice(1) || String(index))).subarray(0, 16)
    const role = step.startsWith('+')
      ? entryRoles.start
      : step.startsWith('~')
        ? entryRoles.ingestedStart
        : step.startsWith('-')
          ? entryRoles.end
          : step === '!'
            ? entryRoles.opened
            : entryRoles.other
    const fact = { log: logOf(index), epoch, seq, prev, leafHash, eventId, role }
    prev = leafHash
    seq += 1
    return fact
  })
}

function putFact(batch: FactsBatch, index: number, fact: Fact, leafIndex: number): void {
  batch.leafIndices[index] = leafIndex
  batch.epochs[index] = fact.epoch
  batch.seqs[index] = fact.seq
  batch.roles[index] = fact.role
  batch.prevs.set(fact.prev, index * 32)
  batch.leaves.set(fact.leafHash, index * 32)
  batch.eventIds.set(fact.eventId, index * 16)
}

function sourcesOf(facts: readonly Fact[], batchSize: number): FactsSource[] {
  const logs = [...new Set(facts.map((fact) => fact.log))]
  return logs.map((where, at) => {
    const own = facts.filter((fact) => fact.log === where)
    let taken = 0
    return {
      where,
      // Whether the first place is known in advance makes no difference.
      first: at % 2 === 0 ? undefined : own[0],
      next: async () => {
        const part = own.slice(taken, taken + batchSize)
        if (part.length === 0) return undefined
        const batch = createFactsBatch(part.length)
        for (const [index, fact] of part.entries()) {
          putFact(batch, index, fact, taken + index)
        }
        taken += part.length
        return batch
      },
    }
  })
}

async function check(facts: readonly Fact[], options: Partial<ChainOptions> = {}, batchSize = 3) {
  const findings: Finding[] = []
  const report = (finding: Finding) => findings.push(finding)
  const chain = createChain({ report, ...options })
  await chain.merge(sourcesOf(facts, batchSize))
  const summary = chain.finish()
  return { summary, findings, kinds: findings.map((finding) => finding.kind) }
}

const steps = ['!', '+a', '+b', '-a', '.', '+c', '-c', '-b', '!', '.', '+d', '-d']

test('an unbroken chain over several logs has no finding', async () => {
  const logs = fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 12, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(logs, fc.integer({ min: 1, max: 5 }), async (logOf, batchSize) => {
      const { summary, findings } = await check(
        write(steps, (index) => logOf[index] ?? 'a'),
        {},
        batchSize,
      )
      expect(findings).toEqual([])
      expect(summary).toMatchObject({ entries: 12, epochs: 2, paired: 4, open: 0 })
      expect(summary.last).toMatchObject({ epoch: 2, seq: 3 })
    }),
  )
})

test('an entry that was left out shows, whichever it was and wherever the others are', async () => {
  for (let missing = 0; missing < steps.length - 1; missing += 1) {
    const facts = write(steps, (index) => (index % 3 === 0 ? 'b' : 'a'))
    const { kinds } = await check(facts.filter((_, index) => index !== missing))
    expect(kinds).toContain('gap')
  }
})

test('two neighbours that were exchanged show', async () => {
  for (let index = 0; index < steps.length - 1; index += 1) {
    const facts = write(steps)
    const [left, right] = [facts[index], facts[index + 1]]
    if (left === undefined || right === undefined) throw new Error('the index is inside')
    facts.splice(index, 2, right, left)
    expect((await check(facts)).kinds).toContain('gap')
  }
})

test('an entry that was written twice shows', async () => {
  const facts = write(steps)
  const { kinds } = await check([...facts.slice(0, 5), ...facts.slice(4)])
  expect(kinds).toContain('gap')
})

test('an entry that was replaced shows at its successor, with both hashes', async () => {
  const facts = write(steps).map((fact, index) =>
    index === 4 ? { ...fact, leafHash: new Uint8Array(32).fill(7) } : fact,
  )
  const { findings } = await check(facts)
  expect(findings).toHaveLength(1)
  expect(findings[0]).toMatchObject({ kind: 'gap', where: 'a', leafIndex: 5 })
  expect(findings[0]?.expected).toBe(`prev ${'07'.repeat(32)}`)
})

test('a start that is open in the newest epoch is not wrong', async () => {
  const { summary, findings } = await check(write(['!', '+a', '-a', '+b', '.']))
  expect(findings).toEqual([])
  expect(summary).toMatchObject({ open: 1, paired: 1 })
})

test('a start that an earlier epoch left open is wrong once recovery is over', async () => {
  const { findings } = await check(write(['!', '+a', '!', '.']))
  expect(findings).toHaveLength(1)
  expect(findings[0]).toMatchObject({ kind: 'unpaired', leafIndex: 1 })
  expect(findings[0]?.eventId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-/)
})

test('a start that an application delivered is the application’s to end, in any epoch', async () => {
  const open = await check(write(['!', '~a', '!', '.']))
  expect(open.findings).toEqual([])
  expect(open.summary).toMatchObject({ open: 1, paired: 0 })
  const ended = await check(write(['!', '~a', '!', '.', '-a']))
  expect(ended.findings).toEqual([])
  expect(ended.summary).toMatchObject({ open: 0, paired: 1 })
})

test('a recovery that is cut short has lost nothing yet', async () => {
  const { summary, findings } = await check(write(['!', '+a', '+b', '!', '-a']))
  expect(findings).toEqual([])
  expect(summary.open).toBe(1)
})

test('an interaction that is started twice is unpaired, an end without a start is handed back', async () => {
  const { summary, kinds } = await check(write(['!', '+a', '+a', '-a', '-z']))
  expect(kinds).toEqual(['unpaired'])
  expect(summary.unmatchedEnds).toMatchObject([{ where: 'a', leafIndex: 4 }])
})

test('a part from inside the chain is taken from its first entry', async () => {
  const facts = write(steps).slice(3)
  expect((await check(facts)).kinds).toContain('gap')
  const inside = await check(facts, { startsInside: true })
  expect(inside.findings).toEqual([])
  expect(inside.summary.unmatchedEnds).toHaveLength(2)
})

test('when some logs are not there, what is there must still rise and be linked', async () => {
  const facts = write(steps, (index) => (index % 3 === 0 ? 'b' : 'a'))
  const own = facts.filter((fact) => fact.log === 'a')
  expect((await check(own)).kinds).toContain('gap')
  expect((await check(own, { isPartial: true })).findings).toEqual([])
  expect((await check(own.toReversed(), { isPartial: true })).kinds).toContain('gap')
  const changed = own.map((fact, index) =>
    index === 1 ? { ...fact, prev: new Uint8Array(32) } : fact,
  )
  expect((await check(changed, { isPartial: true })).kinds).toContain('gap')
})

test('an epoch that does not begin with ledger.opened shows', async () => {
  const facts = write(steps).map((fact) => ({ ...fact, role: entryRoles.other }))
  expect((await check(facts)).kinds).toEqual(['gap', 'gap'])
})

test('a UUID is formatted as it is written', () => {
  const hex = '00112233445566778899aabbccddeeff'
  expect(formatUuid(hex)).toBe('00112233-4455-6677-8899-aabbccddeeff')
})
