/**
 * What the demo sends: who says what, from which application, in which session, and what goes wrong
 * on the way. A plan is a function of its seed, so that a demo can be shown twice.
 *
 * Invariant: users are opaque ids (`user-017`); nothing here looks like a person's name.
 *
 * @module
 */
import { type Conversation } from '../simulate/library.ts'
import { type Mode } from '../simulate/modes.ts'
import { createSeeded, type Seeded } from '../simulate/seeded.ts'

/** How one turn is sent. */
export type TurnForm =
  | 'stream'
  | 'json'
  /** The model asks for a tool, its result is sent back. */
  | 'tool'
  /** A stream that the caller leaves. */
  | 'abort'
  | 'count_tokens'

/** One call to Claude. */
export interface PlannedTurn {
  readonly form: TurnForm
  readonly mode: Mode
  /** The conversation so far; the last turn is the user's. */
  readonly messages: Conversation['turns']
}

/** One conversation of one user. */
export interface PlannedConversation {
  readonly user: string
  readonly application: string
  readonly session: string
  readonly model: string
  readonly system: string
  readonly turns: readonly PlannedTurn[]
}

/** What a plan is made from. */
export interface PlanOptions {
  readonly seed: string
  /** Unique to this run; every session begins with it. */
  readonly runId: string
  readonly conversations: readonly Conversation[]
  /** How many of them are played; they repeat if there are not enough. */
  readonly count: number
  readonly users: number
}

interface Application {
  readonly name: string
  readonly model: string
  readonly system: string
}

const applications: readonly [Application, ...Application[]] = [
  {
    name: 'support-desk',
    model: 'claude-haiku-5-5',
    system: 'You answer customers of a shop for garden tools. Be friendly and short.',
  },
  {
    name: 'contract-review',
    model: 'claude-opus-5-5',
    system: 'You read supply contracts and point out unusual clauses, with their numbers.',
  },
  {
    name: 'code-assistant',
    model: 'claude-sonnet-5-5',
    system: 'You help engineers with TypeScript and SQL. Show code before you explain it.',
  },
  {
    name: 'research-notes',
    model: 'claude-sonnet-5-5',
    system: 'You summarise what was read and ask one question back.',
  },
]

/** Turns out of 100 in each form and mode; the others are streamed and go well. */
const mishaps: readonly (readonly [share: number, form: TurnForm, mode: Mode])[] = [
  [24, 'json', 'ok'],
  [8, 'tool', 'tool_use'],
  [8, 'stream', 'thinking'],
  [3, 'stream', 'server_tools'],
  [2, 'json', 'multi_model'],
  [6, 'abort', 'slow_drip'],
  [2, 'stream', 'mid_error'],
  [3, 'stream', 'cut'],
  [2, 'json', 'error_529'],
  [2, 'stream', 'error_429'],
  [1, 'json', 'error_400'],
  [2, 'json', 'refusal'],
]
const countedShare = 20
/** Has no common factor with 100, so that every 100 turns in a row keep the shares exactly. */
const stride = 37

/** Plans the traffic of one run. */
export function planTraffic(options: PlanOptions): PlannedConversation[] {
  const { seed, conversations, count } = options
  const playable = conversations.filter(({ turns }) => turns.length > 0)
  const deck = { next: createSeeded(seed).below(100) }
  return Array.from({ length: playable.length === 0 ? 0 : count }, (_, index) => {
    const seeded = createSeeded(`${seed}|conversation ${index}`)
    const source = playable[(index * 7 + seeded.below(3)) % playable.length]
    return planConversation(options, source?.turns ?? [], { seeded, deck })
  })
}

interface Draws {
  readonly seeded: Seeded
  readonly deck: { next: number }
}

function planConversation(
  { runId, users }: PlanOptions,
  turns: Conversation['turns'],
  draws: Draws,
): PlannedConversation {
  const { seeded } = draws
  const number = 1 + seeded.below(users)
  // A user works with one application, most of the time.
  const usual = applications[number % applications.length] ?? applications[0]
  const { name, model, system } = seeded.below(10) === 0 ? seeded.pick(applications) : usual
  return {
    user: `user-${String(number).padStart(3, '0')}`,
    application: name,
    session: `${runId}-${seeded.id(8)}`,
    model,
    system,
    turns: turns.flatMap((turn, index) =>
      turn.role === 'user' ? planTurn(turns.slice(0, index + 1), draws) : [],
    ),
  }
}

function planTurn(messages: Conversation['turns'], { seeded, deck }: Draws): PlannedTurn[] {
  const turn = { ...dealt(deck), messages }
  const isCounted = seeded.below(100) < countedShare
  return isCounted ? [{ form: 'count_tokens', mode: 'ok', messages }, turn] : [turn]
}

function dealt(deck: Draws['deck']): { form: TurnForm; mode: Mode } {
  deck.next = (deck.next + stride) % 100
  let left = deck.next
  for (const [share, form, mode] of mishaps) {
    left -= share
    if (left < 0) return { form, mode }
  }
  return { form: 'stream', mode: 'ok' }
}
