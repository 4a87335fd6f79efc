/**
 * Keys that digests in records are made with, as files:
 *
 *     <dataDir>/keys/hash-tenant.json             {"current":"1","keys":{"1":"<base64>"}}   0600
 *     <dataDir>/<instance>/keyring/lookup.key     affidavit-lookup-v1 <base64>              0600
 *
 * The tenant key makes digests comparable across users and instances: instances that share it must
 * share the file. Old versions stay in it, so that `affidavit hash` can check old records.
 *
 * @module
 */
import { join } from 'node:path'
import { AuditError, canonicalize, fromBase64, toBase64 } from '@affidavit/format'
import { createHashKeys, hashKeyBytes, type HashKeys } from '@affidavit/sdk/capture'
import { createFileOnce, secretMode } from '../base/durable-file.ts'

/** The tenant's hash keys by version, and which one new records use. */
export interface TenantHashKeys {
  readonly current: string
  readonly keys: ReadonlyMap<string, Uint8Array>
}

type RandomBytes = (bytes: number) => Uint8Array

const lookupPrefix = 'affidavit-lookup-v1 '

/**
 * Reads `<dataDir>/keys/hash-tenant.json`, made with a random key if there is none.
 *
 * @throws AuditError `ERR_KEY_MALFORMED`
 */
export function openTenantHashKeys(dataDir: string, random: RandomBytes): TenantHashKeys {
  const path = join(dataDir, 'keys', 'hash-tenant.json')
  const make = () => {
    const keys = { 1: toBase64(random(hashKeyBytes)) }
    return `${canonicalize({ current: '1', keys })}\n`
  }
  return parseTenantHashKeys(createFileOnce(path, make, secretMode), path)
}

/** Reads the instance's lookup key, made if there is none. */
export function openLookupKey(directory: string, random: RandomBytes): Uint8Array {
  const path = join(directory, 'keyring', 'lookup.key')
  const make = () => `${lookupPrefix}${toBase64(random(hashKeyBytes))}\n`
  const text = createFileOnce(path, make, secretMode)
  const key = text.startsWith(lookupPrefix)
    ? keyOf(text.slice(lookupPrefix.length).trim())
    : undefined
  if (key === undefined) throw malformed(path)
  return key
}

/**
 * Makes the hash keys that capture uses.
 *
 * @param subjectKey hash key of a subject handle; used in `subject` mode only.
 */
export function hashKeysFor(
  mode: HashKeys['mode'],
  tenant: TenantHashKeys,
  subjectKey: (handle: string) => Uint8Array,
): HashKeys {
  const key = tenant.keys.get(tenant.current)
  if (key === undefined) throw malformed('the tenant hash key file')
  if (mode === 'tenant') return createHashKeys({ mode, key, version: tenant.current })
  return mode === 'plain'
    ? createHashKeys({ mode, key })
    : createHashKeys({ mode, key, subjectKey })
}

function parseTenantHashKeys(text: string, path: string): TenantHashKeys {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw malformed(path)
  }
  if (typeof value !== 'object' || value === null) throw malformed(path)
  const { current, keys } = value as Record<string, unknown>
  if (typeof current !== 'string' || typeof keys !== 'object' || keys === null)
    throw malformed(path)
  const parsed = new Map<string, Uint8Array>()
  for (const [version, encoded] of Object.entries(keys)) {
    const key = keyOf(encoded)
    if (key === undefined || !/^[A-Za-z0-9-]{1,32}$/.test(version)) throw malformed(path)
    parsed.set(version, key)
  }
  if (!parsed.has(current)) throw malformed(path)
  return { current, keys: parsed }
}

function keyOf(encoded: unknown): Uint8Array | undefined {
  if (typeof encoded !== 'string') return undefined
  try {
    const key = fromBase64(encoded)
    return key.length === hashKeyBytes ? key : undefined
  } catch {
    return undefined
  }
}

function malformed(path: string): AuditError {
  return new AuditError(
    'ERR_KEY_MALFORMED',
    `${path} is not a key file of ours. Put back the file from a backup: with another key new digests ` +
      'would not compare with old ones. Records already made are not affected.',
  )
}
