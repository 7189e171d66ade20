// Owns `npm run backup-hosts`: the host that does the work of an operation on backups loses its
// power in the middle of it, and comes back, at once or after the control plane gave it up. The
// operation ends by itself, well or with an error after which it can be tried again; then what it
// should have made is there, nothing acknowledged is lost, and no task is left. Ends with exit code
// 1 when one is not so.
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Backup } from '@howdah/core/contract/backups.ts'
import type { ClusterAccepted, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Host } from '@howdah/core/contract/hosts.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import type { Problem } from '@howdah/core/contract/resource.ts'
import { sql, type TestCluster } from '../harness/cluster.ts'
import { endOnSignal } from '../harness/end-on-signal.ts'
import { awaitHealthy } from '../harness/faults-cluster.ts'
import type { Stage, StageHost } from '../harness/faults-stage.ts'
import { readCluster } from '../harness/platform.ts'
import { until } from '../harness/until.ts'
import { startWriter } from '../harness/writer.ts'
import { openStage } from './stage.ts'

const ABSENCES = ['reboot', 'long'] as const
type Absence = (typeof ABSENCES)[number]

/** Longer than the control plane waits for a host that is silent in the middle of a task. */
const LONG_ABSENCE_MS = 75_000
const END_MS = 600_000
const HEALTHY_MS = 120_000
const STEP_MS = 120_000
const FREE_MS = 300_000
/** Of text that does not compress, so that each step takes long enough to be met. */
const ROWS = 250_000
const PART = 10_000
const USAGE = `npm run backup-hosts -- [--only KIND/STEP,…] [--absences reboot,long]
  [--stage namespaces|loopback]
`

const say = (line: string) => process.stdout.write(`${line}\n`)

interface Trials {
  stage: Stage
  cluster: TestCluster
}

interface Met {
  operation: Operation
  host: string
  /** Why it was tried again; empty when that was not needed. */
  failed: string
}

const busyWith = (command: string) => (argv: readonly string[]) =>
  basename(argv[0] ?? '') === 'pgbackrest' && argv.at(-1) === command
const replays = (argv: readonly string[]) => basename(argv[0] ?? '') === 'postgres'
const works = (argv: readonly string[]) =>
  [busyWith('backup'), busyWith('restore'), replays].some((isWork) => isWork(argv))

/** Of an agent's own children: what runs for a cluster belongs to a service of its own. */
function findBusy(stage: Stage, isWork: (argv: readonly string[]) => boolean) {
  return stage.hosts.find((host) =>
    host.processes().some(({ argv, service }) => service === '' && isWork(argv)),
  )
}

async function post<Reply>({ stage }: Trials, path: string, body: unknown): Promise<Reply> {
  return until<Reply>(`${path} to be accepted`, FREE_MS, async () => {
    const reply = await stage.platform.api<Reply & Problem>('POST', `/v1/clusters/${path}`, body)
    const isBusy = reply.status === 409 && reply.body.code === 'operation-running'
    if (isBusy) return { seen: reply.body.detail }
    assert.ok([201, 202].includes(reply.status), JSON.stringify(reply.body))
    return { value: reply.body }
  })
}

async function isOnline(stage: Stage, name: string): Promise<boolean> {
  const { body } = await stage.platform.api<Host>('GET', `/v1/hosts/${name}`)
  return body.state === 'online'
}

async function losePower(stage: Stage, host: StageHost, absence: Absence): Promise<void> {
  const lostMs = Date.now()
  await (host.powerOff?.() ?? host.kill())
  await until(`${host.name} to be missed`, STEP_MS, async () =>
    (await isOnline(stage, host.name)) ? { seen: 'online' } : { value: true },
  )
  if (absence === 'long') {
    await until('the absence to be long', LONG_ABSENCE_MS * 2, async () => {
      const awayMs = Date.now() - lostMs
      return awayMs > LONG_ABSENCE_MS ? { value: true } : { seen: `${awayMs} ms` }
    })
  }
  await host.boot()
}

