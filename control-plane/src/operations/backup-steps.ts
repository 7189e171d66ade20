// Owns what operations on backups share: where a cluster's backups are made, the preparation of
// its repository, and the rows that say what is there.
import { HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import type { TaskResult } from '@howdah/core/protocol.ts'
import type { RenderRepository } from '@howdah/core/render/repository.ts'
import { refuseEmptied } from '../backups/refuse-emptied.ts'
import { accessOn, askRepository, loadStanza, placeOn } from '../backups/repository-access.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { findLeader, type Leader } from '../clusters/leader-sql.ts'
import type { Queryable } from '../database.ts'
import { PAGE_ERRORS, syncBackups } from '../db/backups.ts'
import { type ClusterRow, findCluster } from '../db/clusters.ts'
import { addEvent } from '../db/events.ts'
import { activeStanza, findReader, type StanzaRow } from '../db/repositories.ts'
import { askAgent, type TaskRequest } from './agent-task.ts'
import type { StepContext } from './operation.ts'

const LEADER_TIMEOUT_MS = 60_000
const PREPARE_TIMEOUT_MS = 60_000
/** A look may be a program and several requests to a store. */
const LOOK_MS = 3000
const SILENT_MS_MAX = 60_000
/** Nobody will lead it again soon, and who deletes it waits for us. */
const ENDING: readonly string[] = ['deleting', 'deleted', 'restoring']
/** The program says so when another of its kind works on the same cluster. */
export const LOCKED = 'pgbackrest-050'
export const HOST_SILENT = 'host-silent'

export interface BackupSource {
  cluster: ClusterRow
  stanza: StanzaRow
  repository: RenderRepository
  leader: Leader
}

/** The leader is waited for: it may be changing right now. */
export async function backupSource(
  step: StepContext,
  findStanza: typeof activeStanza = activeStanza,
): Promise<BackupSource> {
  const { database, sealer, clusterId } = step
  const cluster = await findCluster(database, clusterId)
  if (cluster === undefined) throw new HowdahError('not-found', 'the cluster is gone')
  const stanza = await findStanza(database, clusterId)
  if (stanza === undefined) {
    throw new HowdahError('no-repository', `${cluster.name} is not backed up anywhere`)
  }
  const repository = await loadStanza(database, sealer, stanza, cluster.share)
  const leader = await step.until([], LEADER_TIMEOUT_MS, async () => {
    const state = (await findCluster(database, clusterId))?.state ?? 'deleted'
    if (ENDING.includes(state)) throw new HowdahError('wrong-state', `the cluster is ${state}`)
    const found = await findLeader(step, clusterId)
    if (found === undefined) await step.say('waits for a leader')
    return found
  })
  return { cluster, stanza, repository, leader }
}

export function leaderAccess({ repository, leader }: Pick<BackupSource, 'repository' | 'leader'>) {
  const { host, instance } = leader
  return accessOn(repository, placeOn(host, instance.id, instance.postgres_port))
}

/** On the replica's host, with its own certificate as the way in at the leader's. */
export function replicaAccess(
  { repository, leader }: Pick<BackupSource, 'repository' | 'leader'>,
  { host, instance }: Leader,
  port: number,
) {
  const there = placeOn(leader.host, leader.instance.id, leader.instance.postgres_port)
  const config = (of: Leader) =>
    `${of.host.facts?.root ?? ''}/${HOST_LAYOUT.config}/${of.instance.id}`
  const own = config({ host, instance })
  return accessOn(repository, {
    ...placeOn(host, instance.id, instance.postgres_port),
    leader: {
      address: leader.host.address,
      port,
      dataDirectory: there.dataDirectory ?? '',
      socketDirectory: there.socketDirectory,
      postgresPort: leader.instance.postgres_port,
      caFile: `${own}/ca.crt`,
      certificateFile: `${own}/server.crt`,
      keyFile: `${own}/server.key`,
      configFile: `${config(leader)}/door.conf`,
    },
  })
}

/**
 * Makes the cluster's place in the repository; one that is there already is only checked. WAL that
 * is being archived right now is in the way for a moment. Throws `repository-failed` where backups
 * were known and nothing is left of them.
 */
export async function prepareRepository(
  step: StepContext,
  source: BackupSource,
  timeoutMs = PREPARE_TIMEOUT_MS,
): Promise<void> {
  await refuseEmptied(step.database, source.stanza, () =>
    askRepository(step, source.repository, source.leader, step.operationId),
  )
  await step.until([], timeoutMs, async () => {
    const result = await askAgent(step, {
      hostId: source.leader.host.id,
      operationId: step.operationId,
      timeoutMs,
      action: {
        kind: 'pgbackrest',
        repository: leaderAccess(source),
        command: 'stanza-create',
        // Without asking PostgreSQL: what it needs stands in the data directory.
        options: ['--no-online'],
        operands: [],
      },
    })
    if (result.ok) return true
    if (result.errorCode !== LOCKED) throw new HowdahError('repository-failed', result.error)
    await step.say('waits until WAL is archived')
    return undefined
  })
}

/**
 * Asks what there is, and keeps it; that a cluster has damaged pages is told once per backup.
 * Throws `repository-failed` where backups were known and nothing is left of them.
 */
export async function readBackups(step: StepContext, source: BackupSource) {
  const answer = await askRepository(step, source.repository, source.leader, step.operationId)
  await refuseEmptied(step.database, source.stanza, async () => answer)
  await step.database.transaction(async (tx) => {
    const added = await syncBackups(tx, source.stanza, answer.backups)
    for (const { label } of added.filter(({ info }) => info.page_errors)) {
      await addEvent(tx, {
        kind: 'backup.damaged',
        message: `backup ${label} of ${source.cluster.name}: ${PAGE_ERRORS}`,
        clusterId: step.clusterId,
        operationId: step.operationId,
      })
    }
  })
  return answer
}

/** A restore takes no lock in the repository: a file that goes meanwhile counts as damage. */
export async function refuseRead(db: Queryable, stanza: StanzaRow): Promise<void> {
  const reader = await findReader(db, stanza)
  if (reader === undefined) return
  const said = `${reader.title} (${reader.id}) reads backups of ${stanza.cluster_name}`
  throw new HowdahError('wrong-state', said, { extra: { operation_id: reader.id } })
}

/**
 * Asks an agent, and looks now and then until it has answered. What it does may take a day: one
 * whose host is silent for a while is not waited for that long, and has to end it when it is back.
 */
export async function askWithProgress(
  step: StepContext,
  request: TaskRequest,
  look: () => Promise<void>,
): Promise<TaskResult> {
  let heardMs = Date.now()
  let lookedMs = 0
  return askAgent(step, request, async () => {
    await step.throwIfCancelled()
    const host = (await hostsById(step.database)).get(request.hostId)
    if (host?.online === true) heardMs = Date.now()
    if (Date.now() - heardMs > SILENT_MS_MAX) {
      const error = `${host?.name ?? 'the host'} is silent`
      return { id: '', ok: false, value: null, error, errorCode: HOST_SILENT }
    }
    if (Date.now() - lookedMs < LOOK_MS) return undefined
    // Progress is told where it can be; it decides nothing.
    await look().catch(() => undefined)
    lookedMs = Date.now()
    return undefined
  })
}

/** `412 MB of 2.1 GB, 87 MB/s` */
export function makeProgress(verb: string, nowMs: () => number = Date.now) {
  const startedMs = nowMs()
  return (doneBytes: number, totalBytes: number): string => {
    const seconds = Math.max(0.5, (nowMs() - startedMs) / 1000)
    const rate = formatSize(doneBytes / seconds)
    return `${verb} ${formatSize(doneBytes)} of ${formatSize(totalBytes)}, ${rate}/s`
  }
}

export function formatSize(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}
