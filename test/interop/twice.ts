/**
 * The test of being invisible: the same call once straight to the simulator and once through the
 * gateway must give the same, to the last field. The simulator answers equal requests with equal
 * bytes, so any difference is the gateway's.
 *
 * @module
 */
import { type Completed, isCompleted, type Pair } from '../e2e/harness.ts'

/** What a call gave, straight and through the gateway. */
export interface Twice<Value> {
  readonly straight: Outcome<Value>
  readonly through: Outcome<Value>
  /** Records of what the second call made, in order. */
  readonly records: readonly Completed[]
}

/** A value, or the error in the parts that a program can see. */
export type Outcome<Value> =
  | { readonly value: Value }
  | { readonly error: Readonly<Record<string, unknown>> }

/** Runs `call` with each base URL. */
export async function runTwice<Value>(
  pair: Pair,
  call: (baseUrl: string) => Promise<Value>,
): Promise<Twice<Value>> {
  const straight = await outcomeOf(() => call(pair.simulator.url))
  const known = new Set((await pair.entries()).map(({ event_id: id }) => id))
  const through = await outcomeOf(() => call(pair.url))
  await pair.idle()
  const entries = await pair.entries()
  const records = entries.filter(isCompleted).filter(({ event_id: id }) => !known.has(id))
  return { straight, through, records }
}

async function outcomeOf<Value>(call: () => Promise<Value>): Promise<Outcome<Value>> {
  try {
    return { value: plain(await call()) }
  } catch (error) {
    if (!(error instanceof Error)) return { error: { thrown: error } }
    const { name, message } = error
    const seen: Record<string, unknown> = { class: error.constructor.name, name, message }
    for (const field of ['status', 'requestID', 'error', 'type', 'statusCode', 'responseBody']) {
      if (field in error) seen[field] = plain(Reflect.get(error, field))
    }
    return { error: seen }
  }
}

/** Without prototypes and hidden fields: what a program reads. */
function plain<Value>(value: Value): Value {
  return value === undefined ? value : JSON.parse(JSON.stringify(value))
}
