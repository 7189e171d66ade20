// Owns collecting what a connection to a cluster needs: endpoint, kept credentials, authority on
// disk.
import type { Cluster, Credentials } from '@howdah/core/contract/clusters.ts'
import type { Command } from 'commander'
import { apiPath } from './api-client.ts'
import {
  type ConnectionTarget,
  chooseCredentials,
  choosePurpose,
  type EndpointFlags,
  endpointAddresses,
} from './connection-target.ts'
import type { Context } from './context.ts'
import { readCredentials, saveClusterCa } from './credentials-file.ts'

export interface ConnectionFlags extends EndpointFlags {
  role?: string
  database?: string
}

export interface ClusterConnection {
  cluster: Cluster
  target: ConnectionTarget
  kept: Credentials[]
}

export function addConnectionOptions(command: Command): Command {
  return command
    .option('--read', 'the read endpoint: balanced over replicas')
    .option('--direct', 'not pooled: a session of its own, for LISTEN, pg_dump, migrations')
    .option('--read-direct', 'a session of its own on a replica')
    .option('--role <role>', 'log in as this role (default: the one made with the cluster)')
    .option('--database <database>', 'connect to this database')
}

/** Writes the authority's certificate to the home, because verify-full needs it as a file. */
export async function findConnection(
  context: Context,
  name: string,
  flags: ConnectionFlags,
): Promise<ClusterConnection> {
  const client = context.client()
  const cluster = await client.get<Cluster>(apiPath`/v1/clusters/${name}`)
  const addresses = endpointAddresses(cluster, choosePurpose(flags))
  const ca = await client.get<{ pem: string }>(apiPath`/v1/clusters/${cluster.id}/ca`)
  const caFile = await saveClusterCa(context.home(), cluster.name, ca.pem)
  const kept = await readCredentials(context.home(), cluster)
  const credentials = chooseCredentials(kept, flags.role)
  return {
    cluster,
    kept,
    target: {
      addresses,
      role: flags.role ?? credentials?.role,
      password: credentials?.password,
      // A role made without a database still has somewhere to go: where the cluster's own role
      // goes.
      database: flags.database ?? credentials?.database ?? kept[0]?.database ?? undefined,
      caFile,
    },
  }
}

/** Says on stderr how to get a password, when none is kept. */
export function hintAtPassword(context: Context, connection: ClusterConnection): void {
  const { cluster, target } = connection
  if (target.password !== undefined) return
  const note = context.output().note
  if (target.role === undefined) {
    note(`hint: no credentials of ${cluster.name} are kept here; make some:`)
    note(`hint:   howdah role create ${cluster.name} app --access write --database DATABASE`)
    return
  }
  note(`hint: no password of role ${JSON.stringify(target.role)} is kept here; make a new one:`)
  note(`hint:   howdah role rotate-password ${cluster.name} ROLE`)
}
