import { type ChildProcess, spawn } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { exits } from './exit.ts'
import { makeFolder, runCommand } from './testing.ts'

const program = fileURLToPath(new URL('../../bin/affidavit.mjs', import.meta.url))

let folder: string
const children: ChildProcess[] = []

beforeEach(async () => {
  folder = await makeFolder()
})

afterEach(async () => {
  for (const child of children.splice(0)) await end(child, 'SIGTERM')
  await rm(folder, { recursive: true, force: true })
})

function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode)
  return new Promise((resolve) => {
    child.once('exit', (code) => resolve(code))
    child.kill(signal)
  })
}

const env = (listen: string) => ({
  ...process.env,
  AFFIDAVIT_GATEWAY_LISTEN: listen,
  AFFIDAVIT_UPSTREAM_ANTHROPIC: 'http://127.0.0.1:9',
  AFFIDAVIT_DATA_DIR: folder,
})

/** Starts a command and gives its output as it comes. */
function launch(parameters: readonly string[], listen = '127.0.0.1:0') {
  const child = spawn(process.execPath, [program, ...parameters], { cwd: folder, env: env(listen) })
  children.push(child)
  let [output, wake] = ['', () => {}]
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      wake()
    })
  }
  const until = async (pattern: RegExp): Promise<string> => {
    for (;;) {
      const found = pattern.exec(output)
      if (found !== null) return found[1] ?? found[0]
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return { child, until }
}

test('the first start makes the keys, says where, and how to use the gateway', async () => {
  const { child, until } = launch(['start'])
  const url = await until(/ANTHROPIC_BASE_URL=(http:\S+)/)
  await until(/First start: keys were made[\s\S]*hash-tenant\.json/)
  expect(await readFile(join(folder, 'gateway', 'ledger', 'key'), 'utf8')).toContain('PRIVATE+KEY')
  const response = await fetch(`${url}/v1/messages`, { method: 'POST', body: '{}' })
  expect(response.headers.get('x-audit-event-id')).toMatch(/^[0-9a-f-]{36}$/)
  await response.text()
  expect(await end(child, 'SIGINT')).toBe(0)
  const { code } = await runCommand(['verify', folder])
  expect(code).toBe(0)
})

test('a gateway that dies is started again, and the record says what it lost', async () => {
  const { child, until } = launch(['start', '--json'])
  await until(/"listening":"(http:[^"]+)"/)
  const lock = await readFile(join(folder, 'gateway', 'ledger', 'lock'), 'utf8')
  const pid = Number(/\d+/.exec(lock)?.[0])
  process.kill(pid, 'SIGKILL')
  await until(/the gateway ended by SIGKILL/)
  await until(/the gateway is back on (http:\S+)/)
  expect(await end(child, 'SIGTERM')).toBe(0)
  const { stdout, code } = await runCommand(['verify', folder, '--json'])
  expect([code, stdout]).toEqual([0, expect.stringContaining('"epochs":2')])
})

test('a second gateway on the same directory is refused, and names the first', async () => {
  const first = launch(['gateway', '--json'])
  await first.until(/"listening"/)
  const second = await runCommand(['gateway'], {
    cwd: folder,
    env: { AFFIDAVIT_GATEWAY_LISTEN: '127.0.0.1:0', AFFIDAVIT_DATA_DIR: folder },
  })
  expect(second.code).toBe(exits.ledger.code)
  expect(second.stderr).toContain(`pid ${first.child.pid}`)
  const started = await runCommand(['start'], {
    cwd: folder,
    env: { AFFIDAVIT_GATEWAY_LISTEN: '127.0.0.1:0', AFFIDAVIT_DATA_DIR: folder },
  })
  expect(started.code).toBe(exits.ledger.code)
})

test('an address that is taken is named, and ends the start', async () => {
  const first = launch(['gateway', '--json'])
  const listen = await first.until(/"listening":"http:..([^"]+)"/)
  const other = join(folder, 'other')
  const { code, stderr } = await runCommand(['start'], {
    cwd: folder,
    env: { AFFIDAVIT_GATEWAY_LISTEN: listen, AFFIDAVIT_DATA_DIR: other },
  })
  expect([code, stderr]).toEqual([
    1,
    expect.stringContaining(`listen on ${listen}: another process`),
  ])
})

test('a gateway whose supervisor is gone ends in order', async () => {
  const { child, until } = launch(['start', '--json'])
  await until(/"listening"/)
  // The gateway writes to the same pipes: they close when it has ended too.
  const closed = new Promise((resolve) => {
    child.once('close', resolve)
  })
  await end(child, 'SIGKILL')
  await closed
  const { code, stdout } = await runCommand(['verify', folder, '--json'])
  expect([code, stdout]).toEqual([0, expect.stringContaining('"tail":{"entries":0')])
})
