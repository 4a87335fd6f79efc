/**
 * External references: what a request points at instead of holding it. They are listed so that an
 * auditor sees that the bytes alone are not the whole input.
 *
 * @module
 */
import type { ReferenceDraft } from './exchange.ts'
import { arrayOf, isObject, stringOf, type JsonObject } from './json.ts'

const depthMax = 8

/** Collects references, each once, in order of appearance. */
export type ReferenceSink = (type: ReferenceDraft['type'], value: string, keyed: boolean) => void

/** References of one content block, nested blocks included. */
export function blockReferences(block: unknown, add: ReferenceSink, depth = 0): void {
  if (!isObject(block) || depth > depthMax) return
  const type = block['type']
  if (type === 'text' || type === 'thinking' || type === 'tool_use') return
  sourceReference(block['source'], add, depth)
  const fileId = stringOf(block['file_id'])
  if (fileId !== null) add('file', fileId, false)
  for (const inner of arrayOf(block['content'])) blockReferences(inner, add, depth + 1)
}

function sourceReference(source: unknown, add: ReferenceSink, depth: number): void {
  if (!isObject(source)) return
  const fileId = stringOf(source['file_id'])
  if (fileId !== null) add('file', fileId, false)
  const url = stringOf(source['url'])
  if (url !== null) add('url', url, true)
  for (const inner of arrayOf(source['content'])) blockReferences(inner, add, depth + 1)
}

/** References of one top-level member of a request body. */
export function memberReferences(key: string, value: unknown, add: ReferenceSink): void {
  if (key === 'container') containerReferences(value, add)
  else if (key === 'mcp_servers') {
    for (const server of arrayOf(value)) {
      const url = isObject(server) ? stringOf(server['url']) : null
      if (url !== null) add('mcp_server', url, true)
    }
  } else if (key === 'thread' && isObject(value)) {
    const previous = stringOf(value['previous_message_id'])
    if (previous !== null) add('thread', previous, false)
  } else if (key === 'diagnostics' && isObject(value)) {
    const previous = stringOf(value['previous_message_id'])
    if (previous !== null) add('message', previous, false)
  } else if (key === 'resources') {
    for (const resource of arrayOf(value)) if (isObject(resource)) resourceReference(resource, add)
  }
}

function containerReferences(value: unknown, add: ReferenceSink): void {
  const id = isObject(value) ? stringOf(value['id']) : stringOf(value)
  if (id !== null) add('container', id, false)
  if (!isObject(value)) return
  for (const skill of arrayOf(value['skills'])) {
    const skillId = isObject(skill) ? stringOf(skill['skill_id']) : null
    if (skillId !== null) add('skill', skillId, false)
  }
}

function resourceReference(resource: JsonObject, add: ReferenceSink): void {
  const store = stringOf(resource['memory_store_id'])
  if (store !== null) add('memory_store', store, false)
  const file = stringOf(resource['file_id'])
  if (file !== null) add('file', file, false)
}
