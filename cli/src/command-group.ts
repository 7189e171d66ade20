// Owns the nouns of the CLI: what each says in the help, and where it stands there.
import type { Command } from 'commander'

export const HELP_GROUPS = {
  platform: 'Platform:',
  clusters: 'Clusters:',
  operations: 'Operations:',
  hosts: 'Hosts:',
  access: 'Users and access:',
} as const

const NOUNS = {
  cluster: { group: HELP_GROUPS.clusters, about: 'create, show, change and delete clusters' },
  db: { group: HELP_GROUPS.clusters, about: 'databases in a cluster' },
  role: { group: HELP_GROUPS.clusters, about: 'roles in a cluster, and their passwords' },
  backup: { group: HELP_GROUPS.clusters, about: 'backups, and what can be restored from them' },
  'restore-point': { group: HELP_GROUPS.clusters, about: 'moments that have a name' },
  repo: { group: HELP_GROUPS.hosts, about: 'where backups go' },
  drill: { group: HELP_GROUPS.clusters, about: 'rehearse failures, and see what they cost' },
  param: { group: HELP_GROUPS.clusters, about: 'parameters that a cluster may set' },
  op: { group: HELP_GROUPS.operations, about: 'list, watch, cancel and retry operations' },
  host: { group: HELP_GROUPS.hosts, about: 'machines that carry clusters' },
  user: { group: HELP_GROUPS.access, about: 'people and programs that use the platform' },
  token: { group: HELP_GROUPS.access, about: 'tokens that users authenticate with' },
} as const

/** The command of a noun, made when its first verb registers. */
export function commandGroup(program: Command, noun: keyof typeof NOUNS): Command {
  const present = program.commands.find((command) => command.name() === noun)
  if (present !== undefined) return present
  const { group, about } = NOUNS[noun]
  return program.command(noun).description(about).helpGroup(group).helpCommand(false)
}
