/**
 * A log that is being verified: its entries as parcels, in order, and its outcome. A large log is
 * hashed in a thread of its own while this thread follows the chain; a small one is hashed here.
 *
 * @module
 */
import { Worker } from 'node:worker_threads'
import { type LogJob, type LogOutcome, runLogJob } from './log-job.ts'
import type { LogWorkerData, LogWorkerMessage } from './log-worker.ts'
import { type Parcel, parcelsWaitingMax } from './parcels.ts'

/** Logs with fewer entries are hashed in this thread: starting another would take longer. */
export const threadEntriesMin = 8192

/** One log on its way. */
export interface LogStream {
  /** The next parcel, or undefined when there is no more. */
  next(): Promise<Parcel | undefined>
  /** Resolves after the last parcel has been sent. Rejects for faults of ours only. */
  readonly outcome: Promise<LogOutcome>
}

/** Starts verifying a log of about `entries` entries. */
export function startLog(job: LogJob, options: { entries: number }): LogStream {
  const queue = createQueue()
  // Tests run from source, which a thread cannot load.
  const hasWorker = import.meta.url.endsWith('.js')
  const run = hasWorker && options.entries >= threadEntriesMin ? runInThread : runHere
  const outcome = run(job, queue).finally(() => queue.close())
  // A consumer that stops early must not leave a rejection that nobody saw.
  outcome.catch(() => undefined)
  return { next: () => queue.take(), outcome }
}

type Run = (job: LogJob, queue: ParcelQueue) => Promise<LogOutcome>

const runHere: Run = (job, queue) =>
  runLogJob(job, { parcel: (parcel) => queue.put(parcel), gate: () => queue.room() })

const runInThread: Run = (job, queue) =>
  new Promise((resolve, reject) => {
    const waiting = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
    const workerData: LogWorkerData = { job, waiting }
    const worker = new Worker(new URL('./log-worker.js', import.meta.url), { workerData })
    const counter = new Int32Array(waiting)
    queue.onTake(() => {
      Atomics.sub(counter, 0, 1)
      Atomics.notify(counter, 0)
    })
    worker.on('message', (message: LogWorkerMessage) => {
      if (message.kind === 'parcel') queue.put(message.parcel)
      else resolve(message.outcome)
    })
    worker.on('error', reject)
    worker.on('exit', (code) => reject(new Error(`a verifying thread ended with code ${code}`)))
  })

interface ParcelQueue {
  put(parcel: Parcel): void
  take(): Promise<Parcel | undefined>
  /** Something to wait for when the queue is full. */
  room(): Promise<void> | undefined
  onTake(listener: () => void): void
  close(): void
}

function createQueue(): ParcelQueue {
  const parcels: Parcel[] = []
  const takers: ((parcel: Parcel | undefined) => void)[] = []
  const waiters: (() => void)[] = []
  let [closed, taken] = [false, () => {}]
  const noteTaken = () => {
    taken()
    for (const wake of waiters.splice(0)) wake()
  }
  return {
    put(parcel) {
      const taker = takers.shift()
      if (taker === undefined) parcels.push(parcel)
      else {
        taker(parcel)
        noteTaken()
      }
    },
    async take() {
      const parcel = parcels.shift()
      if (parcel !== undefined) {
        noteTaken()
        return parcel
      }
      if (closed) return undefined
      return await new Promise((resolve) => {
        takers.push(resolve)
      })
    },
    room() {
      if (parcels.length < parcelsWaitingMax) return undefined
      return new Promise((resolve) => {
        waiters.push(resolve)
      })
    },
    onTake(listener) {
      taken = listener
    },
    close() {
      closed = true
      for (const taker of takers.splice(0)) taker(undefined)
    },
  }
}
