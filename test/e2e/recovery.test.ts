// The promise: whatever single part dies is back by itself within seconds, and databases never stop
// for it; without the control plane everything goes on, and a host that reboots comes back as it
// was.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import type { Cluster, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Host } from '@howdah/core/contract/hosts.ts'
import { requestApi } from '../harness/api.ts'
import type { TestCluster } from '../harness/cluster.ts'
import { arm, controlPlanePid } from '../harness/crash.ts'
import {
  commandHostService,
  commandPlatformService,
  hostProcesses,
  killService,
  rebootHost,
  serviceProcess,
} from '../harness/host.ts'
import { connectPlatformDb } from '../harness/inventory.ts'
import { LONG } from '../harness/long.ts'
import { explainFailures, startPlatform, type TestPlatform } from '../harness/platform.ts'
import { askPooler, findGateway, type GatewayPlace, type Pooler } from '../harness/pooler.ts'
import { superuserSql } from '../harness/superuser-sql.ts'
import { until } from '../harness/until.ts'
import { startWriter, type Writer, type WriterReport } from '../harness/writer.ts'

const HEALTHY_TIMEOUT_MS = 90_000
const ANSWER_TIMEOUT_MS = 30_000
/** Of an agent that is killed while it holds clients: until another one has started. */
const LET_GO_TIMEOUT_MS = 10_000
const STALL_MS_MAX = 15_000
/** Of a change, once another instance writes: three checks that succeed and four that do not. */
const CHECKS_TIMEOUT_MS = 12_000
const READERS = 8
/** Patroni tells how far the leader is every few seconds. */
const READS_TIMEOUT_MS = 30_000

let platform: TestPlatform
let alive: TestCluster
let gateway: GatewayPlace

