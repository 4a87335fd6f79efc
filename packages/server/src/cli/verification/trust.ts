/**
 * Whom a verification trusts. A log's own key file proves that nothing was changed by anyone who lacks
 * the key; only a key that comes from elsewhere proves that the log is the one it claims to be.
 *
 * All logs of an instance share one public key, each under its own name, so a key that was given for
 * one log of an instance speaks for its other logs too.
 *
 * @module
 */
import {
  evaluatePolicy,
  formatVerifierKey,
  isAuditError,
  parsePolicy,
  parseVerifierKey,
  type Policy,
  policyForLogs,
  signatureType,
  type VerifierKey,
} from '@affidavit/format'
import { CommandError } from '../exit.ts'

/** Where the keys come from. */
export type Trust = { readonly kind: 'own' } | { readonly kind: 'given'; readonly policy: Policy }

/** A verifier key; its id follows from the rest. */
type PublicKey = Omit<VerifierKey, 'keyId'>

/**
 * Makes trust from what the command line gave: a policy file's text, verifier keys, or nothing.
 *
 * @throws AuditError `ERR_POLICY_MALFORMED`, `ERR_KEY_MALFORMED`
 */
export function createTrust(given: {
  policy?: string | undefined
  vkeys: readonly string[]
}): Trust {
  const { policy, vkeys } = given
  if (policy !== undefined && vkeys.length > 0) {
    throw new CommandError(
      'usage',
      'Both a policy and keys were given. Nothing was verified. Put the keys into the policy as log lines.',
    )
  }
  if (policy !== undefined) return { kind: 'given', policy: parsePolicy(policy) }
  if (vkeys.length === 0) return { kind: 'own' }
  return { kind: 'given', policy: policyForLogs(...vkeys.map((vkey) => vkey.trim())) }
}

/**
 * Verifier keys to hold the log of `origin` to, as text.
 *
 * @param own the key that the log's own file, or a sibling's, has
 */
export function keysFor(trust: Trust, origin: string, own: PublicKey | undefined): string[] {
  const known = trust.kind === 'own' ? (own === undefined ? [] : [own]) : keysOf(trust.policy)
  const named = known.filter((key) => key.name === origin)
  const speaking =
    named.length > 0 ? named : known.filter((key) => isSameInstance(key.name, origin))
  const keys = speaking.map((key) => formatVerifierKey({ ...key, name: origin }))
  return [...new Set(keys)]
}

/** The policy with the keys that `keysFor` found among its logs. */
export function policyFor(trust: Trust, origin: string, own: VerifierKey | undefined): Policy {
  const logs = keysFor(trust, origin, own).map((vkey) => ({ key: parseVerifierKey(vkey) }))
  if (trust.kind === 'own') return { logs, members: [], quorum: 'none' }
  return { ...trust.policy, logs }
}

/** Why a checkpoint lacks the cosignatures that are asked for; undefined if it has them. */
export function quorumFault(
  trust: Trust,
  checkpoint: { origin: string; text: string },
): string | undefined {
  if (trust.kind === 'own' || trust.policy.quorum === 'none') return undefined
  try {
    evaluatePolicy(policyFor(trust, checkpoint.origin, undefined), checkpoint.text)
    return undefined
  } catch (error) {
    if (isAuditError(error)) return error.message
    throw error
  }
}

/** Reads a key file of a log; undefined when it is not one. */
export function readVkey(text: string | undefined): VerifierKey | undefined {
  if (text === undefined) return undefined
  try {
    const key = parseVerifierKey(text.trimEnd())
    return key.type === signatureType.ed25519 ? key : undefined
  } catch (error) {
    if (isAuditError(error)) return undefined
    throw error
  }
}

/** Tells whether two origins are logs of one instance: `<deployment>/<instance>/…`. */
export function isSameInstance(name: string, origin: string): boolean {
  const [instance, other] = [instanceOf(name), instanceOf(origin)]
  return instance !== undefined && instance === other
}

function instanceOf(origin: string): string | undefined {
  return /^(.+)\/[^/]+\/\d{4}q[1-4]$/.exec(origin)?.[1]
}

function keysOf(policy: Policy): PublicKey[] {
  return policy.logs.map(({ key }) => key)
}
