import { afterEach, expect, test, vi } from 'vitest'
import { runCommandLine } from '../../packages/server/src/cli/program.ts'
import { modes } from '../../packages/server/src/simulate/modes.ts'
import { asObject, messagesBody, send } from '../../packages/server/src/simulate/testing.ts'

const commands = { simulate: () => import('../../packages/server/src/cli/simulate.ts') }

afterEach(() => {
  vi.restoreAllMocks()
  process.exitCode = undefined
})

/** Lines that the command prints, as they come. */
function printedLines(): { next(): Promise<string> } {
  const lines: string[] = []
  let wake = () => {}
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    lines.push(...String(text).split('\n').filter(Boolean))
    wake()
    return true
  })
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  return {
    async next() {
      while (lines.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      return lines.shift() ?? ''
    },
  }
}

test('it says where it listens, tells of each exchange, and ends when it is told to', async () => {
  const lines = printedLines()
  const ended = runCommandLine(commands, [
    'simulate',
    '--listen',
    '127.0.0.1:0',
    '--cadence',
    'none',
    '--mode',
    '529',
    '--json',
  ])
  const { listening } = asObject(JSON.parse(await lines.next()))
  const seen = await send(String(listening), { body: messagesBody() })
  expect(seen.status).toBe(529)
  expect(JSON.parse(await lines.next())).toMatchObject({ mode: 'error_529', status: 529 })
  process.emit('SIGTERM')
  expect(await ended).toBe(0)
})

test('it lists every mode', async () => {
  const lines = printedLines()
  expect(await runCommandLine(commands, ['simulate', '--list-modes', '--json'])).toBe(0)
  expect(Object.keys(asObject(JSON.parse(await lines.next())))).toEqual([...modes])
})

test('a mode that does not exist is a mistake on the command line', async () => {
  printedLines()
  expect(await runCommandLine(commands, ['simulate', '--mode', 'sunshine'])).toBe(2)
})

test('an address that is taken is said so', async () => {
  const lines = printedLines()
  const first = runCommandLine(commands, ['simulate', '--listen', '127.0.0.1:0', '--json'])
  const { listening } = asObject(JSON.parse(await lines.next()))
  const taken = new URL(String(listening)).host
  expect(await runCommandLine(commands, ['simulate', '--listen', taken, '--json'])).toBe(1)
  expect(await lines.next()).toContain('Nothing can listen')
  process.emit('SIGTERM')
  await first
})
