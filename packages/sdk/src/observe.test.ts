import { expect, test } from 'vitest'
import type { EndCause } from './capture/exchange.ts'
import { observeResponse, type Observation, type ObserveOptions } from './observe.ts'
import type { Timers } from './timers.ts'

interface Scene {
  /** What happened, in order. */
  readonly log: string[]
  readonly response: Response
  /** Puts a chunk on the original stream, ends it, or breaks it. */
  upstream(chunk: string | Error): void
  /** Lets the timers run that are due after `ms`. */
  advance(ms: number): void
  read(): Promise<string | undefined>
  cancel(): Promise<void>
}

/** A response of which each step is decided by the test. */
async function setup(
  options: {
    framing?: 'sse' | 'body'
    headers?: Record<string, string>
    status?: number
    end?: (cause: EndCause) => Promise<void>
  } & Partial<ObserveOptions> = {},
): Promise<Scene> {
  const log: string[] = []
  let nowMs = 0
  let timers: { atMs: number; run: () => void }[] = []
  const after: Timers['after'] = (ms, run) => {
    const timer = { atMs: nowMs + ms, run }
    timers.push(timer)
    return () => {
      timers = timers.filter((each) => each !== timer)
    }
  }
  const fakeTimers: Timers = {
    after,
    every: () => () => undefined,
    delay: (ms) => new Promise((resolve) => void after(ms, resolve)),
  }
  let source: ReadableStreamDefaultController<Uint8Array> | undefined
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        source = controller
      },
      pull: () => void log.push('pull'),
      cancel: (reason) => void log.push(`cancel ${String(reason)}`),
    },
    { highWaterMark: 0 },
  )
  let terminalSeen = false
  const observation: Observation = {
    chunk(bytes) {
      const text = Buffer.from(bytes).toString()
      log.push(`chunk ${text}`)
      if (terminalSeen) return 0
      const at = text.indexOf('STOP')
      terminalSeen = at >= 0
      return terminalSeen ? at : bytes.length
    },
    get terminalSeen() {
      return terminalSeen
    },
    framing: options.framing ?? 'sse',
    async end(cause) {
      log.push(`end ${cause}`)
      await options.end?.(cause)
    },
  }
  const { status = 200, headers = { 'content-type': 'text/event-stream' } } = options
  const response = await observeResponse(new Response(body, { status, headers }), observation, {
    delivery: 'strict',
    signal: undefined,
    timers: fakeTimers,
    monotonicMs: () => nowMs,
    idleMsMax: 60_000,
    ...options,
  })
  const reader = response.body?.getReader()
  return {
    log,
    response,
    upstream(chunk) {
      if (chunk === 'end') source?.close()
      else if (chunk instanceof Error) source?.error(chunk)
      else source?.enqueue(Buffer.from(chunk))
    },
    advance(ms) {
      nowMs += ms
      const due = timers.filter(({ atMs }) => atMs <= nowMs)
      timers = timers.filter((timer) => !due.includes(timer))
      for (const { run } of due) run()
    },
    async read() {
      const { value, done } = (await reader?.read()) ?? { done: true }
      return done ? undefined : Buffer.from(value ?? []).toString()
    },
    cancel: async () => reader?.cancel('enough'),
  }
}

const settled = async () => {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
}

test('upstream is read only when the caller reads', async () => {
  const { log, upstream, read } = await setup()
  await settled()
  expect(log).toEqual([])
  const first = read()
  await settled()
  expect(log).toEqual(['pull'])
  upstream('one')
  expect(await first).toBe('one')
  await settled()
  expect(log).toEqual(['pull', 'chunk one'])
})

test('strict: the last event waits for the record, what comes before it does not', async () => {
  let release: () => void = () => undefined
  const durable = new Promise<void>((resolve) => {
    release = resolve
  })
  const { log, upstream, read } = await setup({ end: () => durable })
  const first = read()
  upstream('tailSTOP')
  expect(await first).toBe('tail')
  const second = read()
  upstream('\n\n')
  upstream('end')
  await settled()
  expect(log).toContain('end end')
  release()
  expect(await second).toBe('STOP')
  expect(await read()).toBe('\n\n')
  expect(await read()).toBeUndefined()
})

