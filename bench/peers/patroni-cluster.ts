// Owns a plain Patroni cluster of three instances over one etcd, scripted as a person would: three
// files, three processes. No TLS and no proxy. It is what the benches measure against, so nothing
// here may be slower than it must.
import { randomBytes } from 'node:crypto'
import { chown, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { until } from '../../test/harness/until.ts'
import { type BackgroundProcess, type BenchUser, startProcess } from '../background-process.ts'
import type { SqlAddress } from '../sql.ts'
import { querySql } from '../sql.ts'

export const PEER_SUBNET = '127.68.0'
export const POSTGRESQL_BINARIES = '/usr/lib/postgresql/15/bin'
const ETCD_TIMEOUT_MS = 20_000
const CONFIGURATION = 'patroni.yml'

export interface PeerPlace {
  user: BenchUser
  directory: string
  /** Last part of the dcs' address; instances have the next three. */
  firstAddress: number
}

export interface PeerDcs {
  /** host:port */
  endpoint: string
  process: BackgroundProcess
}

export interface PeerInstance {
  name: string
  address: string
  directory: string
  dataDirectory: string
  process: BackgroundProcess
}

export interface PatroniCluster {
  scope: string
  instances: PeerInstance[]
  superuserPassword: string
  /** What was written, without passwords, for the record. */
  exampleFile: string
  superuser(address: string): SqlAddress
  /** Patroni anew, after everything of the instance was killed. */
  restart(instance: PeerInstance): void
  /** Stops Patroni, and with it PostgreSQL. */
  stop(): Promise<void>
}

export interface PatroniOptions {
  scope: string
  dynamic: Record<string, unknown>
  /** PostgreSQL's, in the local part. */
  parameters?: Record<string, string>
}

export async function startPeerDcs(place: PeerPlace): Promise<PeerDcs> {
  const address = `${PEER_SUBNET}.${place.firstAddress}`
  const client = `http://${address}:2379`
  const peer = `http://${address}:2380`
  const args = ['--name', 'only', '--data-dir', join(place.directory, 'etcd')]
  args.push('--listen-client-urls', client, '--advertise-client-urls', client)
  args.push('--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer)
  args.push('--initial-cluster', `only=${peer}`)
  const logFile = join(place.directory, 'etcd.log')
  const { user, directory } = place
  const process = startProcess('/usr/bin/etcd', args, { user, directory, logFile })
  await until(`etcd at ${client}`, ETCD_TIMEOUT_MS, async () => {
    const answer = await fetch(`${client}/health`, { signal: AbortSignal.timeout(1000) })
    return answer.ok ? { value: true } : { seen: `status ${answer.status}` }
  })
  return { endpoint: `${address}:2379`, process }
}

/** Returns as soon as the three processes run; nothing is up yet. */
export async function startPatroniCluster(
  place: PeerPlace,
  dcs: PeerDcs,
  options: PatroniOptions,
): Promise<PatroniCluster> {
  const { scope } = options
  const password = randomBytes(16).toString('hex')
  const instances: PeerInstance[] = []
  let exampleFile = ''
  for (const number of [1, 2, 3]) {
    const name = `${scope}-${number}`
    const address = `${PEER_SUBNET}.${place.firstAddress + number}`
    const directory = join(place.directory, name)
    const dataDirectory = join(directory, 'pgdata')
    const text = patroniFile({ name, address, directory, dataDirectory, password }, dcs, options)
    exampleFile = text.replaceAll(password, '…')
    await mkdir(directory, { mode: 0o700 })
    await chown(directory, place.user.uid, place.user.gid)
    const path = join(directory, CONFIGURATION)
    await writeFile(path, text, { mode: 0o600 })
    await chown(path, place.user.uid, place.user.gid)
    const process = startPatroni(place.user, directory)
    instances.push({ name, address, directory, dataDirectory, process })
  }
  return {
    scope,
    instances,
    superuserPassword: password,
    exampleFile,
    superuser: (host) => ({ host, port: 5432, user: 'postgres', password, database: 'postgres' }),
    restart: (instance) => {
      instance.process = startPatroni(place.user, instance.directory)
    },
    stop: async () => {
      await Promise.all(instances.map(({ process }) => process.stop('SIGTERM')))
    },
  }
}

function startPatroni(user: BenchUser, directory: string): BackgroundProcess {
  const logFile = join(directory, 'patroni.log')
  const path = join(directory, CONFIGURATION)
  return startProcess('/usr/bin/patroni', [path], { user, directory, logFile })
}

function patroniFile(
  instance: Pick<PeerInstance, 'name' | 'address' | 'directory' | 'dataDirectory'> & {
    password: string
  },
  dcs: PeerDcs,
  options: PatroniOptions,
): string {
  const { name, address, directory, dataDirectory, password } = instance
  return stringify({
    scope: options.scope,
    name,
    restapi: { listen: `${address}:8008`, connect_address: `${address}:8008` },
    etcd3: { host: dcs.endpoint },
    bootstrap: {
      dcs: options.dynamic,
      initdb: ['data-checksums', { encoding: 'UTF8' }, { locale: 'C.UTF-8' }],
    },
    postgresql: {
      listen: `${address}:5432`,
      connect_address: `${address}:5432`,
      data_dir: dataDirectory,
      bin_dir: POSTGRESQL_BINARIES,
      pgpass: join(directory, 'pgpass'),
      authentication: {
        superuser: { username: 'postgres', password },
        replication: { username: 'replicator', password },
        rewind: { username: 'rewinder', password },
      },
      parameters: { unix_socket_directories: directory, ...options.parameters },
      pg_hba: [
        'local all all trust',
        'host replication replicator 127.0.0.0/8 scram-sha-256',
        'host all all 127.0.0.0/8 scram-sha-256',
      ],
    },
  })
}

/** The instance that accepts writes; undefined as long as there is none. */
export async function findPeerLeader(cluster: PatroniCluster): Promise<PeerInstance | undefined> {
  const answers = await Promise.all(
    cluster.instances.map(async (instance) => {
      const rows = await querySql<{ replica: boolean }>(
        cluster.superuser(instance.address),
        'select pg_is_in_recovery() as replica',
        { connectTimeoutMs: 1000, queryTimeoutMs: 1000 },
      ).catch(() => [])
      return rows[0]?.replica === false
    }),
  )
  return cluster.instances[answers.indexOf(true)]
}

/** Replicas that stream from the instance. */
export async function countStreaming(
  cluster: PatroniCluster,
  leader: PeerInstance,
): Promise<number> {
  const rows = await querySql<{ streaming: number }>(
    cluster.superuser(leader.address),
    `select count(*)::int4 as streaming from pg_stat_replication where state = 'streaming'
       and application_name like '${cluster.scope}-%'`,
    { connectTimeoutMs: 1000, queryTimeoutMs: 2000 },
  )
  return rows[0]?.streaming ?? 0
}
