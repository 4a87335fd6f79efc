/**
 * Who is calling: the gateway key, if one was presented, and from it and the caller's own claims the
 * identity that stands in the record, each part with how far it can be relied on.
 *
 * Invariants: a claim never overrides what a gateway key says; a credential that looks like a gateway
 * key and is not a good one ends the request, it is never passed on.
 *
 * @module
 */
import type { CapturedRequest, RecordPolicy, ResolvedIdentity } from '@affidavit/sdk/capture'
import type { GatewayKey, GatewayKeys } from '../control/keys.ts'
import { gatewayKeyIn } from './headers.ts'

/** What the credentials of a request say. */
export interface Caller {
  readonly key: GatewayKey | null
  /** A credential of the provider's is among the headers and passes through. */
  readonly bringsProviderKey: boolean
}

/** Turns names into what may stand in the ledger; see vault/subjects.ts. */
export interface NameRing {
  subject(user: string, atMicros: number): string | Promise<string>
  identifier(
    kind: 'session' | 'application',
    value: string,
    atMicros: number,
  ): string | Promise<string>
}

const anonymous: Caller = { key: null, bringsProviderKey: false }
const passingThrough: Caller = { key: null, bringsProviderKey: true }

/** Flag of records whose caller claimed another user than its gateway key names. */
export const claimOverriddenFlag = 'identity.claim_overridden'

/** Reads the credentials; `undefined` when a gateway key was presented that is not good. */
export function readCaller(raw: readonly string[], keys: GatewayKeys): Caller | undefined {
  let token: string | undefined
  let bringsProviderKey = false
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase()
    if (name !== 'authorization' && name !== 'x-api-key' && name !== 'x-audit-key') continue
    const found = gatewayKeyIn(name, raw[at + 1] ?? '')
    if (found === undefined) bringsProviderKey = true
    else if (token !== undefined && token !== found) return undefined
    else token = found
  }
  if (token === undefined) return bringsProviderKey ? passingThrough : anonymous
  const key = keys.find(token)
  return key === undefined ? undefined : { key, bringsProviderKey }
}

/** The identity for the record: at once when its names are known, else when they are durable. */
export function identify(
  captured: CapturedRequest,
  caller: Caller,
  ring: NameRing,
  defaultApplication: string,
): ResolvedIdentity | Promise<ResolvedIdentity> {
  const { claims, startedAtMicros: at } = captured
  const { key } = caller
  const user = key?.user ?? claims.userId
  const application = key?.application ?? claims.applicationId
  const trust = {
    application: trustOf(key?.application, claims.applicationId),
    session: trustOf(null, claims.sessionId),
    user: trustOf(key?.user, claims.userId),
  }
  const userId = user === null ? null : ring.subject(user, at)
  const sessionId =
    claims.sessionId === null ? null : ring.identifier('session', claims.sessionId, at)
  const applicationId = ring.identifier('application', application ?? defaultApplication, at)
  if (isReady(userId) && isReady(sessionId) && isReady(applicationId)) {
    return { userId: userId ?? null, sessionId: sessionId ?? null, applicationId, trust }
  }
  return Promise.all([userId, sessionId, applicationId]).then((ready) => ({
    userId: ready[0],
    sessionId: ready[1],
    applicationId: ready[2],
    trust,
  }))
}

/** `policy`, flagged when the caller claims to be somebody else than its key says. */
export function withIdentityFlags(
  policy: RecordPolicy,
  captured: CapturedRequest,
  caller: Caller,
): RecordPolicy {
  const { userId, userSource } = captured.claims
  const verified = caller.key?.user ?? null
  if (verified === null || userSource !== 'x-audit-user' || userId === verified) return policy
  return { ...policy, policyFlags: [...policy.policyFlags, claimOverriddenFlag] }
}

function trustOf(verified: string | null | undefined, claimed: string | null) {
  if (verified !== null && verified !== undefined) return 'verified' as const
  return claimed === null ? ('none' as const) : ('client-asserted' as const)
}

function isReady<Value extends string | null>(value: Value | Promise<string>): value is Value {
  return value === null || typeof value === 'string'
}
