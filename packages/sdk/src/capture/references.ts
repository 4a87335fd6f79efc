/**
 * External references: what a request points at instead of holding it. They are listed so that an
 * auditor sees that the bytes alone are not the whole input.
 *
 * @module
 */
import type { ReferenceDraft } from './analysis.ts'
import { arrayOf, isObject, stringOf, type JsonObject } from './json.ts'
import { itemsOf, memberOf, stringAt, type RawNode } from './raw-json.ts'
import { sha256OfText } from './sha256.ts'

const depthMax = 8

/** Adds the references of one content block, nested blocks included, to `into`. */
export function blockReferences(block: RawNode, into: ReferenceDraft[], depth = 0): void {
  if (block.kind !== 'object' || depth > depthMax) return
  add(into, 'file', stringAt(memberOf(block, 'file_id')), false)
  for (const inner of itemsOf(memberOf(block, 'content'))) blockReferences(inner, into, depth + 1)
  const source = memberOf(block, 'source')
  if (source?.kind !== 'object') return
  add(into, 'file', stringAt(memberOf(source, 'file_id')), false)
  add(into, 'url', stringAt(memberOf(source, 'url')), true)
  for (const inner of itemsOf(memberOf(source, 'content'))) blockReferences(inner, into, depth + 1)
}

/** Names of top-level members that `memberReferences` looks at. */
export const referringMembers: ReadonlySet<string> = new Set([
  'container',
  'diagnostics',
  'mcp_servers',
  'resources',
  'thread',
])

/** The references of one top-level member of a request body. */
export function memberReferences(key: string, value: unknown): ReferenceDraft[] {
  const into: ReferenceDraft[] = []
  if (key === 'container') containerReferences(value, into)
  else if (key === 'mcp_servers') {
    for (const server of objectsIn(value)) add(into, 'mcp_server', stringOf(server['url']), true)
  } else if (key === 'resources') {
    for (const resource of objectsIn(value)) {
      add(into, 'memory_store', stringOf(resource['memory_store_id']), false)
      add(into, 'file', stringOf(resource['file_id']), false)
    }
  } else if (isObject(value)) {
    const type = key === 'thread' ? 'thread' : 'message'
    add(into, type, stringOf(value['previous_message_id']), false)
  }
  return into
}

function containerReferences(value: unknown, into: ReferenceDraft[]): void {
  if (!isObject(value)) {
    add(into, 'container', stringOf(value), false)
    return
  }
  add(into, 'container', stringOf(value['id']), false)
  for (const skill of objectsIn(value['skills']))
    add(into, 'skill', stringOf(skill['skill_id']), false)
}

function objectsIn(value: unknown): readonly JsonObject[] {
  return arrayOf(value).filter(isObject)
}

function add(
  into: ReferenceDraft[],
  type: ReferenceDraft['type'],
  value: string | null,
  keyed: boolean,
): void {
  if (value === null || value === '') return
  into.push({ type, value: keyed ? sha256OfText(value) : value, keyed })
}
