/**
 * What the simulator says: the assistant turns of real conversations (assets/conversations.jsonl,
 * Apache-2.0) when the prompt is one of theirs, and paragraphs of their sentences when it is not.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { assert } from '@affidavit/format'
import { type Seeded } from './seeded.ts'

/** One turn of a conversation. */
export interface Turn {
  readonly role: 'user' | 'assistant'
  readonly content: string
}

/** One conversation, user first. */
export interface Conversation {
  readonly id: string
  readonly turns: readonly Turn[]
}

/** Answers to known prompts, and prose for the others. */
export interface Library {
  readonly conversations: readonly Conversation[]
  /** The recorded answer to `turns`, which end with a user's; several may be recorded. */
  answerTo(turns: readonly string[], seeded: Seeded): string | undefined
  /** Paragraphs of at least `chars` characters. */
  prose(seeded: Seeded, chars: number): string
}

interface Recorded {
  readonly before: readonly string[]
  readonly answer: string
}

const assetPath = fileURLToPath(new URL('../../assets/conversations.jsonl', import.meta.url))
const sentenceCharsMax = 300
let opened: Library | undefined

/** Reads the conversations that ship with this package; once per process. */
export function openLibrary(): Library {
  opened ??= createLibrary(parseConversations(readFileSync(assetPath, 'utf8')))
  return opened
}

/** Parses one conversation a line: `{id, messages: [{role, content}]}`. */
export function parseConversations(lines: string): Conversation[] {
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line, index) => {
      const value: unknown = JSON.parse(line)
      assert(isStored(value), `line ${index + 1} of the conversations has an id and messages`)
      return { id: `${value.id}-${index}`, turns: value.messages }
    })
}

function isStored(value: unknown): value is { id: string; messages: readonly Turn[] } {
  if (typeof value !== 'object' || value === null) return false
  if (!('id' in value) || typeof value.id !== 'string' || !('messages' in value)) return false
  return Array.isArray(value.messages) && value.messages.every(isTurn)
}

function isTurn(value: unknown): value is Turn {
  if (typeof value !== 'object' || value === null || !('role' in value)) return false
  return (
    (value.role === 'user' || value.role === 'assistant') &&
    'content' in value &&
    typeof value.content === 'string'
  )
}

/** Makes a library of `conversations`. */
export function createLibrary(conversations: readonly Conversation[]): Library {
  const answers = new Map<string, Recorded[]>()
  const sentences = new Set<string>()
  for (const { turns } of conversations) {
    for (const [index, turn] of turns.entries()) {
      if (turn.role !== 'assistant') continue
      const before = turns.slice(0, index).map((earlier) => earlier.content.trim())
      const question = before.at(-1) ?? ''
      answers.set(question, [...(answers.get(question) ?? []), { before, answer: turn.content }])
      for (const sentence of sentencesOf(turn.content)) sentences.add(sentence)
    }
  }
  const pool = [...sentences]
  return {
    conversations,
    answerTo: (turns, seeded) => recordedAnswer(answers, turns, seeded),
    prose: (seeded, chars) => prose(pool, seeded, chars),
  }
}

function recordedAnswer(
  answers: ReadonlyMap<string, readonly Recorded[]>,
  turns: readonly string[],
  seeded: Seeded,
): string | undefined {
  const asked = turns.map((turn) => turn.trim())
  const known = answers.get(asked.at(-1) ?? '') ?? []
  const exact = known.filter(
    ({ before }) =>
      before.length === asked.length && before.every((turn, index) => turn === asked[index]),
  )
  const [first, ...others] = exact.length > 0 ? exact : known
  return first === undefined ? undefined : seeded.pick([first, ...others]).answer
}

function sentencesOf(text: string): string[] {
  return text
    .split(/(?<=[.!?])\s+|\n+/)
    .map((sentence) => sentence.trim())
    .filter(
      (sentence) => /^[A-Z].{20,}[.!?]$/u.test(sentence) && sentence.length <= sentenceCharsMax,
    )
}

function prose(pool: readonly string[], seeded: Seeded, chars: number): string {
  const paragraphs: string[] = []
  let length = 0
  while (length < chars) {
    const paragraph = Array.from({ length: 2 + seeded.below(4) }, () => {
      return pool[seeded.below(pool.length)] ?? 'There is nothing to add.'
    }).join(' ')
    paragraphs.push(paragraph)
    length += paragraph.length + 2
  }
  return paragraphs.join('\n\n')
}
