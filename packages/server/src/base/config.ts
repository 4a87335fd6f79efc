/**
 * Reads the configuration: `affidavit.yaml` (or the file that AFFIDAVIT_CONFIG names), then the
 * environment's overrides, into one checked value.
 *
 * Invariants: a configuration with an unknown key, a wrong type or a value out of its limits starts
 * nothing (`ERR_CONFIG_INVALID`), and the message names every fault at once; an error never repeats a
 * configured value, which may be a secret that was put in the wrong place.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { AuditError } from '@affidavit/format'
import { parse } from 'yaml'
import { z } from 'zod'
import { configSchema } from './config-schema.ts'

type CamelName<Name> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelName<Tail>>}`
  : Name
type Camel<Value> = Value extends readonly unknown[]
  ? Value
  : Value extends object
    ? { readonly [Key in keyof Value as CamelName<Key>]: Camel<Value[Key]> }
    : Value

/** The whole configuration, as the program uses it. */
export type Config = Camel<z.output<typeof configSchema>> & {
  /** Names what rules the exchanges: `config:` and a digest of the settings that shape a record. */
  readonly policyVersion: string
}

/** A reference to a secret, as configured: never the secret itself. */
export type SecretReference = { readonly env: string } | { readonly file: string }

/** Where a server listens. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** What reading the configuration needs of the outside. */
export interface ConfigSources {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Directory that relative paths start from. */
  readonly directory: string
  /** Text of a file, or `undefined` if there is none. */
  readFile(path: string): string | undefined
}

const defaultFile = 'affidavit.yaml'
const fileBytesMax = 1024 * 1024

/** The process's own environment, working directory and files. */
export function processSources(): ConfigSources {
  return { env: process.env, directory: process.cwd(), readFile: readIfPresent }
}

/**
 * Reads and checks the configuration.
 *
 * @throws AuditError `ERR_CONFIG_INVALID` with one sentence per fault.
 */
export function loadConfig(sources: ConfigSources = processSources()): Config {
  const named = sources.env.AFFIDAVIT_CONFIG
  const path = resolve(sources.directory, named ?? defaultFile)
  const text = sources.readFile(path)
  if (text === undefined && named !== undefined) {
    throw invalid(`AFFIDAVIT_CONFIG names ${path}, which cannot be read.`)
  }
  const config = configFrom(parseYaml(text ?? '', path), sources.env)
  return { ...config, dataDir: resolve(sources.directory, config.dataDir) }
}

/**
 * Checks `values` (the content of a configuration file; `{}` gives the defaults) with the overrides
 * of `env`.
 *
 * @throws AuditError `ERR_CONFIG_INVALID`
 */
export function configFrom(values: unknown, env: ConfigSources['env'] = {}): Config {
  const result = configSchema.safeParse(withOverrides(values ?? {}, env))
  if (!result.success) throw invalid(result.error.issues.map(describe).join(' '))
  const ruling = JSON.stringify([result.data.gateway, result.data.hashing])
  const digest = createHash('sha256').update(ruling).digest('hex').slice(0, 16)
  const config = camelized(result.data, configSchema) as Camel<z.output<typeof configSchema>>
  return { ...config, policyVersion: `config:${digest}` }
}

/** Splits `host:port`; brackets of an IPv6 address are removed. The schema has checked the shape. */
export function parseAddress(text: string): Address {
  const colon = text.lastIndexOf(':')
  const port = Number(text.slice(colon + 1))
  if (!Number.isInteger(port) || port > 65_535) throw invalid(`${text} has no port below 65536.`)
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port }
}

/**
 * Reads a secret from where the configuration says it is. White space around it is removed.
 *
 * @throws AuditError `ERR_CONFIG_INVALID` when there is none; the message names the place only.
 */
export function readSecret(reference: SecretReference, sources: ConfigSources): string {
  const place = 'env' in reference ? `environment variable ${reference.env}` : reference.file
  const value =
    'env' in reference
      ? sources.env[reference.env]
      : sources.readFile(resolve(sources.directory, reference.file))
  const secret = value?.trim() ?? ''
  if (secret === '') throw invalid(`A provider key is expected in ${place}, which is empty.`)
  return secret
}

