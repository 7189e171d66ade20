// howdah restore: takes a cluster back to a moment, in place, after its name was typed. `restore
// undo` brings back what there was.
import type { RestorePlan } from '@howdah/core/contract/backups.ts'
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { formatPlan } from '../backup-view.ts'
import { HELP_GROUPS } from '../command-group.ts'
import { type ConfirmFlags, confirmName } from '../confirm.ts'
import type { Context } from '../context.ts'
import { type RecoveryFlags, recoveryBody, recoveryOptions } from '../recovery-options.ts'
import { safeLine } from '../safe-text.ts'

type UndoFlags = WaitFlags & ConfirmFlags
type Flags = UndoFlags & RecoveryFlags

export function register(program: Command, context: Context): void {
  const command = program
    .command('restore')
    .helpGroup(HELP_GROUPS.clusters)
    .description('take a cluster back to a moment, in place; fork makes a new one instead')
    .argument('<cluster>', 'name or id; one that is called undo by its id')
  confirmOptions(recoveryOptions(command)).action((name: string, flags: Flags) =>
    restore(context, name, flags),
  )
  const undoing = command
    .command('undo')
    .description('bring back what there was before the last restore')
    .argument('<cluster>', 'name or id')
  // Commander gives an option that both know to the command above.
  confirmOptions(undoing).action((name: string) =>
    undo(context, name, undoing.optsWithGlobals<UndoFlags>()),
  )
}

function confirmOptions(command: Command): Command {
  return command
    .option('--yes', 'do not ask')
    .option('--confirm <name>', 'the name of the cluster, instead of typing it')
    .option(...NO_WAIT)
}

async function restore(context: Context, name: string, flags: Flags): Promise<void> {
  const client = context.client()
  const path = apiPath`/v1/clusters/${name}/restore`
  const target = recoveryBody(flags)
  if (flags.plan !== true && Object.keys(target).length === 0) {
    throw new HowdahError('bad-request', 'give --at, --lsn, --xid, --restore-point or --backup')
  }
  const body = { ...target, plan: true }
  const { data: plan } = await client.request<RestorePlan>('POST', path, { body })
  const lines = formatPlan(context.output().paint, plan)
  if (flags.plan === true) return await context.output().print(plan, () => lines)
  for (const line of lines) context.output().note(line)
  const consequence =
    `this takes ${name} back: clients are refused meanwhile, ` +
    'and what was written after that moment is set aside'
  await confirmName(context, flags, { name, consequence })
  const { data } = await client.request<OperationAccepted>('POST', path, {
    body: { ...target, confirm: name },
  })
  const isDone = await finishAccepted(context, data, flags)
  await context
    .output()
    .print(data, () => [
      `cluster ${safeLine(name)} ${isDone ? 'is restored' : 'is being restored'}`,
      `take it back with: howdah restore undo ${safeLine(name)}`,
    ])
}

async function undo(context: Context, name: string, flags: UndoFlags): Promise<void> {
  const lost = 'what was written since is lost'
  const consequence = `this brings back what ${name} was before its restore; ${lost}`
  await confirmName(context, flags, { name, consequence })
  const path = apiPath`/v1/clusters/${name}/restore/undo`
  const body = { confirm: name }
  const { data } = await context.client().request<OperationAccepted>('POST', path, { body })
  const isDone = await finishAccepted(context, data, flags)
  const said = isDone ? 'is as it was before the restore' : 'is being brought back'
  await context.output().print(data, () => [`cluster ${safeLine(name)} ${said}`])
}
