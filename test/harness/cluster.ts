// Owns what a test does with one cluster from outside: finding an endpoint and talking SQL to it,
// with TLS checked against the cluster's authority as an application would.
import { Socket } from 'node:net'
import type { Cluster, Credentials, Endpoint } from '@howdah/core/contract/clusters.ts'
import type { Operation } from '@howdah/core/contract/operations.ts'
import pg from 'pg'

export interface TestCluster {
  cluster: Cluster
  operation: Operation
  credentials: Credentials
  caPem: string
}

export interface SqlTarget {
  cluster: TestCluster
  /** `write` unless given. */
  purpose?: Endpoint['purpose']
  /** An instance instead of an endpoint, and perhaps the address that the connection comes from. */
  at?: { address: string; port: number; from?: string }
  /** The role `app` with its password, and its database, unless given. */
  user?: string
  password?: string
  database?: string
}

const CONNECT_TIMEOUT_MS = 15_000
const QUERY_TIMEOUT_MS = 30_000

export function endpointOf(cluster: Cluster, purpose: Endpoint['purpose']): Endpoint {
  const found = cluster.endpoints.find((endpoint) => endpoint.purpose === purpose)
  if (found === undefined) throw new Error(`${cluster.name} has no endpoint for ${purpose}`)
  return found
}

/** A connected client; the caller ends it. */
export async function connect(target: SqlTarget): Promise<pg.Client> {
  const { cluster, credentials, caPem } = target.cluster
  const { address, port } = target.at ?? endpointOf(cluster, target.purpose ?? 'write')
  const client = new pg.Client({
    host: address,
    port,
    user: target.user ?? credentials.role,
    password: target.password ?? credentials.password,
    database: target.database ?? credentials.database ?? 'app',
    // pg names a host to TLS only when it is no address; without a name Node checks `localhost`.
    ssl: { ca: caPem, host: address } as pg.ClientConfig['ssl'] & object,
    ...(target.at?.from === undefined ? {} : { stream: () => socketFrom(target.at?.from ?? '') }),
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
  })
  // A connection that breaks while idle would end the test's process; the next query tells anyway.
  client.on('error', () => {})
  await client.connect()
  return client
}

/** pg only says where to; a connection from another loopback address needs its own connect. */
function socketFrom(localAddress: string): Socket {
  const socket = new Socket()
  const connectSocket = socket.connect.bind(socket) as (options: object) => Socket
  socket.connect = ((port: number, host: string) =>
    connectSocket({ port, host, localAddress })) as typeof socket.connect
  return socket
}

export async function sql<Row extends pg.QueryResultRow = Record<string, unknown>>(
  target: SqlTarget,
  query: string,
  params: unknown[] = [],
): Promise<Row[]> {
  const client = await connect(target)
  try {
    return (await client.query<Row>(query, params)).rows
  } finally {
    await client.end()
  }
}

/** The SQLSTATE or network code with which it was refused; fails when it was not. */
export async function refusal(
  target: SqlTarget,
  query: string,
  params: unknown[] = [],
): Promise<string> {
  try {
    await sql(target, query, params)
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
  throw new Error(`${target.user ?? 'app'} was not refused: ${query}`)
}
