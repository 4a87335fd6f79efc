/** Runs every file of examples/ as a user would, against stand-ins for Claude and for a gateway. */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startFakeClaude, startFakeIngest, type FakeClaude, type FakeIngest } from './testing.ts'

const examples = fileURLToPath(new URL('../../../examples', import.meta.url))
const execute = promisify(execFile)

let claude: FakeClaude
let gateway: FakeIngest
let directory: string

beforeAll(async () => {
  claude = await startFakeClaude()
  gateway = await startFakeIngest()
  directory = await mkdtemp(join(tmpdir(), 'affidavit-examples-'))
})
afterAll(async () => {
  await claude.close()
  await gateway.close()
  await rm(directory, { recursive: true })
})
beforeEach(() => {
  claude.seen.length = 0
  gateway.records.clear()
})

async function run(name: string): Promise<string> {
  const { stdout } = await execute(process.execPath, [join(examples, name)], {
    env: {
      PATH: process.env.PATH,
      ANTHROPIC_BASE_URL: claude.url,
      ANTHROPIC_API_KEY: 'sk-ant-secret-value',
      AFFIDAVIT_URL: gateway.url,
      AFFIDAVIT_KEY: gateway.key,
      AFFIDAVIT_SPOOL: join(directory, name),
    },
  })
  return stdout
}

const recorded = ['anthropic-sdk.mjs', 'ai-sdk.mjs', 'langchain.mjs']
const proxied = ['anthropic-sdk-gateway.mjs', 'ai-sdk-gateway.mjs', 'langchain-gateway.mjs']

test.each(recorded)('%s prints the answer and ships its record', async (name) => {
  expect(await run(name)).toBe('Grüße, 世界!\n')
  const records = [...gateway.records.values()]
  expect(records.map(({ kind }) => kind)).toEqual(['interaction.started', 'interaction.completed'])
  expect(records[1]).toMatchObject({
    status: 'success',
    subject_claim: 'u-1017',
    session_id: 'case-42',
    application_id: 'help-desk',
    prompt_tokens: 12,
    completion_tokens: 7,
  })
  expect(JSON.stringify(records)).not.toContain('secret-value')
})

test.each(proxied)('%s prints the answer and says who asks', async (name) => {
  expect(await run(name)).toContain('Grüße, 世界!\n')
  expect(claude.seen[0]?.headers).toMatchObject({
    'x-audit-user': 'u-1017',
    'x-audit-application': 'help-desk',
  })
})

test('every example is run here', async () => {
  const files = (await readdir(examples)).filter((name) => name.endsWith('.mjs'))
  expect(files.sort()).toEqual([...recorded, ...proxied].sort())
})
