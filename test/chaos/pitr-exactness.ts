// Owns `npm run pitr-exactness`: a ledger is written while leaders die and hand over, then forks
// are made to random times, LSNs and transactions. Each must hold exactly the lines that were
// committed by then; a fork's replica follows it, and nothing of it is in its source's repository.
// At the end the source still archives.
// Ends with exit code 1 when one does not.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { BackupStatus } from '@howdah/core/contract/backups.ts'
import type { Cluster, ClusterAccepted, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { connect, sql, type TestCluster } from '../harness/cluster.ts'
import { endOnSignal } from '../harness/end-on-signal.ts'
import { readCluster, startPlatform, type TestPlatform } from '../harness/platform.ts'
import { until } from '../harness/until.ts'
import { makeRandom } from '../harness/workload.ts'

const TIMEOUT_MS = 240_000
const ARCHIVE_TIMEOUT_MS = 120_000
const USAGE =
  'npm run pitr-exactness -- [--targets N] [--failovers N] [--seed S] [--subnet A.B.C]\n'
const ISO = `'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'`

const say = (line: string) => process.stdout.write(`${line}\n`)

interface Line {
  n: number
  at: string
  xid: string
}

interface Mark {
  lsn: string
  timeline: string
  n: number
}

/** Every so many forks have a replica, and are looked through. */
const WHOLE_EVERY = 5
/** So that a run is spread over more than one segment. */
const PADDING = 'x'.repeat(1500)
const GROW_LINES = 1000

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
        const insert = 'insert into ledger (n, padding) values ($1, $2) on conflict do nothing'
        await client.query(insert, [state.n, PADDING])
        const { rows } = await client.query<Omit<Mark, 'n'>>(
          `select pg_current_wal_insert_lsn()::text as lsn,
             left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) as timeline`,
        )
        if (rows[0] !== undefined) state.marks.push({ ...rows[0], n: state.n })
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
  const fault = number % 3 === 0 ? 'leader-process' : 'leader-host'
  const request = isPlanned
    ? platform.api<OperationAccepted>('POST', `${path}/switchover`, {})
    : platform.api<OperationAccepted>('POST', `${path}/game-days`, {
        faults: [fault],
        confirm: 'demo',
        accept_outage: true,
      })
  await finish(platform, await request)
  const { body } = await platform.api<Cluster>('GET', path)
  say(`${isPlanned ? 'switchover' : fault}: timeline ${body.instances[0]?.timeline}`)
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
  // The last one of a timeline may be beyond its end: on the next, another line may be there.
  const sure = marks.filter((mark, at) => mark.timeline === marks[at + 1]?.timeline)
  const mark = sure[Math.floor(random() * sure.length)] as Mark
  const before = lines.filter(({ n }) => n <= mark.n).length
  return { said: `lsn ${mark.lsn}`, body: { lsn: mark.lsn }, lines: before }
}

/** What is wrong with it, apart from what it holds. */
async function findStrays(
  platform: TestPlatform,
  source: TestCluster,
  fork: TestCluster,
): Promise<string[]> {
  const path = `/v1/clusters/${fork.cluster.id}`
  const { instances } = (await platform.api<Cluster>('GET', path)).body
  const [own] = new Set(instances.map(({ timeline }) => timeline))
  await sql({ cluster: fork }, 'create table after_fork as select generate_series(1, 1000) as n')
  const timelinesOf = async ({ cluster: { id } }: TestCluster) => {
    const archive = join(platform.home, 'backups', id, 'archive')
    const names = await readdir(archive, { recursive: true })
    const found = names.map((name) => /(?:^|\/)([0-9A-F]{8})[0-9A-F]{16}-/.exec(name)?.[1])
    return new Set(found.flatMap((hex) => (hex === undefined ? [] : [Number.parseInt(hex, 16)])))
  }
  // Its first backup comes by itself, and ends a segment.
  await until('the fork to archive', TIMEOUT_MS, async () => {
    const found = await timelinesOf(fork)
    return found.has(own ?? 0) ? { value: true } : { seen: `timelines ${[...found].join()}` }
  })
  const before = (await platform.api<Cluster>('GET', `/v1/clusters/${source.cluster.id}`)).body
  const newest = Math.max(...before.instances.map(({ timeline }) => timeline ?? 0))
  const foreign = [...(await timelinesOf(source))].filter((timeline) => timeline > newest)
  const streaming = instances.filter((instance) => instance.streaming).length
  return [
    ...(foreign.length === 0 ? [] : [`its source's repository has timeline ${foreign.join()}`]),
    ...(instances.every(({ timeline }) => timeline === own) ? [] : ['timelines differ']),
    ...(streaming === instances.length - 1 ? [] : [`${streaming} replicas stream`]),
  ]
}