/** Lets the host that does the step lose its power in the middle of it, and waits for the end. */
async function meet(
  trials: Trials,
  accepted: OperationAccepted,
  step: string,
  isWork: (argv: readonly string[]) => boolean,
  absence: Absence,
): Promise<Met> {
  const { platform } = trials.stage
  const { id } = accepted.operation
  const path = `/v1/operations/${id}`
  const host = await until<StageHost | null>(`${step} to be worked on`, STEP_MS, async () => {
    const { body } = await platform.api<Operation>('GET', path)
    if (body.state === 'failed' || body.state === 'succeeded') return { value: null }
    const state = body.steps.find(({ name }) => name === step)?.state
    const busy = state === 'running' ? findBusy(trials.stage, isWork) : undefined
    return busy === undefined ? { seen: `${body.state}, ${step} ${state}` } : { value: busy }
  })
  assert.ok(host, `${step} of ${id} ended before anybody was seen at it`)
  await losePower(trials.stage, host, absence)
  const operation = await platform.waitOperation(id, END_MS)
  if (operation.state === 'succeeded') return { operation, host: host.name, failed: '' }
  const failed = `${operation.error?.code}: ${operation.error?.detail}`
  await awaitOnline(trials.stage)
  const retried = await platform.api<Problem>('POST', `${path}/retry`)
  assert.equal(retried.status, 202, `${failed}; retry: ${JSON.stringify(retried.body)}`)
  const again = await platform.waitOperation(id, END_MS)
  assert.equal(again.state, 'succeeded', `${failed}; retry: ${JSON.stringify(again.error)}`)
  return { operation: again, host: host.name, failed }
}

async function awaitOnline(stage: Stage): Promise<void> {
  await until('all hosts to be there', HEALTHY_MS, async () => {
    const away: string[] = []
    for (const { name } of stage.hosts) if (!(await isOnline(stage, name))) away.push(name)
    return away.length === 0 ? { value: true } : { seen: `away: ${away.join()}` }
  })
}

async function assertNothingLeft({ stage, cluster }: Trials): Promise<void> {
  await awaitOnline(stage)
  await awaitHealthy(stage, cluster, HEALTHY_MS)
  await until('no task and no copy to be left', HEALTHY_MS, () => {
    const left = stage.hosts.flatMap(({ name, root }) => [
      ...readdirSync(join(root, 'tasks')).map((task) => `${name}: task ${task}`),
      ...(findBusy(stage, works)?.name === name ? [`${name}: its agent works`] : []),
    ])
    return left.length === 0 ? { value: true } : { seen: left.join('; ') }
  })
}

const count = async (cluster: TestCluster) =>
  (await sql<{ n: number }>({ cluster }, 'select count(*)::integer as n from ledger'))[0]?.n ?? -1

async function backups({ stage }: Trials): Promise<Backup[]> {
  const path = '/v1/clusters/demo/backups'
  return (await stage.platform.api<{ data: Backup[] }>('GET', path)).body.data
}

type Trial = (trials: Trials, absence: Absence) => Promise<Met>

async function loseInBackup(trials: Trials, absence: Absence): Promise<Met> {
  const known = (await backups(trials)).map(({ label }) => label)
  const body = { type: 'full', throttle_bytes_per_second: 20_000_000 }
  const accepted = await post<OperationAccepted>(trials, 'demo/backups', body)
  const met = await meet(trials, accepted, 'back-up', busyWith('backup'), absence)
  const made = (await backups(trials)).filter(({ label }) => !known.includes(label))
  assert.equal(made.length, 1, `made ${made.map(({ label }) => label).join() || 'none'}`)
  return met
}

function loseInDrill(step: string, isWork: (argv: readonly string[]) => boolean): Trial {
  return async (trials, absence) => {
    const startedMs = Date.now()
    const accepted = await post<OperationAccepted>(trials, 'demo/restore-drills', {})
    const met = await meet(trials, accepted, step, isWork, absence)
    const provenMs = Date.parse((await backups(trials))[0]?.proven_at ?? '')
    assert.ok(provenMs >= startedMs, `proven at ${provenMs}, begun at ${startedMs}`)
    return met
  }
}

function loseInFork(step: string, isWork: (argv: readonly string[]) => boolean): Trial {
  return async (trials, absence) => {
    const { platform } = trials.stage
    const name = 'twin'
    const body = { name, instances: 1 }
    const accepted = await post<ClusterAccepted>(trials, 'demo/fork', body)
    const met = await meet(trials, accepted, step, isWork, absence)
    const twin = await readCluster(platform.api, accepted, met.operation)
    assert.equal(await count(twin), await count(trials.cluster))
    const ask = { confirm: name, purge: true }
    const headers = { 'if-match': '*' }
    const path = `/v1/clusters/${name}`
    const gone = await platform.api<OperationAccepted>('DELETE', path, ask, headers)
    const { state, error } = await platform.waitOperation(gone.body.operation.id, END_MS)
    assert.equal(state, 'succeeded', JSON.stringify(error))
    return met
  }
}

