// howdah backup schedule: shows or changes when backups are taken and proven, and how long they are
// kept.
import type { BackupPolicy, BackupPolicyChange } from '@howdah/core/contract/backup-policy.ts'
import type { Command } from 'commander'
import { apiPath, type Body } from '../api-client.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { parseCountOrNever } from '../option-values.ts'
import { formatFields } from '../output.ts'

interface Flags {
  full?: string
  differential?: string
  incremental?: string
  drill?: string
  timezone?: string
  keepFull?: number | null
  keepDays?: number | null
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'backup')
    .command('schedule')
    .description('when backups are taken and proven, and how long they are kept')
    .argument('<cluster>', 'name or id')
    .option('--full <cron>', 'minute hour day month weekday, e.g. "30 1 * * 0"')
    .option('--differential <cron>', 'what changed since the last full one; never: "never"')
    .option('--incremental <cron>', 'what changed since the last one of any type; or "never"')
    .option('--drill <cron>', 'when the newest backup is proven; or "never"')
    .option('--timezone <zone>', 'of these times, e.g. Asia/Ho_Chi_Minh')
    .option(
      '--keep-full <count>',
      'this many full backups, with all that needs them; or "never": only the days count',
      parseCountOrNever(1, 1000),
    )
    .option(
      '--keep-days <days>',
      'what these days need; or "never". With a count, too: what either lets go is removed',
      parseCountOrNever(1, 3650),
    )
    .action((name: string, flags: Flags) => schedule(context, name, flags))
}

const cronOf = (text: string | undefined) => (text === 'never' ? null : text)

async function schedule(context: Context, name: string, flags: Flags): Promise<void> {
  const path = apiPath`/v1/clusters/${name}/backup-policy`
  const client = context.client()
  const body: Body<BackupPolicyChange> = {
    full: flags.full,
    differential: cronOf(flags.differential),
    incremental: cronOf(flags.incremental),
    drill: cronOf(flags.drill),
    timezone: flags.timezone,
    keep_full: flags.keepFull,
    keep_days: flags.keepDays,
  }
  const isChange = Object.values(body).some((value) => value !== undefined)
  const policy = isChange
    ? (await client.request<BackupPolicy>('PATCH', path, { body })).data
    : await client.get<BackupPolicy>(path)
  await context.output().print(policy, () =>
    formatFields(context.output().paint, [
      ['full', policy.full],
      ['differential', policy.differential ?? 'never'],
      ['incremental', policy.incremental ?? 'never'],
      ['drill', policy.drill ?? 'never'],
      ['time zone', policy.timezone],
      ['full ones kept', policy.keep_full === null ? 'as days say' : String(policy.keep_full)],
      ['kept for', policy.keep_days === null ? 'as the count says' : `${policy.keep_days} days`],
    ]),
  )
}
