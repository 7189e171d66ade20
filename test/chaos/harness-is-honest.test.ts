// The promise: the harness sees loss where there must be loss. Against asynchronous replication,
// without fsync, and with the fence taken away, it reports what was lost or acknowledged twice; a
// harness that was never red proves nothing by being green.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import type { TestCluster } from '../harness/cluster.ts'
import { type Fault, lasting } from '../harness/faults.ts'
import { asSuperuser, awaitHealthy } from '../harness/faults-cluster.ts'
import { type Stage, type StageHost, signalAll, whyNoNamespaces } from '../harness/faults-stage.ts'
import { startNamespaceStage } from '../harness/namespace-hosts.ts'
import { formatRound, type RoundReport, runRound } from './round.ts'

/** Within this many rounds each must have been seen. */
const ROUNDS_MAX = 3
const HEALTHY_TIMEOUT_MS = 180_000
const ALONE_MS = 2500
/** Sooner than the kernel writes by itself. */
const SINCE_FLUSH_MS = 2000
const HOLD_MS = [8000, 8000] as const

const run = promisify(execFile)
const skip = (await whyNoNamespaces()) ?? false

let stage: Stage
let number = 0

before(async () => {
  if (skip !== false) return
  stage = await startNamespaceStage()
})

after(async () => {
  await stage?.[Symbol.asyncDispose]()
})

/** It goes on alone for a while, reached by its own sessions only, and then its power goes. */
const aloneThenPowerOff: Fault = {
  name: 'alone-then-power-off',
  holdMs: HOLD_MS,
  async inject({ topology }) {
    const { host } = topology.leader
    await host.cut?.({ direction: 'both', what: 'all', how: 'drop' })
    await lasting(ALONE_MS)
    await host.unplug?.()
    await host.powerOff?.()
    return {
      says: `${host.name} alone for ${ALONE_MS} ms, then without power`,
      async heal() {
        await host.mend?.()
        await host.plug?.()
        await host.boot()
      },
    }
  },
}

/** Neither the agent nor Patroni stops the old leader: nobody is left who would. */
const unfenced: Fault = {
  name: 'unfenced',
  holdMs: [25_000, 25_000],
  async inject({ topology }) {
    const { host } = topology.leader
    const fences = () => fencesOf(host)
    signalAll(fences, 'SIGSTOP')
    return {
      says: `agent and Patroni of ${host.name} frozen`,
      heal: async () => signalAll(fences, 'SIGCONT'),
    }
  },
}

function fencesOf(host: StageHost) {
  const isFence = (word: string) => /\/patroni$|\/agent\/src\/main\.ts$/.test(word)
  return host.processes().filter(({ argv }) => argv.some(isFence))
}

/** Rounds until one says what is looked for; a cluster that does not come back says it, too. */
async function seen(
  t: TestContext,
  cluster: TestCluster,
  fault: Fault,
  isRed: (report: RoundReport) => boolean,
): Promise<boolean> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    number += 1
    const report = await runRound({ stage, cluster, fault, number, seed: number })
    t.diagnostic(formatRound(report))
    if (isRed(report)) return true
  }
  return false
}

test('async loses rows with the host, and the harness says so', { skip }, async (t) => {
  const loose = await stage.platform.createCluster('loose', { durability: 'async' })
  assert.ok(await seen(t, loose, aloneThenPowerOff, ({ lost }) => lost > 0))
})

test('without the fence two leaders acknowledge, and the harness says so', { skip }, async (t) => {
  const loose = await stage.platform.createCluster('unfenced', { durability: 'async' })
  assert.ok(await seen(t, loose, unfenced, ({ overlapMs }) => overlapMs > 0))
})

test('the same host loss loses nothing with synchronous replication', { skip }, async (t) => {
  number += 1
  const cluster = await stage.platform.createCluster('synchronous', { durability: 'sync' })
  const report = await runRound({ stage, cluster, fault: aloneThenPowerOff, number, seed: number })
  t.diagnostic(formatRound(report))
  assert.deepEqual({ lost: report.lost, problems: report.problems }, { lost: 0, problems: [] })
})

/** All that was written reaches the disk; what comes in the next moments need not, and is lost. */
const flushedThenPowerOff: Fault = {
  name: 'flushed-then-power-off',
  holdMs: [1000, 1000],
  async inject({ topology }) {
    const { host } = topology.leader
    await asSuperuser(topology.leader, ['checkpoint'])
    await run('sync', ['--file-system', host.root])
    await lasting(SINCE_FLUSH_MS)
    await host.powerOff?.()
    return { says: `${host.name} without power`, heal: () => host.boot() }
  },
}

// One instance: nobody else holds its rows, and nobody has to be elected.
test('without fsync a power failure loses rows, and with it none', { skip }, async (t) => {
  const cluster = await stage.platform.createCluster('single', { instances: 1 })
  number += 1
  const fault = flushedThenPowerOff
  const control = await runRound({ stage, cluster, fault, number, seed: number })
  t.diagnostic(formatRound(control))
  assert.equal(control.lost, 0)
  assert.deepEqual(control.problems, [])
  const { leader } = await awaitHealthy(stage, cluster, HEALTHY_TIMEOUT_MS)
  await asSuperuser(leader, ['alter system set fsync = off', 'select pg_reload_conf()'])
  assert.ok(await seen(t, cluster, fault, ({ lost }) => lost > 0))
})
