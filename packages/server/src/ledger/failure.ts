/**
 * What a ledger says when it stops or does not start: for each fault what happened, what was not lost,
 * and what the operator does next. Recovery and the commit path raise errors from here only.
 *
 * @module
 */
import { AuditError, isAuditError } from '@affidavit/format'

/**
 * Turns whatever ended a write into the error that every waiting caller gets. The ledger never tries
 * the write again: after a failed write or sync the page cache can show bytes that the disk does not
 * have.
 */
export function writeFailure(cause: unknown): AuditError {
  if (isAuditError(cause)) return cause
  if (systemCode(cause) === 'ENOSPC' || systemCode(cause) === 'EDQUOT') {
    return new AuditError(
      'ERR_LEDGER_DISK_FULL',
      'The disk of the ledger is full. Every acknowledged record is safe; records that were not ' +
        'acknowledged were refused to their callers. Free space on the volume of the data directory; ' +
        'the ledger can then be opened again.',
      { cause },
    )
  }
  const code = systemCode(cause)
  return new AuditError(
    'ERR_LEDGER_WRITE_FAILED',
    `Reading or writing the ledger failed${code === undefined ? '' : ` (${code})`}. Every acknowledged record ` +
      'is safe; records that were not acknowledged were refused to their callers. Check the disk ' +
      '(kernel log, SMART, volume); opening the ledger again reads back and verifies what is there.',
    { cause },
  )
}

/** A call came after the ledger stopped or while it closes. */
export function stoppedFailure(cause?: AuditError): AuditError {
  return new AuditError(
    'ERR_LEDGER_STOPPED',
    cause === undefined
      ? 'The ledger is closed. Nothing was recorded by this call.'
      : `The ledger has stopped: ${cause.message}`,
    { cause },
  )
}

/** Another process has the ledger open; `holder` is what it wrote into the lock file. */
export function lockedFailure(holder: string): AuditError {
  const { pid, started } = parseHolder(holder)
  return new AuditError(
    'ERR_LEDGER_LOCKED',
    `This ledger is open in another process${pid === undefined ? '' : ` (pid ${pid}, since ${started})`}. ` +
      'Two writers would fork it, so this one does not start. Nothing was changed. End the other ' +
      'process, or give this one another instance name.',
  )
}

/** Bytes that were once right are not right any more. */
export function corruptFailure(where: string, cause?: unknown): AuditError {
  return new AuditError(
    'ERR_LEDGER_CORRUPT',
    `The ledger is damaged: ${where}. Nothing was changed, nothing new is recorded, and what is ` +
      'there can still be read. Keep a copy of the directory as evidence, run `affidavit verify` on ' +
      'it to see what the damage covers, and restore the damaged file from a copy.',
    { cause },
  )
}

/** The disk has less than the head says was agreed to. */
export function rollbackFailure(where: string): AuditError {
  return new AuditError(
    'ERR_ROLLBACK_SUSPECTED',
    `The ledger is older than it was: ${where}. A backup or a snapshot was restored, or files were ` +
      'removed. Nothing was changed and nothing new is recorded, because going on from here would ' +
      'fork the log. Keep a copy of the directory as evidence and bring back the newest state of it.',
  )
}

/** More is waiting than the ledger holds in memory. */
export function busyFailure(what: string): AuditError {
  return new AuditError(
    'ERR_LEDGER_BUSY',
    `The ledger is behind: ${what}. This record was refused; the same call may succeed a moment later.`,
  )
}

/** A setting cannot be used. */
export function settingFailure(what: string): AuditError {
  return new AuditError('ERR_CONFIG_INVALID', `The ledger cannot be opened: ${what}.`)
}

function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined
}

function parseHolder(holder: string): { pid?: number; started?: string } {
  try {
    const value: unknown = JSON.parse(holder)
    if (typeof value !== 'object' || value === null) return {}
    const pid: unknown = Reflect.get(value, 'pid')
    const started: unknown = Reflect.get(value, 'started')
    return typeof pid === 'number' && typeof started === 'string' ? { pid, started } : {}
  } catch {
    // The holder may be writing its line at this moment.
    return {}
  }
}
