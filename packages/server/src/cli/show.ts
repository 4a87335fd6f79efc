/**
 * `affidavit show`: one record, whole: what was recorded, where it is in its log, and whether that
 * verifies.
 *
 * @module
 */
import type { Command } from 'commander'
import { exits } from './exit.ts'
import { resolveNames, type ResolvedNames } from './identity.ts'
import { type EntryState, faultOfReceipt, leafHashHex, makeReceipt, stateOf } from './inclusion.ts'
import { recordPage, row } from './record-page.ts'
import { dataDirOption, jsonOption } from './settings.ts'
import {
  type Colours,
  counted,
  grouped,
  processTerminal,
  type Terminal,
  visible,
} from './terminal.ts'
import { findRecord, type FoundRecord, lastEntry } from './verification/record-file.ts'

const examples = `
The id of an interaction is in its x-audit-event-id response header. Users are shown as handles; whoever can
read the identity key (keys/identity.key of the data directory, or --identity-key) sees the name.

States: sequenced (durable, will be in the log), integrated (under a root), published (under a signed
checkpoint that others can see).

Examples:
  affidavit show 01935d4c-8f2e-7c3a-9d1e-0123456789ab
  affidavit show 01935d4c-8f2e-7c3a-9d1e-0123456789ab --identity-key /media/safe/identity.key
  affidavit show 01935d4c-8f2e-7c3a-9d1e-0123456789ab --json

Exit codes: 0 shown, 4 no such record, 11 the record is not what its log's signed tree holds.`

interface ShowOptions {
  readonly dataDir?: string
  readonly json?: boolean
  readonly identityKey?: string
}

/** Adds the command. */
export function register(program: Command): void {
  program
    .command('show')
    .description('show one record, where it is, and whether it verifies')
    .argument('<event_id>', 'id of the interaction')
    .option('--identity-key <file>', 'private identity key (default: keys/identity.key)')
    .option(...dataDirOption)
    .option(...jsonOption)
    .addHelpText('after', examples)
    .action(run)
}

async function run(eventId: string, options: ShowOptions): Promise<void> {
  const found = await findRecord(eventId, options)
  const places = await Promise.all(found.entries.map((placed) => locate(found, placed)))
  const last = lastEntry(found)
  const { instance } = found
  const resolved = await resolveNames(last.parsed, { instance, identityKey: options.identityKey })
  const terminal = processTerminal()
  if (options.json === true) {
    const facts = { event_id: eventId, instance: instance.name }
    const names = { names: resolved.names, identity_key_needed: resolved.keyNeeded ?? null }
    await terminal.print(`${JSON.stringify({ ...facts, ...names, entries: places.map(wireOf) })}\n`)
  } else await printPage(terminal, { last, resolved, places })
  if (places.some(({ fault }) => fault !== undefined)) process.exitCode = exits.altered.code
}

/** One entry of the record and its place in a log. */
interface Place {
  readonly placed: FoundRecord['entries'][number]
  readonly origin: string
  readonly treeSize: number | null
  readonly leafHash: string
  readonly state: EntryState
  /** Why it does not verify; undefined when it does, or when it is only sequenced. */
  readonly fault: string | undefined
}

async function locate(found: FoundRecord, placed: Place['placed']): Promise<Place> {
  const log = found.logs.find(({ path }) => path === placed.log)
  const state = stateOf(placed, log)
  const leafHash = leafHashHex(placed.entry)
  if (log === undefined || state === 'sequenced') {
    const origin = log?.origin ?? placed.log
    return { placed, origin, treeSize: null, leafHash, state, fault: undefined }
  }
  const receipt = await makeReceipt(placed, log)
  const fault = faultOfReceipt(placed, receipt, { log, trust: { kind: 'own' } })
  return { placed, origin: log.origin, treeSize: log.size, leafHash, state, fault }
}

function wireOf({ placed, origin, treeSize, leafHash, state, fault }: Place) {
  return {
    kind: placed.parsed.kind,
    origin,
    leaf_index: placed.leafIndex,
    tree_size: treeSize,
    leaf_hash: leafHash,
    state,
    verified: state === 'sequenced' ? null : fault === undefined,
    entry: placed.parsed,
  }
}

async function printPage(
  terminal: Terminal,
  page: { last: Place['placed']; resolved: ResolvedNames; places: readonly Place[] },
): Promise<void> {
  const { colours } = terminal
  const { last, resolved, places } = page
  const replaced: Record<string, string> = {}
  for (const [field, name] of Object.entries(resolved.names)) {
    const handle = Object.entries(last.parsed).find(([key]) => key === field)?.[1]
    replaced[field] =
      `${colours.bold(visible(name))} ${colours.dim(`(${visible(String(handle))})`)}`
  }
  await terminal.print(`${recordPage(last.parsed, { colours, replaced })}\n`)
  const lines = places.flatMap((place) => placeLines(place, colours))
  await terminal.print(`${colours.bold('In the log')}\n${lines.join('\n')}\n`)
  if (resolved.keyNeeded !== undefined) {
    terminal.note(
      `\nThe user is shown as a handle: ${resolved.keyNeeded} is needed to see the name.\n`,
    )
  }
}

function placeLines(place: Place, colours: Colours): string[] {
  const { placed, origin, treeSize, leafHash, state, fault } = place
  const { epoch, seq } = placed.parsed.writer
  const kind = placed.parsed.kind.replace(/^interaction\./, '')
  const where = `entry ${grouped(placed.leafIndex)} of ${visible(origin)}`
  const verified =
    fault === undefined
      ? colours.good('verifies')
      : colours.bad(`does not verify: ${visible(fault)}`)
  const tree =
    treeSize === null
      ? `${state}: durable, and in the tree within a second of the gateway's running`
      : `${state}, under the signed tree of ${counted(treeSize, 'entry', 'entries')}: ${verified}`
  return [
    row(kind, where, colours),
    row('', tree, colours),
    row('', colours.dim(`leaf ${leafHash}  writer epoch ${epoch} seq ${seq}`), colours),
  ]
}
