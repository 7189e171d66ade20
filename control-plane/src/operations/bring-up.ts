// Owns the steps that turn a placed cluster into one that accepts writes: shared by creation and
// undo of a deletion. Instances and gateways start together; what a step waits for is looked at,
// never assumed.
import { isFollowing } from '@howdah/core/cluster-health.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { quoteIdentifier, quoteLiteral } from '@howdah/core/names.ts'
import { dcsPrefix, PLATFORM_ROLES } from '@howdah/core/render/model.ts'
import { scramVerifier } from '@howdah/core/scram.ts'
import {
  hostsById,
  isGatewayReady,
  leaderOf,
  observe,
  patroniOf,
} from '../clusters/cluster-view.ts'
import {
  askReign,
  inOneTransaction,
  runOnLeader,
  type Statement,
  statement,
} from '../clusters/leader-sql.ts'
import {
  findCluster,
  listGateways,
  listInstances,
  setActive,
  setClusterState,
} from '../db/clusters.ts'
import { touchHosts } from '../db/hosts.ts'
import { readSecret, readSecrets } from '../db/secrets.ts'
import { SECRET } from '../hosts/render-input.ts'
import { askAgent } from './agent-task.ts'
import { runDcsTask } from './dcs-access.ts'
import type { OperationContext, StepContext, StepPlan } from './operation.ts'
import { PREPARE_BACKUPS_STEP, prepareBackups, scheduleBackups } from './prepare-backups.ts'

const LEADER_TIMEOUT_MS = 120_000
const REPLICAS_TIMEOUT_MS = 300_000
const WRITE_TIMEOUT_MS = 60_000

export const BRING_UP_STEPS: readonly StepPlan[] = [
  { name: 'prepare-dcs', title: 'gives the cluster its own user in the dcs' },
  { name: 'start-services', title: 'starts instances and gateways' },
  { name: 'wait-leader', title: 'waits for a leader' },
  PREPARE_BACKUPS_STEP,
  { name: 'prepare-database', title: 'creates roles and databases' },
  { name: 'wait-replicas', title: 'waits until replicas stream' },
  { name: 'verify-write', title: 'commits a row through the write endpoint' },
  { name: 'mark-available', title: 'marks the cluster available' },
]

/** `withoutAway`: the cluster is available without what is on hosts that are away. */
export async function bringUp<Input>(
  { step }: Pick<OperationContext<Input>, 'step'>,
  prepareDatabase: (step: StepContext) => Promise<void>,
  { withoutAway = false }: { withoutAway?: boolean } = {},
): Promise<void> {
  await step('prepare-dcs', prepareDcs)
  await step('start-services', startServices)
  await step('wait-leader', waitLeader)
  // The first replica that copies the leader has it end a segment: that one is archived in vain
  // until there is a place for it, and PostgreSQL waits for a minute after its third attempt.
  await step('prepare-backups', prepareBackups)
  const prepare = (context: StepContext) =>
    onOneTimeline(context, async () => {
      await preparePlatformRoles(context)
      await prepareDatabase(context)
    })
  const timeline = await step('prepare-database', prepare)
  await step('wait-replicas', async (context) => {
    await waitReplicas(context, REPLICAS_TIMEOUT_MS, { withoutAway })
    if ((await askReign(context)).timeline !== timeline) await prepare(context)
  })
  await step('verify-write', (context) => verifyWrite(context, { withoutAway }))
  await step('mark-available', ({ database, clusterId }) =>
    database.transaction(async (tx) => {
      await setClusterState(tx, clusterId, 'available', '')
      await scheduleBackups(tx, clusterId)
    }),
  )
}

/**
 * Before there is a synchronous replica, a leader that is lost takes with it what was written: it
 * is written again on the next one, by a `write` that is idempotent. Returns the timeline that has
 * it.
 */
export async function onOneTimeline(
  step: StepContext,
  write: () => Promise<void>,
): Promise<string> {
  for (;;) {
    const before = await askReign(step)
    const refusal = await write().catch((error: unknown) => {
      // As a database that the leader before had made: it may be for that.
      if (!(error instanceof HowdahError) || error.code !== 'database-refused') throw error
      return error
    })
    const { leader, timeline } = await askReign(step)
    if (timeline === before.timeline) {
      if (refusal !== undefined) throw refusal
      return timeline
    }
    await step.say(`${leader} leads now, and may not have it: writes it again`)
  }
}

export async function prepareDcs(step: StepContext): Promise<void> {
  const password = await readSecret(step.database, step.sealer, step.clusterId, 'dcs')
  if (password === undefined) throw new Error('BUG: the dcs password is made before this step')
  await runDcsTask(step, (dcs) => ({
    kind: 'dcs-ensure-user',
    dcs,
    user: step.clusterId,
    password,
    prefix: dcsPrefix(step.clusterId),
  }))
}