function loseInRestore(step: string, isWork: (argv: readonly string[]) => boolean): Trial {
  return async (trials, absence) => {
    const before = await count(trials.cluster)
    const point = `point-${Date.now()}`
    await post(trials, 'demo/restore-points', { name: point })
    await sql(
      { cluster: trials.cluster },
      'insert into ledger select -n from generate_series(1, 10) n',
    )
    const body = { restore_point: point, confirm: 'demo' }
    const accepted = await post<OperationAccepted>(trials, 'demo/restore', body)
    const met = await meet(trials, accepted, step, isWork, absence)
    assert.equal(await count(trials.cluster), before)
    return met
  }
}

const TRIALS: Readonly<Record<string, { trial: Trial; serves: boolean }>> = {
  'create-backup/back-up': { trial: loseInBackup, serves: true },
  'restore-drill/fetch': { trial: loseInDrill('fetch', busyWith('restore')), serves: true },
  'restore-drill/replay': { trial: loseInDrill('replay', replays), serves: true },
  'fork-cluster/fetch': { trial: loseInFork('fetch', busyWith('restore')), serves: true },
  'fork-cluster/replay': { trial: loseInFork('replay', replays), serves: true },
  'restore-cluster/fetch': { trial: loseInRestore('fetch', busyWith('restore')), serves: false },
  'restore-cluster/replay': { trial: loseInRestore('replay', replays), serves: false },
}

/** Where the cluster serves meanwhile, an application writes to it, and loses nothing. */
async function tryOne(trials: Trials, name: string, absence: Absence): Promise<Met> {
  const { trial, serves } = TRIALS[name] as { trial: Trial; serves: boolean }
  if (!serves) {
    const met = await trial(trials, absence)
    await assertNothingLeft(trials)
    return met
  }
  const table = `during_${name.replaceAll(/\W/g, '_')}_${absence}`
  await using writer = await startWriter({ cluster: trials.cluster }, table)
  const met = await trial(trials, absence)
  await assertNothingLeft(trials)
  const { lost, committed } = await writer.stop()
  assert.equal(lost, 0, `${lost} of ${committed} rows are lost`)
  return met
}

async function makeTrials(stage: Stage): Promise<Trials> {
  const cluster = await stage.platform.createCluster('demo', { instances: 3 })
  const trials = { stage, cluster }
  // None of them takes long, whatever else the machine does.
  const inParts = async (text: (from: number, to: number) => string) => {
    for (let from = 1; from <= ROWS; from += PART) {
      await sql({ cluster }, text(from, from + PART - 1))
    }
  }
  const words = Array.from({ length: 12 }, (_, index) => `md5(n::text || ${index})`).join(' || ')
  await sql({ cluster }, 'create table ledger (n integer, filler text)')
  await inParts(
    (from, to) => `insert into ledger select n, ${words}
    from generate_series(${from}, ${to}) n`,
  )
  const { operation } = await post<OperationAccepted>(trials, 'demo/backups', { type: 'full' })
  const made = await stage.platform.waitOperation(operation.id, END_MS)
  assert.equal(made.state, 'succeeded', JSON.stringify(made.error))
  // For a replay that takes a while.
  await inParts(
    (from, to) => `update ledger set n = n where n between ${from} and ${to} and n % 2 = 0`,
  )
  return trials
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      absences: { type: 'string', default: ABSENCES.join() },
      stage: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return void say(USAGE)
  const only = values.only?.split(',') ?? Object.keys(TRIALS)
  const unknown = only.filter((name) => TRIALS[name] === undefined)
  if (unknown.length > 0) throw new Error(`no trial ${unknown.join()}: ${Object.keys(TRIALS)}`)
  await using stage = await openStage(values.stage, say)
  endOnSignal(stage)
  const trials = await makeTrials(stage)
  let wrong = 0
  for (const absence of values.absences.split(',') as Absence[]) {
    for (const name of only) {
      const startedMs = performance.now()
      const said = await tryOne(trials, name, absence).then(
        ({ host, failed }) => `whole  ${host}${failed === '' ? '' : `, retried after ${failed}`}`,
        (error: Error) => `WRONG  ${error.message}`,
      )
      if (said.startsWith('WRONG')) wrong += 1
      const took = ((performance.now() - startedMs) / 1000).toFixed(1)
      say(`${name} ${absence}  ${took} s  ${said}`)
    }
  }
  say(wrong === 0 ? 'all converged' : `${wrong} did not`)
  if (wrong > 0) process.exitCode = 1
}

await main()
