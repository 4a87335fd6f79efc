/**
 * What may differ between what a client sends and what upstream receives, and between what upstream
 * sends and what the client receives: these lists, and nothing else.
 *
 * @module
 */

/** About one hop, or set anew by each connection. */
const framing: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'trailer',
  'transfer-encoding',
])

/** Headers of a request as upstream must have received them. */
export function forwardedHeaders(raw: readonly string[]): string[] {
  return pairs(raw)
    .filter(([name]) => !isFraming(name) && !name.toLowerCase().startsWith('x-audit-'))
    .flatMap(([name, value]) => [
      name,
      name.toLowerCase() === 'accept-encoding' ? 'identity' : value,
    ])
}

/** Headers of an answer without those of the hop, our record's id, and the date. */
export function answerHeaders(raw: readonly string[]): string[] {
  return pairs(raw)
    .filter(([name]) => !isFraming(name))
    .filter(([name]) => !['x-audit-event-id', 'date'].includes(name.toLowerCase()))
    .flat()
}

/** Headers of a request without those of the hop. */
export function endToEnd(raw: readonly string[]): string[] {
  return pairs(raw)
    .filter(([name]) => !isFraming(name))
    .flat()
}

function isFraming(name: string): boolean {
  return framing.has(name.toLowerCase())
}

function pairs(raw: readonly string[]): [name: string, value: string][] {
  return raw.flatMap((name, index) => (index % 2 === 0 ? [[name, raw[index + 1] ?? '']] : []))
}
