// Goal: what the platform says of an instance is what Patroni means. Method: a real leader and a
// real synchronous replica over the installed Patroni, asked by the agent's own probe.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type HostRoot, makeServiceDirectories, openHostRoot } from '../host-root.ts'
import { makeTestAuthority, type TestAuthority } from '../testing/test-authority.ts'
import { SERVICE_USER } from '../testing/test-host.ts'
import { until } from '../testing/until.ts'
import { makeProber, type Prober } from './probe.ts'

const ADDRESS = '127.61.4.1'
const NAMES = ['one', 'two'] as const
const TIMEOUT_MS = 60_000

let base: string
let root: HostRoot
let authority: TestAuthority
const started: ChildProcess[] = []
const probers = new Map<string, Prober>()

before(async () => {
  base = await mkdtemp('/tmp/hwd-pat-')
  await chmod(base, 0o755)
  root = await openHostRoot(join(base, 'h'), SERVICE_USER)
  authority = await makeTestAuthority()
  await makeServiceDirectories(root, ['data/etcd', 'run/one', 'run/two'])
  const client = `http://${ADDRESS}:2379`
  const peer = `http://${ADDRESS}:2380`
  const urls = [
    ['--listen-client-urls', client, '--advertise-client-urls', client],
    ['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
  ]
  const cluster = ['--name', 'e', '--initial-cluster', `e=${peer}`]
  start('/usr/bin/etcd', ['--data-dir', join(root.path, 'data/etcd'), ...cluster, ...urls.flat()])
  for (const [index, name] of NAMES.entries()) await startPatroni(name, index)
})

after(async () => {
  for (const prober of probers.values()) prober.close()
  for (const child of started.toReversed()) {
    child.kill('SIGTERM')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }
  await rm(base, { recursive: true, force: true })
})

function start(program: string, args: string[]): void {
  const drop = root.dropTo === undefined ? {} : { uid: root.dropTo.uid, gid: root.dropTo.gid }
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: join(root.path, 'run') }
  started.push(spawn(program, args, { stdio: 'ignore', env, cwd: root.path, ...drop }))
}

async function startPatroni(name: string, index: number): Promise<void> {
  const { certificatePem, privateKeyPem } = await authority.issueServer(ADDRESS)
  const rest = `${ADDRESS}:${8008 + index}`
  const postgres = `${ADDRESS}:${5432 + index}`
  const user = (role: string) => ({ username: role, password: `${role}-password` })
  const config = {
    scope: 'probed',
    name,
    restapi: { listen: rest, connect_address: rest, certfile: join(root.path, `run/${name}.pem`) },
    etcd3: { host: `${ADDRESS}:2379` },
    bootstrap: { dcs: { ttl: 20, loop_wait: 1, retry_timeout: 3, synchronous_mode: true } },
    postgresql: {
      listen: postgres,
      connect_address: postgres,
      data_dir: join(root.path, 'data', name),
      bin_dir: '/usr/lib/postgresql/15/bin',
      pgpass: join(root.path, `run/${name}.pgpass`),
      basebackup: [{ checkpoint: 'fast' }],
      authentication: { superuser: user('postgres'), replication: user('standby') },
      pg_hba: ['local all all trust', 'host all all 127.0.0.0/8 md5'].concat(
        'host replication all 127.0.0.0/8 md5',
      ),
      parameters: { unix_socket_directories: join(root.path, 'run', name), fsync: 'off' },
    },
  }
  const { uid, gid } = root.serviceUser
  const files = { yml: JSON.stringify(config), pem: `${privateKeyPem}\n${certificatePem}` }
  for (const [suffix, content] of Object.entries(files)) {
    const path = join(root.path, `run/${name}.${suffix}`)
    await writeFile(path, content, { mode: 0o600 })
    await chown(path, uid, gid)
  }
  start('/usr/bin/patroni', [join(root.path, `run/${name}.yml`)])
  const target = { address: ADDRESS, port: 8008 + index, caPem: authority.caPem }
  probers.set(name, makeProber({ kind: 'patroni', ...target }))
}

async function askAll() {
  const verdicts = [...probers].map(async ([name, prober]) => ({ name, ...(await prober.ask()) }))
  return await Promise.all(verdicts)
}

test('leader and sync replica are told apart, with state, position and who streams', async () => {
  const verdicts = await until(
    'a leader and a sync replica',
    askAll,
    (found) => ['leader', 'sync-replica'].every((r) => found.some((v) => v.patroni?.role === r)),
    TIMEOUT_MS,
  )
  const leader = verdicts.find((verdict) => verdict.patroni?.role === 'leader')
  const replica = verdicts.find((verdict) => verdict.patroni?.role === 'sync-replica')
  assert.equal(leader?.ready, true)
  assert.equal(replica?.ready, true)
  assert.deepEqual(leader?.patroni?.replicas, [
    { name: replica?.name, state: 'streaming', syncState: 'sync' },
  ])
  assert.deepEqual([leader?.patroni?.streaming, replica?.patroni?.streaming], [false, true])
  for (const status of [leader?.patroni, replica?.patroni]) {
    assert.equal(status?.state, 'running')
    assert.equal(status?.timeline, 1)
    assert.match(status?.walPosition ?? '', /^[1-9][0-9]+$/)
    assert.equal(Math.floor((status?.serverVersion ?? 0) / 10_000), 15)
  }
})

test('a Patroni that is gone is unknown and not ready, with a reason', async () => {
  const prober = makeProber({
    kind: 'patroni',
    address: ADDRESS,
    port: 1,
    caPem: authority.caPem,
  })
  const verdict = await prober.ask()
  prober.close()
  assert.equal(verdict.ready, false)
  assert.equal(verdict.patroni?.role, 'unknown')
  assert.match(verdict.said, /ECONNREFUSED/)
  const other = await makeTestAuthority()
  const stranger = makeProber({
    kind: 'patroni',
    address: ADDRESS,
    port: 8008,
    caPem: other.caPem,
  })
  assert.equal((await stranger.ask()).ready, false)
  stranger.close()
})
