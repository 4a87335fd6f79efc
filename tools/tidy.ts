/**
 * The habits of this code base as data and pure checks over its files; tidy.test.ts runs them. What a
 * linter does better (cycles, `any`, function length) is in .oxlintrc.json.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** One file as the checks see it. */
export interface SourceFile {
  /** Path from the project's root, with forward slashes. */
  readonly path: string
  readonly text: string
  readonly lines: number
}

/** Packages and what each may import of the others. */
const packageImports: Readonly<Record<string, readonly string[]>> = {
  format: [],
  sdk: ['@affidavit/format'],
  server: ['@affidavit/format', '@affidavit/sdk'],
}

/** Folders of the server, lowest first; a folder imports lower ranks and `base` only. */
const serverRanks: Readonly<Record<string, number>> = {
  base: 0,
  store: 1,
  ledger: 2,
  vault: 2,
  query: 2,
  control: 2,
  detect: 2,
  access: 3,
  gateway: 3,
  opener: 3,
  ingest: 3,
  monitor: 3,
  retention: 3,
  simulate: 3,
  api: 4,
  cli: 4,
  demo: 4,
  processes: 4,
}

/** Folders of rank 4 wire the others, and may use each other where one starts another. */
const wiringRank = 4

/** Files that may be longer than `fileLinesMax`, each with its reason. */
const longFiles: Readonly<Record<string, string>> = {}

export const fileLinesMax = 600
export const fileLinesMedianMax = 130
export const fileLinesP95Max = 450

/**
 * Lines of test per line of code that each part must keep, comments and blank lines not counted. The
 * fakes and the crash tests of a part count with it, wherever they are.
 */
export const testRatios: readonly (readonly [
  part: string,
  ratio: number,
  folders: readonly string[],
])[] = [
  ['format', 1.2, ['packages/format/src']],
  ['ledger', 1.2, ['packages/server/src/ledger', 'packages/server/src/store', 'test/crash']],
  ['vault', 1.2, ['packages/server/src/vault']],
  ['sdk', 0.5, ['packages/sdk/src']],
  ['gateway', 0.5, ['packages/server/src/gateway']],
]

/** Lines of `text` that are neither blank nor comment. */
export function codeLines(text: string): number {
  const lines = text.replace(/\/\*[\s\S]*?\*\//g, '').split('\n')
  return lines.filter((line) => line.trim() !== '' && !line.trim().startsWith('//')).length
}

/** Reads every TypeScript file below the packages, test, tools, bench and examples folders. */
export function readSources(): SourceFile[] {
  const found: SourceFile[] = []
  for (const folder of ['packages', 'test', 'tools', 'bench', 'examples']) {
    if (existsSync(join(root, folder))) walk(join(root, folder), found)
  }
  return found
}

function walk(folder: string, found: SourceFile[]): void {
  for (const item of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, item.name)
    if (['node_modules', 'dist', 'fixtures'].includes(item.name)) continue
    if (item.isDirectory()) walk(path, found)
    else if (/\.(ts|mjs)$/.test(item.name)) {
      const text = readFileSync(path, 'utf8')
      found.push({
        path: relative(root, path).replaceAll('\\', '/'),
        text,
        lines: text.split('\n').length,
      })
    }
  }
}

/** Tells whether `file` is shipped code, as opposed to a test, a fake or a tool. */
export function isShipped(file: SourceFile): boolean {
  return /^packages\/\w+\/src\//.test(file.path) && !isTest(file)
}

/** Tells whether `file` is a test or a fake that only tests use. */
export function isTest(file: SourceFile): boolean {
  return /\.test\.ts$|\/testing\.ts$|^test\//.test(file.path)
}

/** Everything wrong with one file on its own, as sentences. */
export function complaintsAbout(file: SourceFile): string[] {
  const complaints: string[] = []
  const say = (what: string) => complaints.push(`${file.path}: ${what}`)
  const name = file.path.split('/').at(-1) ?? ''
  if (!/^[a-z0-9]+([.-][a-z0-9]+)*\.(ts|mjs)$/.test(name)) say('the name is not kebab-case')
  if (file.lines > fileLinesMax && longFiles[file.path] === undefined && !isTest(file)) {
    say(`${file.lines} lines; the limit is ${fileLinesMax}`)
  }
  if (!isShipped(file) || file.path.endsWith('.d.ts')) return complaints
  if (!/^(#!.*\n)?\/\*\*[\s\S]*?@module/.test(file.text))
    say('does not open with a @module docstring')
  if (file.path.endsWith('/index.ts') && !/^packages\/\w+\/src\/index\.ts$/.test(file.path)) {
    say('index.ts inside a package')
  }
  if (/^export default/m.test(file.text)) say('default export')
  for (const specifier of importsOf(file.text)) {
    const complaint = complaintAboutImport(file.path, specifier)
    if (complaint !== undefined) say(complaint)
  }
  return complaints
}

/** Module specifiers that `text` imports, static and dynamic. */
export function importsOf(text: string): string[] {
  const pattern = /(?:^|\s)(?:import|export)\s(?:[^'"`;]*?\sfrom\s)?'([^']+)'|import\('([^']+)'\)/gm
  return [...text.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? '')
}

function complaintAboutImport(path: string, specifier: string): string | undefined {
  const packageName = path.split('/')[1] ?? ''
  const allowed = packageImports[packageName] ?? []
  if (packageName === 'format' && specifier.startsWith('node:'))
    return `imports ${specifier}: format runs in browsers`
  if (specifier.startsWith('@affidavit/')) {
    const wanted = specifier.split('/').slice(0, 2).join('/')
    return allowed.includes(wanted)
      ? undefined
      : `imports ${specifier}, which ${packageName} may not`
  }
  if (!specifier.startsWith('.')) return undefined
  if (!/\.(ts|json)$/.test(specifier)) return `imports ${specifier} without its .ts extension`
  return packageName === 'server' ? complaintAboutRank(path, specifier) : undefined
}

function complaintAboutRank(path: string, specifier: string): string | undefined {
  const from = path.split('/')[3] ?? ''
  const target = new URL(specifier, `file:///${path}`).pathname.slice(1).split('/')[3] ?? ''
  if (from === target || target === 'base') return undefined
  const [fromRank, targetRank] = [serverRanks[from], serverRanks[target]]
  if (fromRank === undefined || targetRank === undefined)
    return `${from} → ${target}: a folder without a rank`
  if (targetRank < fromRank || fromRank === wiringRank) return undefined
  return `${from} (rank ${fromRank}) imports ${target} (rank ${targetRank})`
}

/** The value below which `share` (0 … 1) of `values` lie. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
}
