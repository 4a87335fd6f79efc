/**
 * The capture core shared by both doors, the gateway and the SDK: from bytes that pass to the fields of
 * a record. A door calls `captureRequest`, makes the start durable, forwards, shows the answer to the
 * tap of `createResponseTap`, and makes the completion durable.
 *
 * @module
 */
export { maskAddress } from './capture/addresses.ts'
export type { BlockDigest, PrefixCache, ReferenceDraft } from './capture/analysis.ts'
export { formatMicros, systemClock, type Clock } from './capture/clock.ts'
export type {
  CapturedRequest,
  CaptureOptions,
  EndCause,
  EndFacts,
  HashKeys,
  IdentityClaims,
  IpMask,
  RecordPolicy,
  RequestInput,
  ResolvedIdentity,
  ResponseOutcome,
  ResponseTap,
} from './capture/exchange.ts'
export { createHashKeys, hashKeyBytes, type HashKeyOptions } from './capture/hash-keys.ts'
export { isOpaqueId, safeIdentifier } from './capture/identifiers.ts'
export { clientTokens } from './capture/identity.ts'
export { defaultLimits, type CaptureLimits } from './capture/limits.ts'
export { createPrefixCache } from './capture/prefix.ts'
export { canonicalPrompt, captureRequest } from './capture/request.ts'
export { completedBody, completedText, startedBody, startedText } from './capture/record.ts'
export { createResponseTap } from './capture/response.ts'
export { findRoute, type Route } from './capture/routes.ts'
