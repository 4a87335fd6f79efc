/**
 * A verifier that shares no code with us (Go's sumdb packages) reads our logs from their files
 * alone, and refuses them when a byte is changed. The tessera log shows that the verifier itself
 * reads what other implementations write.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { buildGoVerifier } from './tools.mjs'
import { writeTesseraLog, tesseraVkey } from './tessera-log.mjs'

const work = mkdtempSync(join(tmpdir(), 'affidavit-go-verify-'))
const built = buildGoVerifier(work)
const skip = 'missing' in built ? built.missing : false
after(() => rmSync(work, { recursive: true, force: true }))

const verifyLog = (directory, vkey) =>
  spawnSync(built.program, ['log', directory, vkey], { encoding: 'utf8' })
const verifyReceipt = (record, proof, vkey) =>
  spawnSync(built.program, ['receipt', record, proof, vkey], { encoding: 'utf8' })

test('the Go verifier accepts the log that tessera publishes as test data', { skip }, () => {
  const log = writeTesseraLog(join(work, 'tessera'))
  const { status, stdout, stderr } = verifyLog(log.directory, tesseraVkey)
  assert.equal(status, 0, stderr)
  assert.match(stdout, /verified 15 entries, root rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja\/1nk427v383cs=/)
})

test('the Go verifier refuses the tessera log when any one byte is flipped', { skip }, () => {
  const log = writeTesseraLog(join(work, 'tessera-flipped'))
  for (const file of log.files) {
    const bytes = readFileSync(file)
    // The last base64 digit of a signature carries unused bits, which Go's decoder ignores.
    const end = file.endsWith('checkpoint') ? bytes.length - 3 : bytes.length
    for (let at = 0; at < end; at++) {
      flip(file, bytes, at)
      assert.notEqual(verifyLog(log.directory, tesseraVkey).status, 0, `${file} byte ${at}`)
    }
    writeFileSync(file, bytes)
  }
  assert.equal(verifyLog(log.directory, tesseraVkey).status, 0)
})

test('the Go verifier accepts the receipt of a tessera entry and no other entry', { skip }, () => {
  const log = writeTesseraLog(join(work, 'tessera-receipt'))
  assert.equal(verifyReceipt(log.record, log.receipt, tesseraVkey).status, 0)
  writeFileSync(log.record, 'eight')
  assert.notEqual(verifyReceipt(log.record, log.receipt, tesseraVkey).status, 0)
})

test(
  'the Go verifier accepts every log that our ledger writes, each from its files alone',
  {
    skip,
  },
  async () => {
    const logs = await writeOurLogs(join(work, 'ours'), 3_000)
    assert.ok(logs.length >= 2, 'the ledger wrote one log per retention class')
    let entries = 0
    for (const { directory, vkey } of logs) {
      const copy = join(work, 'copy')
      rmSync(copy, { recursive: true, force: true })
      for (const part of ['checkpoint', 'tile']) {
        cpSync(join(directory, part), join(copy, part), { recursive: true })
      }
      const { status, stdout, stderr } = verifyLog(copy, vkey)
      assert.equal(status, 0, stderr)
      entries += Number(/verified (\d+)/.exec(stdout)?.[1])
    }
    assert.ok(entries >= 3_000, `${entries} entries were verified`)
  },
)

test(
  'the Go verifier refuses our log when a byte of any current file is flipped',
  {
    skip,
  },
  async () => {
    const [log] = await writeOurLogs(join(work, 'ours-flipped'), 700)
    assert.ok(log)
    for (const file of currentFiles(log.directory)) {
      const bytes = readFileSync(file)
      for (const at of [0, bytes.length >> 1, bytes.length - 4]) {
        flip(file, bytes, at)
        assert.notEqual(verifyLog(log.directory, log.vkey).status, 0, `${file} byte ${at}`)
      }
      writeFileSync(file, bytes)
    }
    assert.equal(verifyLog(log.directory, log.vkey).status, 0)
  },
)

function flip(file, bytes, at) {
  const changed = Buffer.from(bytes)
  changed[at] ^= 1
  writeFileSync(file, changed)
}

/** The checkpoint, and of every tile and bundle the widest version: what a verifier reads. */
function currentFiles(directory) {
  const paths = readdirSync(join(directory, 'tile'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
  const widest = new Map()
  for (const path of paths) {
    const partial = path.includes('.p/')
    const key = partial ? dirname(path).replace(/\.p$/, '') : path
    const width = partial ? Number(path.slice(path.lastIndexOf('/') + 1)) : 256
    if (width > (widest.get(key)?.width ?? 0)) widest.set(key, { path, width })
  }
  return [join(directory, 'checkpoint'), ...[...widest.values()].map(({ path }) => path)]
}

/** Appends entries through the real ledger and returns the logs that it published. */
async function writeOurLogs(directory, count) {
  mkdirSync(directory, { recursive: true })
  const server = '../../packages/server/dist'
  const { openLedger } = await import(`${server}/ledger/ledger.js`)
  const { systemClock } = await import('../../packages/sdk/dist/capture/clock.js')
  const { canonicalize } = await import('../../packages/format/dist/canonical.js')
  const { ledger } = await openLedger({
    directory,
    deployment: 'audit.example',
    instance: 'gw-1',
    clock: systemClock,
    random: (bytes) => new Uint8Array(randomBytes(bytes)),
    segmentBytes: 8 * 1024 * 1024,
  })
  const appends = []
  for (let index = 0; index < count; index++) {
    const body = { v: 1, kind: 'ledger.note', event_id: `e-${index}`, timestamp: index, n: index }
    const retentionClass = index % 3 === 0 ? 'short' : 'standard'
    appends.push(ledger.append({ retentionClass, body: canonicalize(body) }))
  }
  await Promise.all(appends)
  await ledger.publish()
  await ledger.close()
  const found = readdirSync(directory, { recursive: true, withFileTypes: true })
  return found
    .filter((entry) => entry.isFile() && entry.name === 'vkey')
    .map((entry) => entry.parentPath ?? entry.path)
    .map((log) => ({ directory: log, vkey: readFileSync(join(log, 'vkey'), 'utf8').trim() }))
}
