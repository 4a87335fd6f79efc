/**
 * Every error that Affidavit raises on purpose. The codes are an interface: they are never renamed,
 * each is described in docs/errors.md with what an operator does about it (a test compares the two
 * lists both ways), and `httpStatus` is what a caller of the gateway sees.
 *
 * @module
 */

/** What is known about a code without its message. */
export interface ErrorTraits {
  /** Status a server answers with when this error ends a request. */
  readonly httpStatus: number
  /** Whether the same call may succeed if repeated without a change by a person. */
  readonly retryable: boolean
}

const traits = {
  ERR_CANONICAL_UNSUPPORTED: { httpStatus: 500, retryable: false },
  ERR_BYTES_MALFORMED: { httpStatus: 400, retryable: false },
  ERR_ENTRY_MALFORMED: { httpStatus: 400, retryable: false },
  ERR_ENTRY_TOO_LARGE: { httpStatus: 413, retryable: false },
  ERR_TILE_MALFORMED: { httpStatus: 500, retryable: false },
  ERR_BUNDLE_MALFORMED: { httpStatus: 500, retryable: false },
  ERR_NOTE_MALFORMED: { httpStatus: 500, retryable: false },
  ERR_NOTE_UNVERIFIED: { httpStatus: 500, retryable: false },
  ERR_KEY_MALFORMED: { httpStatus: 500, retryable: false },
  ERR_CHECKPOINT_MALFORMED: { httpStatus: 500, retryable: false },
  ERR_COSIGNATURE_MALFORMED: { httpStatus: 500, retryable: false },
  ERR_PROOF_MALFORMED: { httpStatus: 400, retryable: false },
  ERR_PROOF_INVALID: { httpStatus: 400, retryable: false },
  ERR_POLICY_MALFORMED: { httpStatus: 400, retryable: false },
  ERR_POLICY_UNSATISFIED: { httpStatus: 400, retryable: false },
  ERR_CONFIG_INVALID: { httpStatus: 500, retryable: false },
  ERR_LEDGER_LOCKED: { httpStatus: 503, retryable: false },
  ERR_LEDGER_STOPPED: { httpStatus: 503, retryable: false },
  ERR_LEDGER_WRITE_FAILED: { httpStatus: 503, retryable: false },
  ERR_LEDGER_DISK_FULL: { httpStatus: 503, retryable: false },
  ERR_LEDGER_BUSY: { httpStatus: 503, retryable: true },
  ERR_LEDGER_CORRUPT: { httpStatus: 503, retryable: false },
  ERR_ROLLBACK_SUSPECTED: { httpStatus: 503, retryable: false },
  ERR_HEAD_CONFLICT: { httpStatus: 503, retryable: false },
  ERR_RECORD_NOT_FOUND: { httpStatus: 404, retryable: false },
  ERR_IDENTITY_KEY_MISSING: { httpStatus: 403, retryable: false },
  ERR_IDENTITY_UNSEALABLE: { httpStatus: 403, retryable: false },
  ERR_CREDENTIAL_REFUSED: { httpStatus: 401, retryable: false },
  ERR_PATH_DENIED: { httpStatus: 451, retryable: false },
  ERR_BODY_TOO_LARGE: { httpStatus: 413, retryable: false },
  ERR_REQUEST_MALFORMED: { httpStatus: 400, retryable: false },
  ERR_GATEWAY_BUSY: { httpStatus: 429, retryable: true },
  ERR_UPSTREAM_UNREACHABLE: { httpStatus: 502, retryable: true },
  ERR_AUDIT_UNAVAILABLE: { httpStatus: 503, retryable: false },
  ERR_SPOOL_FULL: { httpStatus: 503, retryable: true },
  ERR_SPOOL_CORRUPT: { httpStatus: 503, retryable: false },
  ERR_SPOOL_LOCKED: { httpStatus: 503, retryable: false },
  ERR_SPOOL_WRITE_FAILED: { httpStatus: 503, retryable: false },
} as const satisfies Record<string, ErrorTraits>

/** Every code; docs/errors.md says what each means and what to do. */
export type AuditErrorCode = keyof typeof traits

/** All codes, in the order in which docs/errors.md lists them. */
export const auditErrorCodes: readonly AuditErrorCode[] = Object.keys(traits).filter(isCode)

/** An error with a stable `code`. Its message never holds content, credentials or personal data. */
export class AuditError extends Error {
  readonly code: AuditErrorCode

  constructor(code: AuditErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'AuditError'
    this.code = code
  }
}

/** Returns the HTTP status and the retry advice of `code`. */
export function traitsOf(code: AuditErrorCode): ErrorTraits {
  return traits[code]
}

/** Tells whether `error` is an AuditError, with `code` if one is given. */
export function isAuditError(error: unknown, code?: AuditErrorCode): error is AuditError {
  return error instanceof AuditError && (code === undefined || error.code === code)
}

function isCode(name: string): name is AuditErrorCode {
  return name in traits
}
