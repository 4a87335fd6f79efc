import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  apiHeaders,
  messagesBody,
  send,
  type Sending,
  valuesOf,
} from '../../packages/server/src/simulate/testing.ts'
import { type Completed, type Pair, startPair } from './harness.ts'

const providerKey = 'sk-ant-held-by-the-gateway'

let pair: Pair

beforeAll(async () => {
  pair = await startPair({
    gateway: {
      limits: { linger_ms: 20 },
      provider_keys: { anthropic: { env: 'PROVIDER_KEY' } },
      applications: { vaulted: { data_classification: 'RESTRICTED' } },
    },
    env: { PROVIDER_KEY: providerKey },
  })
})

beforeEach(() => pair.simulator.clear())

afterAll(() => pair.close())

const version = ['anthropic-version', '2023-06-01']

async function exchange(sending: Sending): Promise<Completed> {
  const seen = await send(pair.url, { body: messagesBody(), ...sending })
  return pair.record(valuesOf(seen.rawHeaders, 'x-audit-event-id')[0])
}

const received = () => pair.simulator.requests[0]?.received.rawHeaders ?? []

describe('credentials', () => {
  test.each([
    ['x-api-key', (key: string) => key],
    ['authorization', (key: string) => `Bearer ${key}`],
  ])(
    'a gateway key in %s is replaced by the provider key that the gateway holds',
    async (name, form) => {
      const key = pair.createKey({ user: 'user-023', application: 'billing' })
      const record = await exchange({ headers: [...version, name, form(key)] })
      expect(valuesOf(received(), 'x-api-key')).toEqual([providerKey])
      expect(JSON.stringify(received())).not.toContain(key)
      expect(record).toMatchObject({
        application_id: 'billing',
        identity_trust: { user: 'verified', application: 'verified' },
      })
    },
  )

  test('a gateway key beside a provider key: the provider key passes, the other does not', async () => {
    const key = pair.createKey({ application: 'two-keys' })
    await exchange({ headers: [...version, 'x-api-key', 'sk-own', 'x-audit-key', key] })
    expect(valuesOf(received(), 'x-api-key')).toEqual(['sk-own'])
    expect(JSON.stringify(received())).not.toContain(key)
  })

  test('an unknown gateway key is refused with 401, and nothing is forwarded', async () => {
    const forged = `afk_aaaaaaaaaaaa_${'A'.repeat(43)}`
    const seen = await send(pair.url, {
      headers: [...version, 'x-api-key', forged],
      body: messagesBody(),
    })
    expect(seen.status).toBe(401)
    expect(valuesOf(seen.rawHeaders, 'x-should-retry')).toEqual(['false'])
    expect(pair.simulator.requests).toEqual([])
  })

  test('a key of the caller’s passes as it is, in both headers', async () => {
    for (const credential of [
      ['x-api-key', 'sk-ant-own'],
      ['authorization', 'Bearer sk-ant-own'],
    ]) {
      pair.simulator.clear()
      const record = await exchange({ headers: [...version, ...credential] })
      expect(received()).toEqual(expect.arrayContaining(credential))
      expect(record.identity_trust.user).toBe('none')
      expect(record.credential?.fingerprint).toMatch(/^[0-9a-f]{32}$/)
    }
  })

  test('the same key has the same fingerprint, another has another', async () => {
    const of = async (key: string) =>
      (await exchange({ headers: [...version, 'x-api-key', key] })).credential?.fingerprint
    const [first, again, other] = [await of('sk-1'), await of('sk-1'), await of('sk-2')]
    expect(again).toBe(first)
    expect(other).not.toBe(first)
  })
})

