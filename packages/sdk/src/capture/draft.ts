/**
 * Records in the making.
 *
 * @module
 */

/**
 * All members of a type; the absent ones `undefined`, which JSON leaves out. Unlike an object that
 * grows, it always has the same members in the same order.
 */
export type Draft<T> = { readonly [Name in keyof T]-?: T[Name] | undefined }

/** The same, for members that are drafts themselves. */
export type DraftOf<T, Names extends keyof T> = Draft<Omit<T, Names>> & {
  readonly [Name in Names]-?: Draft<NonNullable<T[Name]>> | undefined
}
