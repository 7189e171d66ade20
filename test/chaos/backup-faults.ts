// Owns `npm run backup-faults`: everything that may happen to the store of a cluster, one after the
// other on one platform, under a writer that must not notice. WAL that no repository holds is told
// within a minute, a queue of WAL is bounded, a backup that was cut is made in the end, and an
// object that was damaged is named and never restored. Ends with exit code 1 when one is not so.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Backup, RestorePlan } from '@howdah/core/contract/backups.ts'
import type { Cluster, OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import {
  ARCHIVE_FAULTS,
  type ArchiveStage,
  endSegment,
  listEvents,
  sufferFault,
  waitTold,
  waitWhole,
} from '../harness/archive-faults.ts'
import { sql } from '../harness/cluster.ts'
import { endOnSignal } from '../harness/end-on-signal.ts'
import { startFaultyS3 } from '../harness/faulty-s3.ts'
import { flipBit } from '../harness/flip-bit.ts'
import { startPlatform } from '../harness/platform.ts'
import { superuserSql } from '../harness/superuser-sql.ts'
import { until } from '../harness/until.ts'
import { startWriter } from '../harness/writer.ts'

const TIMEOUT_MS = 300_000
/** A checkpoint that falls into a trial may hold a commit for a while. */
const STALL_MS_MAX = 2000
const MIB = 1024 * 1024
const SEGMENT_BYTES = 16 * MIB
const USAGE = `npm run backup-faults -- [--only NAME,NAME] [--queue-limit MB] [--check-seconds S]
  [--subnet A.B.C]
`

const say = (line: string) => process.stdout.write(`${line}\n`)

/** Throws with what is wrong; returns what was seen. */
type Trial = (stage: ArchiveStage) => Promise<string>

function check(isRight: boolean, said: string): void {
  if (!isRight) throw new Error(said)
}

async function begin(stage: ArchiveStage, path: string, body: unknown): Promise<string> {
  return until(`${path} to be accepted`, TIMEOUT_MS, async () => {
    const url = `/v1/clusters/demo/${path}`
    const reply = await stage.platform.api<OperationAccepted>('POST', url, body)
    if (reply.status === 202) return { value: reply.body.operation.id }
    return { seen: JSON.stringify(reply.body) }
  })
}

async function operate(stage: ArchiveStage, path: string, body: unknown = {}): Promise<Operation> {
  return stage.platform.waitOperation(await begin(stage, path, body), TIMEOUT_MS)
}

async function succeed(stage: ArchiveStage, path: string, body: unknown = {}): Promise<void> {
  const operation = await operate(stage, path, body)
  check(operation.state === 'succeeded', `${path}: ${JSON.stringify(operation.error)}`)
}

async function backups({ platform }: ArchiveStage): Promise<Backup[]> {
  return (await platform.api<{ data: Backup[] }>('GET', '/v1/clusters/demo/backups')).body.data
}

const archiveTrials: [string, Trial][] = ARCHIVE_FAULTS.map((fault) => [
  fault.name,
  async (stage) => {
    const { toldMs, wholeMs, writer } = await sufferFault(stage, fault)
    check(writer.errors.length === 0, `the writer was refused: ${writer.errors[0]}`)
    check(writer.lost === 0, `${writer.lost} rows are lost`)
    check(writer.stallMsMax < STALL_MS_MAX, `the writer stood still for ${writer.stallMsMax} ms`)
    const told = toldMs === null ? 'was met' : `told after ${toldMs} ms`
    const stall = `longest stall ${Math.round(writer.stallMsMax)} ms`
    return `${told}, whole ${wholeMs} ms after its end, ${writer.committed} rows, ${stall}`
  },
])

/** In the middle of one of its objects, twice; then the line holds. */
async function cutBackup(stage: ArchiveStage): Promise<string> {
  const { store, platform } = stage
  const text = `create table if not exists bulk as
    select n, md5(random()::text) || md5(random()::text) as body from generate_series(1, 400000) n`
  await superuserSql(platform, 'demo', text)
  const concerns = /^PUT .*\/backup\/.*partNumber=2/
  await store.misbehave({ fault: { kind: 'cut', afterBytes: MIB }, concerns })
  const id = await begin(stage, 'backups', { type: 'full' })
  const before = (await backups(stage)).length
  await until('a part to be cut', TIMEOUT_MS, () =>
    store.hits() > 1 ? { value: true } : { seen: `${store.hits()} parts` },
  )
  const cut = store.hits()
  await store.misbehave(undefined)
  const operation = await platform.waitOperation(id, TIMEOUT_MS)
  check(operation.state === 'succeeded', JSON.stringify(operation.error))
  check((await backups(stage)).length >= Math.min(before, 2), 'the backup is not there')
  await succeed(stage, 'restore-drills')
  return `cut ${cut} times, made and proven in the end`
}

/** As it is given to the program that archives. */
async function queueBytes({ platform }: ArchiveStage): Promise<number> {
  const leader = (await platform.api<Cluster>('GET', '/v1/clusters/demo')).body.instances[0]
  const path = join(platform.home, 'hosts', leader?.host ?? '', 'config', leader?.id ?? '')
  const text = await readFile(join(path, 'pgbackrest.conf'), 'utf8')
  return Number(/^archive-push-queue-max=(\d+)$/m.exec(text)?.[1])
}

/** WAL waits up to the bound; then it is given up, which is told, and so is the gap it left. */
async function fillQueue(stage: ArchiveStage, limitBytes: number): Promise<string> {
  const { store, platform, cluster } = stage
  const boundBytes = await queueBytes(stage)
  if (boundBytes > limitBytes) return `skipped: the bound is ${boundBytes / MIB} MB`
  const known = new Set((await listEvents(stage)).map(({ id }) => id))
  await using writer = await startWriter({ cluster }, 'during_queue')
  await store.misbehave({ fault: { kind: 'stall' } })
  await endSegment(stage)
  await waitTold(stage, known, ['archive.failing'])
  for (let bytes = 0; bytes <= boundBytes; bytes += SEGMENT_BYTES) await endSegment(stage)
  const told = waitTold(stage, known, ['archive.given-up'])
  // Each further segment has the program look at its queue once more.
  let mostBytes = 0
  const isTold = told.then(() => true)
  while (!(await Promise.race([isTold, endSegment(stage).then(() => false)]))) {
    const [row] = await superuserSql<{ bytes: number }>(
      platform,
      'demo',
      'select sum(size)::float8 as bytes from pg_ls_waldir()',
    )
    mostBytes = Math.max(mostBytes, row?.bytes ?? 0)
  }
  await store.misbehave(undefined)
  await endSegment(stage)
  await waitTold(stage, known, ['archive.gap'])
  await waitWhole(stage)
  const report = await writer.stop()
  check(report.errors.length === 0, `the writer was refused: ${report.errors[0]}`)
  check(mostBytes < boundBytes * 1.5 + 1024 * MIB, `pg_wal grew to ${mostBytes / MIB} MB`)
  return `bound ${boundBytes / MIB} MB, pg_wal at most ${Math.round(mostBytes / MIB)} MB, told`
}

/** One bit of an object of the newest backup: nobody gets it back as if it were whole. */
async function damageObject(stage: ArchiveStage): Promise<string> {
  const { store, platform, cluster } = stage
  await succeed(stage, 'backups', { type: 'full' })
  const [newest] = await backups(stage)
  const paths = await readdir(store.directory, { recursive: true })
  // The server keeps an object beside what it knows of it.
  const wanted = new RegExp(`${newest?.label}/bundle/\\d+[^/]*_object$`)
  const found = paths.filter((path) => wanted.test(path)).sort()[0]
  if (found === undefined) throw new Error(`no object of ${newest?.label}`)
  const path = join(store.directory, found)
  const mend = await flipBit(path)
  try {
    const drill = await operate(stage, 'restore-drills')
    check(drill.state === 'failed', 'the drill proved a damaged backup')
    const said = drill.error?.detail ?? ''
    check(said.includes(newest?.label ?? ''), `the backup is not named: ${said}`)
    // Who asks for it by name gets it; nobody gets it by itself.
    const fork = { name: 'damaged', instances: 1, plan: true }
    const forkPath = `/v1/clusters/${cluster.cluster.id}/fork`
    const { status, body } = await platform.api<RestorePlan>('POST', forkPath, fork)
    const isOther = status === 422 || (status === 200 && body.backup !== newest?.label)
    check(isOther, `it would be forked: ${status} ${JSON.stringify(body)}`)
    return `named: ${said.slice(0, 160)}`
  } finally {
    await mend()
  }
}

/**
 * With the newest WAL in no repository a restore would end before its moment: it does not begin.
 */
async function restoreBehind(stage: ArchiveStage): Promise<string> {
  const { store, platform, cluster } = stage
  await using writer = await startWriter({ cluster }, 'during_restore')
  const fault = { kind: 'answer', status: 507, code: 'InsufficientStorage' } as const
  await store.misbehave({ fault, concerns: /^PUT / })
  await endSegment(stage)
  const at = new Date(Date.now() - 1).toISOString()
  const operation = await operate(stage, 'restore', { at, confirm: 'demo' })
  const { code, step, detail } = operation.error ?? { code: '', step: '', detail: '' }
  check(operation.state === 'failed', 'it was restored to before its moment')
  check(code === 'outside-window' && step === 'archive-present', `${step}: ${code}: ${detail}`)
  await store.misbehave(undefined)
  await endSegment(stage)
  await waitWhole(stage)
  const after = (await platform.api<Cluster>('GET', '/v1/clusters/demo')).body
  check(after.state === 'available', `the cluster is ${after.state}: ${after.message}`)
  const report = await writer.stop()
  check(report.errors.length === 0, `the writer was refused: ${report.errors[0]}`)
  check(report.lost === 0, `${report.lost} rows are lost`)
  return `refused: ${detail.slice(0, 160)}`
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      'queue-limit': { type: 'string', default: '16384' },
      'check-seconds': { type: 'string' },
      subnet: { type: 'string', default: '127.104.0' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return void say(USAGE)
  const limitBytes = Number(values['queue-limit']) * MIB
  const all: [string, Trial][] = [
    ...archiveTrials,
    ['cut-backup', cutBackup],
    ['queue-full', (stage) => fillQueue(stage, limitBytes)],
    ['damaged', damageObject],
    ['restore-behind', restoreBehind],
  ]
  const only = values.only?.split(',')
  await using store = await startFaultyS3()
  const seconds = values['check-seconds']
  const environment = seconds === undefined ? {} : { HOWDAH_ARCHIVE_CHECK_SECONDS: seconds }
  await using platform = await startPlatform({ subnet: values.subnet, environment })
  endOnSignal(platform, store)
  const { endpoint, port, bucket, key, secret, caPem } = store
  const s3 = { endpoint, port, bucket, key, secret, ca_pem: caPem, uri_style: 'path' }
  const repository = { name: 'far', kind: 's3', allow_private: true, ...s3 }
  const added = await platform.api('POST', '/v1/repositories', repository)
  check(added.status === 201, JSON.stringify(added.body))
  const cluster = await platform.createCluster('demo', { instances: 1, repository: 'far' })
  const stage = { platform, cluster, store }
  await until('the first backup', TIMEOUT_MS, async () =>
    (await backups(stage)).length > 0 ? { value: true } : { seen: 'none' },
  )
  await sql({ cluster }, 'create table ledger as select generate_series(1, 1000) as n')
  let wrong = 0
  for (const [name, trial] of all) {
    if (only !== undefined && !only.includes(name)) continue
    const startedMs = performance.now()
    const seen = await trial(stage).catch(async (error: Error) => {
      wrong += 1
      await store.misbehave(undefined)
      return `WRONG ${error.message}`
    })
    say(`${name.padEnd(20)} ${((performance.now() - startedMs) / 1000).toFixed(1)} s  ${seen}`)
  }
  say(wrong === 0 ? 'all as it should be' : `${wrong} went wrong`)
  if (wrong > 0) process.exitCode = 1
}

await main()
