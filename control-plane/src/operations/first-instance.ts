// Owns the one instance that a fork or a restore begins with: which it is, where its data goes, and
// its start before the others, which copy it from there.
import { HowdahError } from '@howdah/core/errors.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { scramVerifier } from '@howdah/core/scram.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import type { Statement } from '../clusters/leader-sql.ts'
import { findCluster, listInstances, setInstanceActive } from '../db/clusters.ts'
import { type HostRow, touchHosts } from '../db/hosts.ts'
import { readSecrets } from '../db/secrets.ts'
import { ensureLoginRole, prepareDcs, waitLeader } from './bring-up.ts'
import type { StepContext } from './operation.ts'
import { type RecoveryInput, type RecoveryPlaceOnHost, requireListed } from './recover-steps.ts'

/** Files of a backup, and what is written and replayed until the cluster stands. */
const ROOM_FACTOR = 1.2

/**
 * What is short of room for data of that size, in words; undefined when nothing is. A host whose
 * free space nobody knows is not short.
 */
export function lackingRoom(
  hosts: readonly Pick<HostRow, 'name' | 'facts'>[],
  sizeBytes: number,
): string | undefined {
  const needed = Math.ceil(sizeBytes * ROOM_FACTOR)
  const short = hosts.flatMap(({ name, facts }) => {
    const free = facts?.diskFreeBytes
    return free === undefined || free >= needed ? [] : [`${name} has ${free} bytes free`]
  })
  return short.length === 0 ? undefined : `${needed} bytes are needed: ${short.join(', ')}`
}

/** Why a backup can be fetched to none of them, in words; undefined when it can to one. */
export function lackingProgram(
  hosts: readonly Pick<HostRow, 'name' | 'facts'>[],
): string | undefined {
  if (hosts.length === 0 || hosts.some(hasPgbackrest)) return undefined
  return `pgbackrest is not installed on ${hosts.map(({ name }) => name).join(', ')}`
}

const hasPgbackrest = ({ facts }: Pick<HostRow, 'facts'>): boolean =>
  facts?.programs['pgbackrest'] !== undefined

function pickFirst<Candidate extends { host: HostRow }>(
  online: readonly Candidate[],
  neededBytes: number,
): Candidate {
  const able = online.filter(({ host }) => hasPgbackrest(host))
  const chosen = able.find(({ host }) => lackingRoom([host], neededBytes) === undefined)
  if (chosen !== undefined) return chosen
  const hosts = (candidates: readonly Candidate[]) => candidates.map(({ host }) => host)
  const said =
    online.length === 0
      ? 'none of its hosts is online'
      : (lackingProgram(hosts(online)) ?? lackingRoom(hosts(able), neededBytes))
  throw new HowdahError('no-capacity', said ?? '')
}

/**
 * The first one that could take the backup, when its repository, asked from there, has it. Throws
 * `no-capacity` or `repository-failed`. `neededBytes`: 0 where the room is there already.
 */
export async function chooseFirst(
  step: StepContext,
  input: RecoveryInput,
  neededBytes = input.sizeBytes,
): Promise<string> {
  const hosts = await hostsById(step.database)
  const rows = await listInstances(step.database, step.clusterId)
  const found = rows.flatMap((row) => {
    const host = hosts.get(row.host_id)
    return host?.online === true ? [{ row, host }] : []
  })
  const chosen = pickFirst(found, neededBytes)
  await step.say(`${chosen.row.name} on ${chosen.host.name}`)
  await requireListed(step, input, await placeOfInstance(step, chosen.row.id))
  return chosen.row.id
}

/** Where the data is fetched to; the others copy it from there. */
export async function placeOfInstance(
  step: StepContext,
  instanceId: string,
): Promise<RecoveryPlaceOnHost> {
  const rows = await listInstances(step.database, step.clusterId)
  const instance = rows.find(({ id }) => id === instanceId)
  const cluster = await findCluster(step.database, step.clusterId)
  const host = (await hostsById(step.database)).get(instance?.host_id ?? '')
  if (instance === undefined || host === undefined || cluster === undefined) {
    throw new Error('BUG: a placed cluster has an instance')
  }
  const binDirectory = host.facts?.postgresql[cluster.spec.postgres_version]
  if (binDirectory === undefined) {
    const said = `PostgreSQL ${cluster.spec.postgres_version} is not on ${host.name}`
    throw new HowdahError('no-such-version', said)
  }
  return { host, name: instance.id, port: instance.postgres_port, binDirectory }
}

/** Of what Patroni logs in with: it sets them only where it made the database itself. */
export async function ownPasswords(step: StepContext): Promise<Statement[]> {
  const secrets = await readSecrets(step.database, step.sealer, step.clusterId)
  const { superuser, replication, rewind } = PLATFORM_ROLES
  return (
    [
      ['superuser', superuser],
      ['replication', replication],
      ['rewind', rewind],
    ] as const
  ).flatMap(([secret, role]) => ensureLoginRole(role, scramVerifier(secrets.get(secret) ?? '')))
}

/** Alone: an instance without data would make an empty database if it came first. */
export async function startFirst(step: StepContext, instanceId: string): Promise<void> {
  await prepareDcs(step)
  const rows = await listInstances(step.database, step.clusterId)
  const first = rows.find(({ id }) => id === instanceId)
  if (first === undefined) throw new Error('BUG: the first instance is one of the cluster')
  await step.database.transaction(async (tx) => {
    await setInstanceActive(tx, first.id, true)
    await touchHosts(tx, [first.host_id])
  })
  await waitLeader(step)
}
