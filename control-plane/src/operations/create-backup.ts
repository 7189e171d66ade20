// Takes a backup of a cluster, beside a replica where one is healthy, and removes those that its
// policy no longer keeps. It reads the cluster and leaves it as it is, so changes of the cluster
// need not wait for it.
import {
  BACKUP_TYPE_OPTION,
  type BackupType,
  type ListedBackup,
  OPERATION_ANNOTATION,
  type RepositoryAnswer,
} from '@howdah/core/backup-info.ts'
import { type BackupPolicy, defaultBackupPolicy } from '@howdah/core/contract/backup-policy.ts'
import { describeError, HowdahError } from '@howdah/core/errors.ts'
import { askRepository, runRepositoryTask } from '../backups/repository-access.ts'
import { listBackups, runSoon } from '../db/backups.ts'
import type { ClusterRow } from '../db/clusters.ts'
import { addEvent } from '../db/events.ts'
import { activeStanza } from '../db/repositories.ts'
import { findUndo } from '../db/restore-undo.ts'
import {
  type BackupSeat,
  chooseReplica,
  closeDoors,
  listSeats,
  openDoor,
  shutDoors,
} from './backup-door.ts'
import {
  askWithProgress,
  type BackupSource,
  backupSource,
  formatSize,
  HOST_SILENT,
  LOCKED,
  leaderAccess,
  makeProgress,
  prepareRepository,
  readBackups,
  refuseRead,
  replicaAccess,
} from './backup-steps.ts'
import { endTasks } from './end-tasks.ts'
import type { OperationDefinition, StepContext } from './operation.ts'

const BACKUP_TIMEOUT_MS = 24 * 3_600_000
const RUNNING_TIMEOUT_MS = 24 * 3_600_000
const EXPIRE_TIMEOUT_MS = 600_000
/** A leader that changes takes the backup with it: it begins anew at the next one. */
const ATTEMPTS_MAX = 4
const RETRY_SECONDS = 300

export interface CreateBackupInput {
  type: BackupType
  bytesPerSecondMax?: number
}

export const createBackup: OperationDefinition<CreateBackupInput> = {
  kind: 'create-backup',
  lane: 'backup',
  steps: [
    { name: 'prepare', title: 'prepares the repository' },
    { name: 'back-up', title: 'copies the data' },
    { name: 'close', title: 'closes the door to the leader' },
    { name: 'expire', title: 'removes what need not be kept' },
  ],
  async run({ step, input }) {
    await step('prepare', async (context) =>
      prepareRepository(context, await backupSource(context)),
    )
    await step('back-up', (context) => backUp(context, input))
    await step('close', (context) => closeDoors(context, context.clusterId))
    await step('expire', expire)
  },
  undo: {
    steps: [{ name: 'stop', title: 'ends what still copies' }],
    async run({ step }) {
      await step('stop', async (context) => {
        await endTasks(context)
        await closeDoors(context, context.clusterId)
      })
    },
  },
  // Whatever type it was: a cluster whose backup failed may have none that is worth anything.
  async failed({ database }, clusterId, _reason, operationId) {
    await closeDoors({ database }, clusterId)
    const made = (await listBackups(database, clusterId)).some(
      (backup) => backup.operation_id === operationId,
    )
    if (!made) await runSoon(database, clusterId, 'full', RETRY_SECONDS)
  },
}

export function policyOf(cluster: Pick<ClusterRow, 'id' | 'spec'>): BackupPolicy {
  return cluster.spec.backup ?? defaultBackupPolicy(cluster.id)
}

