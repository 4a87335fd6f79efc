/**
 * `@affidavit/format`: the formats of Affidavit's record and log, and their verification. Needs no
 * platform but standard JavaScript, so that an auditor can run it in a browser.
 *
 * @module
 */
export * from './errors.ts'
export * from './assert.ts'
export * from './record.ts'
