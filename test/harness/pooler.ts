// Owns what a test asks the pooler for writes of a gateway, at its console, as an agent does.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { connect, type TestCluster } from './cluster.ts'
import { hostProcesses } from './host.ts'
import type { TestPlatform } from './platform.ts'

export interface Pooler extends AsyncDisposable {
  /**
   * Of clients that never rest: they wait, and it has no session at the leader, nor opens one. That
   * is what a PAUSE comes to; there is no word for it among the commands of PgBouncer 1.18.
   */
  holds(): Promise<boolean>
  /** Sessions with which it looks up who logs in to the database. */
  lookups(database: string): Promise<number>
  /** Clients that wait for being looked up; it notices after a minute that one has gone. */
  lookedUp(database: string): Promise<number>
}

type Pool = Record<string, string>

const READY_COLUMNS = ['sv_active', 'sv_idle', 'sv_used', 'sv_tested']
const SERVER_COLUMNS = [...READY_COLUMNS, 'sv_login']

const sum = (pools: readonly Pool[], columns: readonly string[]) =>
  pools.flatMap((pool) => columns.map((name) => Number(pool[name] ?? 0))).reduce((a, b) => a + b, 0)

/** The gateway's host, and the id that its services carry. */
export interface GatewayPlace {
  host: string
  id: string
}

/** The one gateway of a host. */
export function findGateway(platform: TestPlatform, host: string): GatewayPlace {
  const id = hostProcesses(platform, host)
    .map(({ service }) => /haproxy-(gwy_[0-9a-z]+)/.exec(service)?.[1])
    .find((found) => found !== undefined)
  if (id === undefined) throw new Error(`${host} has no gateway`)
  return { host, id }
}

export async function askPooler(
  platform: TestPlatform,
  cluster: TestCluster,
  gateway: GatewayPlace,
): Promise<Pooler> {
  const config = join(platform.home, 'hosts', gateway.host, 'config', gateway.id)
  const users = await readFile(join(config, 'userlist.txt'), 'utf8')
  const user = PLATFORM_ROLES.gateway
  const password = new RegExp(`^"${user}" "(.*)"$`, 'm').exec(users)?.[1] ?? ''
  const session = await connect({ cluster, user, password, database: 'pgbouncer' })
  const show = async () => {
    const { rows } = await session.query<Pool>('SHOW POOLS')
    return rows.filter(({ database }) => database !== 'pgbouncer')
  }
  const showLookups = async (database: string) =>
    (await show()).filter(
      (pool) => pool['database'] === database && pool['user'] === PLATFORM_ROLES.pooler,
    )
  return {
    async holds() {
      const pools = await show()
      return sum(pools, ['cl_waiting']) > 0 && sum(pools, SERVER_COLUMNS) === 0
    },
    async lookups(database) {
      return sum(await showLookups(database), READY_COLUMNS)
    },
    async lookedUp(database) {
      return sum(await showLookups(database), ['cl_waiting'])
    },
    async [Symbol.asyncDispose]() {
      await session.end().catch(() => undefined)
    },
  }
}
