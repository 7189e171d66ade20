// What clients of the pooled endpoints notice of planned work: nothing but a wait. Switchover,
// restart, scaling and parameters run under sixteen writers and readers, and not one transaction
// fails. And what planned work does when a host is lost meanwhile: no acknowledged row is.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { BackupStatus } from '@howdah/core/contract/backups.ts'
import type {
  Cluster,
  Failover,
  OperationAccepted,
  SwitchoverPlan,
} from '@howdah/core/contract/clusters.ts'
import type { Drill, GameDayReport } from '@howdah/core/contract/drills.ts'
import type { Host } from '@howdah/core/contract/hosts.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import type { Problem } from '@howdah/core/contract/resource.ts'
import { WAIT_FOR_WRITES } from '@howdah/core/render/gateway.ts'
import { connect, sql, type TestCluster } from '../harness/cluster.ts'
import { arm } from '../harness/crash.ts'
import { commandPlatformService, hostProcesses, loseHost } from '../harness/host.ts'
import { LONG } from '../harness/long.ts'
import { explainFailures, startPlatform, type TestPlatform } from '../harness/platform.ts'
import { until } from '../harness/until.ts'

const OPERATION_TIMEOUT_MS = 240_000
const WRITERS = 12
const READERS = 4

let platform: TestPlatform
let cluster: TestCluster

before(async () => {
  platform = await startPlatform({ subnet: '127.71.0' })
  cluster = await platform.createCluster('demo')
  await firstBackup()
  await sql({ cluster }, 'create table account (id integer primary key, balance bigint not null)')
  await sql({ cluster }, 'insert into account select n, 1000 from generate_series(1, 100) n')
})

after(async () => {
  await platform?.stop()
})

explainFailures(() => platform)

/** It begins at once, and its checkpoint may be a transaction that a change does not wait for. */
function firstBackup(): Promise<void> {
  return until<void>('the first backup', 180_000, async () => {
    const { body } = await platform.api<BackupStatus>('GET', '/v1/clusters/demo/backup-status')
    return body.newest_backup === null ? { seen: body.message } : { value: undefined }
  })
}

interface Load extends AsyncDisposable {
  /** Ends the clients; every error that any of them saw, and how many transactions went through. */
  stop(): Promise<{ transactions: number; errors: string[] }>
}

/**
 * Transfers of several statements at the write endpoint, sums at the read endpoint; nobody tries
 * again.
 */
async function startLoad(): Promise<Load> {
  const state = { stopping: false, transactions: 0, errors: [] as string[] }
  const clients = Array.from({ length: WRITERS + READERS }, async (_, index) => {
    const isWriter = index < WRITERS
    const client = await connect({ cluster, purpose: isWriter ? 'write' : 'read' })
    while (!state.stopping && state.errors.length === 0) {
      try {
        await (isWriter ? transfer(client) : client.query('select sum(balance) from account'))
        state.transactions += 1
      } catch (error) {
        state.errors.push(`${isWriter ? 'writer' : 'reader'}: ${String(error)}`)
      }
    }
    await client.end().catch(() => undefined)
  })
  const stop = async () => {
    state.stopping = true
    await Promise.all(clients)
    return { transactions: state.transactions, errors: state.errors }
  }
  await until('the load to run', 30_000, () =>
    state.transactions > 100 ? { value: true } : { seen: `${state.transactions} transactions` },
  )
  return {
    stop,
    async [Symbol.asyncDispose]() {
      await stop()
    },
  }
}

async function transfer(client: Awaited<ReturnType<typeof connect>>): Promise<void> {
  // In the order of ids, so that no two transfers wait for each other in a circle.
  const [from, to] = [1 + Math.floor(Math.random() * 99), 100]
  await client.query('begin')
  await client.query('update account set balance = balance - 1 where id = $1', [from])
  await client.query('update account set balance = balance + 1 where id = $1', [to])
  await client.query('commit')
}