before(async () => {
  platform = await startPlatform({ subnet: '127.63.0' })
  alive = await platform.createCluster('alive', { instances: 3 })
  gateway = findGateway(platform, 'host-4')
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

beforeEach(async () => {
  await waitHealthy()
})

/** Three instances, two of them streaming, one sync: also what the control plane sees. */
async function waitHealthy(states: readonly Cluster['state'][] = ['available']): Promise<Cluster> {
  return until('the cluster to be healthy', HEALTHY_TIMEOUT_MS, async () => {
    const { body } = await platform.api<Cluster>('GET', '/v1/clusters/alive')
    const roles = body.instances.map(({ role }) => role).sort()
    const complete = roles.join() === 'leader,replica,sync-replica'
    const isHealthy = complete && states.includes(body.state)
    return isHealthy ? { value: body } : { seen: `${body.state} ${body.message} ${roles}` }
  })
}

/** Asked through the gateway: what the control plane knows may be of before its restart. */
async function leadingAddress(purpose: 'write' | 'write-direct' = 'write'): Promise<string> {
  const [row] = await platform.sql<{ address: string }>(
    { cluster: alive, purpose },
    'select host(inet_server_addr()) as address',
  )
  return row?.address ?? ''
}

/** When each PostgreSQL started, asked of itself. */
async function postmasterStarts(): Promise<Record<string, string>> {
  const starts: Record<string, string> = {}
  for (const instance of alive.cluster.instances) {
    const at = { address: instance.address, port: instance.port }
    const [row] = await platform.sql<{ started: string }>(
      { cluster: alive, at },
      'select pg_postmaster_start_time()::text as started',
    )
    starts[instance.name] = row?.started ?? ''
  }
  return starts
}

async function undisturbed(table: string, disturb: () => Promise<void>): Promise<WriterReport> {
  const before = await postmasterStarts()
  await using writer = await startWriter({ cluster: alive, purpose: 'write-direct' }, table)
  await until('the writer to write', ANSWER_TIMEOUT_MS, () =>
    writer.committed() > 20 ? { value: true } : { seen: `${writer.committed()} rows` },
  )
  await disturb()
  const soFar = writer.committed()
  await until('the writer to go on', ANSWER_TIMEOUT_MS, () =>
    writer.committed() > soFar + 50 ? { value: true } : { seen: `${writer.committed()} rows` },
  )
  const report = await writer.stop()
  assert.equal(report.lost, 0)
  assert.deepEqual(await postmasterStarts(), before, 'a PostgreSQL was started anew')
  return report
}

async function waitDcsSeen(): Promise<void> {
  const db = await connectPlatformDb(platform)
  const { rows } = await db
    .query<{ address: string; port: number }>(
      `select h.address, i.rest_port as port from instance i join host h on h.id = i.host_id`,
    )
    .finally(() => db.end())
  const sinceEpoch = Date.now() / 1000 + 1
  for (const { address, port } of rows) {
    const connection = { api: `https://${address}:${port}`, token: '', ca: alive.caPem }
    await until(`Patroni at ${address} to reach the dcs`, ANSWER_TIMEOUT_MS, async () => {
      const { body } = await requestApi<{ dcs_last_seen: number }>(connection, 'GET', '/patroni')
      const seen = body.dcs_last_seen
      return seen > sinceEpoch ? { value: true } : { seen: `dcs last seen at ${seen}` }
    })
  }
}

async function assertWrites(purpose: 'write' | 'write-direct'): Promise<void> {
  await until(`the endpoint ${purpose} to take writes`, ANSWER_TIMEOUT_MS, async () => {
    await platform.sql({ cluster: alive, purpose }, 'create temporary table try (line text)')
    return { value: true }
  })
}

test('an agent that is killed is back, and no session noticed', async () => {
  const report = await undisturbed('agents', async () => {
    for (const host of ['host-1', 'host-2', 'host-3', 'host-4']) {
      const seen = Date.now()
      await killService(platform, host, 'agent')
      await until(`${host} to report`, ANSWER_TIMEOUT_MS, async () => {
        const { body } = await platform.api<Host>('GET', `/v1/hosts/${host}`)
        const isBack = body.state === 'online' && Date.parse(body.seen_at ?? '') > seen
        return isBack ? { value: true } : { seen: `${body.state} ${body.seen_at}` }
      })
    }
  })
  assert.deepEqual(report.errors, [])
})

test('each dcs member that is killed is back, and no session noticed', LONG, async () => {
  const report = await undisturbed('members', async () => {
    for (const host of ['host-1', 'host-2', 'host-3']) {
      await killService(platform, host, 'etcd')
      await until(`etcd on ${host} to be ready`, ANSWER_TIMEOUT_MS, async () => {
        const { body } = await platform.api<Host>('GET', `/v1/hosts/${host}`)
        const etcd = body.services.find(({ name }) => name === 'etcd')
        const pid = serviceProcess(platform, host, 'etcd')?.pid
        const isBack = etcd?.ready === true && etcd.pid === pid
        return isBack ? { value: true } : { seen: JSON.stringify(etcd) }
      })
      // One at a time: the next one only when every Patroni has found its way around this one.
      await waitDcsSeen()
    }
  })
  assert.deepEqual(report.errors, [])
})

for (const service of ['haproxy', 'pgbouncer-write', 'pgbouncer-read']) {
  test(`a gateway whose ${service} is killed serves again, and databases go on`, async () => {
    const before = await postmasterStarts()
    await killService(platform, gateway.host, `${service}-${gateway.id}`)
    await assertWrites('write')
    await assertWrites('write-direct')
    await until('the endpoint read to answer', ANSWER_TIMEOUT_MS, async () => {
      await platform.sql({ cluster: alive, purpose: 'read' }, 'select 1')
      return { value: true }
    })
    assert.deepEqual(await postmasterStarts(), before)
  })
}

async function stopControlPlane(): Promise<void> {
  await commandPlatformService(platform, 'control-plane', '-wD', '-T', '20000', '-d')
  assert.equal(controlPlanePid(platform), undefined)
}

async function startControlPlane(): Promise<void> {
  await commandPlatformService(platform, 'control-plane', '-u')
}

test('without the control plane reads and writes go on, and what dies comes back', async () => {
  await stopControlPlane()
  try {
    const report = await undisturbed('alone', async () => {
      await platform.sql({ cluster: alive, purpose: 'read' }, 'select 1')
      const pooler = `pgbouncer-write-${gateway.id}`
      const haproxy = serviceProcess(platform, gateway.host, `haproxy-${gateway.id}`)?.pid
      await killService(platform, gateway.host, pooler)
      await assertWrites('write')
      // Somebody stopped it: only an agent that knows what its host should run starts it again.
      await commandHostService(platform, gateway.host, pooler, '-wD', '-d')
      await killService(platform, gateway.host, 'agent')
      await assertWrites('write')
      // The new agent takes over what runs; it starts nothing twice.
      assert.equal(serviceProcess(platform, gateway.host, `haproxy-${gateway.id}`)?.pid, haproxy)
    })
    assert.deepEqual(report.errors, [])
  } finally {
    await startControlPlane()
  }
})

/** The process of PostgreSQL that leads. */
async function leadingPostmaster(): Promise<number> {
  const [row] = await superuserSql<{ directory: string }>(
    platform,
    'alive',
    `select current_setting('data_directory') as directory`,
  )
  const file = await readFile(join(row?.directory ?? '', 'postmaster.pid'), 'utf8')
  return Number.parseInt(file, 10)
}

test('without the control plane a leader that dies is replaced, and told of later', async () => {
  const former = await leadingAddress()
  const postmaster = await leadingPostmaster()
  await using writer = await startWriter({ cluster: alive, purpose: 'write' }, 'replaced')
  await until('the writer to write', ANSWER_TIMEOUT_MS, () =>
    writer.committed() > 20 ? { value: true } : { seen: `${writer.committed()} rows` },
  )
  const killedAt = Date.now()
  await stopControlPlane()
  try {
    process.kill(postmaster, 'SIGKILL')
    await until('another instance to be written to', ANSWER_TIMEOUT_MS, async () => {
      const address = await leadingAddress()
      return address !== former && address !== '' ? { value: true } : { seen: address }
    })
    const soFar = writer.committed()
    await until('the writer to go on', ANSWER_TIMEOUT_MS, () =>
      writer.committed() > soFar + 20 ? { value: true } : { seen: `${writer.committed()} rows` },
    )
    const report = await writer.stop()
    assert.equal(report.lost, 0, 'an acknowledged row is gone')
  } finally {
    await startControlPlane()
  }
  await until('the failover to be on record', HEALTHY_TIMEOUT_MS, async () => {
    const { body } = await platform.api<Cluster>('GET', '/v1/clusters/alive')
    const { last_failover: last } = body
    const isTold = last !== null && Date.parse(last.at) >= killedAt && !last.planned
    return isTold ? { value: true } : { seen: JSON.stringify(last) }
  })
})

async function writerWrites(writer: Writer, rows: number): Promise<void> {
  const soFar = writer.committed()
  await until('the writer to go on', ANSWER_TIMEOUT_MS, () => {
    const now = writer.committed()
    return now > soFar + rows ? { value: true } : { seen: `${now - soFar} rows` }
  })
}

async function switchOver(): Promise<string> {
  const path = '/v1/clusters/alive/switchover'
  const { status, body } = await platform.api<OperationAccepted>('POST', path, {})
  assert.equal(status, 202, JSON.stringify(body))
  return body.operation.id
}

const LOOKS = 500

/** For a few tenths of a second in a switchover: so it is looked for without a rest. */
async function awaitHold(pooler: Pooler): Promise<void> {
  await until('the clients to be held', HEALTHY_TIMEOUT_MS, async () => {
    for (let look = 0; look < LOOKS; look += 1) if (await pooler.holds()) return { value: true }
    return { seen: 'nobody is' }
  })
}

async function awaitLetGo(pooler: Pooler): Promise<void> {
  await until('the clients to be let go', LET_GO_TIMEOUT_MS, async () =>
    (await pooler.holds()) ? { seen: 'they are held' } : { value: true },
  )
}

test('an agent that dies while it holds the clients lets them go when it is back', async () => {
  await using writer = await startWriter({ cluster: alive, purpose: 'write' }, 'held')
  await writerWrites(writer, 20)
  await using pooler = await askPooler(platform, alive, gateway)
  const agent = serviceProcess(platform, gateway.host, 'agent')?.pid ?? Number.NaN
  const former = await leadingAddress()
  const operationId = await switchOver()
  await awaitHold(pooler)
  process.kill(agent, 'SIGKILL')
  // PgBouncer does not end it by itself.
  assert.equal(await pooler.holds(), true, 'they were let go before the agent was killed')
  await awaitLetGo(pooler)
  await writerWrites(writer, 50)
  const operation = await platform.waitOperation(operationId, HEALTHY_TIMEOUT_MS)
  const said = operation.steps.map(({ message }) => message).join()
  const isChanged = (await leadingAddress()) !== former
  // By whether the word that they are held went out before the agent died, and by whether it was
  // back in time to hold them again.
  const ended = isChanged ? 'succeeded' : 'failed'
  assert.equal(operation.state, ended, `${JSON.stringify(operation.error)} ${said}`)
  const report = await writer.stop()
  const isSure = /none failed/.test(said)
  if (isChanged && !isSure) assert.match(said, /some may have failed/, 'nobody knows it')
  if (isSure) assert.deepEqual(report.errors, [])
  assert.equal(report.lost, 0, 'an acknowledged row is gone')
  assert.ok(report.stallMsMax < STALL_MS_MAX, `nothing was written for ${report.stallMsMax} ms`)
})

test('a control plane that dies while clients are held need not be back for them', async () => {
  await using writer = await startWriter({ cluster: alive, purpose: 'write' }, 'left_alone')
  await writerWrites(writer, 20)
  await using pooler = await askPooler(platform, alive, gateway)
  await arm(platform, 'switch-leader/held')
  const operationId = await switchOver()
  await commandPlatformService(platform, 'control-plane', '-O')
  try {
    await awaitHold(pooler)
    await awaitLetGo(pooler)
    await writerWrites(writer, 50)
    assert.equal(existsSync(platform.faultFile), false, 'the control plane did not die')
    assert.equal(controlPlanePid(platform), undefined)
  } finally {
    await startControlPlane()
  }
  const operation = await platform.waitOperation(operationId, HEALTHY_TIMEOUT_MS)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.error))
  const report = await writer.stop()
  assert.deepEqual([report.errors, report.lost], [[], 0])
  // The former leader had been drained for the change.
  const { instances } = await waitHealthy()
  await awaitReadsFrom(instances.filter(({ role }) => role !== 'leader'))
})

