/**
 * The request bodies that the bench sends: what an application (1 KB) and an agent (100 KB) send to
 * Claude. `################` becomes a different number in every request, early in the messages, so
 * that no request is the continuation of another: nothing can be recognised as already seen.
 *
 * @module
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const sentence = 'The reviewer asked which of the three deliveries reached the warehouse on time. '
const prose = (bytes) => sentence.repeat(Math.ceil(bytes / sentence.length)).slice(0, bytes)

/** Writes `<name>.json` and `<name>-stream.json` for each size; returns their paths by name. */
export function writeBodies(directory) {
  const paths = {}
  for (const [name, body] of Object.entries({ '1k': smallBody(), '100k': largeBody() })) {
    for (const stream of [false, true]) {
      const key = stream ? `${name}-stream` : name
      paths[key] = join(directory, `${key}.json`)
      writeFileSync(paths[key], JSON.stringify(stream ? { stream, ...body } : body))
    }
  }
  return paths
}

function smallBody() {
  return {
    model: 'claude-sonnet-4-5',
    max_tokens: 1024,
    temperature: 0.2,
    system: 'You answer questions about deliveries, briefly and with the document that proves it.',
    metadata: { user_id: 'user-4711' },
    messages: [{ role: 'user', content: `Request ################. ${prose(760)}` }],
  }
}

/** A turn of an agent: tools, a long history of tool calls and their results. */
function largeBody() {
  const messages = [{ role: 'user', content: `Task ################. ${prose(400)}` }]
  for (let turn = 0; turn < 24; turn++) {
    const id = `toolu_${String(turn).padStart(22, '0')}`
    messages.push({
      role: 'assistant',
      content: [
        { type: 'text', text: `Step ${turn}: I look at the file. ${prose(120)}` },
        { type: 'tool_use', id, name: 'read_file', input: { path: `src/part-${turn}.ts` } },
      ],
    })
    messages.push({
      role: 'user',
      content: [{ type: 'tool_result', tool_use_id: id, content: `${turn}\n${prose(3100)}` }],
    })
  }
  const tools = Array.from({ length: 10 }, (_, index) => ({
    name: index === 0 ? 'read_file' : `tool_${index}`,
    description: prose(900),
    input_schema: { type: 'object', properties: { path: { type: 'string' } } },
  }))
  const system = [{ type: 'text', text: prose(6000) }]
  return { model: 'claude-sonnet-4-5', max_tokens: 8192, system, tools, messages }
}