function act(action: string, body: unknown = {}) {
  return platform.api<OperationAccepted & SwitchoverPlan & Problem>(
    'POST',
    `/v1/clusters/demo/${action}`,
    body,
  )
}

async function finish(reply: { status: number; body: OperationAccepted }): Promise<Operation> {
  assert.equal(reply.status, 202, JSON.stringify(reply.body))
  return platform.waitOperation(reply.body.operation.id, OPERATION_TIMEOUT_MS)
}

async function underLoad(change: () => Promise<Operation>): Promise<Operation> {
  await using load = await startLoad()
  const operation = await change()
  const { transactions, errors } = await load.stop()
  assert.deepEqual(errors, [])
  assert.ok(transactions > 200, `only ${transactions} transactions ran`)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.error))
  const [row] = await sql<{ sum: string }>({ cluster }, 'select sum(balance) from account')
  assert.equal(row?.sum, '100000')
  return operation
}

const leaderOf = (seen: Cluster) => seen.instances.find(({ role }) => role === 'leader')?.name

async function shown(): Promise<Cluster> {
  return (await platform.api<Cluster>('GET', '/v1/clusters/demo')).body
}

/**
 * The cluster once each instance has its part: one leads, one is synchronous, all stream. A
 * readiness verdict asks for less: a former leader may still be rewinding, and be no candidate.
 */
function settled(): Promise<Cluster> {
  return until('every instance to have its part', 90_000, async () => {
    const seen = await shown()
    const parts = seen.instances.map(({ name, role, state, streaming }) =>
      role === 'leader' || streaming ? `${name} ${role} ${state}` : `${name} ${role} (${state})`,
    )
    const isSettled =
      seen.instances.every(({ state }) => state === 'running') &&
      seen.instances.every(({ role, streaming }) => role === 'leader' || streaming) &&
      ['leader', 'sync-replica'].every(
        (part) => seen.instances.filter(({ role }) => role === part).length === 1,
      )
    return isSettled ? { value: seen } : { seen: parts.join(', ') }
  })
}

/**
 * What it takes is what the agents report: one of them may be late, or miss an answer. A leader
 * that would take the only gateway along is not ready for that: who leads is not chosen here.
 */
function ready(): Promise<Cluster> {
  return until('the cluster to be ready', 90_000, async () => {
    const seen = await shown()
    const missing = seen.readiness.checks.filter(({ name, ok }) => !ok && name !== 'gateways')
    return missing.length === 0 ? { value: seen } : { seen: JSON.stringify(missing) }
  })
}

test('a dry run of a switchover names who would take over, and changes nothing', async () => {
  const before = await settled()
  const reply = await act('switchover', { dry_run: true })
  assert.equal(reply.status, 200)
  assert.equal(reply.body.from, leaderOf(before))
  const candidate = before.instances.find(({ name }) => name === reply.body.to)
  assert.equal(candidate?.role, 'sync-replica')
  assert.deepEqual(reply.body.left_out, [])
  assert.equal(leaderOf(await shown()), leaderOf(before))
})

test('a switchover fails no transaction, and says what it cost', async () => {
  const before = leaderOf(await settled())
  const operation = await underLoad(async () => finish(await act('switchover')))
  const seen = await shown()
  assert.notEqual(leaderOf(seen), before)
  const said = operation.steps.find(({ name }) => name === 'hand-over')?.message ?? ''
  assert.match(said, /leads; \d+ transactions were held, \d+ ms at most, and none failed$/)
  const last = await until<Failover>('the record of the switchover', 20_000, async () => {
    const { last_failover } = await shown()
    return last_failover !== null && last_failover.from === before
      ? { value: last_failover }
      : { seen: JSON.stringify(last_failover) }
  })
  assert.equal(last.planned, true)
  assert.equal(last.receipt.acknowledged_bytes, 0)
  await ready()
})

