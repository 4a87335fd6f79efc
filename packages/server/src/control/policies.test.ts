import { expect, test } from 'vitest'
import { configFrom } from '../base/config.ts'
import { createPolicies, withClaim } from './policies.ts'

const policies = (gateway: object) => createPolicies(configFrom({ gateway }))

test('an application has its own settings where it has them, and the gateway’s where not', () => {
  const of = policies({
    delivery: 'standard',
    retention_class: 'short',
    applications: { bank: { retention_class: 'financial', fail_open: true } },
  }).of
  expect(of('bank')).toMatchObject({
    delivery: 'standard',
    failOpen: true,
    record: { retentionClass: 'financial', classification: 'INTERNAL' },
  })
  expect(of('other')).toMatchObject({ failOpen: false, record: { retentionClass: 'short' } })
})

test('callers without a verified application have the default application’s settings', () => {
  const { of } = policies({
    default_application: 'guest',
    applications: { guest: { fail_open: true }, bank: { delivery: 'standard' } },
  })
  expect(of(null)).toMatchObject({ failOpen: true, delivery: 'strict' })
  // One that the file does not list is not the default application, which may be laxer.
  expect(of('unlisted')).toMatchObject({ failOpen: false })
})

test('every policy carries the version of the configuration', () => {
  const config = configFrom({})
  expect(createPolicies(config).of(null).record.policyVersion).toBe(config.policyVersion)
})

test.each([
  ['PUBLIC', 'INTERNAL', 'default'],
  ['INTERNAL', 'INTERNAL', 'default'],
  ['CONFIDENTIAL', 'CONFIDENTIAL', 'client'],
  ['RESTRICTED', 'RESTRICTED', 'client'],
  [null, 'INTERNAL', 'default'],
] as const)('a claim of %s on INTERNAL makes %s (%s)', (claim, classification, source) => {
  const { record } = policies({}).of(null)
  expect(withClaim(record, claim)).toMatchObject({ classification, classificationSource: source })
})
