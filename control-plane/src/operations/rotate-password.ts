// Gives a role a new password. Sessions go on; the next login needs the new one.
import { HowdahError } from '@howdah/core/errors.ts'
import { quoteIdentifier, quoteLiteral } from '@howdah/core/names.ts'
import { runOnLeader, statement } from '../clusters/leader-sql.ts'
import { openVerifier } from './create-role.ts'
import type { OperationDefinition } from './operation.ts'

export const rotatePassword: OperationDefinition<{ name: string; verifier: string }> = {
  kind: 'rotate-password',
  steps: [{ name: 'change', title: 'changes the password' }],
  async run({ step, input }) {
    await step('change', async (context) => {
      const rows = await runOnLeader(context, 'postgres', [
        statement('select from pg_roles where rolname = $1', [input.name]),
      ])
      if (rows.length === 0) throw new HowdahError('not-found', `there is no role ${input.name}`)
      const verifier = openVerifier(context, input.name, input.verifier)
      const role = quoteIdentifier(input.name)
      await runOnLeader(context, 'postgres', [
        statement(`alter role ${role} password ${quoteLiteral(verifier)}`),
      ])
    })
  },
}