test('a control plane that dies in a switchover fails no transaction either', LONG, async () => {
  for (const point of ['switch-leader/asked', 'switch-leader/held']) {
    const before = leaderOf(await settled())
    await arm(platform, point)
    await underLoad(async () => finish(await act('switchover')))
    assert.equal(existsSync(platform.faultFile), false, `${point} was not reached`)
    assert.notEqual(leaderOf(await shown()), before)
  }
  await ready()
})

test('a login of the pooler waits until its instance writes, whatever a role sets', async () => {
  const { instances } = await settled()
  const heir = instances.find(({ role }) => role === 'sync-replica')
  assert.ok(heir)
  const session = await connect({ cluster, at: heir })
  const roleSettings = ['statement_timeout = 50', 'default_transaction_isolation = serializable']
  for (const setting of roleSettings) await session.query(`set ${setting}`)
  const waiting = { over: false }
  const wait = session.query(WAIT_FOR_WRITES).then(() => {
    waiting.over = true
  })
  const operation = await act('switchover', { to: heir.name })
  const [{ pid } = { pid: 0 }] = await until('it to have waited', 20_000, async () => {
    const seen = await sql<{ pid: number; ms: number }>(
      { cluster, at: heir },
      `select pid, 1000 * extract(epoch from clock_timestamp() - query_start) as ms
       from pg_stat_activity where query like 'set local statement_timeout=0;%'`,
    )
    return Number(seen[0]?.ms) > 200 ? { value: seen } : { seen: JSON.stringify([seen, waiting]) }
  })
  assert.equal(waiting.over, false)
  await finish(operation)
  await wait
  // The same session, that of a leader now, with its own settings.
  await session.query('set statement_timeout = 0')
  const { rows } = await session.query(
    `select pg_backend_pid() as pid, current_setting('transaction_isolation') as isolation,
       current_setting('transaction_read_only') as read_only`,
  )
  assert.deepEqual(rows, [{ pid, isolation: 'serializable', read_only: 'off' }])
  await session.end()
  await ready()
})

test('a replica that is not synchronous cannot be chosen; a stranger is not found', async () => {
  const { instances } = await settled()
  const replica = instances.find(({ role }) => role === 'replica')?.name
  const refused = await act('switchover', { to: replica })
  assert.equal(refused.status, 409)
  assert.match(refused.body.detail, /not the synchronous replica/)
  assert.equal((await act('switchover', { to: 'demo-9' })).status, 404)
  const leads = await act('switchover', { to: leaderOf(await shown()) })
  assert.equal(leads.status, 409)
  // By then it may be: only what is not there is refused today.
  const at = new Date(Date.now() + 3_600_000).toISOString()
  assert.equal((await act('switchover', { to: 'demo-9', at })).status, 404)
  for (const [body, title] of [
    [{ to: replica, at }, `switch demo over to ${replica} at ${at}`],
    [{ at }, `switch demo over at ${at}`],
  ] as const) {
    const { operation } = (await act('switchover', body)).body
    assert.deepEqual([operation.state, operation.title], ['scheduled', title])
    const path = `/v1/operations/${operation.id}/cancel`
    assert.equal((await platform.api<Operation>('POST', path)).body.state, 'cancelled')
  }
})

/** What it does is still under way when `work` runs, and committed after it. */
async function inLongTransaction(work: () => Promise<void>): Promise<void> {
  const client = await connect({ cluster })
  try {
    await client.query('begin')
    await client.query('update account set balance = balance where id = 1')
    await until('the transaction to be old', 10_000, async () => {
      const { rows } = await client.query<{ old: boolean }>(
        "select clock_timestamp() > now() + interval '2.5 seconds' as old",
      )
      return rows[0]?.old === true ? { value: true } : { seen: 'it is young' }
    })
    await work()
    await client.query('commit')
  } finally {
    await client.end()
  }
}

