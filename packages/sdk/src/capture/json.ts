/**
 * Parsed JSON, read with types that say what is known: nothing, until a member has been looked at.
 *
 * @module
 */

/** An object that `JSON.parse` returned. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Tells whether `value` is a JSON object (and not an array or `null`). */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `value` if it is an array, else an empty one. */
export function arrayOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** `value` if it is a non-empty string, else `null`. */
export function stringOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}

/** `value` if it is a count: a safe integer that is not negative; else `null`. */
export function countOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
}

/** Parses JSON text; `undefined` (which no JSON text means) if it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
