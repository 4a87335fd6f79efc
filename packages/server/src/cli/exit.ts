/**
 * Exit codes: what a script learns without reading a word. They are an interface, never renumbered;
 * docs/operate/cli.md has the same table and a test compares the two.
 *
 * @module
 */
import { type AuditErrorCode, AuditError, isAuditError } from '@affidavit/format'

/** Every exit code with its meaning, in the order in which docs/operate/cli.md lists them. */
export const exits = {
  ok: { code: 0, meaning: 'everything asked for was done, and nothing is wrong' },
  failed: { code: 1, meaning: 'an unexpected failure; the message says of what' },
  usage: { code: 2, meaning: 'the command line is wrong; nothing was done' },
  config: { code: 3, meaning: 'the configuration is invalid; nothing was started' },
  notFound: { code: 4, meaning: 'there is no such record, log, key or file' },
  ledger: {
    code: 5,
    meaning: 'the ledger cannot be opened for writing: locked, stopped or read-only',
  },
  refused: { code: 6, meaning: 'a key or a permission is missing' },
  problems: { code: 7, meaning: 'doctor found a problem that needs a person' },
  pending: { code: 8, meaning: 'not yet: the record is sequenced but not published' },
  unreachable: { code: 9, meaning: 'another process or host did not answer' },
  signature: { code: 10, meaning: 'a signature does not verify, or the policy is not satisfied' },
  altered: { code: 11, meaning: 'an entry, a bundle or a tile is not what was signed' },
  inconsistent: {
    code: 12,
    meaning: 'two checkpoints contradict each other: a fork or a rollback',
  },
  missing: { code: 13, meaning: 'a file that the signed tree needs is missing' },
  gap: { code: 14, meaning: "a writer's chain has a gap, or was reordered" },
  unpaired: {
    code: 15,
    meaning: 'an interaction has an end without a start, or a start without an end',
  },
  malformed: { code: 16, meaning: 'an entry or a file is not in its one canonical form or place' },
  wal: { code: 17, meaning: 'the write-ahead log is damaged' },
  unreadable: { code: 18, meaning: 'a file could not be read, so nothing is proved about it' },
} as const satisfies Record<string, { readonly code: number; readonly meaning: string }>

/** Name of an exit code. */
export type ExitName = keyof typeof exits

const exitOfError: Partial<Record<AuditErrorCode, ExitName>> = {
  ERR_CONFIG_INVALID: 'config',
  ERR_RECORD_NOT_FOUND: 'notFound',
  ERR_LEDGER_LOCKED: 'ledger',
  ERR_LEDGER_STOPPED: 'ledger',
  ERR_LEDGER_WRITE_FAILED: 'ledger',
  ERR_LEDGER_DISK_FULL: 'ledger',
  ERR_LEDGER_CORRUPT: 'ledger',
  ERR_ROLLBACK_SUSPECTED: 'ledger',
  ERR_HEAD_CONFLICT: 'ledger',
  ERR_IDENTITY_KEY_MISSING: 'refused',
  ERR_IDENTITY_UNSEALABLE: 'refused',
  ERR_CREDENTIAL_REFUSED: 'refused',
  ERR_UPSTREAM_UNREACHABLE: 'unreachable',
  ERR_NOTE_UNVERIFIED: 'signature',
  ERR_POLICY_UNSATISFIED: 'signature',
  ERR_PROOF_INVALID: 'altered',
  ERR_CANONICAL_UNSUPPORTED: 'malformed',
  ERR_BYTES_MALFORMED: 'malformed',
  ERR_ENTRY_MALFORMED: 'malformed',
  ERR_TILE_MALFORMED: 'malformed',
  ERR_BUNDLE_MALFORMED: 'malformed',
  ERR_NOTE_MALFORMED: 'malformed',
  ERR_CHECKPOINT_MALFORMED: 'malformed',
  ERR_COSIGNATURE_MALFORMED: 'malformed',
  ERR_PROOF_MALFORMED: 'malformed',
  ERR_KEY_MALFORMED: 'malformed',
  ERR_POLICY_MALFORMED: 'config',
}

/** A failure of the command itself, with the exit code that it ends in. */
export class CommandError extends Error {
  readonly exit: ExitName

  /** `message`: what happened, what was not lost, what to do; three sentences at most. */
  constructor(exit: ExitName, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'CommandError'
    this.exit = exit
  }
}

/** Returns the exit code that an error ends the command with. */
export function exitOf(error: unknown): ExitName {
  if (error instanceof CommandError) return error.exit
  if (isAuditError(error)) return exitOfError[error.code] ?? 'failed'
  return nodeExit(error)
}

/**
 * Returns the sentence that a person reads. Errors of the operating system get the file and the
 * reason; everything unexpected gets its own message and a pointer to `DEBUG`.
 */
export function sentenceOf(error: unknown): string {
  if (error instanceof CommandError) return error.message
  if (error instanceof AuditError) return `${error.message} (${error.code})`
  if (!(error instanceof Error)) return String(error)
  if (codeOf(error) !== undefined) {
    return `${error.message}. Nothing was changed. Check the path and its permissions.`
  }
  return `${error.message}. Run the command again with AFFIDAVIT_DEBUG=1 to see where.`
}

function nodeExit(error: unknown): ExitName {
  const code = codeOf(error)
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'notFound'
  if (code === 'EACCES' || code === 'EPERM') return 'refused'
  return code === undefined ? 'failed' : 'unreadable'
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' && error.code.startsWith('E') ? error.code : undefined
}
