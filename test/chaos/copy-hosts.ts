// Owns `npm run copy-hosts`: a host loses its power while its instance is copied from the leader,
// or rewound to it, and comes back to a directory of which a part is missing; or it is away until
// the leader no longer has the WAL that it needs. The cluster becomes whole without a human. Ends
// with exit code 1 when it does not.
import { cp } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Cluster, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { sql, type TestCluster } from '../harness/cluster.ts'
import { endOnSignal } from '../harness/end-on-signal.ts'
import { awaitHealthy } from '../harness/faults-cluster.ts'
import type { Stage, StageHost } from '../harness/faults-stage.ts'
import { startNamespaceStage } from '../harness/namespace-hosts.ts'
import { until } from '../harness/until.ts'
import { startWriter } from '../harness/writer.ts'

const HEALTHY_MS = 120_000
const STEP_MS = 120_000
/** Shorter than a rewind. */
const LOOK_MS = 5
const ROWS = 250_000
const PART = 10_000
/** The disk of a host keeps a fifth of itself, and what a checkpoint leaves. */
const AWAY_BYTES = 800_000_000
const USAGE = `npm run copy-hosts -- [--rounds N] [--kinds copy,rewind,rewind-kill,away]
  [--logs DIRECTORY]
`

const say = (line: string) => process.stdout.write(`${line}\n`)

interface Trials {
  stage: Stage
  cluster: TestCluster
  /** From 0 to 1: how far into the step the power goes. */
  part: number
}

const runs = (host: StageHost, program: string) =>
  host.processes().some(({ argv }) => basename(argv[0] ?? '') === program)

/**
 * In the middle of what the program does, `afterMs` after it was seen. Without power, what was not
 * synced is gone; where the host is killed, all that was written is there.
 */
async function losePowerDuring(
  host: () => StageHost | undefined,
  program: string,
  afterMs: number,
  how: 'power' | 'kill' = 'power',
): Promise<string> {
  const deadlineMs = performance.now() + STEP_MS
  let met = host()
  while (met === undefined || !runs(met, program)) {
    if (performance.now() > deadlineMs) throw new Error(`${program} was not seen`)
    await delay(LOOK_MS)
    met = host()
  }
  const seenMs = performance.now()
  while (performance.now() - seenMs < afterMs && runs(met, program)) {
    await delay(LOOK_MS)
  }
  const said = runs(met, program) ? 'in the middle' : 'after its end'
  await (how === 'kill' ? met.kill() : met.powerOff?.())
  return `${met.name} ${said}, after ${Math.round(performance.now() - seenMs)} ms`
}

async function scale({ stage }: Trials, instances: number): Promise<string> {
  return until(`to scale to ${instances}`, STEP_MS, async () => {
    const path = '/v1/clusters/demo/scale'
    const { status, body } = await stage.platform.api<OperationAccepted>('POST', path, {
      instances,
    })
    return status === 202 ? { value: body.operation.id } : { seen: JSON.stringify(body) }
  })
}

async function loseInCopy(trials: Trials): Promise<string> {
  const { stage, cluster, part } = trials
  const less = await scale(trials, 2)
  await stage.platform.waitOperation(less, STEP_MS)
  const more = await scale(trials, 3)
  const copied = () => stage.hosts.find((host) => runs(host, 'pg_basebackup'))
  const met = await losePowerDuring(copied, 'pg_basebackup', part * 4000)
  const host = stage.hosts.find(({ name }) => met.startsWith(name)) as StageHost
  await host.boot()
  const { state, error } = await stage.platform.waitOperation(more, HEALTHY_MS * 3)
  cluster.cluster = (await stage.platform.api<Cluster>('GET', '/v1/clusters/demo')).body
  return `${met}; ${state} ${error?.detail ?? ''}`
}

