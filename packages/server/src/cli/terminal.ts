/**
 * Where a command's words go. Results are printed on standard output, remarks and progress on standard
 * error, so that a pipe carries results only. Whatever came from a client is shown through `visible`,
 * so that a record cannot move the cursor, hide a line or reverse the text.
 *
 * @module
 */

/** Colours by meaning; without a terminal each returns its text as it is. */
export interface Colours {
  readonly good: (text: string) => string
  readonly bad: (text: string) => string
  readonly warn: (text: string) => string
  readonly dim: (text: string) => string
  readonly bold: (text: string) => string
  readonly accent: (text: string) => string
}

export interface Terminal {
  /** Writes results; resolves when the reader keeps up, so that a slow pipe slows the command. */
  print(text: string): Promise<void>
  /** Writes remarks. */
  note(text: string): void
  /** Redraws the one line of progress; '' removes it. Does nothing unless `live`. */
  status(text: string): void
  /** Whether remarks are seen by a person, so that progress is worth drawing. */
  readonly live: boolean
  readonly colours: Colours
  /** Width of the results in columns; a large number when they go to a file. */
  readonly columns: number
}

/** What `createTerminal` needs of a stream of the process. */
export interface TerminalStream {
  write(text: string): boolean
  once(event: string, listener: (...values: unknown[]) => void): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

/** Columns assumed when results do not go to a terminal. */
export const columnsUnlimited = 10_000

const codes = { good: 32, bad: 31, warn: 33, dim: 2, bold: 1, accent: 36 } as const

/**
 * Makes a terminal over two streams. `NO_COLOR` (no-color.org) and `FORCE_COLOR` are honoured.
 */
export function createTerminal(options: {
  stdout: TerminalStream
  stderr: TerminalStream
  env: Readonly<Record<string, string | undefined>>
}): Terminal {
  const { stdout, stderr, env } = options
  const live = stderr.isTTY === true && env['TERM'] !== 'dumb'
  let drawn = false
  const clear = () => {
    if (drawn) stderr.write('\r\u001b[2K')
    drawn = false
  }
  return {
    async print(text) {
      if (stdout.isTTY === true) clear()
      if (stdout.write(text)) return
      await new Promise<void>((resolve) => {
        stdout.once('drain', () => resolve())
      })
    },
    note(text) {
      clear()
      stderr.write(text)
    },
    status(text) {
      if (!live) return
      clear()
      if (text === '') return
      stderr.write(cut(text, (stderr.columns ?? 80) - 1))
      drawn = true
    },
    live,
    colours: colours(isColoured(stdout, env)),
    columns: stdout.isTTY === true ? (stdout.columns ?? 80) : columnsUnlimited,
  }
}

/** The terminal of this process. */
export function processTerminal(): Terminal {
  return createTerminal({ stdout: process.stdout, stderr: process.stderr, env: process.env })
}

function isColoured(
  stream: TerminalStream,
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  if ((env['NO_COLOR'] ?? '') !== '') return false
  if ((env['FORCE_COLOR'] ?? '') !== '') return env['FORCE_COLOR'] !== '0'
  return stream.isTTY === true && env['TERM'] !== 'dumb'
}

function colours(enabled: boolean): Colours {
  const paint = (code: number) => (text: string) =>
    enabled && text !== '' ? `\u001b[${code}m${text}\u001b[0m` : text
  return {
    good: paint(codes.good),
    bad: paint(codes.bad),
    warn: paint(codes.warn),
    dim: paint(codes.dim),
    bold: paint(codes.bold),
    accent: paint(codes.accent),
  }
}

// C0 and C1 controls, DEL, line and paragraph separators, zero-width and bidirectional controls: each
// can make a terminal show something else than what was recorded.
const unsafe = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu

/** Shows characters that a terminal would obey, or not show, as `\u{…}`. */
export function visible(text: string): string {
  return text.replace(unsafe, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
  })
}

/** Shortens `text` to `columns` characters, the last of them `…` if something was cut. */
export function cut(text: string, columns: number): string {
  if (columns <= 0) return ''
  const characters = Array.from(text)
  return characters.length <= columns ? text : `${characters.slice(0, columns - 1).join('')}…`
}

/** `text`, cut or padded with spaces to exactly `columns` characters. */
export function pad(text: string, columns: number): string {
  const short = cut(text, columns)
  return short + ' '.repeat(columns - Array.from(short).length)
}

/** `12345678` as `12,345,678`. */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** `1 entry`, `2,000 entries`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`
}

/** Bytes with a binary unit: `64.0 MiB`. */
export function readableBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? String(value) : value.toFixed(1)} ${units[unit] ?? ''}`
}
