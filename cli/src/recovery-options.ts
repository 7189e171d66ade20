// Owns the options that name a moment: the same for forks and restores.
import type { Command } from 'commander'

export interface RecoveryFlags {
  at?: string
  lsn?: string
  xid?: string
  restorePoint?: string
  backup?: string
  plan?: boolean
}

export function recoveryOptions(command: Command): Command {
  return command
    .option('--at <time>', 'with its zone, e.g. 2027-01-31T14:02:59+07:00')
    .option('--lsn <lsn>', 'a position in WAL, e.g. 0/16B3748')
    .option('--xid <id>', 'that transaction, and what was committed before it')
    .option('--restore-point <name>', 'of howdah restore-point create')
    .option('--backup <id>', 'the end of this backup; with another option, where it begins')
    .option('--plan', 'say what would be done, and do nothing')
}

export function recoveryBody(flags: RecoveryFlags) {
  return {
    ...(flags.at === undefined ? {} : { at: flags.at }),
    ...(flags.lsn === undefined ? {} : { lsn: flags.lsn }),
    ...(flags.xid === undefined ? {} : { xid: flags.xid }),
    ...(flags.restorePoint === undefined ? {} : { restore_point: flags.restorePoint }),
    ...(flags.backup === undefined ? {} : { backup: flags.backup }),
    ...(flags.plan === true ? { plan: true } : {}),
  }
}
