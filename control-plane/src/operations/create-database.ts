// Creates a database in a cluster, owned by a role that is there.
import { HowdahError } from '@howdah/core/errors.ts'
import { quoteIdentifier } from '@howdah/core/names.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { inOneTransaction, runOnLeader, statement } from '../clusters/leader-sql.ts'
import type { OperationDefinition, StepContext } from './operation.ts'

const DUPLICATE_DATABASE = '42P04'

export const createDatabase: OperationDefinition<{ name: string; owner: string }> = {
  kind: 'create-database',
  steps: [
    { name: 'check-name', title: 'checks that the name is free and the owner is there' },
    { name: 'create', title: 'creates the database' },
  ],
  async run({ step, input }) {
    // Recorded before the creation: when that runs again, a database of this name is our own.
    await step('check-name', async (context) => {
      const rows = await runOnLeader<{ taken: boolean; owned: boolean }>(context, 'postgres', [
        statement(
          `select exists (select from pg_database where datname = $1) as taken,
             exists (select from pg_roles where rolname = $2) as owned`,
          [input.name, input.owner],
        ),
      ])
      if (rows[0]?.taken === true) {
        throw new HowdahError('name-taken', `there is a database ${input.name} already`)
      }
      if (rows[0]?.owned !== true) {
        throw new HowdahError('not-found', `there is no role ${input.owner}`)
      }
    })
    await step('create', (context) => ensureDatabase(context, input.name, input.owner))
  },
}

/** Idempotent. Only its owner, and roles that are granted it, connect to the database. */
export async function ensureDatabase(
  step: StepContext,
  name: string,
  owner: string,
): Promise<void> {
  const database = quoteIdentifier(name)
  const create = statement(`create database ${database} owner ${quoteIdentifier(owner)}`)
  await runOnLeader(step, 'postgres', [create], [DUPLICATE_DATABASE])
  const rights = [
    statement(`revoke connect, temporary on database ${database} from public`),
    statement(`grant connect on database ${database} to ${PLATFORM_ROLES.pooler}`),
  ]
  await runOnLeader(step, 'postgres', inOneTransaction(rights))
}
