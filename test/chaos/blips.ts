// Owns the false-failover run: short disturbances that a cluster must sit out, for minutes, under
// load. Every change of leader in it is one too many.
import { checkHistory } from '../harness/checker.ts'
import type { TestCluster } from '../harness/cluster.ts'
import { during, type Injected, lasting, slowHost } from '../harness/faults.ts'
import { awaitHealthy, dropTables, readHoldings } from '../harness/faults-cluster.ts'
import { findService, type Stage, type StageHost, signalProcess } from '../harness/faults-stage.ts'
import { makeRandom, startWorkload } from '../harness/workload.ts'

export interface BlipsReport {
  /** As long as it ran, which is less than wanted when it was stopped. */
  minutes: number
  blips: number
  failovers: number
  lost: number
  overlapMs: number
  problems: string[]
}

interface Blip {
  name: string
  /** At most; a network that is gone for longer may be taken for a host that is. */
  forMs: number
  begin(host: StageHost): Promise<Pick<Injected, 'measure' | 'heal'> | undefined>
}

const HEALTHY_TIMEOUT_MS = 180_000
const BLIP_MS = 2000
const STARVED_MS = 10_000
const REST_MS = 4000
const STARVED_SHARE = 0.1

const BLIPS: readonly Blip[] = [
  {
    name: 'unplugged',
    forMs: BLIP_MS,
    async begin({ unplug, plug }) {
      if (unplug === undefined || plug === undefined) return undefined
      await unplug()
      return { heal: plug }
    },
  },
  {
    name: 'cut off from its peers',
    forMs: BLIP_MS,
    async begin({ cut, mend }) {
      if (cut === undefined || mend === undefined) return undefined
      await cut({ direction: 'both', what: 'all', how: 'drop' })
      return { heal: mend }
    },
  },
  {
    name: 'frozen',
    forMs: BLIP_MS,
    async begin(host) {
      await host.freeze()
      return { heal: () => host.thaw() }
    },
  },
  {
    name: 'its agent frozen',
    forMs: BLIP_MS,
    async begin(host) {
      const pid = findService(host, 'agent')?.pid
      if (pid === undefined) return undefined
      signalProcess(pid, 'SIGSTOP')
      return { heal: async () => signalProcess(pid, 'SIGCONT') }
    },
  },
  {
    name: 'starved of its processor',
    forMs: STARVED_MS,
    begin: (host) => slowHost(host, STARVED_SHARE),
  },
]

interface BlipsOptions {
  minutes: number
  seed: number
  say(line: string): void
  isStopping(): boolean
}

export async function runBlips(
  stage: Stage,
  cluster: TestCluster,
  options: BlipsOptions,
): Promise<BlipsReport> {
  const { seed, say, isStopping } = options
  const random = makeRandom(seed)
  const schema = 'chaos_blips'
  const before = await awaitHealthy(stage, cluster, HEALTHY_TIMEOUT_MS)
  await dropTables(cluster, schema)
  const workload = await startWorkload({ cluster, schema, seed, pauseMs: 30 })
  let blips = 0
  let known = before
  const beganMs = performance.now()
  const endMs = beganMs + options.minutes * 60_000
  try {
    while (performance.now() < endMs && !isStopping()) {
      const host = stage.hosts[Math.floor(random() * stage.hosts.length)]
      const blip = BLIPS[Math.floor(random() * BLIPS.length)]
      if (host === undefined || blip === undefined) break
      const begun = await blip.begin(host)
      if (begun === undefined) continue
      const forMs = Math.round((0.1 + 0.9 * random()) * blip.forMs)
      const effect = await during(begun, lasting(forMs))
      // A host that has little to do does not miss it.
      for (const problem of effect?.problems ?? []) say(problem)
      blips += 1
      const now = await awaitHealthy(stage, cluster, HEALTHY_TIMEOUT_MS)
      if (now.timeline !== known.timeline) {
        const role = host === known.leader.host ? 'the leader’s host' : host.name
        say(`FAILOVER: ${role} ${blip.name} for ${forMs} ms`)
      }
      known = now
      await lasting(random() * REST_MS)
    }
    const minutes = Math.round((performance.now() - beganMs) / 6000) / 10
    await workload.stop()
    const holdings = await readHoldings(known, cluster, schema)
    const { lost, overlapMs, problems } = checkHistory(workload.history.entries, holdings)
    const failovers = known.timeline - before.timeline
    return { minutes, blips, failovers, lost, overlapMs, problems }
  } finally {
    await workload.stop()
  }
}
