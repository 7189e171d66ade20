// Takes a backup of a cluster, and removes those that its policy no longer keeps. It reads the
// cluster and leaves it as it is, so changes of the cluster need not wait for it.
import {
  BACKUP_TYPE_OPTION,
  type BackupType,
  type ListedBackup,
  OPERATION_ANNOTATION,
} from '@howdah/core/backup-info.ts'
import { type BackupPolicy, defaultBackupPolicy } from '@howdah/core/contract/backup-policy.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { askRepository, runRepositoryTask } from '../backups/repository-access.ts'
import { runSoon } from '../db/backups.ts'
import type { ClusterRow } from '../db/clusters.ts'
import {
  askWithProgress,
  type BackupSource,
  backupSource,
  formatSize,
  LOCKED,
  leaderAccess,
  makeProgress,
  prepareRepository,
  readBackups,
} from './backup-steps.ts'
import type { OperationDefinition, StepContext } from './operation.ts'

const BACKUP_TIMEOUT_MS = 24 * 3_600_000
const RUNNING_TIMEOUT_MS = 24 * 3_600_000
const EXPIRE_TIMEOUT_MS = 600_000
/** A leader that changes takes the backup with it: it begins anew at the next one. */
const ATTEMPTS_MAX = 4
const RETRY_SECONDS = 300

export interface CreateBackupInput {
  type: BackupType
}

export const createBackup: OperationDefinition<CreateBackupInput> = {
  kind: 'create-backup',
  lane: 'backup',
  steps: [
    { name: 'prepare', title: 'prepares the repository' },
    { name: 'back-up', title: 'copies the data' },
    { name: 'expire', title: 'removes what need not be kept' },
  ],
  async run({ step, input }) {
    await step('prepare', async (context) =>
      prepareRepository(context, await backupSource(context)),
    )
    await step('back-up', (context) => backUp(context, input.type))
    await step('expire', expire)
  },
  // Whatever type it was: a cluster whose backup failed may have none that is worth anything.
  failed: ({ database }, clusterId) => runSoon(database, clusterId, 'full', RETRY_SECONDS),
}

export function policyOf(cluster: Pick<ClusterRow, 'id' | 'spec'>): BackupPolicy {
  return cluster.spec.backup ?? defaultBackupPolicy(cluster.id)
}

async function backUp(step: StepContext, type: BackupType): Promise<{ label: string }> {
  for (let attempt = 1; ; attempt += 1) {
    const source = await backupSource(step)
    const made = (await afterOthers(step, source)) ?? (await tryOnce(step, source, type, attempt))
    if (made === undefined) continue
    await readBackups(step, source)
    const { info } = made
    await step.say(
      `${made.label}: ${formatSize(info.read_bytes)} read, ` +
        `${formatSize(info.repository_bytes)} stored`,
    )
    return { label: made.label }
  }
}

/** What this operation made before it died, once nothing runs any more. */
async function afterOthers(
  step: StepContext,
  source: BackupSource,
): Promise<ListedBackup | undefined> {
  return await step
    .until([], RUNNING_TIMEOUT_MS, async () => {
      const answer = await askRepository(step, source.repository, source.leader, step.operationId)
      if (answer.running !== undefined) {
        const { doneBytes, totalBytes } = answer.running
        await step.say(`waits: ${formatSize(doneBytes)} of ${formatSize(totalBytes)}`)
        return undefined
      }
      const own = answer.backups.find((backup) => backup.operationId === step.operationId)
      return { own }
    })
    .then(({ own }) => own)
}

async function tryOnce(
  step: StepContext,
  source: BackupSource,
  type: BackupType,
  attempt: number,
): Promise<ListedBackup | undefined> {
  const progress = makeProgress('copied')
  const result = await askWithProgress(
    step,
    {
      hostId: source.leader.host.id,
      operationId: step.operationId,
      timeoutMs: BACKUP_TIMEOUT_MS,
      action: {
        kind: 'pgbackrest',
        repository: leaderAccess(source),
        command: 'backup',
        options: [
          `--type=${BACKUP_TYPE_OPTION[type]}`,
          `--annotation=${OPERATION_ANNOTATION}=${step.operationId}`,
        ],
        operands: [],
      },
    },
    async () => {
      const answer = await askRepository(step, source.repository, source.leader, step.operationId)
      const { doneBytes = 0, totalBytes = 0 } = answer.running ?? {}
      await step.say(totalBytes > 0 ? progress(doneBytes, totalBytes) : 'begins')
    },
  )
  if (!result.ok && result.errorCode !== LOCKED && attempt >= ATTEMPTS_MAX) {
    throw new HowdahError('repository-failed', result.error)
  }
  if (!result.ok) {
    await step.say(`attempt ${attempt}: ${result.error}`)
    // A leader that is on its way out, or a store that stumbled: a moment, then again.
    await step.changes.waitUntil([], Date.now() + attempt * 1000, async () => undefined)
    return undefined
  }
  return await afterOthers(step, source)
}

async function expire(step: StepContext): Promise<void> {
  const source = await backupSource(step)
  const policy = policyOf(source.cluster)
  const before = await askRepository(step, source.repository, source.leader, step.operationId)
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
