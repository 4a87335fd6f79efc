/**
 * Which mode a request gets: the one it asks for by header or by words in its prompt, else the next
 * one that was set with a count, else the standing one.
 *
 * @module
 */
import { type Mode, type ModeSetting, parseMode, triggeredMode } from './modes.ts'
import { parsePrompt } from './prompt.ts'
import { type ReceivedRequest } from './reply.ts'

/** The modes that are set. */
export interface ModeBoard {
  /** The standing mode, or with `count` the mode of that many requests before it stands again. */
  set(setting: ModeSetting & { readonly count?: number }): void
  /** The setting of `request`; takes one off the count if nothing in the request decides. */
  take(request: ReceivedRequest): ModeSetting
  /** Whether a request with this mode header is answered before its body is read. */
  isEarly(named: string | undefined): boolean
}

const queuedMax = 1000
const triggers = ['SIMULATE:', 'USE_TOOL', 'SPAWN_AGENT'].map((word) => Buffer.from(word))

/** Makes a board on which `standing` stands. */
export function createModeBoard(standing: ModeSetting): ModeBoard {
  const queued: ModeSetting[] = []
  let current = standing
  return {
    set({ count, ...setting }) {
      if (count === undefined) {
        queued.length = 0
        current = setting
      }
      const room = Math.min(count ?? 0, queuedMax - queued.length)
      for (let index = 0; index < room; index += 1) queued.push(setting)
    },
    take(request) {
      const named = request.header('x-simulate-mode')
      const mode = (named === undefined ? undefined : parseMode(named)) ?? modeInPrompt(request)
      const setting = mode === undefined ? (queued.shift() ?? current) : { mode }
      return { ...setting, ...sizesIn(request) }
    },
    isEarly(named) {
      const mode = named === undefined ? (queued[0] ?? current).mode : parseMode(named)
      return mode === 'early_413'
    },
  }
}

/** Most prompts hold no trigger; one that may is parsed to see whether its last user text does. */
function modeInPrompt({ path, body }: ReceivedRequest): Mode | undefined {
  if (path !== '/v1/messages' || !triggers.some((word) => body.includes(word))) return undefined
  const prompt = parsePrompt(body, { version: '', counting: false })
  return 'fault' in prompt ? undefined : triggeredMode(prompt.lastUserText)
}

function sizesIn(request: ReceivedRequest): Pick<ModeSetting, 'chunkBytes' | 'bodyBytes'> {
  const chunkBytes = positive(request.header('x-simulate-chunk-bytes'))
  const bodyBytes = positive(request.header('x-simulate-bytes'))
  return {
    ...(chunkBytes === undefined ? {} : { chunkBytes }),
    ...(bodyBytes === undefined ? {} : { bodyBytes }),
  }
}

function positive(text: string | undefined): number | undefined {
  return text !== undefined && /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined
}
