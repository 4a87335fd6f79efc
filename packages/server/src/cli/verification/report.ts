/**
 * What a verification says at its end, for people and for programs.
 *
 * @module
 */
import { exits } from '../exit.ts'
import { type Colours, counted, grouped, visible } from '../terminal.ts'
import type { ChainSummary } from './chain.ts'
import { exitOfFindings, type Finding, type FindingList } from './finding.ts'
import type { LedgerSummary, LogSummary } from './ledger-check.ts'
import type { RangeSummary } from './range-check.ts'
import type { Trust } from './trust.ts'

/** Said when nothing but the log's own key was there to trust. */
export const ownKeyRemark =
  "The keys came from the logs' own files, so this proves that nothing was changed by anyone without " +
  'those keys. It does not prove whose logs these are: for that, give the key that you were handed, ' +
  'with --vkey or --policy. A whole ledger that was put back to an earlier state shows only against a ' +
  'checkpoint kept elsewhere: --checkpoint.'

/** The result for programs. Members are never renamed; new ones may come. */
export function reportJson(options: {
  path: string
  trust: Trust
  ledgers: readonly LedgerSummary[]
  range?: RangeSummary | undefined
  findings: FindingList
}): string {
  const { path, trust, ledgers, range, findings } = options
  const exit = exitOfFindings(findings.counts)
  return JSON.stringify({
    ok: exit === 'ok',
    verdict: exit,
    exit: exits[exit].code,
    path,
    trust: trust.kind === 'own' ? 'own-key' : 'given',
    ledgers: ledgers.map(ledgerJson),
    ...(range === undefined ? {} : { range: rangeJson(range) }),
    findings: findings.kept.map(findingJson),
    finding_counts: Object.fromEntries(findings.counts),
    notices: ledgers.flatMap(({ notices }) => notices),
  })
}

function ledgerJson(ledger: LedgerSummary) {
  const { name, writerId, logs, chain, isPartial, tail } = ledger
  return {
    name,
    writer_id: writerId ?? null,
    logs: logs.map(logJson),
    chain: chainJson(chain, isPartial),
    tail: tail === undefined ? null : { entries: tail.entries, torn_bytes: tail.tornBytes },
  }
}

function logJson({ origin, where, treeSize, rootHash, entries, checkpoints, intact }: LogSummary) {
  const tree = { tree_size: treeSize, root_hash: rootHash }
  return { origin, where, ...tree, entries_hashed: entries, checkpoints, intact }
}

function chainJson({ entries, epochs, paired, open, last }: ChainSummary, isPartial: boolean) {
  const end = last && { epoch: last.epoch, seq: last.seq, leaf_hash: last.leafHash }
  return { entries, epochs, paired, open, last: end, partial: isPartial }
}

function rangeJson({ origin, from, to, treeSize, chain, isPartial }: RangeSummary) {
  return { origin, from, to, tree_size: treeSize, chain: chainJson(chain, isPartial) }
}

function findingJson(finding: Finding) {
  const { kind, what, where, byteOffset, leafIndex, eventId, expected, actual, evidence } = finding
  return {
    kind,
    exit: exits[kind].code,
    what,
    where,
    byte_offset: byteOffset,
    leaf_index: leafIndex,
    event_id: eventId,
    expected,
    actual,
    evidence,
  }
}

/** The result for people. */
export function reportText(options: {
  trust: Trust
  ledgers: readonly LedgerSummary[]
  range?: RangeSummary | undefined
  findings: FindingList
  colours: Colours
}): string {
  const { trust, ledgers, range, findings, colours } = options
  const lines = ledgers.flatMap((ledger) => ledgerLines(ledger, colours))
  if (range !== undefined) lines.push(...rangeLines(range, colours))
  for (const finding of findings.kept) lines.push('', ...findingLines(finding, colours))
  const exit = exitOfFindings(findings.counts)
  const total = [...findings.counts.values()].reduce((sum, count) => sum + count, 0)
  if (total > findings.kept.length) {
    lines.push('', `… and ${grouped(total - findings.kept.length)} more of the same kinds.`)
  }
  const verdict =
    exit === 'ok'
      ? colours.good('Everything verifies.')
      : colours.bad(`Not intact: ${exits[exit].meaning}. (exit code ${exits[exit].code})`)
  lines.push('', verdict)
  if (trust.kind === 'own') lines.push(colours.dim(ownKeyRemark))
  return `${lines.join('\n')}\n`
}

function ledgerLines(ledger: LedgerSummary, colours: Colours): string[] {
  const { name, writerId, logs, chain, isPartial, tail, notices } = ledger
  const lines = [
    `${colours.bold(visible(name))}${writerId === undefined ? '' : `  writer ${writerId}`}`,
  ]
  for (const log of logs) {
    const size = counted(log.treeSize, 'entry', 'entries')
    const root = colours.dim(`root ${log.rootHash.slice(0, 16)}…`)
    const checkpoints = counted(log.checkpoints, 'checkpoint')
    lines.push(
      `${mark(log.intact, colours)}  ${visible(log.origin)}  ${size}, ${checkpoints}  ${root}`,
    )
  }
  lines.push(`    ${chainText(chain, isPartial)}`)
  if (tail === undefined) lines.push('    no head here: what was not published yet is not verified')
  else {
    const torn =
      tail.tornBytes === 0 ? '' : `, ${counted(tail.tornBytes, 'byte')} of an unfinished write`
    lines.push(
      `    write-ahead log: ${counted(tail.entries, 'entry', 'entries')} not integrated${torn}`,
    )
  }
  for (const { what, where } of notices.slice(0, noticesShown)) {
    lines.push(colours.dim(`    note: ${what}: ${visible(where)}`))
  }
  if (notices.length > noticesShown) {
    lines.push(colours.dim(`    note: and ${notices.length - noticesShown} more such files`))
  }
  return lines
}

const noticesShown = 5

function rangeLines(range: RangeSummary, colours: Colours): string[] {
  const { origin, from, to, treeSize, chain, isPartial } = range
  return [
    `${colours.bold(visible(origin))}  entries ${grouped(from)} to ${grouped(to)} of ${grouped(treeSize)}`,
    `    ${chainText(chain, isPartial)}`,
  ]
}

function chainText(chain: ChainSummary, isPartial: boolean): string {
  const { entries, epochs, paired, open } = chain
  const length = `${counted(entries, 'entry', 'entries')} in ${counted(epochs, 'epoch')}`
  const pairs = `${counted(paired, 'interaction')} whole, ${grouped(open)} open`
  const holes = isPartial ? ' (other logs of the writer are not here)' : ''
  return `chain: ${length}, ${pairs}${holes}`
}

function mark(intact: boolean, colours: Colours): string {
  return intact ? colours.good('ok') : colours.bad('XX')
}

function findingLines(finding: Finding, colours: Colours): string[] {
  const { what, where, byteOffset, leafIndex, eventId, expected, actual, kind, evidence } = finding
  const rows: readonly (readonly [string, string | number | undefined])[] = [
    ['file', where],
    ['byte', byteOffset],
    ['entry', leafIndex],
    ['event_id', eventId],
    ['expected', expected],
    ['actual', actual],
    ['evidence', evidence && `a proof of ${evidence.kind} is in the output of --json`],
  ]
  return [
    `${colours.bad(kind)}: ${visible(what)}`,
    ...rows.flatMap(([label, value]) =>
      value === undefined ? [] : [`    ${label.padEnd(9)} ${visible(String(value))}`],
    ),
  ]
}