async function startServices({ database, clusterId }: StepContext): Promise<void> {
  await database.transaction(async (tx) => {
    const instanceHosts = await setActive(tx, 'instance', clusterId, true)
    const gatewayHosts = await setActive(tx, 'gateway', clusterId, true)
    await touchHosts(tx, [...instanceHosts, ...gatewayHosts])
  })
}

async function reportTopics({ database, clusterId }: StepContext): Promise<string[]> {
  const instances = await listInstances(database, clusterId)
  const gateways = await listGateways(database, clusterId)
  return [...new Set([...instances, ...gateways].map((row) => `report:${row.host_id}`))]
}

/** Why a host cannot apply its spec: otherwise the deadline would hide it behind "no leader". */
async function applyErrors({ database, clusterId }: StepContext): Promise<string> {
  const hosts = await hostsById(database)
  const ids = new Set((await listInstances(database, clusterId)).map((row) => row.host_id))
  return [...hosts.values()]
    .filter((host) => ids.has(host.id) && host.apply_error !== '')
    .map((host) => `${host.name}: ${host.apply_error}`)
    .join('; ')
}

export async function waitLeader(step: StepContext): Promise<void> {
  await step.until(await reportTopics(step), LEADER_TIMEOUT_MS, async () => {
    const hosts = await hostsById(step.database)
    const instances = await listInstances(step.database, step.clusterId)
    const leader = leaderOf(hosts, instances)
    const errors = await applyErrors(step)
    const states = instances.map(
      (instance) => `${instance.name} ${patroniOf(hosts, instance)?.state ?? 'is not up yet'}`,
    )
    await step.say(leader === undefined ? errors || states.join(', ') : `${leader.name} leads`)
    return leader === undefined ? undefined : true
  })
}

/**
 * What PgBouncer asks, in a function that pins its search_path; platform roles but the probe are
 * hidden.
 */
const POOLER_SCHEMA: readonly string[] = [
  'create schema if not exists howdah',
  'revoke all on schema howdah from public',
  `create or replace function howdah.pooler_lookup(wanted text)
     returns table (role_name text, role_verifier text)
     language sql stable security definer set search_path = pg_catalog
   as $function$
     select a.rolname::pg_catalog.text, a.rolpassword from pg_catalog.pg_authid a
     where a.rolname = wanted and a.rolcanlogin and not a.rolsuper and not a.rolreplication
       and (a.rolvaliduntil is null or a.rolvaliduntil > pg_catalog.now())
       and (a.rolname = 'howdah_probe' or a.rolname !~ '^(howdah_|pg_)')
   $function$`,
  'revoke all on function howdah.pooler_lookup(text) from public',
  `grant usage on schema howdah to ${PLATFORM_ROLES.pooler}`,
  `grant execute on function howdah.pooler_lookup(text) to ${PLATFORM_ROLES.pooler}`,
]

/**
 * Creates the role or, if it is there, gives it the verifier: the same after once and after twice.
 */
export function ensureLoginRole(name: string, verifier: string): Statement[] {
  const role = quoteIdentifier(name)
  return [
    statement(
      `do $do$ begin
         if not exists (select from pg_catalog.pg_roles where rolname = ${dollarSafe(name)}) then
           execute ${dollarSafe(`create role ${role} login`)};
         end if;
       end $do$`,
    ),
    statement(`alter role ${role} with login password ${quoteLiteral(verifier)}`),
  ]
}

/** A literal that cannot end the `$do$` block that it stands in. */
function dollarSafe(text: string): string {
  if (!text.includes('$')) return quoteLiteral(text)
  return text
    .split('$')
    .map((part) => quoteLiteral(part))
    .join(' operator(pg_catalog.||) chr(36) operator(pg_catalog.||) ')
}

/**
 * Patroni says that it leads before it has made its own roles. We must not make one in its place:
 * its own `create role` would then fail, and it would throw the new data directory away.
 */
const AWAIT_REWIND_ROLE = statement(
  `do $do$ begin
     for attempt in 1..1000 loop
       exit when exists (
         select from pg_catalog.pg_roles where rolname = ${quoteLiteral(PLATFORM_ROLES.rewind)});
       perform pg_catalog.pg_sleep(0.01);
     end loop;
   end $do$`,
)

/**
 * Set for applications, they would keep the pooler from looking up a login, and Patroni from its
 * view.
 */
const LIMITS = [
  'statement_timeout',
  'lock_timeout',
  'idle_session_timeout',
  'idle_in_transaction_session_timeout',
]

