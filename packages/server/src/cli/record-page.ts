/**
 * One record, whole, for `affidavit show`: the fields that people ask about first in groups of their
 * own, then every other field, so that nothing that was recorded is left out.
 *
 * @module
 */
import type { Entry } from '@affidavit/format'
import { outcomeOf, isInteraction, readableMs } from './record-line.ts'
import { type Colours, grouped, visible } from './terminal.ts'

type Fields = Readonly<Record<string, unknown>>

interface Group {
  readonly title: string
  readonly rows: readonly (readonly [label: string, ...fields: string[]])[]
}

const groups: readonly Group[] = [
  {
    title: 'Who',
    rows: [
      ['user', 'user_id'],
      ['session', 'session_id'],
      ['application', 'application_id'],
      ['device', 'device_id'],
      ['agent', 'agent_id', 'parent_agent_id', 'is_subagent'],
      ['client', 'client'],
      ['credential', 'credential'],
      ['address', 'ip_address'],
      ['trust', 'identity_trust'],
    ],
  },
  {
    title: 'What',
    rows: [
      ['operation', 'operation', 'route'],
      ['provider', 'provider'],
      ['model asked', 'model'],
      ['streaming', 'streaming'],
      ['tools offered', 'tools_offered_count', 'tools_offered'],
      ['references', 'external_refs'],
      ['classification', 'data_classification', 'classification_source'],
      ['policy', 'policy_flags', 'policy_version'],
      ['retention', 'retention_class'],
      ['captured by', 'capture_source'],
    ],
  },
  {
    title: 'Outcome',
    rows: [
      ['status', 'status', 'end_state', 'http_status'],
      ['stop reason', 'stop_reason', 'stop_sequence', 'refusal_category'],
      ['error', 'error_type'],
      ['model served', 'model_served', 'models'],
      ['tools called', 'tool_calls_count', 'tool_calls'],
      ['provider ids', 'request_id', 'message_id'],
      ['tokens in', 'prompt_tokens'],
      ['tokens out', 'completion_tokens', 'usage_source'],
      ['usage', 'usage'],
      ['latency ms', 'latency_ms', 'first_byte_ms', 'first_token_ms'],
    ],
  },
  {
    title: 'Digests',
    rows: [
      ['prompt', 'prompt_hash'],
      ['response', 'response_hash'],
      ['made with', 'hash'],
      ['request', 'request'],
      ['response', 'response'],
      ['delivered', 'delivered'],
      ['content', 'prompt_raw', 'response_raw'],
    ],
  },
]

// Shown in the page's first lines or in the section about the log.
const placed = new Set(['v', 'kind', 'event_id', 'timestamp', 'logged_at', 'writer'])
const labelColumns = 20

/**
 * The page of a record.
 *
 * @param entry the end of the interaction if there is one, else its start, or an entry of another kind
 * @param replaced texts to show instead of a field's value, e.g. a resolved user
 */
export function recordPage(
  entry: Entry,
  options: { colours: Colours; replaced?: Readonly<Record<string, string>> },
): string {
  const { colours } = options
  const fields: Fields = { ...entry }
  const lines = [title(entry, colours), '']
  const shown = new Set(placed)
  for (const group of groups) {
    const rows = group.rows.flatMap((parts) => rowLines(parts, fields, shown, options))
    if (rows.length > 0) lines.push(colours.bold(group.title), ...rows, '')
  }
  const rest = Object.keys(fields).filter((name) => !shown.has(name))
  const others = rest.map((name) => row(name, valueText(fields[name]), colours))
  if (others.length > 0) lines.push(colours.bold('Other fields'), ...others, '')
  return lines.join('\n')
}

/** One labelled line. */
export function row(label: string, text: string, colours: Colours): string {
  return `  ${colours.dim(visible(label).padEnd(labelColumns))}${text}`
}

function title(entry: Entry, colours: Colours): string {
  const head = `${colours.bold(visible(entry.event_id))}  ${visible(entry.timestamp)}`
  if (!isInteraction(entry)) return `${head}  ${visible(entry.kind)}`
  const took =
    entry.kind === 'interaction.completed' ? ` after ${readableMs(entry.latency_ms)}` : ''
  return `${head}  ${visible(outcomeOf(entry))}${took}`
}

function rowLines(
  [label, ...names]: readonly [string, ...string[]],
  fields: Fields,
  shown: Set<string>,
  options: { colours: Colours; replaced?: Readonly<Record<string, string>> },
): string[] {
  const texts: string[] = []
  for (const name of names) {
    const value = fields[name]
    if (value === undefined) continue
    shown.add(name)
    const text = options.replaced?.[name] ?? valueText(value)
    // One model that answered need not be named twice.
    if (text !== '' && !texts.includes(text)) texts.push(text)
  }
  return texts.length === 0 ? [] : [row(label, texts.join(' · '), options.colours)]
}

function valueText(value: unknown): string {
  if (value === null) return '–'
  if (typeof value === 'number') return grouped(value)
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map(valueText).join(', ')
  if (typeof value === 'string') return visible(value)
  const parts = Object.entries(value ?? {}).map(
    ([name, part]) => `${visible(name)} ${valueText(part)}`,
  )
  return parts.join(', ')
}