export async function backUp(
  step: StepContext,
  input: CreateBackupInput,
  findStanza: typeof activeStanza = activeStanza,
): Promise<{ label: string }> {
  for (let attempt = 1; ; attempt += 1) {
    const made = await attemptBackup(step, input, findStanza, attempt).catch(async (error) => {
      const isStore = error instanceof HowdahError && error.code === 'repository-failed'
      if (!isStore || attempt >= ATTEMPTS_MAX) throw error
      await step.say(`attempt ${attempt}, ${error.message}`)
    })
    const { backup, from = '' } = made ?? {}
    if (backup !== undefined) {
      const { info } = backup
      await step.say(
        `${backup.label}: ${formatSize(info.read_bytes)} read, ` +
          `${formatSize(info.repository_bytes)} stored${from === '' ? '' : `; from ${from}`}`,
      )
      return { label: backup.label }
    }
    // A leader that is on its way out, or a store that stumbled: a moment, then again.
    await step.changes.waitUntil([], Date.now() + attempt * 1000, async () => undefined)
  }
}

async function attemptBackup(
  step: StepContext,
  input: CreateBackupInput,
  findStanza: typeof activeStanza,
  attempt: number,
): Promise<Made> {
  const source = await backupSource(step, findStanza)
  const own = await findOwn(step, source)
  const made = own === undefined ? await tryOnce(step, source, input, attempt) : own
  if (made.backup !== undefined) await readBackups(step, source)
  return made
}

interface Made {
  backup: ListedBackup | undefined
  /** For people: where it was read. */
  from: string
}

/** What this operation made before it died. */
async function findOwn(step: StepContext, source: BackupSource): Promise<Made | undefined> {
  const { backups } = await afterOthers(step, source)
  const own = backups.find((backup) => backup.operationId === step.operationId)
  return own === undefined ? undefined : { backup: own, from: '' }
}

/**
 * What there is once nothing runs any more, on whichever host: the program's own lock is one of
 * its host, and removing what another just writes breaks that.
 */
export async function afterOthers(
  step: StepContext,
  source: BackupSource,
): Promise<RepositoryAnswer> {
  return await step.until([], RUNNING_TIMEOUT_MS, async () => {
    const answer = await askRepository(step, source.repository, source.leader, step.operationId)
    const running = answer.running ?? (await runningElsewhere(step, source))
    if (running === undefined) return answer
    const { doneBytes, totalBytes } = running
    await step.say(`waits: ${formatSize(doneBytes)} of ${formatSize(totalBytes)}`)
    return undefined
  })
}

/** Only the host that it runs on knows of a backup. */
async function runningElsewhere(step: StepContext, source: BackupSource) {
  const others = (await listSeats(step)).filter(
    ({ instance }) => instance.id !== source.leader.instance.id,
  )
  const answers = await Promise.all(
    others.map((seat) =>
      // A host that does not answer now is no reason to wait for it.
      askRepository(step, source.repository, seat, step.operationId).catch(() => undefined),
    ),
  )
  return answers.find((answer) => answer?.running !== undefined)?.running
}

/** The first attempt is a replica's; when that does not work the leader itself is read. */
async function tryOnce(
  step: StepContext,
  source: BackupSource,
  input: CreateBackupInput,
  attempt: number,
): Promise<Made> {
  const seat = await chooseSeat(step, source, attempt)
  const progress = makeProgress(`copied from ${seat.instance.name}:`)
  const result = await askWithProgress(
    step,
    {
      hostId: seat.host.id,
      operationId: step.operationId,
      timeoutMs: BACKUP_TIMEOUT_MS,
      action: {
        kind: 'pgbackrest',
        repository: seat.access,
        command: 'backup',
        options: [
          `--type=${BACKUP_TYPE_OPTION[input.type]}`,
          `--annotation=${OPERATION_ANNOTATION}=${step.operationId}`,
          ...(seat.isReplica ? ['--backup-standby'] : []),
        ],
        operands: [],
        ...(input.bytesPerSecondMax === undefined
          ? {}
          : { readBytesPerSecondMax: input.bytesPerSecondMax }),
      },
    },
    async () => {
      const answer = await askRepository(step, source.repository, seat, step.operationId)
      const { doneBytes = 0, totalBytes = 0 } = answer.running ?? {}
      await step.say(totalBytes > 0 ? progress(doneBytes, totalBytes) : `begins at ${seat.from}`)
    },
  )
  // One that cannot be told to stop still cannot end: its leader no longer lets it in.
  if (result.errorCode === HOST_SILENT) await shutDoors(step, source.leader)
  if (result.errorCode === LOCKED) return { backup: undefined, from: '' }
  if (!result.ok) throw new HowdahError('repository-failed', `${seat.from}: ${result.error}`)
  return { backup: (await findOwn(step, source))?.backup, from: seat.from }
}

