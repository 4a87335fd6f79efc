import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { findRoute } from './routes.ts'
import { trickyText } from './testing.ts'

describe('a route', () => {
  test.each([
    ['POST', '/v1/messages', 'messages.create', 'POST /v1/messages', 'messages'],
    ['POST', '/v1/messages?beta=true', 'messages.create', 'POST /v1/messages', 'messages'],
    [
      'POST',
      'https://api.anthropic.com/v1/messages?beta=true',
      'messages.create',
      'POST /v1/messages',
      'messages',
    ],
    [
      'POST',
      '/v1/messages/count_tokens',
      'messages.count_tokens',
      'POST /v1/messages/count_tokens',
      'count',
    ],
    [
      'POST',
      '/v1/messages/batches',
      'messages.batches.create',
      'POST /v1/messages/batches',
      'batch',
    ],
    [
      'GET',
      '/v1/messages/batches/msgbatch_1',
      'messages.batches.retrieve',
      'GET /v1/messages/batches/*',
      'opaque',
    ],
    [
      'GET',
      '/v1/messages/batches/msgbatch_1/results',
      'messages.batches.results',
      'GET /v1/messages/batches/*/results',
      'opaque',
    ],
    ['POST', '/v1/files', 'files.upload', 'POST /v1/files', 'opaque'],
    ['GET', '/v1/files/file_1/content', 'files.download', 'GET /v1/files/*/content', 'opaque'],
    ['GET', '/v1/models?limit=1000', 'models.list', 'GET /v1/models', 'opaque'],
    [
      'POST',
      '/v1/sessions/sesn_1/events',
      'sessions.events.send',
      'POST /v1/sessions/*/events',
      'json',
    ],
    ['HEAD', '/api/hello', 'probe', 'HEAD /api/hello', 'opaque'],
    ['POST', '/v1/vaults/v_1/credentials', 'vaults', 'POST /v1/vaults/*', 'opaque'],
    [
      'GET',
      '/v1/organizations/usage_report/messages',
      'organizations',
      'GET /v1/organizations/*',
      'opaque',
    ],
  ])('of %s %s is %s', (method, url, operation, route, content) => {
    expect(findRoute(method, url)).toEqual({ operation, route, content })
  })

  test.each([
    ['POST', '/v1/new/thing'],
    ['PUT', '/v1/messages'],
    ['POST', '/v1/messages/unknown/more/and/more'],
    ['POST', '/v1'],
    ['GET', '/elsewhere/jo@example.com'],
    ['GET', '/'],
    ['GET', ''],
    ['jo@example.com', '/v1/x'],
  ])('that is not known is opaque and holds no part of the path: %s %s', (method, url) => {
    const { operation, route, content } = findRoute(method, url)
    expect({ operation, content }).toEqual({ operation: 'opaque', content: 'opaque' })
    expect(route).toMatch(/^(GET|POST|PUT|OTHER) (\/v1)?\/\*$/)
  })

  test.each(['//v1//messages/', '/v1/%6dessages', '/v1/messages/#x'])(
    'is seen through another spelling: %s',
    (url) => {
      expect(findRoute('POST', url).operation).toBe('messages.create')
    },
  )

  test('never fails, and never repeats an id', () => {
    fc.assert(
      fc.property(fc.string(), trickyText, (method, path) => {
        const { route } = findRoute(method, path)
        expect(route).toMatch(/^[A-Z]+ \/[a-z0-9_/*]*$/)
      }),
    )
    expect(findRoute('GET', '/v1/files/CANARY').route).not.toContain('CANARY')
    expect(findRoute('GET', '/v1/%').operation).toBe('opaque')
  })
})
