// howdah drill restore: restores the newest backup beside the cluster, and says whether all is
// there.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Drill, RestoreDrillReport } from '@howdah/core/contract/drills.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { formatBytes, formatDuration, formatFields } from '../output.ts'

interface Flags extends WaitFlags {
  backup?: string
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'drill')
    .command('restore')
    .description('prove a backup: restore it beside the cluster, replay, look for damage')
    .argument('<cluster>', 'name or id')
    .option('--backup <id>', 'default: the newest')
    .option(...NO_WAIT)
    .action((name: string, flags: Flags) => drillRestore(context, name, flags))
}

async function drillRestore(context: Context, name: string, flags: Flags): Promise<void> {
  const client = context.client()
  const body = flags.backup === undefined ? {} : { backup: flags.backup }
  const path = apiPath`/v1/clusters/${name}/restore-drills`
  const { data } = await client.request<OperationAccepted>('POST', path, { body })
  if (!(await finishAccepted(context, data, flags))) return
  const drills = await client.get<{ data: Drill[] }>(apiPath`/v1/clusters/${name}/drills`)
  const drill = drills.data.find((each) => each.operation_id === data.operation.id)
  const report = drill?.report as RestoreDrillReport | null | undefined
  if (report == null) return
  await context.output().print(report, () =>
    formatFields(context.output().paint, [
      ['backup', report.backup],
      ['proven', report.problem === '' ? 'yes' : `no: ${report.problem}`],
      ['a restore takes', formatDuration(report.recovery_ms)],
      ['  fetching', `${formatDuration(report.fetch_ms)}, ${formatBytes(report.size_bytes)}`],
      ['  replaying', formatDuration(report.replay_ms)],
      ['looking for damage', formatDuration(report.amcheck_ms)],
      ['ledger', `${report.ledger_rows} lines found`],
    ]),
  )
}