/** Where a writable instance is that is not `former`, asked of each. */
async function nextLeader(former: string): Promise<string> {
  const others = alive.cluster.instances.filter(({ address }) => address !== former)
  return until('another instance to lead', ANSWER_TIMEOUT_MS, async () => {
    for (const at of others) {
      const [row] = await platform.sql<{ standby: boolean }>(
        { cluster: alive, at },
        'select pg_is_in_recovery() as standby',
      )
      if (row?.standby === false) return { value: at.address }
    }
    return { seen: 'only replicas' }
  })
}

test("without its agent a gateway follows by HAProxy's own checks", LONG, async () => {
  await commandHostService(platform, gateway.host, 'agent', '-wD', '-T', '20000', '-Ok')
  const haproxy = `haproxy-${gateway.id}`
  try {
    for (const restarts of [false, true]) {
      // The control plane finds the gateway's host away.
      await waitHealthy(['available', 'degraded'])
      const former = await leadingAddress()
      process.kill(await leadingPostmaster(), 'SIGKILL')
      if (restarts) await killService(platform, gateway.host, haproxy)
      const leader = await nextLeader(former)
      for (const purpose of ['write-direct', 'write'] as const) {
        await until(`${purpose} to reach ${leader}`, CHECKS_TIMEOUT_MS, async () => {
          const address = await leadingAddress(purpose)
          return address === leader ? { value: true } : { seen: address }
        })
      }
      await killService(platform, gateway.host, haproxy)
      const strayed: string[] = []
      await until('a HAProxy that starts to find it, too', CHECKS_TIMEOUT_MS, async () => {
        const address = await leadingAddress('write-direct')
        if (address !== leader) strayed.push(address)
        return address === leader ? { value: true } : { seen: address }
      })
      assert.deepEqual(strayed, [], 'a session reached an instance that does not lead')
    }
    assert.equal(serviceProcess(platform, gateway.host, 'agent'), undefined)
  } finally {
    await commandHostService(platform, gateway.host, 'agent', '-u')
  }
})