async function tryTarget(
  platform: TestPlatform,
  source: TestCluster,
  target: Target,
  number: number,
): Promise<boolean> {
  const name = `target-${number}`
  const isWhole = number % WHOLE_EVERY === WHOLE_EVERY - 1
  const body = { name, instances: isWhole ? 2 : 1, ...target.body }
  const startedMs = Date.now()
  const reply = await platform.api<ClusterAccepted>('POST', '/v1/clusters/demo/fork', body)
  await finish(platform, reply)
  const operation = await platform.waitOperation(reply.body.operation.id, TIMEOUT_MS)
  const cluster = await readCluster(platform.api, reply.body, operation)
  const [row] = await sql<{ lines: number; whole: boolean }>(
    { cluster },
    'select count(*)::integer as lines, coalesce(max(n) + 1 = count(*), true) as whole from ledger',
  )
  const took = ((Date.now() - startedMs) / 1000).toFixed(1)
  const strays = isWhole ? await findStrays(platform, source, cluster) : []
  const isExact = row?.lines === target.lines && row.whole && strays.length === 0
  const said = [`${row?.lines} of ${target.lines} lines`, ...strays].join(', ')
  say(`${isExact ? 'exact' : 'WRONG'}  ${target.said}: ${said}, ${took} s`)
  const ask = { confirm: name, purge: true }
  const path = `/v1/clusters/${name}`
  // Its first backup may be running.
  const deleted = await until('the fork to be deleted', TIMEOUT_MS, async () => {
    const headers = { 'if-match': '*' }
    const accepted = await platform.api<OperationAccepted>('DELETE', path, ask, headers)
    return accepted.status === 409 ? { seen: JSON.stringify(accepted.body) } : { value: accepted }
  })
  await finish(platform, deleted)
  return isExact
}

/**
 * Old parts of WAL come up to be archived when they are recycled, long after a change of leader.
 */
async function archivesStill(platform: TestPlatform): Promise<boolean> {
  const path = '/v1/clusters/demo/backup-status'
  return await until('the source to archive', ARCHIVE_TIMEOUT_MS, async () => {
    const { archive } = (await platform.api<BackupStatus>('GET', path)).body
    const { waiting_segments: waiting, failed_segment: failed } = archive
    return waiting === 0 ? { value: true } : { seen: `${waiting} wait, ${failed} failed` }
  }).catch((error: Error) => {
    say(`WRONG  ${error.message}`)
    return false
  })
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
  endOnSignal(platform)
  const cluster = await platform.createCluster('demo', { instances: 3 })
  await until('the first backup', TIMEOUT_MS, async () => {
    const { body } = await platform.api<{ data: unknown[] }>('GET', '/v1/clusters/demo/backups')
    return body.data.length > 0 ? { value: true } : { seen: 'none' }
  })
  await sql({ cluster }, 'create table ledger (n integer primary key, padding text not null)')
  const ledger = startLedger(cluster)
  for (let number = 0; number < Number(values.failovers); number += 1) {
    await ledger.grow(ledger.state.n + GROW_LINES)
    await disturb(platform, number)
  }
  await ledger.grow(ledger.state.n + GROW_LINES)
  await ledger.stop()
  const lines = await sql<Line>(
    { cluster },
    `select n, xmin::text as xid, to_char(pg_xact_commit_timestamp(xmin) at time zone 'UTC', ${ISO})
       as at from ledger order by n`,
  )
  let wrong = 0
  for (let number = 0; number < Number(values.targets); number += 1) {
    const target = chooseTarget(random, number % 3, lines, ledger.state.marks)
    const isExact = await tryTarget(platform, cluster, target, number).catch((error: Error) => {
      say(`WRONG  ${target.said}: ${error.message}`)
      return false
    })
    if (!isExact) wrong += 1
  }
  say(`${Number(values.targets) - wrong} of ${values.targets} targets exact`)
  if (!(await archivesStill(platform)) || wrong > 0) process.exitCode = 1
}

await main()
