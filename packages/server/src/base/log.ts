/**
 * Log lines: facts with fields, for operators. JSON lines, or text for people on a terminal.
 *
 * Invariant: a line holds what happened to *us* (counts, sizes, codes, ids of ours), never content,
 * credentials, header values or names of people. Values are therefore scalars only, and an error is
 * logged by its code and, if it is an AuditError, its message; messages of foreign errors may quote
 * anything and are left out.
 *
 * @module
 */
import { isAuditError } from '@affidavit/format'

/** Levels, least important first. */
export const logLevels = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof logLevels)[number]

/** Fields of one line. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>

/** Writes facts; `fact` is a short constant text, e.g. `sequenced`. */
export interface Log {
  debug(fields: LogFields, fact: string): void
  info(fields: LogFields, fact: string): void
  warn(fields: LogFields, fact: string): void
  error(fields: LogFields, fact: string): void
}

export interface LogOptions {
  readonly level: LogLevel
  readonly pretty: boolean
  /** Takes one line with its line end. */
  write(line: string): void
  /** RFC 3339 UTC of now. */
  now(): string
}

/** Makes a log that writes lines of `level` and above. */
export function createLog(options: LogOptions): Log {
  const least = logLevels.indexOf(options.level)
  const at = (level: LogLevel) => {
    if (logLevels.indexOf(level) < least) return () => {}
    const render = options.pretty ? prettyLine : jsonLine
    return (fields: LogFields, fact: string) => {
      options.write(`${render(options.now(), level, fact, fields)}\n`)
    }
  }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** A log that writes nothing, for tests and tools. */
export const silentLog: Log = createLog({
  level: 'error',
  pretty: false,
  write: () => {},
  now: () => '',
})

/** What may be logged about a failure: a code, and a message only if it is one of ours. */
export function errorFields(error: unknown): LogFields {
  if (isAuditError(error)) return { code: error.code, message: error.message, ...causeOf(error) }
  return { code: codeOf(error) ?? (error instanceof Error ? error.name : typeof error) }
}

function causeOf(error: Error): LogFields {
  const code = codeOf(error.cause)
  return code === undefined ? {} : { cause: code }
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

function jsonLine(time: string, level: LogLevel, fact: string, fields: LogFields): string {
  return JSON.stringify({ time, level, fact, ...fields })
}

function prettyLine(time: string, level: LogLevel, fact: string, fields: LogFields): string {
  const clock = time.slice(11, 23)
  let line = `${clock} ${level.padEnd(5)} ${fact}`
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue
    // JSON quoting keeps line ends and control characters out of a terminal.
    const text =
      typeof value === 'string' && /[^!-~]|["=]/.test(value) ? JSON.stringify(value) : value
    line += ` ${key}=${text}`
  }
  return line
}
