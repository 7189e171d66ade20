// Owns the catalogue of faults: what each does to the hosts of a cluster, what heals it, and what
// it needs of the stage. Processes that are killed come back by themselves; everything else is
// healed by `heal`.

import { setTimeout as delay } from 'node:timers/promises'
import type { Topology } from './faults-cluster.ts'
import {
  type Cut,
  findPostgres,
  findService,
  hasService,
  type Stage,
  type StageHost,
  signalProcess,
} from './faults-stage.ts'

export interface FaultContext {
  stage: Stage
  topology: Topology
  random: () => number
}

export interface Injected {
  /** One sentence: what was done to whom. */
  says: string
  /** Of what may be done and change nothing: asked just before it is healed. */
  measure?(): Promise<Effect>
  heal(): Promise<void>
}

export interface Effect {
  /** In figures. */
  says: string
  /** That there was none: a round with it proves nothing. */
  problems: string[]
}

export interface Fault {
  name: string
  /** What a host of the stage must be able to do. */
  needs?: 'powerOff' | 'unplug' | 'cut' | 'cpu'
  /**
   * Healed when another instance has acknowledged its first write, if that is sooner: the worst
   * moment.
   */
  healsAtTakeover?: true
  /** Holds it between these, by the seed. */
  holdMs: readonly [number, number]
  inject(context: FaultContext): Promise<Injected>
}

const nothing = async () => {}

/** How long a fault, or the rest after it, lasts is what it is: no condition ends it. */
export function lasting(ms: number): Promise<void> {
  return delay(ms)
}

/** Heals it whatever happens meanwhile; undefined where what it does is not measured. */
export async function during(
  injected: Pick<Injected, 'measure' | 'heal'>,
  end: Promise<void>,
): Promise<Effect | undefined> {
  try {
    await end
    return await injected.measure?.()
  } finally {
    await injected.heal()
  }
}

function pick<T>(random: () => number, from: readonly T[]): T {
  const found = from[Math.floor(random() * from.length)]
  if (found === undefined) throw new Error('nothing to pick from')
  return found
}

function requirePid(pid: number | undefined, what: string): number {
  if (pid === undefined) throw new Error(`${what} does not run`)
  return pid
}

type Target = (context: FaultContext) => StageHost

const leaderHost: Target = ({ topology }) => topology.leader.host
const gatewayHost: Target = ({ topology }) => topology.gateway
const replicaHost: Target = ({ topology, random }) => pick(random, topology.replicas).host
const syncHost: Target = ({ topology, random }) =>
  (topology.syncReplica ?? pick(random, topology.replicas)).host
const anyHost: Target = ({ stage, random }) => pick(random, stage.hosts)
const memberHost: Target = ({ stage, random }) =>
  pick(
    random,
    stage.hosts.filter((host) => hasService(host, 'etcd')),
  )

/** s6 brings it back: there is nothing to heal. */
function killService(name: string, prefix: string, target: Target): Fault {
  return {
    name,
    holdMs: [4000, 8000],
    async inject(context) {
      const host = target(context)
      const pid = requirePid(findService(host, prefix)?.pid, `${prefix} on ${host.name}`)
      signalProcess(pid, 'SIGKILL')
      return { says: `${prefix} on ${host.name} killed`, heal: nothing }
    },
  }
}

function stopService(name: string, prefix: string, target: Target, holdMs: Fault['holdMs']): Fault {
  return {
    name,
    holdMs,
    async inject(context) {
      const host = target(context)
      const pid = requirePid(findService(host, prefix)?.pid, `${prefix} on ${host.name}`)
      signalProcess(pid, 'SIGSTOP')
      return {
        says: `${prefix} on ${host.name} frozen`,
        heal: async () => signalProcess(pid, 'SIGCONT'),
      }
    },
  }
}

const postmasterKill: Fault = {
  name: 'postmaster-kill',
  holdMs: [3000, 6000],
  async inject({ topology }) {
    const { host } = topology.leader
    signalProcess(requirePid(findPostgres(host).postmaster, 'the postmaster'), 'SIGKILL')
    return { says: `postmaster on ${host.name} killed`, heal: nothing }
  },
}

