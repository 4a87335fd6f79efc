/**
 * The package runs where there is only JavaScript: nothing but its tests may name a platform.
 *
 * @module
 */
import { readdirSync, readFileSync } from 'node:fs'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { createTestLog, testEntries } from './testing.ts'

const directory = new URL('./', import.meta.url)
const sources = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(
  (name) => name.endsWith('.ts') && !name.endsWith('.test.ts'),
)

describe('sources', () => {
  it('are found', () => {
    expect(sources).toContain('index.ts')
    expect(sources.length).toBeGreaterThan(15)
  })

  it.each(sources)('%s imports nothing but this package and @noble', (name) => {
    const text = readFileSync(new URL(name, directory), 'utf8')
    const imported = [...text.matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
      ([, path]) => path,
    )
    const foreign = imported.filter((path) => !/^(?:\.\.?\/|@noble\/)/.test(path ?? ''))
    expect(foreign).toEqual([])
  })

  it.each(sources)('%s names no global of Node', (name) => {
    const code = readFileSync(new URL(name, directory), 'utf8').replaceAll(
      /\/\*[^]*?\*\/|\/\/.*/g,
      '',
    )
    const globals = /\b(?:Buffer|__dirname|require|setImmediate|global)\b|\bprocess\.(?!getBuiltin)/
    expect(code.match(globals)?.[0]).toBeUndefined()
  })
})

describe('the whole package without Node', () => {
  afterEach(() => {
    vi.unstubAllGlobals()
    vi.resetModules()
  })

  it('verifies a log', async () => {
    const log = createTestLog({ entries: testEntries(300), publishedAt: [7] })
    vi.resetModules()
    // The rest of `process` stays: the test runner lives by it.
    vi.stubGlobal('process', Object.create(process, { getBuiltinModule: { value: undefined } }))
    const format = await import('./index.ts')
    const report = await format.verifyLog(log, log.vkey)
    expect(report).toMatchObject({ intact: true, findings: [], entriesHashed: 300 })
  })
})
