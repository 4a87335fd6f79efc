/**
 * Quarters of the UTC calendar, by which logs are cut: `2026q4`. Their names sort by time.
 *
 * @module
 */

/** A quarter and when the next one begins. */
export interface Quarter {
  readonly name: string
  readonly endMicros: number
}

/** The quarter that holds a moment. */
export function quarterAt(micros: number): Quarter {
  const date = new Date(Math.floor(micros / 1000))
  return quarter(date.getUTCFullYear(), Math.floor(date.getUTCMonth() / 3))
}

/** The quarter of that name. */
export function quarterNamed(name: string): Quarter {
  return quarter(Number(name.slice(0, 4)), Number(name.slice(5)) - 1)
}

function quarter(year: number, fromZero: number): Quarter {
  return {
    name: `${String(year).padStart(4, '0')}q${fromZero + 1}`,
    endMicros: Date.UTC(year, fromZero * 3 + 3) * 1000,
  }
}