describe('claims', () => {
  const claiming = (...claims: readonly string[]) => ({ headers: [...apiHeaders, ...claims] })

  test('are recorded as claims, and do not reach upstream', async () => {
    const record = await exchange(
      claiming('X-Audit-User', 'user-040', 'x-audit-session', 's-1', 'x-audit-application', 'crm'),
    )
    expect(record).toMatchObject({
      application_id: 'crm',
      session_id: 's-1',
      identity_trust: {
        user: 'client-asserted',
        session: 'client-asserted',
        application: 'client-asserted',
      },
    })
    expect(received().some((name) => name.toLowerCase().startsWith('x-audit'))).toBe(false)
  })

  test('do not override what a gateway key says', async () => {
    const key = pair.createKey({ user: 'user-050', application: 'payroll' })
    const own = await exchange({ headers: [...version, 'x-api-key', key] })
    const claimed = await exchange({
      headers: [...version, 'x-api-key', key, 'x-audit-user', 'user-051'],
    })
    expect(claimed.user_id).toBe(own.user_id)
    expect(claimed.policy_flags.length).toBeGreaterThan(own.policy_flags.length)
  })

  test('one user has one handle in a month, two have two', async () => {
    const of = async (user: string) => (await exchange(claiming('x-audit-user', user))).user_id
    const [first, again, other] = [await of('user-061'), await of('user-061'), await of('user-062')]
    expect(first).toMatch(/^sub_/)
    expect(again).toBe(first)
    expect(other).not.toBe(first)
  })

  test('Claude Code’s session, device and agent are read from what it sends', async () => {
    const session = '5f0d3c1e-1111-4222-8333-944455566677'
    const record = await exchange({
      headers: [
        ...apiHeaders,
        ['x-claude-code-session-id', session],
        ['x-claude-code-agent-id', 'agent-7'],
        ['user-agent', 'claude-cli/2.1.330 (external, sdk-cli)'],
      ].flat(),
      body: messagesBody({
        metadata: {
          user_id: JSON.stringify({
            device_id: 'a'.repeat(64),
            account_uuid: '',
            session_id: session,
          }),
        },
      }),
    })
    expect(record).toMatchObject({
      session_id: session,
      device_id: 'a'.repeat(64),
      agent_id: 'agent-7',
    })
    expect(record.client).toContain('claude-cli/2.1.330')
  })

  test('a name that could be a person’s is not in the record as it is', async () => {
    const record = await exchange(
      claiming('x-audit-session', 'somebody@example.com', 'x-audit-application', 'a b c'),
    )
    expect(record.session_id).not.toContain('@')
    expect(record.application_id).not.toContain(' ')
  })

  test('an application’s policy rules the records of its gateway keys', async () => {
    const key = pair.createKey({ application: 'vaulted' })
    const record = await exchange({ headers: [...version, 'x-api-key', key] })
    expect(record.data_classification).toBe('RESTRICTED')
  })

  test('a claimed classification raises, and never lowers', async () => {
    const claimed = async (level: string) =>
      (await exchange(claiming('x-audit-classification', level))).data_classification
    expect(await claimed('CONFIDENTIAL')).toBe('CONFIDENTIAL')
    expect(await claimed('PUBLIC')).toBe('INTERNAL')
  })
})

describe('what is on disk', () => {
  test('holds no credential, no user name and no content, in any file', async () => {
    const key = pair.createKey({ user: 'user-very-private', application: 'on-disk' })
    const secrets = ['sk-ant-very-secret', 'Very private question.', 'user-very-private-too']
    await exchange({ headers: [...version, 'x-api-key', key], body: messagesBody() })
    await exchange({
      headers: [...version, 'x-api-key', 'sk-ant-very-secret', 'x-audit-user', secrets[2] ?? ''],
      body: messagesBody({ messages: [{ role: 'user', content: 'Very private question.' }] }),
    })
    const answer = pair.simulator.requests.at(-1)?.sent.body?.toString() ?? ''
    const said = /"text":"([^"\\]{20,60})/.exec(answer)?.[1] ?? 'no answer'
    for (const path of filesBelow(pair.dataDir)) {
      // Gateway keys name the user that an operator gave them; the file is 0600 and no record.
      const names = path.endsWith('keys.json') ? [] : ['user-very-private']
      const bytes = readFileSync(path)
      const found = [...secrets, ...names, key, providerKey, said].filter((secret) =>
        bytes.includes(secret),
      )
      expect({ path, found }).toEqual({ path, found: [] })
    }
  })

  test('keys can be read by nobody else', () => {
    const secret = filesBelow(pair.dataDir).filter((path) => /key|wal|ring/.test(path))
    expect(secret.length).toBeGreaterThan(3)
    const open = secret.filter(
      (path) => /\/(key|.*\.key|keys\.json|hash-tenant\.json)$/.test(path) && isOpen(path),
    )
    expect(open).toEqual([])
  })
})

describe('refusals of the gateway’s own', () => {
  test('unknown paths are denied by policy with 451 where that is configured', async () => {
    const strict = await startPair({ gateway: { unknown_paths: 'deny' } })
    const seen = await send(strict.url, { path: '/v1/tomorrow', body: 'x' })
    expect(seen.status).toBe(451)
    expect(valuesOf(seen.rawHeaders, 'x-should-retry')).toEqual(['false'])
    expect(strict.simulator.requests).toEqual([])
    await strict.close()
  })

  test('a gateway without its audit store answers 503, and forwards nothing', async () => {
    const broken = await startPair()
    await broken.gateway.store.close()
    const seen = await send(broken.url, { body: messagesBody() })
    expect(seen.status).toBe(503)
    expect(valuesOf(seen.rawHeaders, 'x-should-retry')).toEqual(['false'])
    expect(JSON.parse(seen.body.toString())).toMatchObject({
      type: 'error',
      error: { type: 'api_error' },
    })
    expect(broken.simulator.requests).toEqual([])
    await broken.close()
  })
})

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile())
}

function isOpen(path: string): boolean {
  return (statSync(path).mode & 0o077) !== 0
}
