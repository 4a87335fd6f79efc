/**
 * The logs of one instance, one per (retention class × quarter), and which of them takes the next
 * entry.
 *
 * Invariants:
 * - The quarter never goes back, whatever the clock does: entries of one class never return to a log
 *   that a later one has followed.
 * - `sequenced` counts what has a place in the log, `edge.size` what is integrated; the first is never
 *   less than the second.
 *
 * @module
 */
import { writerIdOf, type Signer } from '@affidavit/format'
import { join } from 'node:path'
import { createEdge, type Edge } from './edge.ts'
import { busyFailure, settingFailure } from './failure.ts'
import type { SealedLog } from './head.ts'
import { signerOf, type InstanceKey } from './key.ts'
import { quarterAt, quarterNamed, type Quarter } from './quarter.ts'
import { beginStamp } from './stamp.ts'

/** A log that can grow or has grown in this run. */
export interface Log {
  /** `<class>/<quarter>`. */
  readonly path: string
  readonly quarter: string
  readonly origin: string
  readonly directory: string
  readonly signer: Signer
  readonly edge: Edge
  /** What the stamps of its entries in this epoch begin with. */
  readonly stampBegun: string
  /** Entries that have a place in it, integrated or not. */
  sequenced: number
  /** The last checkpoint in the head, and its size; `undefined` before the first. */
  agreed: { readonly size: number; readonly root: Uint8Array; readonly note: string } | undefined
  /** Size of the checkpoint that others can see. */
  publishedSize: number
  /** When a checkpoint was last kept in the history. */
  keptAtMs: number
}

export interface LogTable {
  /** Logs that can grow, and those of a past quarter that are not sealed yet. */
  readonly active: ReadonlyMap<string, Log>
  readonly sealed: Map<string, SealedLog>
  /** The log that takes an entry of a class at a moment. */
  logFor(retentionClass: string, nowMicros: number): Log
  /** The log of a path, made if it is not there; for recovery. */
  open(path: string, start?: { edge: Edge; agreed: NonNullable<Log['agreed']> }): Log
  /** Moves logs of past quarters that are complete and published out of the active ones. */
  seal(): void
}

/** What the logs of an instance have in common. */
export interface LogOwner {
  /** `<deployment>/<instance>`. */
  readonly name: string
  /** Where the logs' directories are. */
  readonly directory: string
  readonly epoch: number
  readonly key: InstanceKey
}

const classPattern = /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/
// Each active log costs files and a signature per integration; classes come from a short policy list.
const activeLogsMax = 256

/** Makes the table of an instance's logs. */
export function createLogTable(
  instance: LogOwner & { readonly sealed: ReadonlyMap<string, SealedLog> },
): LogTable {
  const { sealed } = instance
  const active = new Map<string, Log>()
  const sealedLogs = new Map(sealed)
  const byClass = new Map<string, Log>()
  let quarter: Quarter = { name: '', endMicros: Number.NEGATIVE_INFINITY }
  for (const path of sealed.keys()) advanceTo(quarterOfPath(path))

  function advanceTo(next: Quarter): void {
    if (next.name <= quarter.name) return
    quarter = next
    byClass.clear()
  }

  function open(path: string, start?: { edge: Edge; agreed: NonNullable<Log['agreed']> }): Log {
    const known = active.get(path)
    if (known !== undefined) return known
    const log = createLog({ ...instance, path }, start)
    active.set(path, log)
    advanceTo(quarterOfPath(path))
    return log
  }

  return {
    active,
    sealed: sealedLogs,
    open,
    logFor(retentionClass, nowMicros) {
      if (nowMicros >= quarter.endMicros) advanceTo(quarterAt(nowMicros))
      const known = byClass.get(retentionClass)
      if (known !== undefined) return known
      if (!classPattern.test(retentionClass)) {
        throw settingFailure('a retention class is up to 64 of a-z, 0-9 and inner hyphens')
      }
      const path = `${retentionClass}/${quarter.name}`
      if (active.size >= activeLogsMax && !active.has(path)) {
        throw busyFailure(`${activeLogsMax} logs are growing at once`)
      }
      const log = open(path)
      byClass.set(retentionClass, log)
      return log
    },
    seal() {
      for (const [path, log] of active) {
        const { agreed } = log
        if (log.quarter >= quarter.name || agreed === undefined) continue
        if (log.sequenced !== agreed.size || log.publishedSize !== agreed.size) continue
        sealedLogs.set(path, { size: agreed.size, root: agreed.root })
        active.delete(path)
      }
    },
  }
}

function createLog(
  { name, directory, epoch, key, path }: LogOwner & { readonly path: string },
  start: { edge: Edge; agreed: NonNullable<Log['agreed']> } | undefined,
): Log {
  const origin = `${name}/${path}`
  return {
    path,
    quarter: quarterOfPath(path).name,
    origin,
    directory: join(directory, path),
    signer: signerOf(key, origin),
    stampBegun: beginStamp({ epoch, id: writerIdOf(key.publicKey), log: path }),
    edge: start?.edge ?? createEdge(),
    sequenced: start?.edge.size ?? 0,
    agreed: start?.agreed,
    publishedSize: 0,
    keptAtMs: Number.NEGATIVE_INFINITY,
  }
}

function quarterOfPath(path: string): Quarter {
  return quarterNamed(path.slice(path.indexOf('/') + 1))
}