interface ChosenSeat extends BackupSeat {
  access: ReturnType<typeof leaderAccess>
  isReplica: boolean
  from: string
}

async function chooseSeat(
  step: StepContext,
  source: BackupSource,
  attempt: number,
): Promise<ChosenSeat> {
  const leader = (why: string): ChosenSeat => ({
    ...source.leader,
    access: leaderAccess(source),
    isReplica: false,
    from: `the leader ${source.leader.instance.name}${why === '' ? '' : `, as ${why}`}`,
  })
  if ((await listSeats(step)).length === 1) return leader('')
  if (attempt > 1) return leader('the attempt before failed')
  const replica = await chooseReplica(step, source.leader)
  if (replica === undefined) return leader('no replica is healthy')
  try {
    const port = await openDoor(step, source.leader, replica)
    const access = replicaAccess(source, replica, port)
    return { ...replica, access, isReplica: true, from: `the replica ${replica.instance.name}` }
  } catch (error) {
    if (!(error instanceof HowdahError)) throw error
    return leader(`its door does not open: ${describeError(error)}`)
  }
}

/**
 * The backup is made, whatever becomes of this: what could not be removed is told, and removed by
 * the next one.
 */
async function expire(step: StepContext): Promise<void> {
  try {
    await expireNow(step)
  } catch (error) {
    if (!(error instanceof HowdahError)) throw error
    await step.say(`nothing is removed yet: ${error.message}`)
    await step.database.transaction((tx) =>
      addEvent(tx, {
        kind: 'backup.not-expired',
        message: `backups that need not be kept are still there: ${error.message}`,
        clusterId: step.clusterId,
        operationId: step.operationId,
      }),
    )
  }
}

async function expireNow(step: StepContext): Promise<void> {
  const source = await backupSource(step)
  // Those of before the restore are all that the cluster has once it is undone.
  if ((await findUndo(step.database, step.clusterId)) !== undefined) {
    await readBackups(step, source)
    return await step.say('keeps all while a restore can be undone')
  }
  const policy = policyOf(source.cluster)
  const before = await afterOthers(step, source)
  await refuseRead(step.database, source.stanza)
  for (const options of retentionOptions(policy)) {
    await runRepositoryTask(step, source.leader.host.id, EXPIRE_TIMEOUT_MS, step.operationId, {
      kind: 'pgbackrest',
      repository: leaderAccess(source),
      command: 'expire',
      options,
      operands: [],
    })
  }
  const after = await readBackups(step, source)
  const kept = new Set(after.backups.map(({ label }) => label))
  const removed = before.backups.filter(({ label }) => !kept.has(label))
  await step.say(
    removed.length === 0
      ? `keeps ${kept.size} backups`
      : `keeps ${kept.size} backups; removed ${removed.map(({ label }) => label).join(', ')}`,
  )
}

/** With both given a backup goes when either lets it go, never the last full one. */
function retentionOptions(policy: BackupPolicy): string[][] {
  const { keep_full: count, keep_days: days } = policy
  return [
    ...(count === null ? [] : [[`--repo1-retention-full=${count}`]]),
    ...(days === null
      ? []
      : [['--repo1-retention-full-type=time', `--repo1-retention-full=${days}`]]),
  ]
}