/** From where eight readers at once are answered. */
async function readFrom(): Promise<string> {
  const text = 'select host(inet_server_addr()) as address, pg_sleep(0.1)'
  const asked = Array.from({ length: READERS }, () =>
    platform.sql<{ address: string }>({ cluster: alive, purpose: 'read-direct' }, text),
  )
  const addresses = (await Promise.all(asked)).map(([row]) => row?.address ?? '')
  return [...new Set(addresses)].sort().join()
}

async function awaitReadsFrom(instances: readonly { address: string }[]): Promise<void> {
  const wanted = instances.map(({ address }) => address).sort()
  await until(`reads to be answered by ${wanted}`, READS_TIMEOUT_MS, async () => {
    const seen = await readFrom()
    return seen === wanted.join() ? { value: true } : { seen }
  })
}

test('a replica that falls behind gets no new readers until it is back', async () => {
  const { instances } = await waitHealthy()
  const replicas = instances.filter(({ role }) => role !== 'leader')
  const lagging = replicas.find(({ role }) => role === 'replica')
  assert.ok(lagging)
  await awaitReadsFrom(replicas)
  // Patroni ends a pause of the replay itself.
  const [replay] = await superuserSql<{ pid: number }>(
    platform,
    'alive',
    `select pid from pg_stat_activity where backend_type = 'startup'`,
    lagging,
  )
  const startup = replay?.pid ?? Number.NaN
  process.kill(startup, 'SIGSTOP')
  try {
    // Twice as much as a replica may be behind.
    await platform.sql(
      { cluster: alive },
      `create table behind as select n, repeat(md5(n::text), 32) as filler
       from generate_series(1, 32768) n`,
    )
    await awaitReadsFrom(replicas.filter((one) => one !== lagging))
  } finally {
    process.kill(startup, 'SIGCONT')
  }
  await awaitReadsFrom(replicas)
})

