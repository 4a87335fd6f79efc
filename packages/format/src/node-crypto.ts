/**
 * Reaches Node's `node:crypto` without importing it, and says nothing where there is none. The types
 * are the few members that hash.ts uses.
 *
 * @module
 */

/** A key held by the platform. */
export type NodeKey = object

interface Hmac {
  update(data: Uint8Array): Hmac
  digest(encoding: 'latin1'): string
}

interface DerKey {
  readonly key: Uint8Array
  readonly format: 'der'
  readonly type: 'pkcs8' | 'spki'
}

/** The part of `node:crypto` in use. */
export interface NodeCrypto {
  hash(algorithm: 'sha256', data: Uint8Array | string, encoding: 'hex' | 'latin1'): string
  createHmac(algorithm: 'sha256', key: Uint8Array): Hmac
  createPrivateKey(key: DerKey): NodeKey
  createPublicKey(key: DerKey): NodeKey
  sign(algorithm: null, data: Uint8Array, key: NodeKey): Uint8Array
  verify(algorithm: null, data: Uint8Array, key: NodeKey, signature: Uint8Array): boolean
}

/** Node's crypto module; `undefined` in a browser and wherever a needed member is missing. */
export function nodeCrypto(): NodeCrypto | undefined {
  const process: unknown = Reflect.get(globalThis, 'process')
  if (!hasLoader(process)) return undefined
  const found = process.getBuiltinModule('node:crypto')
  return hasAll(found) ? found : undefined
}

const members = ['hash', 'createHmac', 'createPrivateKey', 'createPublicKey', 'sign', 'verify']

function hasAll(found: unknown): found is NodeCrypto {
  if (typeof found !== 'object' || found === null) return false
  return members.every((member) => typeof Reflect.get(found, member) === 'function')
}

function hasLoader(process: unknown): process is { getBuiltinModule(name: string): unknown } {
  if (typeof process !== 'object' || process === null) return false
  return typeof Reflect.get(process, 'getBuiltinModule') === 'function'
}
