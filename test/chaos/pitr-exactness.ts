// Owns `npm run pitr-exactness`: a ledger is written while leaders die and hand over, then forks
// are made to random times, LSNs and transactions. Each must hold exactly the lines that were
// committed by then. Ends with exit code 1 when one does not.
import { parseArgs } from 'node:util'
import type { Cluster, ClusterAccepted, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { connect, sql, type TestCluster } from '../harness/cluster.ts'
import { readCluster, startPlatform, type TestPlatform } from '../harness/platform.ts'
import { until } from '../harness/until.ts'
import { makeRandom } from '../harness/workload.ts'

const TIMEOUT_MS = 240_000
const USAGE = 'npm run pitr-exactness -- [--targets N] [--failovers N] [--seed S]\n'
const ISO = `'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'`

const say = (line: string) => process.stdout.write(`${line}\n`)

interface Line {
  n: number
  at: string
  xid: string
}

interface Mark {
  lsn: string
  n: number
}

async function finish(
  platform: TestPlatform,
  reply: { status: number; body: OperationAccepted },
): Promise<void> {
  if (reply.status !== 202) throw new Error(JSON.stringify(reply.body))
  const operation = await platform.waitOperation(reply.body.operation.id, TIMEOUT_MS)
  if (operation.state !== 'succeeded') throw new Error(JSON.stringify(operation.error))
}

/**
 * One writer, so that the order of commits is the order of lines; it survives changes of leader.
 */
function startLedger(cluster: TestCluster) {
  const state = { stopping: false, n: 0, marks: [] as Mark[] }
  const ended = (async () => {
    let client: Awaited<ReturnType<typeof connect>> | undefined
    while (!state.stopping) {
      try {
        client ??= await connect({ cluster })
        await client.query('insert into ledger (n) values ($1) on conflict do nothing', [state.n])
        const { rows } = await client.query<{ lsn: string }>(
          'select pg_current_wal_insert_lsn()::text as lsn',
        )
        state.marks.push({ lsn: rows[0]?.lsn ?? '', n: state.n })
        state.n += 1
      } catch {
        await client?.end().catch(() => undefined)
        client = undefined
      }
    }
    await client?.end().catch(() => undefined)
  })()
  return {
    state,
    async stop() {
      state.stopping = true
      await ended
    },
    grow: (lines: number) =>
      until('the ledger to grow', TIMEOUT_MS, () =>
        state.n >= lines ? { value: true } : { seen: `${state.n} lines` },
      ),
  }
}

async function disturb(platform: TestPlatform, number: number): Promise<void> {
  const path = '/v1/clusters/demo'
  const isPlanned = number % 3 === 2
  const request = isPlanned
    ? platform.api<OperationAccepted>('POST', `${path}/switchover`, {})
    : platform.api<OperationAccepted>('POST', `${path}/game-days`, {
        faults: ['leader-process'],
        confirm: 'demo',
        accept_outage: true,
      })
  await finish(platform, await request)
  const { body } = await platform.api<Cluster>('GET', path)
  say(`${isPlanned ? 'switchover' : 'failover'}: timeline ${body.instances[0]?.timeline}`)
}

interface Target {
  said: string
  body: Record<string, string>
  lines: number
}

function chooseTarget(
  random: () => number,
  kind: number,
  lines: readonly Line[],
  marks: readonly Mark[],
): Target {
  const index = Math.floor(random() * (lines.length - 1))
  const line = lines[index] as Line
  if (kind === 0) return { said: `time ${line.at}`, body: { at: line.at }, lines: index + 1 }
  if (kind === 1) return { said: `xid ${line.xid}`, body: { xid: line.xid }, lines: index + 1 }
  const mark = marks[Math.floor(random() * marks.length)] as Mark
  const before = lines.filter(({ n }) => n <= mark.n).length
  return { said: `lsn ${mark.lsn}`, body: { lsn: mark.lsn }, lines: before }
}

async function tryTarget(platform: TestPlatform, target: Target, number: number): Promise<boolean> {
  const name = `target-${number}`
  const body = { name, instances: 1, ...target.body }
  const startedMs = Date.now()
  const reply = await platform.api<ClusterAccepted>('POST', '/v1/clusters/demo/fork', body)
  await finish(platform, reply)
  const operation = await platform.waitOperation(reply.body.operation.id, TIMEOUT_MS)
  const cluster = await readCluster(platform.api, reply.body, operation)
  const [row] = await sql<{ lines: number; whole: boolean }>(
    { cluster },
    'select count(*)::integer as lines, coalesce(max(n) + 1 = count(*), true) as whole from ledger',
  )
  const isExact = row?.lines === target.lines && row.whole
  const took = ((Date.now() - startedMs) / 1000).toFixed(1)
  say(`${isExact ? 'exact' : 'WRONG'}  ${target.said}: ${row?.lines} of ${target.lines}, ${took} s`)
  const ask = { confirm: name, purge: true }
  const path = `/v1/clusters/${name}`
  await finish(platform, await platform.api('DELETE', path, ask, { 'if-match': '*' }))
  return isExact
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      targets: { type: 'string', default: '50' },
      failovers: { type: 'string', default: '3' },
      seed: { type: 'string', default: '1' },
      subnet: { type: 'string', default: '127.101.0' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return void say(USAGE)
  const random = makeRandom(Number(values.seed))
  await using platform = await startPlatform({ subnet: values.subnet })
  const cluster = await platform.createCluster('demo', { instances: 3 })
  await until('the first backup', TIMEOUT_MS, async () => {
    const { body } = await platform.api<{ data: unknown[] }>('GET', '/v1/clusters/demo/backups')
    return body.data.length > 0 ? { value: true } : { seen: 'none' }
  })
  await sql({ cluster }, 'create table ledger (n integer primary key)')
  const ledger = startLedger(cluster)
  for (let number = 0; number < Number(values.failovers); number += 1) {
    await ledger.grow(ledger.state.n + 300)
    await disturb(platform, number)
  }
  await ledger.grow(ledger.state.n + 300)
  await ledger.stop()
  const lines = await sql<Line>(
    { cluster },
    `select n, xmin::text as xid, to_char(pg_xact_commit_timestamp(xmin) at time zone 'UTC', ${ISO})
       as at from ledger order by n`,
  )
  let wrong = 0
  for (let number = 0; number < Number(values.targets); number += 1) {
    const target = chooseTarget(random, number % 3, lines, ledger.state.marks)
    if (!(await tryTarget(platform, target, number))) wrong += 1
  }
  say(`${Number(values.targets) - wrong} of ${values.targets} targets exact`)
  if (wrong > 0) process.exitCode = 1
}

await main()
