/** A real process on a real disk, killed after each of its file operations in turn. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { systemClock } from './capture/clock.ts'
import { thisProcess } from './spool/epoch.ts'
import { nodeFs } from './spool/files.ts'
import { createFakeGateway } from './spool/testing.ts'
import { openSpool } from './spool.ts'

const writer = fileURLToPath(new URL('fixtures/spool-writer.mjs', import.meta.url))
const killedAtOnce = 4

/** Runs the writer until it dies or is done; its lines. */
function run(directory: string, last: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [writer, directory, String(last)], (error, stdout, stderr) => {
      const isKilled = error === null || error.signal === 'SIGKILL'
      if (isKilled) resolve(stdout.trimEnd().split('\n'))
      else reject(new Error(stderr))
    })
  })
}

/** Kills the writer after operation `last`, starts again, and says what is wrong; undefined: all well. */
async function faultsAfter(last: number): Promise<{ faults: string[]; isFinished: boolean }> {
  const directory = await mkdtemp(join(tmpdir(), 'affidavit-crash-'))
  const gateway = createFakeGateway()
  const lines = (await run(directory, last)).map((line) => line.split(' '))
  for (const [what, key = '', ...payload] of lines) {
    if (what === 'received') gateway.records.set(key, payload.join(' '))
  }
  const spool = await openSpool({
    directory,
    fs: nodeFs,
    clock: systemClock,
    random: (bytes) => randomBytes(bytes),
    process: thisProcess(),
  })
  await gateway.drain(spool)
  await spool.close()
  await rm(directory, { recursive: true })
  const told = (kind: string) =>
    lines.filter(([what]) => what === kind).map(([, name = '']) => name)
  const faults = ['a', 'b', 'c', 'd'].flatMap((name) => {
    const kinds = gateway.kindsOf(name).map((kind) => kind.slice('interaction.'.length))
    const isTold = told('started').includes(name)
    // A start that was written and never acknowledged may be there or not; if it is, it is closed.
    if (!isTold && kinds.length === 0) return []
    const end = told('completed').includes(name)
      ? 'completed'
      : kinds.find((kind) => kind !== 'started')
    const isRight = kinds.join() === ['started', end ?? 'an end'].join()
    return isRight ? [] : [`${name} after operation ${last}: ${kinds.join() || 'nothing'}`]
  })
  return { faults, isFinished: told('finished').length > 0 }
}

test(
  'a process killed after any of its file operations has lost nothing that it was told',
  { timeout: 120_000 },
  async () => {
    const results: { faults: string[]; isFinished: boolean }[] = []
    while (results.every(({ isFinished }) => !isFinished)) {
      const points = Array.from({ length: killedAtOnce }, (_, at) => results.length + at + 1)
      results.push(...(await Promise.all(points.map(faultsAfter))))
    }
    expect(results.flatMap(({ faults }) => faults)).toEqual([])
    expect(results.length).toBeGreaterThan(20)
  },
)
