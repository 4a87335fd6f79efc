/**
 * `@affidavit/sdk`: audit every call to Claude from inside an application. `auditMiddleware` for the
 * Anthropic SDKs, `auditFetch` for everything with a `fetch` option; records go to a gateway by way
 * of a durable local spool (`gatewayDestination`), or into a ledger of the same process.
 *
 * @module
 */
export { AuditError, isAuditError, type AuditErrorCode } from '@affidavit/format'
export { createHashKeys, type HashKeyOptions } from './capture/hash-keys.ts'
export type { HashKeys, IdentityClaims } from './capture/exchange.ts'
export {
  gatewayDestination,
  ledgerDestination,
  type AuditDestination,
  type DestinationEvent,
  type GatewayDestinationOptions,
  type InProcessLedger,
} from './destination.ts'
export {
  eventIdOf,
  type AuditIdentity,
  type AuditOptions,
  type DoorEvent,
  type IdentityContext,
} from './door.ts'
export { auditFetch, type AuditFetchOptions } from './fetch.ts'
export { auditMiddleware, type AuditMiddleware, type MiddlewareRequest } from './middleware.ts'
export type { CompletedDraft, Draft, GapDraft, StartedDraft } from './spool/payload.ts'
export type { SpoolLimits } from './spool/commit.ts'
