/**
 * The fifteen-entry log that tessera ships as test data, written out as a log directory.
 *
 * Source: transparency-dev/tessera at 1811ae1a, testdata/log (Apache-2.0). The tile of leaf hashes
 * is computed here, since it is no more than RFC 6962's leaf hash of each entry.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The key that signs the tessera test log. */
export const tesseraVkey =
  'example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx'

const entries =
  'one two three four five six seven eit nain ten ileven twelf threeten fourten fivten'.split(' ')

const checkpoint = `example.com/log/testdata
15
rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=

— example.com/log/testdata M9e0luh4jTG+UMBqOUo9/q+yAEvx1ilBEniMvjf1zfcBOhg+CKubMt53MvIt/uEWP6zdkdIQzd/fmwlM/dlPWF74ewI=
`

const receiptHead = `c2sp.org/tlog-proof@v1
index 6
ThcgoV2DYcK+VCxBUDWAlNxmLy2r7dq7dK7+OlgQKWs=
ycRkkNklus5eMVRUvkD1pK321vMrA+jjOiZKU8aOcY4=
zY1lN35vrXYAPixXSd59LsU29xUJtuW4o2dNNg5Y2Co=
5jLpqTgjsBDSEX6SgZiRnbTMdTuRd8bQ5tSsAOxe0Ks=`

/**
 * Writes the log, one entry as a record file, and that entry's receipt.
 *
 * @param {string} directory where the log goes; created
 */
export function writeTesseraLog(directory) {
  const at = (name) => join(directory, name)
  const bundle = Buffer.concat(
    entries.map((entry) => Buffer.from(`\0${lengthByte(entry)}${entry}`)),
  )
  const tile = Buffer.concat(entries.map((entry) => leafHash(entry)))
  const files = [at('checkpoint'), at('tile/0/000.p/15'), at('tile/entries/000.p/15')]
  for (const [index, content] of [checkpoint, tile, bundle].entries()) {
    mkdirSync(dirname(files[index]), { recursive: true })
    writeFileSync(files[index], content)
  }
  writeFileSync(at('record'), 'seven')
  writeFileSync(at('receipt.tlog-proof'), `${receiptHead}\n\n${checkpoint}`)
  return { directory, files, record: at('record'), receipt: at('receipt.tlog-proof') }
}

const lengthByte = (entry) => String.fromCharCode(entry.length)

const leafHash = (entry) => createHash('sha256').update(`\0${entry}`).digest()
