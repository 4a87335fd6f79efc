/**
 * From parcels of entries to the facts that the chain is checked by. Here an entry that is not in its
 * one form, or stands in a log or under a writer that it does not name, becomes a finding.
 *
 * @module
 */
import { createFactsBatch, type FactsBatch, putFacts } from './facts.ts'
import type { Finding } from './finding.ts'
import { type Parcel, walkParcel } from './parcels.ts'
import { createScannedEntry, isText, type ScannedEntry, scanEntry } from './scan.ts'

/** What the entries of a log must say about themselves. */
export interface LogClaims {
  /** How findings name the log. */
  readonly where: string
  /** `<class>/<quarter>`; undefined when the log's origin does not end so. */
  readonly log: string | undefined
  /** Id of the writer, from the key of the log; undefined when it is not known. */
  readonly writerId: string | undefined
}

/** Makes a reader of parcels; `report` gets what is wrong with single entries. */
export function createFactsReader(
  claims: LogClaims,
  report: (finding: Finding) => void,
): (parcel: Parcel) => FactsBatch {
  const scanned = createScannedEntry()
  return (parcel) => {
    const batch = createFactsBatch(parcel.count)
    let count = 0
    walkParcel(parcel, (entry, leafHash, index) => {
      const leafIndex = parcel.firstLeafIndex + index
      const malformed = scanEntry(entry, scanned)
      const what = malformed ?? faultOfClaims(scanned, claims)
      if (what !== undefined) report({ kind: 'malformed', what, where: claims.where, leafIndex })
      // Nothing is known of it, so its successor will show that something is missing.
      if (malformed !== undefined) return
      putFacts(batch, count, scanned, { leafIndex, leafHash })
      count += 1
    })
    return count === parcel.count ? batch : { ...batch, count }
  }
}

function faultOfClaims(entry: ScannedEntry, claims: LogClaims): string | undefined {
  const { bytes, logAt, logEnd, idAt, idEnd } = entry
  if (claims.log !== undefined && !isText(bytes, logAt, logEnd, claims.log)) {
    return 'the entry says that it belongs to another log'
  }
  if (claims.writerId !== undefined && !isText(bytes, idAt, idEnd, claims.writerId)) {
    return "the entry names a writer that does not have this log's key"
  }
  return undefined
}
