// Owns one peer as a stack: its dcs, its Patroni cluster and its gateway, with an application's
// role and database.
import { randomBytes } from 'node:crypto'
import { signalAll } from '../../test/harness/faults-stage.ts'
import { findHomeProcesses } from '../../test/harness/home-processes.ts'
import { until } from '../../test/harness/until.ts'
import type { BenchUser } from '../background-process.ts'
import { type LosableHost, loseHost } from '../host-loss.ts'
import { connectSql, querySql, type SqlAddress } from '../sql.ts'
import type { Stack } from '../stack.ts'
import { killLeftovers, makeWorkDirectory } from '../work-directory.ts'
import {
  countStreaming,
  findPeerLeader,
  type PatroniCluster,
  type PeerInstance,
  startPatroniCluster,
  startPeerDcs,
} from './patroni-cluster.ts'
import { type PeerGateway, startPeerGateway } from './peer-gateway.ts'
import type { PeerSettings } from './peer-settings.ts'
import { makePeerTls } from './peer-tls.ts'

/** Three instances in turn, several times over. */
const ROUTED_IN_A_ROW = 12
const READY_TIMEOUT_MS = 180_000
const WHOLE_TIMEOUT_MS = 180_000
const ANSWER_TIMEOUT_MS = 120_000
const ROLE = 'app'

export interface PeerOptions {
  settings: PeerSettings
  user: BenchUser
  /** TLS with clients and between PgBouncer and PostgreSQL. */
  tls?: boolean
}