const postmasterFreeze: Fault = {
  name: 'postmaster-freeze',
  holdMs: [15_000, 20_000],
  async inject({ topology }) {
    const { host } = topology.leader
    const pid = requirePid(findPostgres(host).postmaster, 'the postmaster')
    signalProcess(pid, 'SIGSTOP')
    return {
      says: `postmaster on ${host.name} frozen, its sessions alive`,
      heal: async () => signalProcess(pid, 'SIGCONT'),
    }
  },
}

const backendKill: Fault = {
  name: 'backend-kill',
  holdMs: [4000, 8000],
  async inject({ topology, random }) {
    const { host } = topology.leader
    const { all, postmaster } = findPostgres(host)
    const pid = pick(
      random,
      all.filter((one) => one !== postmaster),
    )
    signalProcess(pid, 'SIGKILL')
    return { says: `a process of PostgreSQL on ${host.name} killed`, heal: nothing }
  },
}

function hostKill(name: string, target: Target): Fault {
  return {
    name,
    holdMs: [6000, 12_000],
    async inject(context) {
      const host = target(context)
      await host.kill()
      return { says: `${host.name} killed; it refuses connections`, heal: () => host.boot() }
    },
  }
}

function hostFreeze(name: string, target: Target, holdMs: Fault['holdMs']): Fault {
  return {
    name,
    holdMs,
    async inject(context) {
      const host = target(context)
      await host.freeze()
      return { says: `${host.name} frozen`, heal: () => host.thaw() }
    },
  }
}

/** Less than this share of the time without a processor is no host that was slowed. */
const STARVED_SHARE_MIN = 0.2

/** Undefined where the host's processes cannot be given less. */
export async function slowHost(host: StageHost, share: number): Promise<Injected | undefined> {
  const { cpu } = host
  if (cpu === undefined) return undefined
  const before = await cpu.starvedMs()
  const beganMs = performance.now()
  await cpu.limit(share)
  return {
    says: `${host.name} slowed to ${Math.round(share * 100)} % of a processor`,
    async measure() {
      const ms = performance.now() - beganMs
      const starved = ((await cpu.starvedMs()) - before) / ms
      const says = `it stood still in ${Math.round(starved * 100)} % of its periods`
      return { says, problems: starved < STARVED_SHARE_MIN ? [`no fault: ${says}`] : [] }
    },
    heal: () => cpu.limit(undefined),
  }
}

function hostSlow(name: string, target: Target): Fault {
  return {
    name,
    needs: 'cpu',
    holdMs: SLOW_MS,
    async inject(context) {
      const host = target(context)
      const injected = await slowHost(host, SLOW_SHARE)
      if (injected === undefined) throw new Error(`${host.name} cannot be slowed`)
      return injected
    },
  }
}

/** The power goes, what was not flushed is lost, and the network does not even answer. */
function powerOff(name: string, targets: (context: FaultContext) => StageHost[]): Fault {
  return {
    name,
    needs: 'powerOff',
    holdMs: [6000, 12_000],
    async inject(context) {
      const hosts = targets(context)
      const names = hosts.map((host) => host.name).join(', ')
      await Promise.all(hosts.map((host) => host.unplug?.()))
      await Promise.all(hosts.map((host) => host.powerOff?.()))
      return {
        says: `${names} without power; un-flushed data lost`,
        heal: async () => {
          await Promise.all(hosts.map((host) => host.plug?.()))
          await Promise.all(hosts.map((host) => host.boot()))
        },
      }
    },
  }
}

const unplug: Fault = {
  name: 'leader-black-hole',
  needs: 'unplug',
  holdMs: [6000, 25_000],
  async inject({ topology }) {
    const { host } = topology.leader
    await host.unplug?.()
    return { says: `${host.name} unplugged`, heal: async () => host.plug?.() }
  },
}

