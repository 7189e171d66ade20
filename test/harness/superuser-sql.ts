// Owns SQL as the superuser of a test platform's cluster, through the socket of its leader's host,
// or of another one's: what no client of a cluster may do, such as ending a segment of WAL.
import { join } from 'node:path'
import type { Cluster } from '@howdah/core/contract/clusters.ts'
import pg from 'pg'
import type { TestPlatform } from './platform.ts'
import { until } from './until.ts'

const TIMEOUT_MS = 60_000

export async function superuserSql<Row extends pg.QueryResultRow = Record<string, unknown>>(
  platform: TestPlatform,
  clusterName: string,
  text: string,
  instance?: { host: string; port: number },
): Promise<Row[]> {
  const { host, port } = instance ?? (await findLeader(platform, clusterName))
  const client = new pg.Client({
    host: join(platform.home, 'hosts', host, 'run'),
    port,
    user: 'postgres',
    database: 'postgres',
    query_timeout: TIMEOUT_MS,
  })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query<Row>(text)).rows
  } finally {
    await client.end()
  }
}

function findLeader(platform: TestPlatform, clusterName: string) {
  return until(`${clusterName} to have a leader`, TIMEOUT_MS, async () => {
    const { body } = await platform.api<Cluster>('GET', `/v1/clusters/${clusterName}`)
    const found = body.instances.find(({ role }) => role === 'leader')
    return found === undefined ? { seen: body.message } : { value: found }
  })
}