test('a long transaction is named, and nothing changes', async () => {
  const before = leaderOf(await shown())
  await inLongTransaction(async () => {
    const operation = await finish(await act('switchover'))
    assert.equal(operation.state, 'failed')
    assert.match(operation.error?.detail ?? '', /a transaction of app .* runs since 20\d\d-/)
    const dry = await act('switchover', { dry_run: true })
    assert.equal(dry.status, 409)
    assert.match(dry.body.detail, /a transaction of app .* runs since 20\d\d-/)
  })
  assert.equal(leaderOf(await shown()), before)
})

test('a long transaction is waited for when somebody asks for that', async () => {
  const before = leaderOf(await settled())
  let accepted: Awaited<ReturnType<typeof act>> | undefined
  await inLongTransaction(async () => {
    accepted = await act('switchover', { within_seconds: 120 })
    assert.equal(accepted.status, 202)
    const path = `/v1/operations/${accepted.body.operation.id}`
    await until('the switchover to wait', 30_000, async () => {
      const seen = JSON.stringify((await platform.api<Operation>('GET', path)).body.steps)
      return /a transaction of app/.test(seen) ? { value: true } : { seen }
    })
  })
  assert.ok(accepted)
  assert.equal((await finish(accepted)).state, 'succeeded')
  assert.notEqual(leaderOf(await settled()), before)
})

test('all instances restart, one after the other, and no client fails', async () => {
  const started = () =>
    sql<{ at: Date }>({ cluster }, 'select pg_postmaster_start_time() as at').then(
      ([row]) => row?.at.getTime() ?? 0,
    )
  const beforeMs = await started()
  await underLoad(async () => finish(await act('restart')))
  assert.ok((await started()) > beforeMs, 'the leader did not restart')
})

test('a parameter that needs a restart is applied without a failed transaction', LONG, async () => {
  await underLoad(async () => {
    const body = { parameters: { max_connections: 110, work_mem: '9MB' } }
    const headers = { 'if-match': '*' }
    return finish(
      await platform.api<OperationAccepted>('PATCH', '/v1/clusters/demo', body, headers),
    )
  })
  const rows = await sql<{ name: string; setting: string }>(
    { cluster },
    `select name, setting from pg_settings
     where name in ('max_connections', 'work_mem') order by 1`,
  )
  assert.deepEqual(rows, [
    { name: 'max_connections', setting: '110' },
    { name: 'work_mem', setting: '9216' },
  ])
})

test('an instance is added, and the leader is replaced, while clients go on', async () => {
  await underLoad(async () => finish(await act('scale', { instances: 4 })))
  assert.equal((await shown()).instances.length, 4)
  const leader = leaderOf(await settled()) ?? ''
  await underLoad(async () => finish(await act('scale', { instances: 3, remove: [leader] })))
  const seen = await shown()
  assert.deepEqual(seen.instances.length, 3)
  assert.equal(
    seen.instances.some(({ name }) => name === leader),
    false,
  )
})

test('an instance that is replaced leaves the cluster with as many as before', LONG, async () => {
  const replica = (await settled()).instances.find(({ role }) => role !== 'leader')?.name ?? ''
  await underLoad(async () => finish(await act('scale', { instances: 3, remove: [replica] })))
  const names = (await shown()).instances.map(({ name }) => name)
  assert.equal(names.length, 3)
  assert.equal(names.includes(replica), false)
})

test('agents learn of another sensitivity', async () => {
  const body = { sensitivity: 'patient' }
  const headers = { 'if-match': '*' }
  const reply = await platform.api<OperationAccepted>('PATCH', '/v1/clusters/demo', body, headers)
  assert.equal((await finish(reply)).state, 'succeeded')
  for (const { host } of (await shown()).instances) {
    await until(`${host} to have it`, 30_000, async () => {
      const text = await readFile(join(platform.home, 'hosts', host, 'agent/spec.json'), 'utf8')
      const seen = /"sensitivity": *"[a-z]+"/.exec(text)?.[0] ?? 'no sensitivity'
      return seen.includes('patient') ? { value: true } : { seen }
    })
  }
})

