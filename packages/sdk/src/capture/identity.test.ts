import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clientTokens, parseMetadataUserId, readClaims } from './identity.ts'
import { trickyText } from './testing.ts'

const claims = (headers: Record<string, string>, userId: string | null = null) =>
  readClaims(new Map(Object.entries(headers)), userId)

describe('metadata.user_id', () => {
  test('of Claude Code is device, account and session', () => {
    const value = JSON.stringify({
      device_id: 'd'.repeat(64),
      account_uuid: 'acc',
      session_id: 'ses',
    })
    expect(parseMetadataUserId(value)).toEqual({
      userId: null,
      deviceId: 'd'.repeat(64),
      accountUuid: 'acc',
      sessionId: 'ses',
    })
  })

  test('of older Claude Code is the same in one word', () => {
    expect(parseMetadataUserId('user_abc_account_11-22_session_33-44')).toEqual({
      userId: null,
      deviceId: 'abc',
      accountUuid: '11-22',
      sessionId: '33-44',
    })
    expect(parseMetadataUserId('user_abc_account__session_s').accountUuid).toBeNull()
  })

  test.each(['u-123', 'user_42', '{"id":1}', '{broken', 'user_a_session_b'])(
    'of an application is its user: %s',
    (value) => {
      expect(parseMetadataUserId(value)).toEqual({
        userId: value,
        deviceId: null,
        accountUuid: null,
        sessionId: null,
      })
    },
  )
})

describe('claims', () => {
  const code = JSON.stringify({ device_id: 'd', account_uuid: 'acc', session_id: 'from-body' })

  test('of our own headers come first', () => {
    const all = claims(
      {
        'x-audit-user': 'jo',
        'x-audit-session': 's',
        'x-audit-application': 'app',
        'x-client-app': 'acme/1',
        'x-claude-code-session-id': 'cc',
      },
      code,
    )
    expect(all).toMatchObject({
      userId: 'jo',
      userSource: 'x-audit-user',
      sessionId: 's',
      applicationId: 'app',
      deviceId: 'd',
    })
  })

  test('of Claude Code are its session, agent and account', () => {
    const main = claims({ 'x-claude-code-session-id': 'cc' }, code)
    expect(main).toMatchObject({
      userId: 'acc',
      userSource: 'account_uuid',
      sessionId: 'cc',
      isSubagent: false,
    })
    const sub = claims(
      { 'x-claude-code-agent-id': 'a1', 'x-claude-code-parent-agent-id': 'a0' },
      code,
    )
    expect(sub).toMatchObject({
      sessionId: 'from-body',
      agentId: 'a1',
      parentAgentId: 'a0',
      isSubagent: true,
    })
  })

  test('of the application are the name in x-client-app', () => {
    expect(claims({ 'x-client-app': 'acme-app/1.2.3' })).toMatchObject({
      applicationId: 'acme-app',
      clientApp: 'acme-app/1.2.3',
    })
    expect(claims({ 'x-client-app': '/odd' }).applicationId).toBe('/odd')
  })

  test('of the classification are one of the four levels, or none', () => {
    expect(claims({ 'x-audit-classification': ' restricted ' }).classification).toBe('RESTRICTED')
    expect(claims({ 'x-audit-classification': 'SECRET' }).classification).toBeNull()
  })

  test('that came as UTF-8 are read as UTF-8, others as they are', () => {
    const wire = Buffer.from('Zoë', 'utf8').toString('latin1')
    expect(claims({ 'x-audit-user': wire }).userId).toBe('Zoë')
    expect(claims({ 'x-audit-user': 'Zo\u00eb' }).userId).toBe('Zoë')
  })

  test('are nobody where nothing is said', () => {
    expect(claims({ 'x-audit-user': ' ' })).toMatchObject({
      userId: null,
      userSource: null,
      sessionId: null,
      applicationId: null,
    })
  })

  test('are read from anything', () => {
    const names = fc.constantFrom(
      'x-audit-user',
      'x-client-app',
      'x-audit-classification',
      'user-agent',
    )
    fc.assert(
      fc.property(
        fc.dictionary(names, fc.string()),
        fc.oneof(fc.string(), fc.json()),
        (headers, userId) => {
          expect(claims(headers, userId).isSubagent).toBe(false)
        },
      ),
    )
  })
})

describe('product tokens', () => {
  test.each([
    ['claude-cli/2.1.330 (external, sdk-cli)', 'claude-cli/2.1.330'],
    [
      'claude-cli/2.1.330 (external, sdk-ts, agent-sdk/0.3.330, client-app/acme-app/1.2.3)',
      'claude-cli/2.1.330 agent-sdk/0.3.330 client-app/acme-app/1.2.3',
    ],
    ['Anthropic/JS 1.12.0', 'Anthropic/JS 1.12.0'],
    ['x/1 203.0.113.7 4.5', 'x/1'],
    ['Mozilla/5.0 (jo@example.com; +https://example.com/jo)', 'Mozilla/5.0'],
    ['just words', null],
    ['', null],
    [undefined, null],
  ])('of %s are %s', (agent, expected) => {
    expect(clientTokens(agent)).toBe(expected)
  })

  test('are few and short, whatever the header says', () => {
    fc.assert(
      fc.property(fc.array(trickyText, { maxLength: 200 }), (parts) => {
        const agent = parts.join('')
        expect((clientTokens(agent) ?? '').length).toBeLessThan(400)
      }),
    )
  })
})
