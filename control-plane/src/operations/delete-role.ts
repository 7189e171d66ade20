// Deletes a role: what it owns goes to the owner of each database, what it was granted is revoked.
import { HowdahError } from '@howdah/core/errors.ts'
import { quoteIdentifier } from '@howdah/core/names.ts'
import { runOnLeader, statement } from '../clusters/leader-sql.ts'
import type { OperationDefinition, StepContext } from './operation.ts'

const UNDEFINED_OBJECT = '42704'

export const deleteRole: OperationDefinition<{ name: string }> = {
  kind: 'delete-role',
  steps: [
    { name: 'check-role', title: 'checks that the role is there and owns no database' },
    { name: 'hand-over', title: 'hands over what it owns' },
    { name: 'delete', title: 'deletes the role' },
  ],
  async run({ step, input }) {
    await step('check-role', (context) => checkRole(context, input.name))
    await step('hand-over', (context) => handOver(context, input.name))
    await step('delete', async (context) => {
      const drop = statement(`drop role ${quoteIdentifier(input.name)}`)
      await runOnLeader(context, 'postgres', [drop], [UNDEFINED_OBJECT])
    })
  },
}

async function checkRole(step: StepContext, name: string): Promise<void> {
  const rows = await runOnLeader<{ databases: string | null }>(step, 'postgres', [
    statement(
      `select (select string_agg(datname, ', ') from pg_database where datdba = r.oid) as databases
       from pg_roles r where rolname = $1`,
      [name],
    ),
  ])
  const role = rows[0]
  if (role === undefined) throw new HowdahError('not-found', `there is no role ${name}`)
  if (role.databases !== null) {
    const said = `role ${name} owns the databases ${role.databases}: delete them first`
    throw new HowdahError('wrong-state', said)
  }
}

async function handOver(step: StepContext, name: string): Promise<void> {
  const role = quoteIdentifier(name)
  const databases = await runOnLeader<{ name: string; owner: string }>(step, 'postgres', [
    statement(
      `select datname as name, pg_get_userbyid(datdba) as owner from pg_database
       where datallowconn and datname not in ('template1', 'postgres')`,
    ),
  ])
  for (const database of databases) {
    await runOnLeader(
      step,
      database.name,
      [
        statement(`reassign owned by ${role} to ${quoteIdentifier(database.owner)}`),
        statement(`drop owned by ${role}`),
      ],
      [UNDEFINED_OBJECT],
    )
  }
}
