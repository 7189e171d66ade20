// howdah cluster create: asks for a cluster, keeps its credentials at once, follows it until it
// serves.
import type { Cluster, ClusterAccepted, ClusterCreate } from '@howdah/core/contract/clusters.ts'
import { parseResourceName } from '@howdah/core/names.ts'
import { type Command, Option } from 'commander'
import { finishAccepted, NO_WAIT, type WaitFlags } from '../accepted-operation.ts'
import { apiPath, type Body } from '../api-client.ts'
import { formatCredentials, formatEndpoints, formatNextSteps } from '../cluster-view.ts'
import { commandGroup } from '../command-group.ts'
import type { Context } from '../context.ts'
import { saveCredentials } from '../credentials-file.ts'
import { collectPair, parseCount } from '../option-values.ts'
import { formatHeading } from '../output.ts'

interface CreateFlags extends WaitFlags {
  instances?: number
  gateways?: number
  postgresVersion?: string
  durability?: ClusterCreate['durability']
  sensitivity?: ClusterCreate['sensitivity']
  repository?: string
  parameter?: Record<string, string>
  label?: Record<string, string>
}

export function register(program: Command, context: Context): void {
  commandGroup(program, 'cluster')
    .command('create')
    .description('create a cluster, and follow it until it serves')
    .argument('<name>', 'lower-case letters, digits and "-"')
    .option('--instances <count>', 'PostgreSQL instances, 1 to 5 (default: 3)', parseCount(1, 5))
    .option('--gateways <count>', 'ways in, 1 to 3 (default: 1)', parseCount(1, 3))
    .option('--postgres-version <major>', 'one that the hosts have (default: the newest)')
    .addOption(durabilityOption())
    .addOption(sensitivityOption())
    .option('--parameter <name=value>', 'PostgreSQL parameter; repeatable', collectPair)
    .option('--label <key=value>', 'free text for people; repeatable', collectPair)
    .option('--repository <name>', 'where it is backed up to (default: the default repository)')
    .option(...NO_WAIT)
    .action((name: string, flags: CreateFlags) => createCluster(context, name, flags))
}

export function durabilityOption(): Option {
  return new Option(
    '--durability <level>',
    'strict: writes stop without a replica; sync: falls back, and says so; async',
  ).choices(['strict', 'sync', 'async'])
}

export function sensitivityOption(): Option {
  return new Option(
    '--sensitivity <how>',
    'a silent host counts as dead after about 1 s, 3 s, 10 s',
  ).choices(['fast', 'balanced', 'patient'])
}

async function createCluster(context: Context, name: string, flags: CreateFlags): Promise<void> {
  const body: Body<ClusterCreate> = {
    name: parseResourceName(name),
    instances: flags.instances,
    gateways: flags.gateways,
    postgres_version: flags.postgresVersion,
    durability: flags.durability,
    sensitivity: flags.sensitivity,
    parameters: flags.parameter,
    labels: flags.label,
    repository: flags.repository,
  }
  const client = context.client()
  const { data } = await client.request<ClusterAccepted>('POST', '/v1/clusters', { body })
  // Before anything can fail: the password is in this reply and in no other.
  const savedTo =
    data.credentials === undefined
      ? undefined
      : await saveCredentials(context.home(), data.cluster, data.credentials)
  if (savedTo !== undefined) context.output().note(`credentials are kept in ${savedTo}`)
  const isDone = await finishAccepted(context, data, flags)
  const cluster = isDone
    ? await client.get<Cluster>(apiPath`/v1/clusters/${data.cluster.id}`)
    : data.cluster
  await context.output().print({ ...data, cluster }, () => formatCreated(context, cluster, data))
}

function formatCreated(context: Context, cluster: Cluster, accepted: ClusterAccepted): string[] {
  const { paint } = context.output()
  const isReady = cluster.endpoints.length > 0
  const lines = isReady ? formatEndpoints(paint, cluster) : []
  if (accepted.credentials !== undefined) {
    lines.push(...formatHeading(paint, 'Credentials'))
    lines.push(...formatCredentials(paint, accepted.credentials))
  }
  return isReady ? [...lines, ...formatNextSteps(paint, cluster.name)] : lines
}
