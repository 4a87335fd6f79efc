import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { runCommandLine } from '../../packages/server/src/cli/program.ts'
import { startPair } from './harness.ts'
import { asObject } from '../../packages/server/src/simulate/testing.ts'

const commands = { demo: () => import('../../packages/server/src/cli/demo.ts') }

afterEach(() => {
  vi.restoreAllMocks()
  vi.doUnmock('@anthropic-ai/sdk')
  process.exitCode = undefined
})

/** Runs `affidavit demo` in this process. */
async function demo(
  ...parameters: readonly string[]
): Promise<{ code: number; json: Record<string, unknown> }> {
  let printed = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text)
    return true
  })
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const code = await runCommandLine(commands, ['demo', ...parameters, '--json'])
  return { code, json: asObject(JSON.parse(printed)) }
}

test('a demo of its own: every request has a record, and the log verifies', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'affidavit-demo-'))
  const { code, json } = await demo('--conversations', '12', '--users', '5', '--data-dir', dataDir)
  expect(json).toMatchObject({ complete: true, intact: true })
  expect(json['recorded']).toBe(json['received_by_simulator'])
  expect(Number(json['recorded'])).toBeGreaterThan(12)
  expect(code).toBe(0)
  rmSync(dataDir, { recursive: true })
})

test('a demo on a gateway that runs waits until its records are published', async () => {
  const pair = await startPair()
  const { code, json } = await demo(
    '--conversations',
    '4',
    '--gateway',
    pair.url,
    '--data-dir',
    pair.dataDir,
  )
  const arrived = pair.simulator.requests.filter(({ received }) => received.method === 'POST')
  await pair.close()
  expect(json).toMatchObject({ intact: true, received_by_simulator: null })
  expect(json['recorded']).toBe(arrived.length)
  expect(code).toBe(0)
})

test('a demo does not spend money on a gateway that has no simulator behind it', async () => {
  const pair = await startPair()
  await pair.simulator.close()
  const { code, json } = await demo('--gateway', pair.url, '--data-dir', pair.dataDir)
  const sent = (await pair.entries()).filter(({ kind }) => kind === 'interaction.started')
  await pair.gateway.close()
  expect(code).toBe(6)
  expect(json['error']).toMatchObject({ kind: 'refused' })
  // Only the question who is there.
  expect(sent.length).toBeLessThanOrEqual(1)
})

test('without the SDK it says what to install, and does nothing', async () => {
  vi.doMock('@anthropic-ai/sdk', () => {
    throw new Error('Cannot find package')
  })
  const { code, json } = await demo('--conversations', '1')
  expect(code).toBe(1)
  expect(JSON.stringify(json)).toContain('npm install @anthropic-ai/sdk')
})
