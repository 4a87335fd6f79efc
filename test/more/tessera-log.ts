/**
 * The fifteen-entry log that tessera ships as test data, written out as a log directory, with the
 * receipt of its seventh entry. test/fixtures/README.md names the source of the vectors.
 *
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

interface Vectors {
  readonly tessera: {
    readonly vkey: string
    readonly leaves: readonly string[]
    readonly checkpoints: readonly string[]
    readonly tile15_hex: string
    readonly bundle15_hex: string
  }
  readonly derived_tlog_proof_and_add_checkpoint: string
}

const vectors: Vectors = JSON.parse(
  readFileSync(new URL('../fixtures/tlog-vectors.json', import.meta.url), 'utf8'),
)
const { tessera } = vectors
const checkpoint = tessera.checkpoints[15] ?? ''

/** The key that signs the tessera test log. */
export const tesseraVkey = tessera.vkey

/** Writes the log into `directory`, one entry as a record file, and that entry's receipt. */
export function writeTesseraLog(directory: string) {
  const at = (name: string) => join(directory, name)
  const contents = {
    [at('checkpoint')]: checkpoint,
    [at('tile/0/000.p/15')]: Buffer.from(tessera.tile15_hex, 'hex'),
    [at('tile/entries/000.p/15')]: Buffer.from(tessera.bundle15_hex, 'hex'),
  }
  for (const [file, content] of Object.entries(contents)) {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
  }
  const [head] = vectors.derived_tlog_proof_and_add_checkpoint.split('\n\n')
  writeFileSync(at('record'), tessera.leaves[6] ?? '')
  writeFileSync(at('receipt.tlog-proof'), `${head}\n\n${checkpoint}`)
  return {
    directory,
    files: Object.keys(contents),
    record: at('record'),
    receipt: at('receipt.tlog-proof'),
  }
}
