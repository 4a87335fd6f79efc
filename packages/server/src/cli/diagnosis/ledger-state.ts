/**
 * The ledger of one instance, from outside: who holds it, whether its head and its signing key can be
 * read. Takes the lock for an instant if it is free, and writes nothing.
 *
 * @module
 */
import { open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isAuditError } from '@affidavit/format'
import { tryLock, unlock } from 'fs-native-extensions'
import { parseHead } from '../../ledger/head.ts'
import { ledgerPaths } from '../../ledger/layout.ts'
import type { InstancePlace } from '../settings.ts'
import { counted, visible } from '../terminal.ts'
import { type Diagnosis, fine, problem, warning } from './diagnosis.ts'

/** Looks at the ledger of `place`. */
export async function examineLedger(place: InstancePlace): Promise<Diagnosis[]> {
  return [await examineLock(place), await examineHead(place), await examineKey(place)]
}

/** When the ledger's head was last written: no clock may be before that. */
export async function newestWriteMs(place: InstancePlace): Promise<number | undefined> {
  const head = join(ledgerPaths(place.directory).head, 'head.json')
  return (await stat(head).catch(() => undefined))?.mtimeMs
}

async function examineLock(place: InstancePlace): Promise<Diagnosis> {
  const check = `ledger-${place.name}`
  const handle = await open(ledgerPaths(place.directory).lock, 'r+').catch(() => undefined)
  if (handle === undefined) {
    return warning(
      check,
      'the lock file cannot be opened',
      'Run this as the user that runs the gateway.',
    )
  }
  try {
    if (!tryLock(handle.fd)) {
      const holder = holderOf(await handle.readFile('utf8'))
      return fine(check, `in use by a running gateway (${visible(holder)})`)
    }
    unlock(handle.fd)
    return fine(check, 'not in use; the next start opens it')
  } finally {
    await handle.close()
  }
}

/** What the holder wrote into its lock file, for people. */
function holderOf(text: string): string {
  const [, pid] = /"pid":(\d+)/.exec(text) ?? []
  const [, started] = /"started":"([^"]+)"/.exec(text) ?? []
  return pid === undefined ? text.trim() : `pid ${pid}, since ${started ?? 'an unknown time'}`
}

async function examineHead(place: InstancePlace): Promise<Diagnosis> {
  const check = `head-${place.name}`
  const path = join(ledgerPaths(place.directory).head, 'head.json')
  try {
    const head = parseHead(await readFile(path))
    const entries = [...head.logs.values(), ...head.sealed.values()].reduce(
      (sum, log) => sum + log.size,
      0,
    )
    const logs = head.logs.size + head.sealed.size
    const sizes = `${counted(entries, 'entry', 'entries')} in ${counted(logs, 'log')}`
    return fine(check, `epoch ${head.epoch}, ${sizes}`)
  } catch (error) {
    const advice =
      'Nothing is written to this ledger any more. Run `affidavit verify`, keep a copy of everything, ' +
      'and restore the head from a copy of the same moment if there is one.'
    const reason = isAuditError(error) ? error.message : 'it cannot be read'
    return problem(check, `the head is not usable: ${reason}`, advice)
  }
}

async function examineKey(place: InstancePlace): Promise<Diagnosis> {
  const check = `signing-key-${place.name}`
  const { key } = ledgerPaths(place.directory)
  const text = await readFile(key, 'utf8').catch(() => '')
  return text.startsWith('PRIVATE+KEY+')
    ? fine(check, `${key} is there; keep a copy of it in a safe place`)
    : problem(check, `${key} is missing or damaged`, 'Restore it from a copy; do not make another.')
}
