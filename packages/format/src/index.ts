/**
 * `@affidavit/format`: the formats of Affidavit's record and log, and their verification. Needs no
 * platform but standard JavaScript, so that an auditor can run it in a browser.
 *
 * @module
 */
export * from './errors.ts'
export * from './assert.ts'
export * from './bytes.ts'
export * from './hash.ts'
export * from './canonical.ts'
export * from './record.ts'
export * from './entry.ts'
export * from './tlog/merkle.ts'
export * from './tlog/tile.ts'
export * from './tlog/note.ts'
export * from './tlog/checkpoint.ts'
export * from './tlog/cosignature.ts'
export * from './tlog/policy.ts'
export * from './tlog/proof.ts'
export * from './verify.ts'
export { evidenceMax, findingsMax, isNotice } from './verify/finding.ts'
export type { Evidence, Finding, FindingKind, NoticeKind } from './verify/finding.ts'
export type { LogFiles } from './verify/context.ts'
export type { VisitEntry } from './verify/rows.ts'
export type { Progress } from './verify/walk.ts'
export { parseStoredCheckpointPath, storedCheckpointPath } from './verify/checkpoints.ts'
