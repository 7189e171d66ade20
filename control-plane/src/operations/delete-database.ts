// Deletes a database of a cluster; sessions in it are ended.
import { HowdahError } from '@howdah/core/errors.ts'
import { quoteIdentifier } from '@howdah/core/names.ts'
import { runOnLeader, statement } from '../clusters/leader-sql.ts'
import type { OperationDefinition } from './operation.ts'

const UNKNOWN_DATABASE = '3D000'

export const deleteDatabase: OperationDefinition<{ name: string }> = {
  kind: 'delete-database',
  steps: [
    { name: 'check-name', title: 'checks that the database is there' },
    { name: 'delete', title: 'ends its sessions and deletes it' },
  ],
  async run({ step, input }) {
    await step('check-name', async (context) => {
      const rows = await runOnLeader(context, 'postgres', [
        statement('select from pg_database where datname = $1', [input.name]),
      ])
      if (rows.length === 0) {
        throw new HowdahError('not-found', `there is no database ${input.name}`)
      }
    })
    await step('delete', async (context) => {
      const drop = statement(`drop database ${quoteIdentifier(input.name)} with (force)`)
      await runOnLeader(context, 'postgres', [drop], [UNKNOWN_DATABASE])
    })
  },
}
