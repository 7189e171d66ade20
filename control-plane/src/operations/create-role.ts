// Creates a role that can log in, with no more rights than were asked for in one database.
import { HowdahError } from '@howdah/core/errors.ts'
import { quoteIdentifier } from '@howdah/core/names.ts'
import { inOneTransaction, runOnLeader, type Statement, statement } from '../clusters/leader-sql.ts'
import { ensureLoginRole } from './bring-up.ts'
import type { OperationDefinition, StepContext } from './operation.ts'

export interface CreateRoleInput {
  name: string
  database: string
  access: 'none' | 'read' | 'write'
  /** Sealed: with it somebody could pretend to be the server. */
  verifier: string
}

export const createRole: OperationDefinition<CreateRoleInput> = {
  kind: 'create-role',
  steps: [
    { name: 'check-name', title: 'checks that the name is free and the database is there' },
    { name: 'create', title: 'creates the role' },
    { name: 'grant', title: 'grants what was asked for' },
  ],
  async run({ step, input }) {
    const owner = await step('check-name', (context) => checkName(context, input))
    await step('create', async (context) => {
      const verifier = openVerifier(context, input.name, input.verifier)
      await runOnLeader(
        context,
        'postgres',
        inOneTransaction(ensureLoginRole(input.name, verifier)),
      )
    })
    await step('grant', async (context) => {
      if (input.access === 'none') return
      await runOnLeader(context, input.database, grants(input, owner))
    })
  },
}

export function openVerifier(step: StepContext, role: string, sealed: string): string {
  const purpose = `role:${step.clusterId}:${role}`
  return step.sealer.open(purpose, Buffer.from(sealed, 'base64'))
}

async function checkName(step: StepContext, input: CreateRoleInput): Promise<string> {
  const rows = await runOnLeader<{ taken: boolean; owner: string | null }>(step, 'postgres', [
    statement(
      `select exists (select from pg_roles where rolname = $1) as taken,
         (select pg_get_userbyid(datdba) from pg_database
          where datname = $2 and not datistemplate) as owner`,
      [input.name, input.database],
    ),
  ])
  if (rows[0]?.taken === true) {
    throw new HowdahError('name-taken', `there is a role ${input.name} already`)
  }
  const owner = rows[0]?.owner ?? null
  if (owner === null && input.access !== 'none') {
    throw new HowdahError('not-found', `there is no database ${input.database}`)
  }
  return owner ?? ''
}

/** On what is there and on what the database's owner will create; never more than DML. */
function grants(input: CreateRoleInput, owner: string): Statement[] {
  const role = quoteIdentifier(input.name)
  const database = quoteIdentifier(input.database)
  const tables = input.access === 'read' ? 'select' : 'select, insert, update, delete'
  const sequences = input.access === 'read' ? 'select' : 'usage, select, update'
  const future = `alter default privileges for role ${quoteIdentifier(owner)} in schema public`
  return [
    `grant connect on database ${database} to ${role}`,
    `grant usage on schema public to ${role}`,
    `grant ${tables} on all tables in schema public to ${role}`,
    `grant ${sequences} on all sequences in schema public to ${role}`,
    `${future} grant ${tables} on tables to ${role}`,
    `${future} grant ${sequences} on sequences to ${role}`,
  ].map((text) => statement(text))
}