async function preparePlatformRoles(step: StepContext): Promise<void> {
  const secrets = await readSecrets(step.database, step.sealer, step.clusterId)
  const { superuser, pooler, probe, rewind } = PLATFORM_ROLES
  const roles = (
    [
      ['pooler', pooler],
      ['probe', probe],
    ] as const
  ).flatMap(([secret, role]) => ensureLoginRole(role, scramVerifier(secrets.get(secret) ?? '')))
  const schema = POOLER_SCHEMA.map((text) => statement(text))
  const limits = LIMITS.flatMap((name) =>
    [superuser, rewind, pooler, probe].map((role) =>
      statement(`alter role ${role} set ${name} = 0`),
    ),
  )
  const statements = [
    AWAIT_REWIND_ROLE,
    ...roles,
    ...limits,
    ...schema,
    statement('revoke connect, temporary on database postgres from public'),
    // pg_rewind and Patroni look at a leader through this database before a former leader may
    // follow.
    statement(`grant connect on database postgres to ${pooler}, ${probe}, ${rewind}`),
    statement(`create table if not exists howdah.canary (
      gateway text primary key,
      written_at timestamptz not null,
      sequence bigint not null default 0)`),
    statement(`grant usage on schema howdah to ${probe}`),
    statement(`grant select, insert, update, delete on howdah.canary to ${probe}`),
  ]
  await runOnLeader(step, 'postgres', inOneTransaction(statements))
  // New databases are copies of template1, so PgBouncer can look roles up in each of them.
  await runOnLeader(step, 'template1', inOneTransaction(schema))
}

/**
 * Until somebody leads and the others stream. `withoutAway`: but for those on hosts that are away,
 * which no operation can bring back. `leaving`: nobody waits for those, as they are removed.
 */
export async function waitReplicas(
  step: StepContext,
  timeoutMs = REPLICAS_TIMEOUT_MS,
  { withoutAway = true, leaving = [] as readonly string[] } = {},
): Promise<void> {
  await step.until(await reportTopics(step), timeoutMs, async () => {
    const hosts = await hostsById(step.database)
    const cluster = await findCluster(step.database, step.clusterId)
    const instances = await listInstances(step.database, step.clusterId)
    const leader = leaderOf(hosts, instances)
    const away = instances.filter(({ host_id }) => hosts.get(host_id)?.online !== true)
    const ignored = [...leaving, ...(withoutAway ? away.map(({ name }) => name) : [])]
    const observed = observe(hosts, instances)
    const replicas = observed.filter(({ name }) => name !== leader?.name && !ignored.includes(name))
    const waiting = replicas.filter((instance) => !isFollowing(instance))
    const hasSync = observed.some(
      (instance) => isFollowing(instance) && instance.patroni?.role === 'sync-replica',
    )
    const lacksSync = replicas.length > 0 && cluster?.spec.durability !== 'async' && !hasSync
    const following = replicas.length - waiting.length
    const sync = lacksSync ? ', no sync replica yet' : ''
    await step.say(
      [
        ...(leader === undefined ? ['no instance leads'] : []),
        `${following} of ${replicas.length} replicas stream${sync}`,
        ...waiting.map(({ name, patroni }) => `${name} ${patroni?.state ?? 'is not up yet'}`),
      ].join('; '),
    )
    return leader !== undefined && waiting.length === 0 && !lacksSync ? true : undefined
  })
}

async function verifyWrite(step: StepContext, { withoutAway = false }): Promise<void> {
  const secrets = await readSecrets(step.database, step.sealer, step.clusterId)
  for (const gateway of await listGateways(step.database, step.clusterId)) {
    await step.until(await reportTopics(step), WRITE_TIMEOUT_MS, async () => {
      const hosts = await hostsById(step.database)
      if (withoutAway && hosts.get(gateway.host_id)?.online !== true) return true
      if (!isGatewayReady(hosts, gateway)) {
        await step.say(`${gateway.name} is not ready yet`)
        return undefined
      }
      const result = await askAgent(step, {
        hostId: gateway.host_id,
        operationId: step.operationId,
        timeoutMs: 10_000,
        action: {
          kind: 'sql',
          requireLeader: true,
          connection: {
            host: hosts.get(gateway.host_id)?.address ?? '',
            port: gateway.ports.write,
            user: PLATFORM_ROLES.probe,
            password: secrets.get('probe') ?? '',
            database: 'postgres',
            caPem: secrets.get(SECRET.caCertificate) ?? '',
          },
          statements: [canaryStatement(gateway.name)],
        },
      })
      await step.say(result.ok ? `${gateway.name} writes` : `${gateway.name}: ${result.error}`)
      return result.ok ? true : undefined
    })
  }
}

export function canaryStatement(gateway: string): Statement {
  return statement(
    `insert into howdah.canary as c (gateway, written_at, sequence) values ($1, now(), 1)
     on conflict (gateway) do update set written_at = now(), sequence = c.sequence + 1`,
    [gateway],
  )
}

/** The sentence with which a cluster that could not be brought up is shown. */
export function failedMessage(what: string, reason: string): string {
  return `${what} failed: ${reason}`
}
