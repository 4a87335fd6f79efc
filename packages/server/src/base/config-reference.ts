/**
 * Renders docs/operate/configuration.md from the schema. A test compares the two, so the page is
 * always current.
 *
 * @module
 */
import { assert } from '@affidavit/format'
import { z } from 'zod'
import { unwrapped } from './config.ts'
import { configSchema, keyDocs, type KeyDoc } from './config-schema.ts'

const introduction = `# Configuration

Rendered from the schema in \`packages/server/src/base/config-schema.ts\`; do not edit by hand.

The file is \`affidavit.yaml\` in the working directory, or the one that \`AFFIDAVIT_CONFIG\` names.
Everything has a default: an empty file, or none, is valid. An unknown key, a wrong type or a value out
of its limits starts nothing, and the message names every fault. Environment variables win over the file.

\`\`\`yaml
deployment: audit.acme.example
instance: gw-1
gateway:
  listen: 127.0.0.1:8787
  require_gateway_key: true
  provider_keys:
    anthropic: { env: ANTHROPIC_API_KEY }
  applications:
    billing-bot: { retention_class: financial, data_classification: CONFIDENTIAL }
\`\`\`
`

/** The whole page. */
export function renderConfigReference(): string {
  const sections: string[] = [introduction]
  render(configSchema, [], sections)
  return sections.join('\n')
}

function render(schema: z.ZodObject, path: readonly string[], sections: string[]): void {
  const keys = Object.entries(schema.shape)
  const plain = keys.filter(([, value]) => sectionOf(value) === undefined)
  if (plain.length > 0) {
    sections.push(path.length === 0 ? '## Top level\n' : `## \`${path.join('.')}\`\n`)
    for (const [key, value] of plain) sections.push(renderKey(key, value))
  }
  for (const [key, value] of keys) {
    const section = sectionOf(value)
    if (section !== undefined) render(section.schema, [...path, key, ...section.suffix], sections)
  }
}

interface Section {
  readonly schema: z.ZodObject
  readonly suffix: readonly string[]
}

/** Objects have a section of their own, unless the key itself is documented as one value. */
function sectionOf(schema: z.core.$ZodType): Section | undefined {
  const inner = unwrapped(schema)
  if (inner instanceof z.ZodRecord && inner.valueType instanceof z.ZodObject) {
    return { schema: inner.valueType, suffix: ['<application id>'] }
  }
  if (inner instanceof z.ZodObject && keyDocs.get(schema) === undefined) {
    return { schema: inner, suffix: [] }
  }
  return undefined
}

function renderKey(key: string, schema: z.core.$ZodType): string {
  const doc = keyDocs.get(schema)
  assert(doc !== undefined, `the key ${key} is documented`)
  const facts = [
    `default ${defaultOf(schema)}`,
    ...(doc.unit === undefined ? [] : [`in ${doc.unit}`]),
    `limit: ${limitOf(schema, doc)}`,
    ...(doc.env === undefined ? [] : [`\`${doc.env}\``]),
  ]
  return `- **\`${key}\`** ${doc.text}\n  (${facts.join('; ')})\n`
}

function defaultOf(schema: z.core.$ZodType): string {
  if (!(schema instanceof z.ZodDefault)) return 'none'
  const value: unknown = schema.def.defaultValue
  if (value === null) return 'none'
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``
}

function limitOf(schema: z.core.$ZodType, doc: KeyDoc): string {
  if (doc.limit !== undefined) return doc.limit
  const inner = unwrapped(schema)
  if (inner instanceof z.ZodNumber) return `${inner.minValue} … ${inner.maxValue}`
  if (inner instanceof z.ZodEnum) return inner.options.map((value) => `\`${value}\``).join(', ')
  assert(inner instanceof z.ZodBoolean, 'a key has its limit in words or in its schema')
  return '`true`, `false`'
}
