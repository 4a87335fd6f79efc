/**
 * The capture core shared by both doors, the gateway and the SDK: from bytes that pass to the fields of
 * a record.
 *
 * @module
 */
export * from './capture/clock.ts'