function servicesOf(host: string): string[] {
  const names = hostProcesses(platform, host).map(({ service }) => service.split('/').at(-1) ?? '')
  return [...new Set(names.filter((name) => name !== ''))].sort()
}

async function rebootWithoutControlPlane(host: string): Promise<void> {
  const before = servicesOf(host)
  await rebootHost(platform, host)
  await until(`the services of ${host} to be back`, HEALTHY_TIMEOUT_MS, () => {
    const now = servicesOf(host)
    return now.join() === before.join() ? { value: true } : { seen: `${now} instead of ${before}` }
  })
}

test('hosts that reboot without a control plane come back as they were', LONG, async () => {
  const cluster = await waitHealthy()
  const hostOf = (role: string) => cluster.instances.find((one) => one.role === role)?.host ?? ''
  await using writer = await startWriter({ cluster: alive, purpose: 'write' }, 'reboots')
  await stopControlPlane()
  try {
    for (const host of [hostOf('replica'), gateway.host, hostOf('leader')]) {
      await rebootWithoutControlPlane(host)
      const soFar = writer.committed()
      await until(`writes after the reboot of ${host}`, HEALTHY_TIMEOUT_MS, () => {
        const now = writer.committed()
        return now > soFar + 20 ? { value: true } : { seen: `${now - soFar} rows` }
      })
      for (const { name, address, port } of cluster.instances) {
        await until(`${name} to answer`, HEALTHY_TIMEOUT_MS, async () => {
          const at = { address, port }
          const rows = await platform.sql<{ count: number }>(
            { cluster: alive, at },
            'select count(*)::integer as count from reboots',
          )
          const count = rows[0]?.count ?? 0
          return count >= soFar ? { value: true } : { seen: `${count} of ${soFar} rows` }
        })
      }
    }
    const report = await writer.stop()
    assert.equal(report.lost, 0, 'an acknowledged row is gone')
  } finally {
    await startControlPlane()
  }
  await waitHealthy()
})

// What a process of PostgreSQL that dies in the middle of a promotion leaves: a replica that has
// the lead for itself, and a Patroni that takes the promotion for done.
test('a leader that became a replica behind its Patroni leads again', async () => {
  const [row] = await superuserSql<{ directory: string; writer: number }>(
    platform,
    'alive',
    `select current_setting('data_directory') as directory,
       (select pid from pg_stat_activity where backend_type = 'walwriter') as writer`,
  )
  await writeFile(join(row?.directory ?? '', 'standby.signal'), '')
  process.kill(row?.writer ?? 0, 'SIGKILL')
  await assertWrites('write')
  await waitHealthy()
})

const SILENCE_MS = 6000

// The last one: it leaves the leader's host without an agent for a while.
test('an agent away for longer than a dead host may costs nobody a session', async () => {
  const leading = await leadingAddress()
  const leader = alive.cluster.instances.find(({ address }) => address === leading)
  const host = leader?.host ?? ''
  const report = await undisturbed('silence', async () => {
    await commandHostService(platform, host, 'agent', '-wD', '-d')
    const stoppedMs = performance.now()
    await until('the silence to be long enough', SILENCE_MS * 2, () => {
      const silentMs = performance.now() - stoppedMs
      return silentMs > SILENCE_MS ? { value: true } : { seen: `${silentMs} ms` }
    }).finally(() => commandHostService(platform, host, 'agent', '-u'))
  })
  assert.deepEqual(report.errors, [])
  await waitHealthy()
  assert.equal(await leadingAddress(), leading)
})
