import type { Clock } from '@affidavit/sdk/capture'
import { expect, test } from 'vitest'
import {
  type Child,
  type ChildEnd,
  pauseMsMax,
  pauseMsMin,
  steadyMs,
  supervise,
} from './supervise.ts'

interface FakeChild extends Child {
  readonly signals: string[]
  becomeReady(): void
  end(end: ChildEnd): void
}

function fakeChild(): FakeChild {
  const signals: string[] = []
  let [becomeReady, end]: [() => void, (end: ChildEnd) => void] = [() => {}, () => {}]
  const ready = new Promise<void>((resolve) => {
    becomeReady = resolve
  })
  const ended = new Promise<ChildEnd>((resolve) => {
    end = resolve
  })
  const signal = (name: string) => {
    signals.push(name)
  }
  return { ready, ended, signals, signal, becomeReady, end }
}

function rig() {
  const children: FakeChild[] = []
  const pauses: number[] = []
  let [nowMs, arrived] = [0, () => {}]
  const clock: Clock = { nowMicros: () => nowMs * 1000, monotonicMs: () => nowMs }
  const supervisor = supervise({
    launch() {
      const child = fakeChild()
      children.push(child)
      arrived()
      return child
    },
    clock,
    pause: async (ms) => {
      pauses.push(ms)
    },
    events: { restarting: () => {} },
  })
  const nextChild = async (count: number): Promise<FakeChild> => {
    while (children.length < count) {
      await new Promise<void>((resolve) => {
        arrived = resolve
      })
    }
    const child = children[count - 1]
    if (child === undefined) throw new Error('the child was launched')
    return child
  }
  return { supervisor, pauses, nextChild, children, pass: (ms: number) => (nowMs += ms) }
}

const crash: ChildEnd = { code: null, signal: 'SIGKILL' }

async function readyThen(child: FakeChild, end: ChildEnd): Promise<void> {
  child.becomeReady()
  await child.ready
  child.end(end)
}

test('a child that dies is started again, after pauses that double up to a limit', async () => {
  const { supervisor, pauses, nextChild } = rig()
  for (let count = 1; count <= 8; count += 1) await readyThen(await nextChild(count), crash)
  const last = await nextChild(9)
  expect(pauses.slice(0, 3)).toEqual([pauseMsMin, pauseMsMin * 2, pauseMsMin * 4])
  expect(pauses.at(-1)).toBe(pauseMsMax)
  supervisor.stop('SIGTERM')
  last.end({ code: 0, signal: null })
  expect(await supervisor.done).toBe(0)
})

test('the pause is short again after a child that lived long', async () => {
  const { supervisor, pauses, nextChild, pass } = rig()
  await readyThen(await nextChild(1), crash)
  await readyThen(await nextChild(2), crash)
  const third = await nextChild(3)
  pass(steadyMs)
  await readyThen(third, crash)
  const fourth = await nextChild(4)
  expect(pauses).toEqual([pauseMsMin, pauseMsMin * 2, pauseMsMin])
  supervisor.stop('SIGTERM')
  fourth.end(crash)
  await supervisor.done
})

test('a child that was never ready ends the supervisor with its exit code', async () => {
  const { supervisor, nextChild, pauses } = rig()
  ;(await nextChild(1)).end({ code: 3, signal: null })
  expect(await supervisor.done).toBe(3)
  expect(pauses).toEqual([])
})

test('a child that ends by itself with code 0 is not started again', async () => {
  const { supervisor, nextChild, children } = rig()
  await readyThen(await nextChild(1), { code: 0, signal: null })
  expect(await supervisor.done).toBe(0)
  expect(children).toHaveLength(1)
})

test('signals are passed on, and a child that they end is not a failure', async () => {
  const { supervisor, nextChild } = rig()
  const child = await nextChild(1)
  child.becomeReady()
  supervisor.stop('SIGINT')
  supervisor.stop('SIGTERM')
  expect(child.signals).toEqual(['SIGINT', 'SIGTERM'])
  child.end({ code: null, signal: 'SIGTERM' })
  expect(await supervisor.done).toBe(0)
})
