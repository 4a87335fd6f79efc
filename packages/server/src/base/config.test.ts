import * as fc from 'fast-check'
import { isAuditError } from '@affidavit/format'
import { describe, expect, test } from 'vitest'
import { configFrom, loadConfig, parseAddress, readSecret, type ConfigSources } from './config.ts'

function sources(options: {
  env?: Record<string, string>
  files?: Record<string, string>
}): ConfigSources {
  return {
    env: options.env ?? {},
    directory: '/srv',
    readFile: (path) => options.files?.[path],
  }
}

function messageOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (isAuditError(error, 'ERR_CONFIG_INVALID')) return error.message
    throw error
  }
  return 'no error'
}

function outcomeOf(run: () => unknown): string {
  return messageOf(run) === 'no error' ? 'no error' : 'invalid'
}

describe('loading', () => {
  test('no file and an empty environment give the defaults', () => {
    const config = loadConfig(sources({}))
    expect(config.gateway.listen).toBe('127.0.0.1:8787')
    expect(config.gateway.upstream.anthropic).toBe('https://api.anthropic.com')
    expect(config.gateway.delivery).toBe('strict')
    expect(config.dataDir).toBe('/srv/.affidavit')
  })

  test('an empty file is a valid one', () => {
    const config = loadConfig(sources({ files: { '/srv/affidavit.yaml': '# nothing\n' } }))
    expect(config).toEqual(loadConfig(sources({})))
  })

  test('the environment wins over the file', () => {
    const config = loadConfig(
      sources({
        env: {
          AFFIDAVIT_CONFIG: 'conf/a.yaml',
          AFFIDAVIT_DATA_DIR: '/data',
          AFFIDAVIT_GATEWAY_LISTEN: '0.0.0.0:1',
          AFFIDAVIT_UPSTREAM_ANTHROPIC: 'http://127.0.0.1:9797',
        },
        files: {
          '/srv/conf/a.yaml':
            'data_dir: /other\ngateway:\n  listen: 127.0.0.1:2\n  delivery: standard\n',
        },
      }),
    )
    expect(config.dataDir).toBe('/data')
    expect(config.gateway.listen).toBe('0.0.0.0:1')
    expect(config.gateway.delivery).toBe('standard')
    expect(config.gateway.upstream.anthropic).toBe('http://127.0.0.1:9797')
  })

  test('a named file that is missing starts nothing', () => {
    expect(messageOf(() => loadConfig(sources({ env: { AFFIDAVIT_CONFIG: 'x.yaml' } })))).toContain(
      '/srv/x.yaml',
    )
  })

  test('a file that is not YAML is refused without quoting it', () => {
    const files = { '/srv/affidavit.yaml': 'gateway: {a: [sk-ant-secret\n' }
    const message = messageOf(() => loadConfig(sources({ files })))
    expect(message).toContain('not YAML')
    expect(message).not.toContain('secret')
  })
})

describe('checking', () => {
  test('an unknown key is refused with the nearest known one, at every depth', () => {
    const message = messageOf(() =>
      configFrom({
        gatewy: {},
        gateway: {
          unknown_path: 'deny',
          limits: { linger: 1 },
          applications: { bot: { fail_opn: true } },
        },
      }),
    )
    expect(message).toContain('Unknown key gatewy. Did you mean gateway?')
    expect(message).toContain('Did you mean gateway.unknown_paths?')
    expect(message).toContain('Did you mean gateway.limits.linger_ms?')
    expect(message).toContain('Did you mean gateway.applications.bot.fail_open?')
  })

  test('a key that is like no other gets no suggestion', () => {
    const message = messageOf(() => configFrom({ zzzzzzzz: 1 }))
    expect(message).toContain('Unknown key zzzzzzzz.')
    expect(message).not.toContain('Did you mean')
  })

  test('every fault is named at once, and no configured value is repeated', () => {
    const message = messageOf(() =>
      configFrom({
        gateway: {
          listen: 'sk-ant-oops',
          delivery: 'sk-ant-oops',
          limits: { linger_ms: -1, shutdown_ms: 'sk-ant-oops' },
          provider_keys: { anthropic: 'sk-ant-oops' },
        },
      }),
    )
    for (const key of ['listen', 'delivery', 'limits.linger_ms', 'limits.shutdown_ms']) {
      expect(message).toContain(`gateway.${key}`)
    }
    expect(message).toContain(
      'gateway.provider_keys.anthropic: give { env: NAME } or { file: PATH }',
    )
    expect(message).not.toContain('sk-ant-oops')
  })

  test.each([
    'ftp://example.com',
    'https://user:pass@example.com',
    'https://example.com/?a=1',
    'example.com',
  ])('%s is not an upstream', (anthropic) => {
    expect(messageOf(() => configFrom({ gateway: { upstream: { anthropic } } }))).toContain(
      'gateway.upstream.anthropic',
    )
  })

  test('a section that is not a mapping is refused, also where the environment sets a key in it', () => {
    const env = { AFFIDAVIT_GATEWAY_LISTEN: '127.0.0.1:1' }
    expect(messageOf(() => configFrom({ gateway: 'x' }, env))).toContain('gateway:')
    expect(messageOf(() => configFrom('x', env))).toContain('The file:')
  })

  test('application ids keep their spelling, their settings are renamed', () => {
    const config = configFrom({
      gateway: { applications: { billing_bot: { fail_open: true, retention_class: 'financial' } } },
    })
    expect(config.gateway.applications).toEqual({
      billing_bot: { failOpen: true, retentionClass: 'financial' },
    })
  })

  test('the policy version follows what rules exchanges, and nothing else', () => {
    const version = (values: unknown) => configFrom(values).policyVersion
    expect(version({})).toMatch(/^config:[0-9a-f]{16}$/)
    expect(version({ log: { level: 'debug' } })).toBe(version({}))
    expect(version({ gateway: { delivery: 'standard' } })).not.toBe(version({}))
  })

  test('whatever the values, the result is a configuration or ERR_CONFIG_INVALID', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(['no error', 'invalid']).toContain(outcomeOf(() => configFrom(value)))
        expect(['no error', 'invalid']).toContain(outcomeOf(() => configFrom({ gateway: value })))
      }),
    )
  })
})

test.each([
  ['127.0.0.1:8787', { host: '127.0.0.1', port: 8787 }],
  ['[::1]:0', { host: '::1', port: 0 }],
  ['localhost:65535', { host: 'localhost', port: 65_535 }],
])('%s is an address', (text, address) => {
  expect(parseAddress(text)).toEqual(address)
})

test('a port beyond 65535 is refused', () => {
  expect(messageOf(() => parseAddress('127.0.0.1:65536'))).toContain('65536')
})

test('a secret is read from a variable or a file, trimmed; an empty one is refused', () => {
  const from = sources({ env: { KEY: ' a\n' }, files: { '/srv/k': 'b\n', '/etc/k': '\n' } })
  expect(readSecret({ env: 'KEY' }, from)).toBe('a')
  expect(readSecret({ file: 'k' }, from)).toBe('b')
  expect(messageOf(() => readSecret({ env: 'NONE' }, from))).toContain('NONE')
  expect(messageOf(() => readSecret({ file: '/etc/k' }, from))).toContain('/etc/k')
})
