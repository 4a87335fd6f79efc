/**
 * The route table of the direct API: which operation a path is, and how its body is read. Routes are
 * matched on the pathname only (clients add `?beta=true`), and a route's template stands in the
 * record instead of the path, because ids in paths may name people.
 *
 * A path that is not here is `opaque`: forwarded and recorded by digest (the API is an open list).
 *
 * @module
 */
import type { CapturedRequest } from './exchange.ts'

export interface Route {
  readonly operation: string
  readonly route: string
  readonly content: CapturedRequest['content']
}

type Content = CapturedRequest['content']

/** `template → method → [operation, how the request body is read]`; `*` stands for one segment. */
const table: Readonly<Record<string, Readonly<Record<string, readonly [string, Content]>>>> = {
  '/v1/messages': { POST: ['messages.create', 'messages'] },
  '/v1/messages/count_tokens': { POST: ['messages.count_tokens', 'count'] },
  '/v1/messages/batches': {
    POST: ['messages.batches.create', 'batch'],
    GET: ['messages.batches.list', 'opaque'],
  },
  '/v1/messages/batches/*': {
    GET: ['messages.batches.retrieve', 'opaque'],
    DELETE: ['messages.batches.delete', 'opaque'],
  },
  '/v1/messages/batches/*/cancel': { POST: ['messages.batches.cancel', 'opaque'] },
  '/v1/messages/batches/*/results': { GET: ['messages.batches.results', 'opaque'] },
  '/v1/complete': { POST: ['complete', 'json'] },
  '/v1/models': { GET: ['models.list', 'opaque'] },
  '/v1/models/*': { GET: ['models.retrieve', 'opaque'] },
  '/v1/files': { POST: ['files.upload', 'opaque'], GET: ['files.list', 'opaque'] },
  '/v1/files/*': { GET: ['files.retrieve', 'opaque'], DELETE: ['files.delete', 'opaque'] },
  '/v1/files/*/content': { GET: ['files.download', 'opaque'] },
  '/v1/skills': { POST: ['skills.create', 'opaque'], GET: ['skills.list', 'opaque'] },
  '/v1/skills/*': { GET: ['skills.retrieve', 'opaque'], DELETE: ['skills.delete', 'opaque'] },
  '/v1/skills/*/versions': {
    POST: ['skills.versions.create', 'opaque'],
    GET: ['skills.versions.list', 'opaque'],
  },
  '/v1/skills/*/versions/*': {
    GET: ['skills.versions.retrieve', 'opaque'],
    DELETE: ['skills.versions.delete', 'opaque'],
  },
  '/v1/skills/*/versions/*/content': { GET: ['skills.versions.download', 'opaque'] },
  '/v1/agents': { POST: ['agents.create', 'json'], GET: ['agents.list', 'opaque'] },
  '/v1/agents/*': { POST: ['agents.update', 'json'], GET: ['agents.retrieve', 'opaque'] },
  '/v1/sessions': { POST: ['sessions.create', 'json'], GET: ['sessions.list', 'opaque'] },
  '/v1/sessions/*': {
    POST: ['sessions.update', 'json'],
    GET: ['sessions.retrieve', 'opaque'],
    DELETE: ['sessions.delete', 'opaque'],
  },
  '/v1/sessions/*/archive': { POST: ['sessions.archive', 'opaque'] },
  '/v1/sessions/*/events': {
    POST: ['sessions.events.send', 'json'],
    GET: ['sessions.events.list', 'opaque'],
  },
  '/v1/sessions/*/events/stream': { GET: ['sessions.events.stream', 'opaque'] },
  '/v1/sessions/*/threads': { GET: ['sessions.threads.list', 'opaque'] },
  '/v1/sessions/*/threads/*/events': { GET: ['sessions.threads.events', 'opaque'] },
  '/v1/sessions/*/threads/*/stream': { GET: ['sessions.threads.stream', 'opaque'] },
  '/api/hello': { HEAD: ['probe', 'opaque'], GET: ['probe', 'opaque'] },
}

/** Whole families that are named, and whose bodies (often secrets) are never read. */
const families: readonly (readonly [string, string])[] = [
  ['agents', 'agents.other'],
  ['compliance', 'compliance'],
  ['deployment_runs', 'deployment_runs'],
  ['deployments', 'deployments'],
  ['dreams', 'dreams'],
  ['environments', 'environments'],
  ['memory_stores', 'memory_stores'],
  ['organizations', 'organizations'],
  ['sessions', 'sessions.other'],
  ['tunnels', 'tunnels'],
  ['user_profiles', 'user_profiles'],
  ['vaults', 'vaults'],
]

interface Node {
  readonly children: Map<string, Node>
  readonly methods: Map<string, Route>
}

const root = buildTree()
const familyNames = new Map(families)
const createMessage: Route = {
  operation: 'messages.create',
  route: 'POST /v1/messages',
  content: 'messages',
}

/** Finds the route of a request. `url` may be a path with query or an absolute URL. */
export function findRoute(method: string, url: string): Route {
  const path = pathnameOf(url)
  if (method === 'POST' && path === '/v1/messages') return createMessage
  const segments = path.split('/').filter((segment) => segment !== '')
  let node: Node | undefined = root
  for (const segment of segments) {
    node = node?.children.get(segment) ?? node?.children.get('*')
    if (node === undefined) break
  }
  return node?.methods.get(method) ?? otherRoute(method, segments)
}

/** The path of `url` without query, with doubled slashes and percent signs resolved for matching. */
function pathnameOf(url: string): string {
  let start = 0
  if (!url.startsWith('/')) {
    const scheme = url.indexOf('://')
    const slash = scheme < 0 ? -1 : url.indexOf('/', scheme + 3)
    if (slash < 0) return '/'
    start = slash
  }
  let end = url.length
  for (let at = start; at < url.length; at++) {
    const code = url.charCodeAt(at)
    if (code === 0x3f || code === 0x23) {
      end = at
      break
    }
  }
  const path = url.slice(start, end)
  if (!path.includes('%')) return path
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

function otherRoute(method: string, segments: readonly string[]): Route {
  const verb = /^[A-Z]{1,16}$/.test(method) ? method : 'OTHER'
  const [version, family] = segments
  if (version !== 'v1') return { operation: 'opaque', route: `${verb} /*`, content: 'opaque' }
  const operation = family === undefined ? undefined : familyNames.get(family)
  if (operation === undefined) {
    return { operation: 'opaque', route: `${verb} /v1/*`, content: 'opaque' }
  }
  return { operation, route: `${verb} /v1/${family}/*`, content: 'opaque' }
}

function buildTree(): Node {
  const tree: Node = { children: new Map(), methods: new Map() }
  for (const [template, methods] of Object.entries(table)) {
    let node = tree
    for (const segment of template.slice(1).split('/')) {
      let child = node.children.get(segment)
      if (child === undefined) {
        child = { children: new Map(), methods: new Map() }
        node.children.set(segment, child)
      }
      node = child
    }
    for (const [method, [operation, content]] of Object.entries(methods)) {
      node.methods.set(method, { operation, route: `${method} ${template}`, content })
    }
  }
  return tree
}