test('a paused cluster is left alone, and says that it is', async () => {
  const leader = leaderOf(await shown())
  // Due while the cluster is being paused, or after that.
  const scheduled = await act('switchover', { at: new Date(Date.now() + 1000).toISOString() })
  await finish(await act('pause', undefined))
  const seen = await shown()
  assert.equal(seen.readiness.ready, false)
  assert.equal((await act('switchover')).status, 409)
  const refused = await finish(scheduled)
  assert.match(refused.error?.detail ?? '', /cluster demo is paused/, JSON.stringify(refused))
  assert.equal(leaderOf(await shown()), leader)
  const resumed = await finish(await act('resume', undefined))
  assert.equal(resumed.state, 'succeeded', JSON.stringify(resumed.error))
  const { checks } = (await shown()).readiness
  assert.equal(checks.find(({ name }) => name === 'maintenance')?.ok, true, JSON.stringify(checks))
  await ready()
})

test('a pause in which the leader died ends when it is told to', async () => {
  await finish(await act('pause', undefined))
  const leader = (await shown()).instances.find(({ role }) => role === 'leader')
  const servers = hostProcesses(platform, leader?.host ?? '').filter(
    ({ argv }) => argv[0]?.endsWith('/postgres') && argv.includes('-D'),
  )
  // A child that was just forked still shows the arguments of its parent.
  const postmaster = servers.find((one) => !servers.some(({ pid }) => pid === one.parentPid))
  process.kill(postmaster?.pid ?? Number.NaN, 'SIGKILL')
  await until('nobody to lead', 60_000, async () => {
    const { state, message } = await shown()
    return state === 'failed' ? { value: true } : { seen: message }
  })
  const resumed = await finish(await act('resume', undefined))
  assert.equal(resumed.state, 'succeeded', JSON.stringify(resumed.error))
  await ready()
})

test('a failover that could lose acknowledged data wants to be told so', async () => {
  const { instances } = await settled()
  const replica = instances.find(({ role }) => role === 'replica')?.name
  const operation = await finish(await act('failover', { to: replica }))
  assert.equal(operation.state, 'failed')
  assert.match(operation.error?.detail ?? '', /acknowledged commits could be missing/)
})

test('a game day wants to be told twice, then loses nothing and keeps its report', async () => {
  const refused = await act('game-days', { faults: ['leader-process'] })
  assert.equal(refused.status, 422)
  const told = { confirm: 'demo', accept_outage: true }
  // Hosts of one machine have one network: that is said before anything is broken.
  const cut = await act('game-days', { faults: ['network-cut'], ...told })
  assert.match(cut.body.detail, /network-cut needs nftables/)
  const faults = ['leader-host', ...('skip' in LONG ? [] : ['haproxy', 'leader-host-silent'])]
  for (const fault of faults) {
    await leadBesideNoGateway()
    await succeed(await act('game-days', { faults: [fault], ...told }))
    const reply = await platform.api<{ data: Drill[] }>('GET', '/v1/clusters/demo/drills')
    const report = reply.body.data[0]?.report as GameDayReport | undefined
    const rounds = report?.rounds ?? []
    assert.deepEqual(
      rounds.map(({ fault, lost, leaders_at_once_max: leaders }) => [fault, lost, leaders]),
      [[fault, 0, 1]],
    )
    // A fault that broke nothing would be a round that proves nothing.
    const gapMs = rounds[0]?.longest_gap_ms ?? 0
    assert.ok(fault === 'haproxy' || gapMs > 1000, `${fault}: a gap of ${gapMs} ms`)
  }
})

/** A leader beside the only gateway takes it along: nobody could watch what clients notice. */
async function leadBesideNoGateway(): Promise<void> {
  const { instances, endpoints } = await settled()
  const leader = instances.find(({ role }) => role === 'leader')
  if (endpoints.every(({ address }) => address !== leader?.address)) return
  await succeed(await act('switchover'))
  await settled()
}

