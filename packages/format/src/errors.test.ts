/**
 * Errors have codes that last, and an assertion is no error of the caller's.
 *
 * @module
 */
import { describe, expect, it } from 'vitest'
import { assert } from './assert.ts'
import { AuditError, auditErrorCodes, isAuditError, traitsOf } from './errors.ts'

describe('codes', () => {
  it('are upper case words after ERR_, each once', () => {
    for (const code of auditErrorCodes) expect(code).toMatch(/^ERR(?:_[A-Z0-9]+)+$/)
    expect(new Set(auditErrorCodes).size).toBe(auditErrorCodes.length)
  })

  it('each have a status of an error and an advice', () => {
    for (const code of auditErrorCodes) {
      const { httpStatus, retryable } = traitsOf(code)
      expect(httpStatus).toBeGreaterThanOrEqual(400)
      expect(httpStatus).toBeLessThan(600)
      expect(typeof retryable).toBe('boolean')
    }
  })

  // Codes are an interface: none of these may be renamed or go.
  it.each([
    'ERR_BUNDLE_MALFORMED',
    'ERR_BYTES_MALFORMED',
    'ERR_CANONICAL_UNSUPPORTED',
    'ERR_CHECKPOINT_MALFORMED',
    'ERR_COSIGNATURE_MALFORMED',
    'ERR_ENTRY_MALFORMED',
    'ERR_ENTRY_TOO_LARGE',
    'ERR_KEY_MALFORMED',
    'ERR_NOTE_MALFORMED',
    'ERR_NOTE_UNVERIFIED',
    'ERR_POLICY_MALFORMED',
    'ERR_POLICY_UNSATISFIED',
    'ERR_PROOF_INVALID',
    'ERR_PROOF_MALFORMED',
    'ERR_TILE_MALFORMED',
  ] as const)('%s is one of them, and no retry helps', (code) => {
    expect(auditErrorCodes).toContain(code)
    expect(traitsOf(code).retryable).toBe(false)
  })
})

describe('an AuditError', () => {
  const cause = new Error('inner')
  const error = new AuditError('ERR_PROOF_INVALID', 'the proof leads elsewhere', { cause })

  it('carries its code, message and cause', () => {
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name: 'AuditError', code: 'ERR_PROOF_INVALID', cause })
    expect(String(error)).toBe('AuditError: the proof leads elsewhere')
  })

  it('is told from other errors, and by its code', () => {
    expect(isAuditError(error)).toBe(true)
    expect(isAuditError(error, 'ERR_PROOF_INVALID')).toBe(true)
    expect(isAuditError(error, 'ERR_PROOF_MALFORMED')).toBe(false)
    for (const other of [
      cause,
      undefined,
      null,
      'ERR_PROOF_INVALID',
      { code: 'ERR_PROOF_INVALID' },
    ]) {
      expect(isAuditError(other)).toBe(false)
    }
  })
})

describe('assert', () => {
  it.each([true, 1, 'text', {}, []])('passes what holds: %j', (condition) => {
    expect(() => assert(condition, 'it holds')).not.toThrow()
  })

  it.each([false, 0, '', null, undefined, Number.NaN])(
    'stops at what does not: %j',
    (condition) => {
      expect(() => assert(condition, 'the sum is right')).toThrow(
        'assertion failed: the sum is right',
      )
    },
  )

  it('is no AuditError, so that nobody handles a bug as an answer', () => {
    const stop = () => assert(false, 'never')
    expect(stop).not.toThrow(AuditError)
    expect(stop).toThrow(Error)
  })
})