function cutOff(name: string, target: Target, cut: Cut, holdMs: Fault['holdMs']): Fault {
  return {
    name,
    needs: 'cut',
    holdMs,
    async inject(context) {
      const host = target(context)
      await host.cut?.(cut)
      const says = `${host.name} cut: ${cut.what}, ${cut.direction}, ${cut.how}`
      return { says, heal: async () => host.mend?.() }
    },
  }
}

const SLOW_MS = [10_000, 25_000] as const
const SLOW_SHARE = 0.05
const CUT_MS = [5000, 25_000] as const
/** If nobody takes over. */
const THAW_MS = [30_000, 30_000] as const

export const FAULTS: readonly Fault[] = [
  postmasterKill,
  postmasterFreeze,
  backendKill,
  killService('patroni-kill', 'patroni-', leaderHost),
  stopService('patroni-freeze', 'patroni-', leaderHost, [10_000, 26_000]),
  killService('agent-kill', 'agent', leaderHost),
  stopService('agent-freeze', 'agent', anyHost, [5000, 15_000]),
  killService('gateway-agent-kill', 'agent', gatewayHost),
  killService('dcs-member-kill', 'etcd', memberHost),
  stopService('dcs-member-freeze', 'etcd', memberHost, [5000, 15_000]),
  killService('haproxy-kill', 'haproxy-', gatewayHost),
  killService('pgbouncer-kill', 'pgbouncer-write-', gatewayHost),
  killService('replica-patroni-kill', 'patroni-', replicaHost),
  hostKill('leader-host-kill', leaderHost),
  hostKill('sync-host-kill', syncHost),
  hostKill('gateway-host-kill', gatewayHost),
  hostFreeze('leader-host-freeze', leaderHost, [5000, 15_000]),
  { ...hostFreeze('leader-host-thaw-at-takeover', leaderHost, THAW_MS), healsAtTakeover: true },
  hostFreeze('leader-host-freeze-past-lease', leaderHost, [25_000, 35_000]),
  hostFreeze('sync-host-freeze', syncHost, [5000, 15_000]),
  hostSlow('leader-host-slow', leaderHost),
  hostSlow('sync-host-slow', syncHost),
  hostSlow('gateway-host-slow', gatewayHost),
  powerOff('leader-power-off', ({ topology }) => [topology.leader.host]),
  powerOff('sync-power-off', (context) => [syncHost(context)]),
  powerOff('all-power-off', ({ stage }) => [...stage.hosts]),
  unplug,
  cutOff('leader-cut', leaderHost, { direction: 'both', what: 'all', how: 'drop' }, CUT_MS),
  cutOff(
    'leader-cut-refuse',
    leaderHost,
    { direction: 'both', what: 'all', how: 'refuse' },
    CUT_MS,
  ),
  cutOff('leader-cut-in', leaderHost, { direction: 'in', what: 'all', how: 'drop' }, CUT_MS),
  cutOff('leader-cut-out', leaderHost, { direction: 'out', what: 'all', how: 'drop' }, CUT_MS),
  cutOff('leader-cut-dcs', leaderHost, { direction: 'both', what: 'dcs', how: 'drop' }, CUT_MS),
  cutOff('leader-cut-peers', leaderHost, { direction: 'both', what: 'peers', how: 'drop' }, CUT_MS),
  cutOff('sync-cut', syncHost, { direction: 'both', what: 'all', how: 'drop' }, CUT_MS),
  cutOff('replica-cut-out', replicaHost, { direction: 'out', what: 'all', how: 'drop' }, CUT_MS),
]

export function findFault(name: string): Fault {
  const found = FAULTS.find((fault) => fault.name === name)
  if (found !== undefined) return found
  throw new Error(`no fault ${name}; there are ${FAULTS.map((fault) => fault.name).join(', ')}`)
}

/** The faults that a stage can have, in the order of the catalogue. */
export function faultsOf(stage: Stage): Fault[] {
  return FAULTS.filter(({ needs }) =>
    needs === undefined ? true : stage.hosts.every((host) => host[needs] !== undefined),
  )
}
