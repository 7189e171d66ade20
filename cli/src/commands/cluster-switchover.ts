// howdah cluster switchover: changes the leader on purpose, without a failed transaction.
import type { OperationAccepted, SwitchoverPlan } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { parseCount } from '../option-values.ts'
import { safeLine } from '../safe-text.ts'

interface Flags extends WaitFlags {
  to?: string
  at?: string
  within?: number
  dryRun?: boolean
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('switchover')
    .description('change the leader; clients wait a moment, none fails')
    .argument('<cluster>', 'name or id')
    .option('--to <instance>', 'the instance that shall lead; default: the fittest replica')
    .option('--at <time>', 'not before this time, e.g. 2027-01-31T03:00:00Z')
    .option(
      '--within <seconds>',
      'wait at most so long for what is in the way, e.g. a long transaction',
      parseCount(1, 86_400),
    )
    .option('--dry-run', 'say what would happen, or why it cannot, and change nothing')
    .option(...NO_WAIT)
    .action((name: string, flags: Flags) => switchOver(context, name, flags))
}

async function switchOver(context: Context, name: string, flags: Flags): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/switchover`
  const body = {
    ...(flags.to === undefined ? {} : { to: flags.to }),
    ...(flags.at === undefined ? {} : { at: flags.at }),
    ...(flags.within === undefined ? {} : { within_seconds: flags.within }),
    ...(flags.dryRun === true ? { dry_run: true } : {}),
  }
  if (flags.dryRun === true) {
    const { data } = await context.client().request<SwitchoverPlan>('POST', path, { body })
    const said = `${safeLine(data.to)} would take over from ${safeLine(data.from)}`
    const doubts = data.left_out.map(
      ({ name, reason }) => `transactions at ${safeLine(name)} may fail: ${safeLine(reason)}`,
    )
    await context.output().print(data, () => [said, ...doubts])
    return
  }
  const { data } = await context.client().request<OperationAccepted>('POST', path, { body })
  // One for later is not waited for: it may be days away.
  const isScheduled = data.operation.state === 'scheduled'
  const isDone = await finishAccepted(context, data, isScheduled ? { wait: false } : flags)
  const said = isDone ? 'was switched over' : 'will be switched over'
  await context.output().print(data, () => [`cluster ${safeLine(name)} ${said}`])
}
