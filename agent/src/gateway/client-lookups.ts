// Owns that a pooler can look clients up. For each database it asks PostgreSQL for the verifier of
// whoever logs in, in a session of its own there. Where that session could not be opened and none
// is left, PgBouncer 1.18 refuses the next client, however long ago it was, and only then tries
// again (check_fast_fail in its objects.c): so that client is the agent, and not the first one of
// an application after a quiet hour.
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import { PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { endSession, openSession } from '../pg-session.ts'
import { openConsole, type PoolerAddress } from './pgbouncer-admin.ts'

const KNOCK_TIMEOUT_MS = 2000
/** Nobody's: it is looked up, is not found, and is refused before it has a session anywhere. */
const NOBODY = 'howdah_nobody'
const SERVERS = ['sv_active', 'sv_idle', 'sv_used', 'sv_tested', 'sv_login']

type Gateway = Pick<WatchedCluster['localGateways'][number], 'address' | 'writePort' | 'readPort'>

/**
 * Has each lookup of a gateway's poolers that has no session open one, with one try each. Never
 * rejects: what was refused, and a pooler that does not answer, is for the next time. Idempotent.
 * Not while clients are held: it would wait with them.
 */
export async function openLookups(
  cluster: WatchedCluster,
  { address, writePort, readPort }: Gateway,
): Promise<void> {
  for (const port of [writePort, readPort]) {
    await openLookupsOf(cluster, { address, port }).catch(() => undefined)
  }
}

async function openLookupsOf(cluster: WatchedCluster, pooler: PoolerAddress): Promise<void> {
  const adminConsole = await openConsole(cluster, pooler)
  const pools = await adminConsole.pools().finally(() => adminConsole.close())
  for (const database of lackingLookups(pools)) await knock(cluster, pooler, database)
}

/** Pure: databases in which somebody logged in, and whose lookup has no session by now. */
export function lackingLookups(pools: readonly Record<string, string>[]): string[] {
  return pools
    .filter(({ user }) => user === PLATFORM_ROLES.pooler)
    .filter((pool) => SERVERS.every((name) => Number(pool[name] ?? 0) === 0))
    .map(({ database }) => database ?? '')
}

async function knock(
  { caPem }: WatchedCluster,
  { address: host, port }: PoolerAddress,
  database: string,
): Promise<void> {
  const ssl = { ca: caPem, checkServerIdentity: () => undefined }
  const login = { host, port, database, user: NOBODY, password: '', ssl }
  await openSession(login, KNOCK_TIMEOUT_MS).then(endSession, () => undefined)
}
