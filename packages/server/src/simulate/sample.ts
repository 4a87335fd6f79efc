/**
 * Values that match a JSON schema, for tool inputs and structured answers. Knows the keywords that
 * tool definitions use; an unknown schema gives an empty object.
 *
 * @module
 */
import { type Seeded } from './seeded.ts'

type Schema = Readonly<Record<string, unknown>>

const depthMax = 8
const words = ['north', 'harbour', 'ledger', 'copper', 'quiet', 'morning', 'window'] as const

/** Returns a small value that `schema` admits. */
export function sampleOf(schema: unknown, seeded: Seeded): unknown {
  return isSchema(schema) ? sample(schema, seeded, depthMax) : {}
}

function sample(schema: Schema, seeded: Seeded, depth: number): unknown {
  if ('const' in schema) return schema['const']
  const [choice] = listOf(schema['enum'])
  if (choice !== undefined) return choice
  const [variant] = [...listOf(schema['anyOf']), ...listOf(schema['oneOf'])].filter(isSchema)
  if (variant !== undefined) return depth > 0 ? sample(variant, seeded, depth - 1) : null
  const type = Array.isArray(schema['type']) ? schema['type'][0] : schema['type']
  switch (type) {
    case 'string':
      return `${seeded.pick(words)} ${seeded.pick(words)}`
    case 'integer':
    case 'number':
      return typeof schema['minimum'] === 'number' ? schema['minimum'] : seeded.below(100)
    case 'boolean':
      return seeded.below(2) === 1
    case 'null':
      return null
    case 'array':
      return depth > 0 && isSchema(schema['items'])
        ? [sample(schema['items'], seeded, depth - 1)]
        : []
    default:
      return depth > 0 ? sampleObject(schema, seeded, depth) : {}
  }
}

function sampleObject(schema: Schema, seeded: Seeded, depth: number): unknown {
  const properties = isSchema(schema['properties']) ? schema['properties'] : {}
  const required = listOf(schema['required'])
  const names = Object.keys(properties).filter(
    (name) => required.length === 0 || required.includes(name),
  )
  return Object.fromEntries(
    names.map((name) => {
      const property = properties[name]
      return [name, isSchema(property) ? sample(property, seeded, depth - 1) : null]
    }),
  )
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