export async function startPeerStack(options: PeerOptions): Promise<Stack> {
  const { settings, user } = options
  await using undo = new AsyncDisposableStack()
  const work = undo.use(await makeWorkDirectory(user, settings.name))
  const place = { user, directory: work.path, firstAddress: settings.firstAddress }
  const dcs = await startPeerDcs(place)
  undo.defer(() => dcs.process.stop('SIGTERM'))
  const tls = options.tls === true ? await makePeerTls(place) : undefined
  const scope = settings.name.replaceAll('-', '')
  const parameters =
    tls === undefined
      ? {}
      : { ssl: 'on', ssl_cert_file: tls.certificateFile, ssl_key_file: tls.keyFile }
  const cluster = await startPatroniCluster(place, dcs, {
    scope,
    dynamic: settings.dynamic,
    parameters,
  })
  undo.defer(() => cluster.stop())
  const password = randomBytes(16).toString('hex')
  await prepareDatabase(cluster, password)
  const gateway = await startPeerGateway({
    ...{ settings, cluster, place, role: ROLE, password },
    ...(tls === undefined ? {} : { tls }),
  })
  undo.defer(async () => {
    await Promise.all(gateway.processes().map((process) => process.stop('SIGTERM', 2000)))
  })
  const stack = makeStack(settings, cluster, gateway, password, tls?.caPem)
  await stack.waitWhole()
  await waitRouted(stack.write)
  const parts = undo.move()
  return { ...stack, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

async function prepareDatabase(cluster: PatroniCluster, password: string): Promise<void> {
  const leader = await until('a leader', READY_TIMEOUT_MS, async () => {
    const found = await findPeerLeader(cluster)
    return found === undefined ? { seen: 'none' } : { value: found }
  })
  await until('two streaming replicas', READY_TIMEOUT_MS, async () => {
    const streaming = await countStreaming(cluster, leader)
    return streaming === 2 ? { value: true } : { seen: `${streaming} stream` }
  })
  const client = await connectSql(cluster.superuser(leader.address))
  try {
    await client.query(`create role ${ROLE} login password '${password}'`)
    await client.query(`create database ${ROLE} owner ${ROLE}`)
  } finally {
    await client.end()
  }
}

function makeStack(
  settings: PeerSettings,
  cluster: PatroniCluster,
  gateway: PeerGateway,
  password: string,
  caPem: string | undefined,
): Omit<Stack, typeof Symbol.asyncDispose> {
  const at = (host: string, port: number): SqlAddress => ({
    ...{ host, port, user: ROLE, password, database: ROLE },
    ...(caPem === undefined ? {} : { caPem }),
  })
  const write = at(gateway.address, gateway.writePort)
  return {
    name: settings.name,
    facts: {},
    write,
    routed: write,
    instances: async () =>
      cluster.instances.map(({ name, address, dataDirectory }) => {
        return { name, direct: at(address, 5432), dataDirectory }
      }),
    waitWhole: () => waitWhole(cluster, write),
    candidate: async () => {
      const leader = await findPeerLeader(cluster)
      return cluster.instances.find(({ name }) => name !== leader?.name)?.name ?? ''
    },
    switchover: (to) => switchPeer(cluster, to),
    restartAll: () => restartPeer(cluster, write),
    loseHost: (name, kind) => loseHost(peerHost(cluster, gateway, name), kind),
    gatewayPids: () => gateway.processes().map(({ pid }) => pid),
    configuration: () => ({ 'patroni.yml': cluster.exampleFile, ...gateway.configuration }),
  }
}

/** Patroni, PostgreSQL and the PgBouncer beside it; the dcs and HAProxy live elsewhere. */
function peerHost(cluster: PatroniCluster, gateway: PeerGateway, name: string): LosableHost {
  const instance = cluster.instances.find((one) => one.name === name)
  if (instance === undefined) throw new Error(`the peer has no instance ${name}`)
  const { address, directory } = instance
  return {
    address,
    kill: () => killLeftovers(directory),
    freeze: async () => signalAll(() => findHomeProcesses(directory), 'SIGSTOP'),
    boot: async () => {
      cluster.restart(instance)
      gateway.restartPooler(instance)
    },
  }
}

async function waitWhole(cluster: PatroniCluster, write: SqlAddress): Promise<string> {
  return until('the peer to be whole', WHOLE_TIMEOUT_MS, async () => {
    const leader = await findPeerLeader(cluster)
    if (leader === undefined) return { seen: 'no leader' }
    const streaming = await countStreaming(cluster, leader)
    if (streaming !== 2) return { seen: `${streaming} replicas stream from ${leader.name}` }
    const follow = await readMembers(leader)
    if (follow !== 3) return { seen: `${follow} of 3 follow timeline and leader` }
    const rows = await querySql<{ replica: boolean }>(
      write,
      'select pg_is_in_recovery() as replica',
      { connectTimeoutMs: 2000, queryTimeoutMs: 2000 },
    )
    return rows[0]?.replica === false ? { value: leader.name } : { seen: 'the endpoint reads only' }
  })
}

/** A proxy that has just started takes each instance for the leader until its checks say no. */
async function waitRouted(write: SqlAddress): Promise<void> {
  let inARow = 0
  await until('its endpoint to lead to the leader alone', READY_TIMEOUT_MS, async () => {
    const text = 'select pg_is_in_recovery() as replica'
    const limits = { connectTimeoutMs: 2000, queryTimeoutMs: 2000 }
    const rows = await querySql<{ replica: boolean }>(write, text, limits).catch(() => [])
    inARow = rows[0]?.replica === false ? inARow + 1 : 0
    return inARow >= ROUTED_IN_A_ROW ? { value: undefined } : { seen: `${inARow} in a row` }
  })
}

interface PatroniMember {
  role: string
  state: string
  timeline?: number
}

/** Instances that Patroni's own view calls running on the leader's timeline. */
async function readMembers(leader: PeerInstance): Promise<number> {
  const answer = await fetch(`http://${leader.address}:8008/cluster`, {
    signal: AbortSignal.timeout(2000),
  })
  const { members } = (await answer.json()) as { members: PatroniMember[] }
  const timeline = members.find(({ role }) => role === 'leader')?.timeline
  return members.filter(
    (member) => ['running', 'streaming'].includes(member.state) && member.timeline === timeline,
  ).length
}

async function switchPeer(cluster: PatroniCluster, to: string): Promise<void> {
  const leader = await findPeerLeader(cluster)
  if (leader === undefined) throw new Error('the peer has no leader')
  await askPatroni(leader, 'switchover', { leader: leader.name, candidate: to })
}

/** As a careful operator does: replicas first, then the leader once it is a replica. */
async function restartPeer(cluster: PatroniCluster, write: SqlAddress): Promise<void> {
  const before = await waitWhole(cluster, write)
  const [leader, ...replicas] = cluster.instances.toSorted(
    (a, b) => Number(b.name === before) - Number(a.name === before),
  )
  if (leader === undefined) throw new Error('BUG: the peer has no instance')
  for (const replica of replicas) {
    await askPatroni(replica, 'restart', {})
    await waitWhole(cluster, write)
  }
  await switchPeer(cluster, replicas[0]?.name ?? '')
  await waitWhole(cluster, write)
  await askPatroni(leader, 'restart', {})
  await waitWhole(cluster, write)
}

async function askPatroni(instance: PeerInstance, what: string, body: object): Promise<void> {
  const answer = await fetch(`http://${instance.address}:8008/${what}`, {
    method: 'POST',
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  })
  const text = await answer.text()
  if (answer.status >= 400) throw new Error(`${what}: ${answer.status} ${text}`)
}
