/**
 * A verifier that shares no code with us (Go's sumdb packages) reads our logs from their files
 * alone, and refuses them when a byte is changed. The tessera log shows that the verifier itself
 * reads what other implementations write.
 *
 * @module
 */
import { canonicalize } from '@affidavit/format'
import { systemClock } from '@affidavit/sdk/capture'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { openLedger } from '../../packages/server/src/ledger/ledger.ts'
import { tesseraVkey, writeTesseraLog } from './tessera-log.ts'
import { buildGoVerifier } from './tools.ts'

const work = mkdtempSync(join(tmpdir(), 'affidavit-go-verify-'))
const go = buildGoVerifier(work)
if ('missing' in go) console.log(`skipped because ${go.missing}`)
afterAll(() => rmSync(work, { recursive: true, force: true }))

function run(...parameters: string[]) {
  const program = 'program' in go ? go.program : ''
  const { status, stdout, stderr } = spawnSync(program, parameters, { encoding: 'utf8' })
  return { accepted: status === 0, text: `${stdout}${stderr}` }
}

const verifyLog = (directory: string, vkey: string) => run('log', directory, vkey)
const verifyReceipt = (record: string, proof: string) => run('receipt', record, proof, tesseraVkey)

describe.skipIf('missing' in go)('the Go verifier', () => {
  test('accepts the log that tessera publishes as test data', () => {
    const log = writeTesseraLog(join(work, 'tessera'))
    const { accepted, text } = verifyLog(log.directory, tesseraVkey)
    expect(text).toContain('15 entries, root rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=')
    expect(accepted).toBe(true)
  })

  test('refuses the tessera log when any one byte is flipped', () => {
    const log = writeTesseraLog(join(work, 'tessera-flipped'))
    for (const file of log.files) {
      const bytes = readFileSync(file)
      // The last base64 digit of a signature carries unused bits, which Go's decoder ignores.
      const end = file.endsWith('checkpoint') ? bytes.length - 3 : bytes.length
      for (let at = 0; at < end; at++) {
        flip(file, bytes, at)
        expect(verifyLog(log.directory, tesseraVkey).accepted, `${file} byte ${at}`).toBe(false)
      }
      writeFileSync(file, bytes)
    }
    expect(verifyLog(log.directory, tesseraVkey).accepted).toBe(true)
  })

  test('accepts the receipt of a tessera entry, and of no other entry', () => {
    const log = writeTesseraLog(join(work, 'tessera-receipt'))
    expect(verifyReceipt(log.record, log.receipt).accepted).toBe(true)
    writeFileSync(log.record, 'eight')
    expect(verifyReceipt(log.record, log.receipt).accepted).toBe(false)
  })

  test('accepts every log that our ledger writes, each from its files alone', async () => {
    const count = 70_000
    const logs = await writeOurLogs(join(work, 'ours'), count)
    expect(logs.length).toBeGreaterThanOrEqual(2)
    let entries = 0
    for (const { directory, vkey } of logs) {
      const copy = join(work, 'copy')
      rmSync(copy, { recursive: true, force: true })
      for (const part of ['checkpoint', 'tile']) {
        cpSync(join(directory, part), join(copy, part), { recursive: true })
      }
      const { accepted, text } = verifyLog(copy, vkey)
      expect(text).toMatch(/^verified/)
      expect(accepted).toBe(true)
      entries += Number(/verified (\d+)/.exec(text)?.[1])
    }
    expect(entries).toBeGreaterThanOrEqual(count)
  })

  test('refuses our log when a byte of any file it reads is flipped', async () => {
    const [log] = await writeOurLogs(join(work, 'ours-flipped'), 700)
    if (log === undefined) throw new Error('no log was written')
    for (const file of currentFiles(log.directory)) {
      const bytes = readFileSync(file)
      for (const at of [0, bytes.length >> 1, bytes.length - 4]) {
        flip(file, bytes, at)
        expect(verifyLog(log.directory, log.vkey).accepted, `${file} byte ${at}`).toBe(false)
      }
      writeFileSync(file, bytes)
    }
    expect(verifyLog(log.directory, log.vkey).accepted).toBe(true)
  })
})

function flip(file: string, bytes: Buffer, at: number): void {
  const changed = Buffer.from(bytes)
  changed[at] = (changed[at] ?? 0) ^ 1
  writeFileSync(file, changed)
}

/** The checkpoint, and of every tile and bundle the widest version: what a verifier reads. */
function currentFiles(directory: string): string[] {
  const widest = new Map<string, { readonly path: string; readonly width: number }>()
  for (const path of filesBelow(join(directory, 'tile'))) {
    const partial = path.includes('.p/')
    const key = partial ? dirname(path).replace(/\.p$/, '') : path
    const width = partial ? Number(path.slice(path.lastIndexOf('/') + 1)) : 256
    if (width > (widest.get(key)?.width ?? 0)) widest.set(key, { path, width })
  }
  return [join(directory, 'checkpoint'), ...[...widest.values()].map(({ path }) => path)]
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}

/** Appends entries through the real ledger and returns the logs that it published. */
async function writeOurLogs(directory: string, count: number) {
  mkdirSync(directory, { recursive: true })
  const { ledger } = await openLedger({
    directory,
    deployment: 'audit.example',
    instance: 'gw-1',
    clock: systemClock,
    random: (bytes) => new Uint8Array(randomBytes(bytes)),
    segmentBytes: 8 * 1024 * 1024,
  })
  const appends: Promise<unknown>[] = []
  for (let index = 0; index < count; index++) {
    const body = { v: 1, kind: 'test.entry', event_id: `e-${index}`, timestamp: 'now', n: index }
    const retentionClass = index % 3 === 0 ? 'short' : 'standard'
    appends.push(ledger.append({ retentionClass, body: canonicalize(body) }))
    if (appends.length === 512) await Promise.all(appends.splice(0))
  }
  await Promise.all(appends)
  await ledger.publish()
  await ledger.close()
  return filesBelow(directory)
    .filter((path) => path.endsWith('/vkey'))
    .map((path) => ({ directory: dirname(path), vkey: readFileSync(path, 'utf8').trim() }))
}
