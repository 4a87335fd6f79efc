/**
 * Our own request headers: a caller names itself by them, and they never leave the process.
 *
 * @module
 */
const prefix = 'x-audit-'

/** The headers without ours: the same object when there are none. */
export function removeAuditHeaders(headers: Headers): Headers {
  const ours = [...headers.keys()].filter((name) => name.startsWith(prefix))
  if (ours.length === 0) return headers
  const rest = new Headers(headers)
  for (const name of ours) rest.delete(name)
  return rest
}
