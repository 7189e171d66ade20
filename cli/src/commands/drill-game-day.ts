// howdah drill game-day: breaks a cluster on purpose while it is written to, and prints what
// clients would notice.
import type { OperationAccepted } from '@howdah/core/contract/clusters.ts'
import type { Drill, GameDayReport } from '@howdah/core/contract/drills.ts'
import type { Command } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { StoppedWatching } from '../follow.ts'
import { parseCount } from '../option-values.ts'
import { type Cell, formatFields, formatTable, type Paint } from '../output.ts'

interface Flags extends WaitFlags {
  faults?: string[]
  rounds?: number
  confirm?: string
  acceptOutage?: boolean
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'drill')
    .command('game-day')
    .description('rehearse failures while a writer keeps count')
    .argument('<cluster>', 'name or id')
    .option(
      '--faults <fault...>',
      'leader-process, leader-frozen, leader-host, leader-host-silent, network-cut, patroni, ' +
        'dcs-member, haproxy, pgbouncer, agent; default: all that its hosts can do',
    )
    .option('--rounds <count>', 'default: one per fault', parseCount(1, 100))
    .option('--confirm <name>', 'the name, where a cluster without howdah.test=true may break')
    .option('--accept-outage', 'and that its clients will notice')
    .option(...NO_WAIT)
    .action((name: string, flags: Flags) => playGameDay(context, name, flags))
}

async function playGameDay(context: Context, name: string, flags: Flags): Promise<void> {
  const client = context.client()
  const body = {
    ...(flags.faults === undefined ? {} : { faults: flags.faults }),
    ...(flags.rounds === undefined ? {} : { rounds: flags.rounds }),
    ...(flags.confirm === undefined ? {} : { confirm: flags.confirm }),
    ...(flags.acceptOutage === true ? { accept_outage: true } : {}),
  }
  const path = apiPath`/v1/clusters/${name}/game-days`
  const { data } = await client.request<OperationAccepted>('POST', path, { body })
  const show = () => showReport(context, name, data.operation.id)
  const isOver = await finishAccepted(context, data, flags).catch(async (error: unknown) => {
    // What was seen says more than the reason; but the reason is what the command ends with.
    if (!(error instanceof StoppedWatching)) await show().catch(() => undefined)
    throw error
  })
  if (isOver) await show()
}

async function showReport(context: Context, name: string, operationId: string): Promise<void> {
  const drills = await context.client().get<{ data: Drill[] }>(apiPath`/v1/clusters/${name}/drills`)
  const drill = drills.data.find((each) => each.operation_id === operationId)
  const report = drill?.report as GameDayReport | null | undefined
  if (report == null) return
  await context.output().print(report, () => formatReport(context.output().paint, report))
}

function formatReport(paint: Paint, report: GameDayReport): string[] {
  const rows = report.rounds.map((round): Cell[] => [
    round.fault,
    round.target,
    `${round.longest_gap_ms} ms`,
    String(round.acknowledged),
    String(round.failed),
    String(round.lost),
    String(round.leaders_at_once_max),
    round.healed_ms === null ? 'not within 60 s' : `${round.healed_ms} ms`,
  ])
  const header = ['FAULT', 'AT', 'GAP', 'ACKNOWLEDGED', 'FAILED', 'LOST', 'LEADERS', 'HEALED AFTER']
  return [
    ...formatTable(paint, header, rows),
    '',
    ...formatFields(paint, [
      ['availability', `${(report.availability * 100).toFixed(3)} %`],
      ['acknowledged writes', String(report.acknowledged)],
      ['failed', String(report.failed)],
      ['lost', String(report.lost)],
      ['second leader seen', report.leaders_at_once_max > 1 ? 'yes' : 'no'],
    ]),
  ]
}
