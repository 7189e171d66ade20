// Removes a backup from its repository, with those that need it.
import { HowdahError } from '@howdah/core/errors.ts'
import { runRepositoryTask } from '../backups/repository-access.ts'
import { backupSource, leaderAccess, readBackups, refuseRead } from './backup-steps.ts'
import { afterOthers } from './create-backup.ts'
import type { OperationDefinition } from './operation.ts'

const EXPIRE_TIMEOUT_MS = 600_000

export const deleteBackup: OperationDefinition<{ label: string }> = {
  kind: 'delete-backup',
  lane: 'backup',
  steps: [{ name: 'remove', title: 'removes the backup, and those that need it' }],
  async run({ step, input }) {
    await step('remove', async (context) => {
      const source = await backupSource(context)
      await afterOthers(context, source)
      const before = await readBackups(context, source)
      const labels = before.backups.map(({ label }) => label)
      if (!labels.includes(input.label)) return context.say('it is gone already')
      const full = before.backups.filter(({ type }) => type === 'full')
      if (full.length === 1 && full[0]?.label === input.label) {
        throw new HowdahError('wrong-state', `${input.label} is the last full backup`)
      }
      await refuseRead(context.database, source.stanza)
      await runRepositoryTask(
        context,
        source.leader.host.id,
        EXPIRE_TIMEOUT_MS,
        context.operationId,
        {
          kind: 'pgbackrest',
          repository: leaderAccess(source),
          command: 'expire',
          options: [`--set=${input.label}`],
          operands: [],
        },
      )
      const after = await readBackups(context, source)
      const left = new Set(after.backups.map(({ label }) => label))
      await context.say(`removed ${labels.filter((label) => !left.has(label)).join(', ')}`)
    })
  },
}
