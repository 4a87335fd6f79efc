/**
 * The thread that reads and hashes one log, for `log-stream.ts`. It waits, without turning, while the
 * other side has enough parcels to follow.
 *
 * @module
 */
import { parentPort, type TransferListItem, workerData } from 'node:worker_threads'
import { assert } from '@affidavit/format'
import { type LogJob, type LogOutcome, runLogJob } from './log-job.ts'
import { type Parcel, parcelsWaitingMax } from './parcels.ts'

/** What the thread is started with. */
export interface LogWorkerData {
  readonly job: LogJob
  /** One Int32: parcels that were sent and not taken yet. */
  readonly waiting: SharedArrayBuffer
}

/** What the thread sends. */
export type LogWorkerMessage =
  | { readonly kind: 'parcel'; readonly parcel: Parcel }
  | { readonly kind: 'outcome'; readonly outcome: LogOutcome }

const port = parentPort
assert(port !== null, 'this module is the main module of a thread')
const { job, waiting } = workerData as LogWorkerData
const counter = new Int32Array(waiting)
const send = (message: LogWorkerMessage, transfer: readonly TransferListItem[] = []) => {
  port.postMessage(message, [...transfer])
}

const outcome = await runLogJob(job, {
  parcel(parcel) {
    Atomics.add(counter, 0, 1)
    send({ kind: 'parcel', parcel }, [parcel.buffer, parcel.ends.buffer])
  },
  gate() {
    for (;;) {
      const count = Atomics.load(counter, 0)
      if (count < parcelsWaitingMax) return undefined
      Atomics.wait(counter, 0, count)
    }
  },
})
send({ kind: 'outcome', outcome })