async function loseInRewind(
  { stage, cluster, part }: Trials,
  how: 'power' | 'kill',
): Promise<string> {
  const before = await awaitHealthy(stage, cluster, HEALTHY_MS)
  const { host } = before.leader
  await host.kill()
  await until('another to lead', STEP_MS, async () => {
    const { body } = await stage.platform.api<Cluster>('GET', '/v1/clusters/demo')
    const leader = body.instances.find(({ role }) => role === 'leader')
    const led = leader?.host !== host.name && (leader?.timeline ?? 0) > before.timeline
    return led ? { value: true } : { seen: JSON.stringify(leader) }
  })
  // Less than the leader keeps for it.
  for (let from = 0; from < ROWS / 5; from += PART) {
    await sql({ cluster }, `update big set n = n where n > ${from} and n <= ${from + PART}`)
  }
  const boot = host.boot()
  const met = await losePowerDuring(() => host, 'pg_rewind', part * 1000, how)
  await boot.catch(() => undefined)
  await host.boot()
  return met
}

/** Away for more WAL than the leader keeps for it. */
async function stayAway({ stage, cluster }: Trials): Promise<string> {
  const { replicas } = await awaitHealthy(stage, cluster, HEALTHY_MS)
  const [replica] = replicas
  if (replica === undefined) throw new Error('there is no replica')
  await replica.host.powerOff?.()
  const written =
    'select pg_current_wal_lsn() - $1::pg_lsn > $2 as enough, pg_current_wal_lsn() as at'
  const [begun] = await sql<{ at: string }>({ cluster }, 'select pg_current_wal_lsn()::text as at')
  await until('enough to be written', STEP_MS, async () => {
    await sql({ cluster }, 'update big set n = n where n % 10 = 0')
    const [row] = await sql<{ enough: boolean; at: string }>({ cluster }, written, [
      begun?.at,
      AWAY_BYTES,
    ])
    return row?.enough === true ? { value: true } : { seen: `${row?.at}` }
  })
  await replica.host.boot()
  return replica.host.name
}

const KINDS: Readonly<Record<string, (trials: Trials) => Promise<string>>> = {
  copy: loseInCopy,
  rewind: (trials) => loseInRewind(trials, 'power'),
  'rewind-kill': (trials) => loseInRewind(trials, 'kill'),
  away: stayAway,
}

async function tryOne(trials: Trials, kind: string, round: number): Promise<string> {
  const { stage, cluster } = trials
  await using writer = await startWriter(
    { cluster },
    `during_${kind.replaceAll('-', '_')}_${round}`,
  )
  const said = await (KINDS[kind] as (trials: Trials) => Promise<string>)(trials)
  const startedMs = performance.now()
  await awaitHealthy(stage, cluster, HEALTHY_MS)
  const tookMs = Math.round(performance.now() - startedMs)
  const { lost, committed } = await writer.stop()
  if (lost > 0) throw new Error(`${said}: ${lost} of ${committed} rows are lost`)
  return `whole after ${tookMs} ms  ${said}`
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      kinds: { type: 'string', default: Object.keys(KINDS).join() },
      logs: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  const rounds = Number(values.rounds)
  const kinds = values.kinds.split(',')
  const isAsked = Number.isInteger(rounds) && rounds > 0 && kinds.every((kind) => kind in KINDS)
  if (values.help || !isAsked) {
    say(USAGE)
    process.exit(values.help ? 0 : 2)
  }
  await using stage = await startNamespaceStage()
  endOnSignal(stage)
  const cluster = await stage.platform.createCluster('demo', { instances: 3 })
  const words = Array.from({ length: 24 }, (_, index) => `md5(n::text || ${index})`).join(' || ')
  await sql({ cluster }, 'create table big (n integer, filler text)')
  for (let from = 1; from <= ROWS; from += PART) {
    const series = `generate_series(${from}, ${from + PART - 1})`
    await sql({ cluster }, `insert into big select n, ${words} from ${series} n`)
  }
  let wrong = 0
  for (let round = 0; round < rounds; round += 1) {
    for (const kind of kinds) {
      const part = (round + 0.5) / rounds
      const said = await tryOne({ stage, cluster, part }, kind, round).catch((error: Error) => {
        return `WRONG  ${error.message}`
      })
      say(`${kind} ${round}  ${said}`)
      if (!said.startsWith('WRONG')) continue
      wrong += 1
      const logs = values.logs
      if (logs === undefined) continue
      for (const { name, root } of stage.hosts) {
        await cp(join(root, 'log'), join(logs, `${kind}-${round}`, name), { recursive: true })
      }
    }
  }
  say(wrong === 0 ? 'all became whole' : `${wrong} did not`)
  if (wrong > 0) process.exitCode = 1
}

await main()