/** Variables that override the file, with the path of the key that each sets. */
export const environmentOverrides: Readonly<Record<string, readonly string[]>> = {
  AFFIDAVIT_DATA_DIR: ['data_dir'],
  AFFIDAVIT_GATEWAY_LISTEN: ['gateway', 'listen'],
  AFFIDAVIT_UPSTREAM_ANTHROPIC: ['gateway', 'upstream', 'anthropic'],
}

function withOverrides(values: unknown, env: ConfigSources['env']): unknown {
  let result = values
  for (const [variable, path] of Object.entries(environmentOverrides)) {
    const value = env[variable]
    if (value !== undefined && value !== '') result = withValueAt(result, path, value)
  }
  return result
}

function withValueAt(target: unknown, path: readonly string[], value: string): unknown {
  const [key, ...rest] = path
  if (key === undefined) return value
  // What is not a mapping stays as it is: the schema refuses it with the right words.
  if (target !== undefined && !isMapping(target)) return target
  return { ...target, [key]: withValueAt(target?.[key], rest, value) }
}

function parseYaml(text: string, path: string): unknown {
  if (text.length > fileBytesMax) throw invalid(`${path} is larger than ${fileBytesMax} bytes.`)
  try {
    return parse(text) ?? {}
  } catch (cause) {
    const line = (cause as { linePos?: readonly { line: number }[] }).linePos?.[0]?.line
    const place = typeof line === 'number' ? ` near line ${line}` : ''
    // The parser quotes the faulty line, which may hold a secret: neither message nor cause is kept.
    throw invalid(`${path} is not YAML${place}.`)
  }
}

function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

type Issue = z.core.$ZodIssue

function describe(issue: Issue): string {
  const place = issue.path.join('.')
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(issue.path)
    return issue.keys
      .map((key) => {
        const near = nearest(key, known)
        const hint = near === undefined ? '' : ` Did you mean ${[...issue.path, near].join('.')}?`
        return `Unknown key ${[...issue.path, key].join('.')}.${hint}`
      })
      .join(' ')
  }
  if (issue.code === 'invalid_union') return `${place}: give { env: NAME } or { file: PATH }.`
  return `${place === '' ? 'The file' : place}: ${issue.message.replace(/, received .*$/, '')}.`
}

function keysAt(path: readonly PropertyKey[]): string[] {
  let schema: z.core.$ZodType | undefined = configSchema
  for (const key of path) {
    schema = unwrapped(schema)
    if (schema instanceof z.ZodRecord) schema = schema.valueType
    else if (schema instanceof z.ZodObject) schema = schema.shape[String(key)]
    else return []
  }
  const found = unwrapped(schema)
  return found instanceof z.ZodObject ? Object.keys(found.shape) : []
}

/** The schema inside defaults and optionals. */
export function unwrapped(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  let inner = schema
  while (
    inner instanceof z.ZodDefault ||
    inner instanceof z.ZodPrefault ||
    inner instanceof z.ZodOptional ||
    inner instanceof z.ZodNullable
  ) {
    inner = inner.unwrap()
  }
  return inner
}

const nearDistanceMax = 4

function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.min(nearDistanceMax, Math.ceil(word.length / 2)) + 1
  for (const candidate of known) {
    const distance = editDistance(word, candidate)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 0; i < left.length; i++) {
    const next = [i + 1]
    for (let j = 0; j < right.length; j++) {
      const change = (row[j] ?? 0) + (left[i] === right[j] ? 0 : 1)
      next.push(Math.min(change, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[right.length] ?? 0
}

/** Renames keys to camelCase where the schema names them; keys of records are data and stay. */
function camelized(value: unknown, schema: z.core.$ZodType | undefined): unknown {
  const inner = unwrapped(schema)
  if (!isMapping(value)) return value
  const renamed: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(value)) {
    if (inner instanceof z.ZodRecord) renamed[key] = camelized(item, inner.valueType)
    else if (inner instanceof z.ZodObject)
      renamed[camelName(key)] = camelized(item, inner.shape[key])
    else renamed[key] = item
  }
  return renamed
}

function camelName(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function invalid(what: string): AuditError {
  return new AuditError(
    'ERR_CONFIG_INVALID',
    `The configuration is not valid, nothing was started. ${what} ` +
      'Keys, units and limits are in docs/operate/configuration.md.',
  )
}
