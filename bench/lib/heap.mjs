/**
 * Looks into a measured process through Node's inspector: collects its garbage, then asks what memory
 * is in use. Without that, resident memory says more about when the collector ran than about what a
 * stream needs.
 *
 * @module
 */
import { createRequire } from 'node:module'

// Node 20 has no WebSocket of its own; undici has.
const { WebSocket } = createRequire(new URL('../../packages/server/package.json', import.meta.url))(
  'undici',
)

/** Flag for a process that `openInspector` is going to look into. */
export const inspectorFlag = '--inspect=127.0.0.1:0'

const waitMs = 20
const waitsMax = 500

/**
 * Connects to a process that was started with `inspectorFlag`.
 *
 * @param {{ output: { stderr: string } }} started
 */
export async function openInspector(started) {
  const socket = new WebSocket(await urlOf(started))
  const waiting = new Map()
  let last = 0
  socket.addEventListener('message', ({ data }) => {
    const { id, result, error } = JSON.parse(String(data))
    waiting.get(id)?.(error ? Promise.reject(new Error(error.message)) : result)
    waiting.delete(id)
  })
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve)
    socket.addEventListener('error', () => reject(new Error('the inspector does not answer')))
  })
  const call = (method, params = {}) =>
    new Promise((resolve) => {
      waiting.set(++last, resolve)
      socket.send(JSON.stringify({ id: last, method, params }))
    })
  return {
    /** Bytes in use after a collection: resident, and of that what JavaScript holds. */
    async memory() {
      // Twice: the first collection runs finalizers that let go of native memory.
      await call('HeapProfiler.collectGarbage')
      await call('HeapProfiler.collectGarbage')
      const expression = 'JSON.stringify(process.memoryUsage())'
      const { result } = await call('Runtime.evaluate', { expression, returnByValue: true })
      const { rss, heapUsed, external } = JSON.parse(result.value)
      return { resident: rss, held: heapUsed + external }
    },
    close: () => socket.close(),
  }
}

async function urlOf({ output }) {
  for (let wait = 0; wait < waitsMax; wait++) {
    const [, url] = /Debugger listening on (ws:\S+)/.exec(output.stderr) ?? []
    if (url !== undefined) return url
    await new Promise((resolve) => setTimeout(resolve, waitMs))
  }
  throw new Error('the process did not open its inspector')
}
