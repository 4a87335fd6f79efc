/**
 * Raw-disk baseline without a C compiler; see native/disk.c.
 *
 * @module
 */
import { closeSync, constants, fsyncSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { number, percentiles, text } from './arguments.mjs'

const segmentBytes = 64 * 1024 * 1024
const file = text('file')
const seconds = number('seconds', 2)
const rate = number('rate', 0)
const record = Buffer.alloc(number('bytes', 600), 'r')

const zeroed = openSync(file, 'w', 0o600)
const zeros = Buffer.alloc(1024 * 1024)
for (let at = 0; at < segmentBytes; at += zeros.length) writeSync(zeroed, zeros)
fsyncSync(zeroed)
closeSync(zeroed)

const descriptor = openSync(file, constants.O_WRONLY | constants.O_DSYNC)
const micros = []
const pause = new Int32Array(new SharedArrayBuffer(4))
const start = performance.now()
for (let at = 0, due = start; performance.now() < start + seconds * 1000;) {
  if (rate > 0) {
    due += 1000 / rate
    Atomics.wait(pause, 0, 0, Math.max(0, due - performance.now()))
  }
  const before = performance.now()
  writeSync(descriptor, record, 0, record.length, at)
  micros.push((performance.now() - before) * 1000)
  at = at + 2 * record.length > segmentBytes ? 0 : at + record.length
}
const elapsed = (performance.now() - start) / 1000
closeSync(descriptor)
unlinkSync(file)
const opsPerSecond = micros.length / elapsed
console.log(JSON.stringify({ ops: micros.length, opsPerSecond, micros: percentiles(micros) }))
