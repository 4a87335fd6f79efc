import { isAuditError } from '@affidavit/format'
import { expect, test } from 'vitest'
import { claimEpoch, heartbeatSilenceMsMax, thisProcess, type ProcessIdentity } from './epoch.ts'
import { createFakeClock, createFakeFs, createFakeProcess, createSeeded } from './testing.ts'

function setup() {
  const fs = createFakeFs()
  const clock = createFakeClock()
  let seed = 1
  const claimAs = (process: ProcessIdentity, epochMin = 1) => {
    const random = createSeeded(seed++)
    const token = Buffer.from(random(4)).toString('hex')
    return claimEpoch({ fs, path: '/spool', token }, { process, clock, random, epochMin })
  }
  return { fs, clock, claimAs }
}

const locked = expect.toSatisfy((error) => isAuditError(error, 'ERR_SPOOL_LOCKED'))

test('epochs rise by one and the writer id stays', async () => {
  const { claimAs } = setup()
  const first = await claimAs(createFakeProcess(10))
  await first.release()
  const second = await claimAs(createFakeProcess(11))
  expect([first.epoch, second.epoch]).toEqual([1, 2])
  expect(second.writerId).toBe(first.writerId)
})

test('a directory in use is refused, naming the process', async () => {
  const { claimAs } = setup()
  const alive = new Set<number>()
  await claimAs(createFakeProcess(10, alive))
  await expect(claimAs(createFakeProcess(11, alive))).rejects.toThrow(/process 10 already uses/)
  await expect(claimAs(createFakeProcess(11, alive))).rejects.toEqual(locked)
})

test('the directory of a dead process is taken over at once', async () => {
  const { claimAs } = setup()
  const alive = new Set<number>()
  const first = await claimAs(createFakeProcess(10, alive))
  alive.delete(10)
  expect((await claimAs(createFakeProcess(11, alive))).epoch).toBe(first.epoch + 1)
})

test('two claims of one process are told apart', async () => {
  const { claimAs } = setup()
  const self = createFakeProcess(10)
  const first = await claimAs(self)
  await expect(claimAs(self)).rejects.toEqual(locked)
  first.abandon()
  expect((await claimAs(self)).epoch).toBe(2)
})

test('of many processes that find the holder dead exactly one gets the directory', async () => {
  const { claimAs } = setup()
  const alive = new Set<number>()
  await claimAs(createFakeProcess(1, alive))
  alive.delete(1)
  const claims = await Promise.allSettled(
    Array.from({ length: 12 }, (_, at) => claimAs(createFakeProcess(100 + at, alive))),
  )
  expect(claims.filter((claim) => claim.status === 'fulfilled')).toHaveLength(1)
})

test('a holder in another container is waited for until it has been silent for a minute', async () => {
  const { fs, clock, claimAs } = setup()
  const first = await claimAs(createFakeProcess(10))
  const other = { ...createFakeProcess(10), host: 'host-b', held: new Set<string>() }
  clock.advanceMs(heartbeatSilenceMsMax - 1)
  await expect(claimAs(other)).rejects.toThrow(/another container or on another host/)
  fs.nowMs = clock.nowMicros() / 1000
  await first.beat()
  clock.advanceMs(heartbeatSilenceMsMax - 1)
  await expect(claimAs(other)).rejects.toEqual(locked)
  clock.advanceMs(2)
  const second = await claimAs(other)
  expect(second.epoch).toBe(2)
  expect(second.writerId).not.toBe(first.writerId)
  await expect(first.beat()).rejects.toEqual(locked)
})

test('a holder from before the machine started again is dead', async () => {
  const { claimAs } = setup()
  const first = await claimAs(createFakeProcess(10))
  const after = { ...createFakeProcess(10), boot: 'boot-2', held: new Set<string>() }
  const second = await claimAs(after)
  expect(second).toMatchObject({ epoch: 2, writerId: first.writerId })
})

test('a copied directory goes on under a writer id of its own', async () => {
  const { fs, claimAs } = setup()
  const first = await claimAs(createFakeProcess(10))
  await first.release()
  const copied = { ...fs, stat: async () => ({ modifiedMs: 0, inode: 'another' }) }
  const random = createSeeded(9)
  const second = await claimEpoch(
    { fs: copied, path: '/spool', token: 'aa' },
    { process: createFakeProcess(11), clock: createFakeClock(), random, epochMin: 1 },
  )
  expect(second.writerId).not.toBe(first.writerId)
})

test('an epoch file that cannot be read stops the start and says what to do', async () => {
  const { fs, claimAs } = setup()
  const first = await claimAs(createFakeProcess(10))
  await first.release()
  fs.bytesOf('/spool/0000000001.epoch').fill(0x20)
  await expect(claimAs(createFakeProcess(11))).rejects.toThrow(/delete that file and start again/)
})

test('after a deleted epoch file the number stays above that of every segment', async () => {
  const { claimAs } = setup()
  expect((await claimAs(createFakeProcess(10), 8)).epoch).toBe(8)
})

test('this machine tells its own process from others', () => {
  const self = thisProcess()
  expect(self.isAlive(self.pid, self.startedAt)).toBe(true)
  expect(self.isAlive(self.pid, 'another start')).toBe(false)
  expect(self.isAlive(2 ** 22 + 1, '')).toBe(false)
  expect(thisProcess().held).toBe(self.held)
})
