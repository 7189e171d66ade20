// Owns the verdict on whether a failover would work now: every reason that speaks against it, with
// its fix.

import {
  isFollowing,
  isLeading,
  type ObservedGateway,
  type ObservedInstance,
} from './cluster-health.ts'
import type { Durability, Readiness } from './contract/clusters.ts'
import { isLate, sayLate } from './gateway-canary.ts'
import { HEARTBEAT_PORT } from './host-spec.ts'

export interface ReadinessInput {
  durability: Durability
  instances: readonly ObservedInstance[]
  gateways: readonly (ObservedGateway & { withLeader: boolean })[]
  /** An instance is on another host than the leader. */
  outlivesHost: boolean
  dcsMembers: readonly { name: string; ready: boolean; withLeader: boolean }[]
  /** Hosts of the cluster whose agents are not heard. */
  silentHosts: readonly string[]
  /** Of hosts whose agents are heard: who does not hear whose heartbeats. */
  deaf: readonly { name: string; to: string }[]
  /** Hosts of the cluster whose disk is nearly full, and what is said of it. */
  lowDisks: readonly { name: string; said: string }[]
  maintenance: boolean
  lagBytesMax: number
}

type Check = Readiness['checks'][number]

function check(name: string, ok: boolean, message: string, fix: string): Check {
  return { name, ok, message, fix: ok ? '' : fix }
}

export function judgeReadiness(input: ReadinessInput): Readiness {
  const checks = [
    ...instanceChecks(input),
    dcsCheck(input),
    gatewayCheck(input),
    canaryCheck(input),
    agentCheck(input),
    heartbeatCheck(input),
    diskCheck(input),
    pauseCheck(input),
  ]
  return { ready: checks.every(({ ok }) => ok), checks }
}

function instanceChecks({ instances, durability, lagBytesMax }: ReadinessInput): Check[] {
  const leader = instances.find(isLeading)
  const following = instances.filter(isFollowing)
  const sync = following.filter(({ patroni }) => patroni?.role === 'sync-replica')
  const eligible = durability === 'async' ? following : sync
  const kind = durability === 'async' ? 'replica streams' : 'synchronous replica streams'
  const names = eligible.map(({ name }) => name).join(', ')
  const position = BigInt(leader?.patroni?.walPosition ?? '0')
  const late = eligible.filter(
    ({ patroni }) => position - BigInt(patroni?.walPosition ?? '0') > BigInt(lagBytesMax),
  )
  return [
    check(
      'leader',
      leader !== undefined,
      leader === undefined ? 'no instance leads' : `${leader.name} leads`,
      'howdah cluster failover NAME',
    ),
    check(
      'candidate',
      eligible.length > 0,
      eligible.length > 0 ? `${names} can take over` : `no ${kind}`,
      instances.length === 1
        ? 'howdah cluster scale NAME --instances 3'
        : 'see howdah cluster show NAME for the replicas, and their logs',
    ),
    check(
      'lag',
      eligible.length > late.length || eligible.length === 0,
      late.length === 0 ? 'candidates keep up' : `${late.map(({ name }) => name).join(', ')} lag`,
      'wait until they have replayed, or find what keeps them',
    ),
  ]
}

/** A member on the leader's host does not count: the failover is needed when that host is gone. */
function dcsCheck({ dcsMembers }: ReadinessInput): Check {
  const majority = Math.floor(dcsMembers.length / 2) + 1
  const ready = dcsMembers.filter((member) => member.ready)
  const elsewhere = ready.filter((member) => !member.withLeader)
  const away = dcsMembers.filter((member) => !member.ready).map(({ name }) => name)
  const survives = elsewhere.length >= majority
  const said = [
    `${ready.length} of ${dcsMembers.length} dcs members are healthy`,
    ...(away.length === 0 ? [] : [`${away.join(', ')} not`]),
    ...(survives ? [] : [`only ${elsewhere.length} outside the leader's host, ${majority} needed`]),
  ]
  return check(
    'dcs',
    survives,
    said.join('; '),
    away.length > 0
      ? 'howdah host list: bring the hosts of the dcs back'
      : 'a dcs of three members on three hosts survives the loss of any one of them',
  )
}

/** What the members say counts, too: a pause goes on until each has read that it is over. */
function pauseCheck({ maintenance, instances }: ReadinessInput): Check {
  const paused = instances.filter(({ patroni }) => patroni?.paused === true)
  const ok = !maintenance && paused.length === 0
  const who = maintenance ? 'the cluster is' : `${paused.map(({ name }) => name).join(', ')} still`
  return check(
    'maintenance',
    ok,
    ok ? 'not paused' : `${who} paused: nothing fails over by itself`,
    'howdah cluster resume NAME',
  )
}

/**
 * Where an instance would outlive the leader's host, so must a way to it. Where none would, as on
 * one host, that says nothing new.
 */
function gatewayCheck({ gateways, outlivesHost }: ReadinessInput): Check {
  const away = gateways.filter((gateway) => !gateway.ready).map(({ name }) => name)
  const ready = gateways.filter((gateway) => gateway.ready)
  const goes = outlivesHost && ready.length > 0 && ready.every(({ withLeader }) => withLeader)
  const names = ready.map(({ name }) => name).join(', ')
  const said = [
    away.length === 0 ? 'every gateway is ready' : `${away.join(', ')} not ready`,
    ...(goes ? [`only ${names}, on the leader's host: its loss leaves no way in`] : []),
  ]
  return check(
    'gateways',
    ready.length > 0 && !goes,
    said.join('; '),
    goes && away.length === 0
      ? 'howdah cluster switchover NAME --to an instance elsewhere; or create with --gateways 2'
      : 'howdah host show HOST shows the services of the gateway',
  )
}

/** The way of clients as a whole: services that are ready may not carry a transaction. */
function canaryCheck({ gateways }: ReadinessInput): Check {
  const late = gateways.flatMap(({ name, canary }) =>
    isLate(canary) ? [`${name} ${sayLate(canary)}`] : [],
  )
  return check(
    'writes',
    late.length === 0,
    late.length === 0 ? 'gateways carry writes' : late.join('; '),
    "howdah host show HOST shows the gateway's services; see the logs of pgbouncer-write, haproxy",
  )
}

function agentCheck({ silentHosts }: ReadinessInput): Check {
  return check(
    'agents',
    silentHosts.length === 0,
    silentHosts.length === 0 ? 'every agent is heard' : `${silentHosts.join(', ')} silent`,
    'see the log of the agent on the host; without it a failover waits for the lease (20 s)',
  )
}

/** Silence of a leader's host is judged by what the others hear, by a majority of them. */
function heartbeatCheck({ deaf }: ReadinessInput): Check {
  const pairs = deaf.map(({ name, to }) => `${name} does not hear ${to}`)
  return check(
    'heartbeats',
    deaf.length === 0,
    deaf.length === 0 ? 'hosts hear each other' : pairs.join(', '),
    `let UDP port ${HEARTBEAT_PORT} pass between the hosts; without it the loss of one waits 20 s`,
  )
}

/** Whoever takes over has to write, and archives its WAL through its own disk. */
function diskCheck({ lowDisks }: ReadinessInput): Check {
  return check(
    'disks',
    lowDisks.length === 0,
    lowDisks.length === 0
      ? 'disks have space'
      : lowDisks.map(({ name, said }) => `${name}: ${said}`).join(', '),
    'drop or truncate what is not needed, or give it a larger disk; remove no files below data',
  )
}
