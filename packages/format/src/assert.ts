/**
 * The one assertion of every package. It states what must hold whatever the input was; a failure is a
 * bug of ours, never a fault of the caller's, and is caught in `main` only.
 *
 * @module
 */

/**
 * Ends the current operation if `condition` does not hold.
 *
 * @throws Error (a plain one: no caller may handle it) with `invariant` as its message.
 */
export function assert(condition: unknown, invariant: string): asserts condition {
  if (condition) return
  throw new Error(`assertion failed: ${invariant}`)
}
