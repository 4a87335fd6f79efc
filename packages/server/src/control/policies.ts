/**
 * What rules an exchange: the gateway's settings, overridden by its application's. Read once from the
 * configuration; the signed policy snapshot will fill the same types.
 *
 * Invariant: nothing that a caller merely claims can weaken what is recorded. An application's own
 * settings hold only for callers whose gateway key names it, and a claimed classification counts
 * only when it is higher.
 *
 * @module
 */
import type { Classification } from '@affidavit/format'
import type { Config } from '../base/config.ts'
import type { RecordPolicy } from '@affidavit/sdk/capture'

/** Rules of one application. */
export interface ApplicationPolicy {
  readonly delivery: 'strict' | 'standard'
  readonly failOpen: boolean
  /** As it stands in records when the caller claims no higher classification. */
  readonly record: RecordPolicy
}

/** All rules. */
export interface Policies {
  /** Rules for an application that a gateway key names, or the default ones for `null`. */
  of(verifiedApplication: string | null): ApplicationPolicy
}

const levels: readonly Classification[] = ['PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED']

/** Reads the rules of `config`. */
export function createPolicies(config: Config): Policies {
  const byApplication = new Map<string, ApplicationPolicy>()
  for (const id of Object.keys(config.gateway.applications)) {
    byApplication.set(id, policyOf(config, id))
  }
  const { defaultApplication } = config.gateway
  const otherwise = policyOf(config, defaultApplication)
  // An application that a key names but the file does not has the gateway's settings, not the
  // default application's, which may be laxer.
  const unlisted = policyOf(config, null)
  return {
    of: (application) =>
      application === null ? otherwise : (byApplication.get(application) ?? unlisted),
  }
}

/** The record policy with the caller's classification, if that is the higher one. */
export function withClaim(policy: RecordPolicy, claimed: Classification | null): RecordPolicy {
  if (claimed === null) return policy
  if (levels.indexOf(claimed) <= levels.indexOf(policy.classification)) return policy
  return { ...policy, classification: claimed, classificationSource: 'client' }
}

function policyOf(config: Config, application: string | null): ApplicationPolicy {
  const { gateway, policyVersion } = config
  const own = application === null ? undefined : gateway.applications[application]
  return {
    delivery: own?.delivery ?? gateway.delivery,
    failOpen: own?.failOpen ?? false,
    record: {
      retentionClass: own?.retentionClass ?? gateway.retentionClass,
      classification: own?.dataClassification ?? gateway.dataClassification,
      classificationSource: own?.dataClassification === undefined ? 'default' : 'policy',
      policyVersion,
      policyFlags: [],
    },
  }
}