test('strict: a connection that stays open after the last event is not waited for', async () => {
  const { log, upstream, read, advance } = await setup()
  const first = read()
  upstream('STOP')
  await settled()
  expect(log).not.toContain('end end')
  advance(1_000)
  expect(await first).toBe('STOP')
  expect(log).toContain('end end')
  const late = read()
  upstream('late')
  expect(await late).toBe('late')
})

test('strict: a JSON body keeps its last piece back, whatever the pieces are', async () => {
  const { log, upstream, read } = await setup({
    framing: 'body',
    headers: { 'content-type': 'application/json' },
  })
  const first = read()
  upstream('{"a"')
  await settled()
  upstream(':1}')
  expect(await first).toBe('{"a"')
  const second = read()
  await settled()
  expect(log).not.toContain('end end')
  upstream('end')
  expect(await second).toBe(':1}')
  expect(log.at(-1)).toBe('end end')
})

test('strict: without a record the answer ends in the error, and upstream is let go', async () => {
  const { log, upstream, read } = await setup({ end: () => Promise.reject(new Error('no record')) })
  const first = read()
  upstream('STOP')
  upstream('end')
  await expect(first).rejects.toThrow('no record')
  expect(log.join()).not.toContain('cancel end')
})

test('standard: nothing waits', async () => {
  const { upstream, read } = await setup({
    delivery: 'standard',
    end: () => new Promise(() => undefined),
  })
  const first = read()
  upstream('tailSTOP')
  expect(await first).toBe('tailSTOP')
  const second = read()
  upstream('end')
  expect(await second).toBeUndefined()
})

test('a failure reaches the caller as the same object, after it is on record', async () => {
  const error = new TypeError('terminated')
  const { log, upstream, read } = await setup()
  const first = read()
  upstream(error)
  await expect(first).rejects.toBe(error)
  expect(log.at(-1)).toBe('end upstream_cut')
})

test('what came before a failure is handed on before it', async () => {
  const error = new TypeError('terminated')
  const { upstream, read } = await setup()
  const first = read()
  upstream('restSTOP')
  expect(await first).toBe('rest')
  const second = read()
  await settled()
  upstream(error)
  expect(await second).toBe('STOP')
  await expect(read()).rejects.toBe(error)
})

test('an abort is recorded even if the caller never reads again', async () => {
  const controller = new AbortController()
  const { log, upstream } = await setup({ signal: controller.signal })
  controller.abort()
  upstream(new DOMException('This operation was aborted', 'AbortError'))
  await settled()
  expect(log).toEqual(['end client_abort'])
})

test('a cancel goes upstream at once, with its reason, and is recorded', async () => {
  const { log, cancel } = await setup({ end: () => new Promise(() => undefined) })
  await cancel()
  expect(log).toEqual(['end client_abort', 'cancel enough'])
})

test('a cancel in the middle of a read is the caller’s', async () => {
  const { log, read, cancel } = await setup()
  const first = read()
  await settled()
  await cancel()
  expect(await first).toBeUndefined()
  expect(log).toEqual(['pull', 'end client_abort', 'cancel enough'])
})

test('an error answer that is thrown away is read on in the background', async () => {
  const error = {
    framing: 'body',
    status: 529,
    headers: { 'content-type': 'application/json' },
  } as const
  const whole = await setup(error)
  await whole.cancel()
  whole.upstream('{"type":"error"}')
  await settled()
  whole.upstream('end')
  await settled()
  expect(whole.log).toEqual(['pull', 'chunk {"type":"error"}', 'pull', 'end end'])

  const huge = await setup(error)
  await huge.cancel()
  huge.upstream('x'.repeat(70_000))
  await settled()
  expect(huge.log.slice(-2)).toEqual(['end client_abort', 'cancel undefined'])

  const slow = await setup(error)
  await slow.cancel()
  slow.advance(2_000)
  await settled()
  expect(slow.log).toContain('cancel undefined')
})

test('an answer that is not read for too long is abandoned, and says so when it is read', async () => {
  const { log, upstream, read, advance } = await setup()
  const first = read()
  upstream('one')
  await first
  advance(59_000)
  const second = read()
  upstream('two')
  await second
  advance(59_000)
  expect(log).not.toContain('end abandoned')
  advance(1_000)
  await settled()
  expect(log.slice(-2)[0]).toBe('end abandoned')
  await expect(read()).rejects.toMatchObject({ code: 'ERR_AUDIT_UNAVAILABLE' })
})
