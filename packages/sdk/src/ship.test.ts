import { expect, test } from 'vitest'
import { createShipper, type IngestEndpoint, type ShipEvent, type ShippedSpool } from './ship.ts'
import type { SpooledRecord } from './spool/outgoing.ts'
import type { Timers } from './timers.ts'

const writerId = '0123456789abcdef'
const recordOf = (seq: number): SpooledRecord => ({
  writerId,
  epoch: 7,
  seq,
  payload: Buffer.from(JSON.stringify({ kind: 'x', n: seq })),
})

interface Line {
  readonly writer: { readonly id: string; readonly epoch: number; readonly seq: number }
  readonly body: { readonly n: number }
}

/** A spool in memory and a gateway that answers as the test says. */
function setup(count: number, answer: (seqs: number[], request: number) => Response | Error) {
  const waiting = Array.from({ length: count }, (_, seq) => recordOf(seq))
  const quarantined: number[] = []
  const requests: number[][] = []
  const pauses: number[] = []
  const events: ShipEvent[] = []
  let offered = 0
  const spool: ShippedSpool = {
    async next({ records }) {
      const batch = waiting.slice(0, Math.min(records, 4))
      offered = batch.length
      return batch
    },
    settle: async () => void waiting.splice(0, offered),
    quarantine: async ({ seq }) => void quarantined.push(seq),
    onDurable: () => undefined,
  }
  const endpoint: IngestEndpoint = {
    url: 'http://gateway/affidavit/v1/ingest',
    key: 'key-1',
    async fetch(_, init) {
      const text = Buffer.from(init?.body as Uint8Array).toString()
      const lines = text
        .trimEnd()
        .split('\n')
        .map((line): Line => JSON.parse(line))
      for (const { writer, body } of lines) {
        expect(writer).toEqual({ id: writerId, epoch: 7, seq: body.n })
      }
      expect(new Headers(init?.headers).get('authorization')).toBe('Bearer key-1')
      const seqs = lines.map(({ writer }) => writer.seq)
      requests.push(seqs)
      const reply = answer(seqs, requests.length)
      if (reply instanceof Error) throw reply
      return reply
    },
  }
  const timers: Timers = {
    delay: async (ms) => void pauses.push(ms),
    every: () => () => undefined,
    after: () => () => undefined,
  }
  const shipper = createShipper(spool, endpoint, {
    timers,
    random: (bytes) => new Uint8Array(bytes),
    report: (event) => void events.push(event),
  })
  return { shipper, waiting, quarantined, requests, pauses, events }
}

const accept = (accepted: unknown, refused: unknown = []) => Response.json({ accepted, refused })

test('records go in order, in batches, until all are acknowledged', async () => {
  const { shipper, requests, waiting } = setup(10, (seqs) => accept(seqs))
  await shipper.drained()
  await shipper.stop()
  expect(requests).toEqual([
    [0, 1, 2, 3],
    [4, 5, 6, 7],
    [8, 9],
  ])
  expect(waiting).toEqual([])
})

test('what was not acknowledged is sent again, and nothing else', async () => {
  const { shipper, requests } = setup(4, (seqs, request) =>
    request === 1 ? accept([seqs[0], { seq: seqs[1], epoch: 7 }]) : accept(seqs),
  )
  await shipper.drained()
  await shipper.stop()
  expect(requests).toEqual([
    [0, 1, 2, 3],
    [2, 3],
  ])
})

test('a gateway that cannot be reached or fails is tried again, ever more slowly', async () => {
  const answers = [
    new TypeError('fetch failed'),
    new Response('', { status: 503 }),
    new Response('', { status: 401 }),
    new Response('not json', { status: 200 }),
    Response.json({ other: true }),
    accept([]),
  ]
  const { shipper, pauses, events, waiting } = setup(
    2,
    (seqs, request) => answers[request - 1] ?? accept(seqs),
  )
  await shipper.drained()
  await shipper.stop()
  expect(waiting).toEqual([])
  expect(pauses).toEqual([200, 400, 800, 1600, 3200, 6400])
  expect(events.map((event) => event.kind === 'ship_retry' && event.reason)).toEqual([
    'TypeError',
    'HTTP 503',
    'HTTP 401',
    'SyntaxError',
    'the reply is not understood',
    'nothing was accepted',
  ])
})

test('a record that is refused for good is kept aside and does not block the rest', async () => {
  const { shipper, quarantined, waiting, events } = setup(4, (seqs) =>
    accept(
      seqs.filter((seq) => seq !== 2),
      [{ seq: 2, code: 'ERR_ENTRY_MALFORMED' }],
    ),
  )
  await shipper.drained()
  await shipper.stop()
  expect(quarantined).toEqual([2])
  expect(waiting).toEqual([])
  expect(events).toEqual([
    { kind: 'ship_refused', epoch: 7, seq: 2, reason: 'ERR_ENTRY_MALFORMED' },
  ])
})

test('a batch that is refused as a whole is halved until the culprit stands alone', async () => {
  const { shipper, quarantined, waiting } = setup(4, (seqs) =>
    seqs.includes(1) ? new Response('', { status: 413 }) : accept(seqs),
  )
  await shipper.drained()
  await shipper.stop()
  expect(quarantined).toEqual([1])
  expect(waiting).toEqual([])
})

test('nothing is settled that was not answered: stopping in the middle keeps the rest', async () => {
  const { shipper, waiting } = setup(4, () => new Response('', { status: 503 }))
  const stopped = shipper.stop()
  await stopped
  await shipper.drained()
  expect(waiting).toHaveLength(4)
})
