/**
 * From parcels of entries to the facts that the chain is checked by. Here an entry that is not in its
 * one form, or stands in a log or under a writer that it does not name, becomes a finding.
 *
 * @module
 */
import { createFactsBatch, type FactsBatch, hashBytes } from './facts.ts'
import type { Finding } from './finding.ts'
import { leavesOf, type Parcel, walkParcel } from './parcels.ts'
import { createEntryScanner, type EntryScanner } from './scan.ts'

/** What the entries of a log must say about themselves. */
export interface LogClaims {
  /** How findings name the log. */
  readonly where: string
  /** `<class>/<quarter>`. */
  readonly log: string
  /** Id of the writer, from the key of the log; undefined when it is not known. */
  readonly writerId: string | undefined
}

/** Makes a reader of parcels; `report` gets what is wrong with single entries. */
export function createFactsReader(
  claims: LogClaims,
  report: (finding: Finding) => void,
): (parcel: Parcel) => FactsBatch {
  const scanner = createEntryScanner()
  return (parcel) => {
    const { firstLeafIndex, buffer } = parcel
    const bytes = new Uint8Array(buffer)
    const batch = createFactsBatch(parcel.count, leavesOf(parcel))
    let count = 0
    walkParcel(parcel, (index, from, to) => {
      const leafIndex = firstLeafIndex + index
      const malformed = scanner.scan(bytes, from, to, batch, count)
      const what = malformed ?? faultOfClaims(scanner, claims)
      if (what !== undefined) report({ kind: 'malformed', what, where: claims.where, leafIndex })
      // Nothing is known of it, so its successor will show that something is missing.
      if (malformed !== undefined) return
      batch.leafIndices[count] = leafIndex
      if (count !== index) {
        batch.leaves.copyWithin(count * hashBytes, index * hashBytes, (index + 1) * hashBytes)
      }
      count += 1
    })
    return count === parcel.count ? batch : { ...batch, count }
  }
}

function faultOfClaims(scanner: EntryScanner, claims: LogClaims): string | undefined {
  if (!scanner.isInLog(claims.log)) return 'the entry says that it belongs to another log'
  if (claims.writerId !== undefined && !scanner.isByWriter(claims.writerId)) {
    return "the entry names a writer that does not have this log's key"
  }
  return undefined
}