async function succeed(reply: { status: number; body: OperationAccepted }): Promise<Operation> {
  const operation = await finish(reply)
  assert.equal(operation.state, 'succeeded', JSON.stringify(operation.error))
  return operation
}

/** Acknowledged by whoever leads now. */
async function note(line: string): Promise<void> {
  await until(`the row ${line}`, 90_000, async () => {
    await sql({ cluster }, 'insert into note values ($1) on conflict do nothing', [line])
    return { value: true }
  })
}

async function notes(): Promise<string[]> {
  const rows = await sql<{ line: string }>({ cluster }, 'select line from note order by line')
  return rows.map(({ line }) => line)
}

test('a leader that dies between two removals costs no acknowledged row', LONG, async () => {
  await leadBesideNoGateway()
  const { instances } = await settled()
  await sql({ cluster }, 'create table note (line text primary key)')
  const lost = instances.find(({ role }) => role === 'leader')
  const first = instances.find(({ role }) => role === 'replica')?.name ?? ''
  const second = instances.find(({ role }) => role === 'sync-replica')?.name ?? ''
  await arm(platform, `scale-cluster/remove-instances:${first}`)
  const scaling = await act('scale', { instances: 1, remove: [first, second] })
  assert.equal(scaling.status, 202, JSON.stringify(scaling.body))
  // It stays dead until the leader is lost: it could have removed the second one by then.
  await commandPlatformService(platform, 'control-plane', '-O')
  try {
    await until(`${first} to be removed`, 120_000, () =>
      existsSync(platform.faultFile) ? { seen: 'not yet' } : { value: true },
    )
    await loseHost(platform, lost?.host ?? '')
  } finally {
    await commandPlatformService(platform, 'control-plane', '-u')
  }
  await note('after the loss')
  const operation = await platform.waitOperation(scaling.body.operation.id, OPERATION_TIMEOUT_MS)
  assert.equal(operation.state, 'failed')
  assert.match(operation.error?.detail ?? '', new RegExp(`^${lost?.name} `))
  await note('after the refusal')
  await until(`${second} to lead, and the other host to be away`, 120_000, async () => {
    const seen = (await shown()).instances.map(({ name, role }) => `${name} ${role}`).sort()
    const expected = [`${second} leader`, `${lost?.name} unknown`].sort()
    return seen.join() === expected.join() ? { value: true } : { seen: seen.join() }
  })
})

test('with a host lost a cluster grows, fails over, and gets a replacement', LONG, async () => {
  const lost = (await shown()).instances.find(({ role }) => role === 'unknown')
  await succeed(await act('scale', { instances: 3 }))
  const candidate = await until('a synchronous replica', 60_000, async () => {
    const { instances } = await shown()
    const name = instances.find((one) => one.role === 'sync-replica' && one.streaming)?.name
    const parts = instances.map((one) => `${one.name} ${one.role} ${one.state}`)
    return name === undefined ? { seen: parts.join() } : { value: name }
  })
  await succeed(await act('failover', { to: candidate }))
  assert.equal(leaderOf(await shown()), candidate)
  await succeed(await act('scale', { instances: 2, remove: [lost?.name ?? ''] }))
  const { instances } = await shown()
  assert.equal(instances.length, 2)
  assert.equal(
    instances.some(({ name }) => name === lost?.name),
    false,
  )
  assert.deepEqual(await notes(), ['after the loss', 'after the refusal'])
  await commandPlatformService(platform, lost?.host ?? '', '-u')
  await until('the host to stop what it no longer has', 120_000, async () => {
    const { body } = await platform.api<Host>('GET', `/v1/hosts/${lost?.host}`)
    const names = body.services.map(({ name }) => name)
    const stopped = body.state === 'online' && !names.includes(`patroni-${lost?.id}`)
    return stopped ? { value: true } : { seen: `${body.state} ${names}` }
  })
})
