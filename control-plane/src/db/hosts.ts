// Owns the host, enrolment_token, dcs and dcs_member tables.
import type { Host, HostRole } from '@howdah/core/contract/hosts.ts'
import { isDiskLow, sayFree } from '@howdah/core/disk-space.ts'
import { HowdahError } from '@howdah/core/errors.ts'
import { newId } from '@howdah/core/ids.ts'
import type { GatewayCanary, HostFacts, ServiceStatus, Unheard } from '@howdah/core/protocol.ts'
import { notifyChange } from '../changes.ts'
import { isUniqueViolation, type Queryable } from '../database.ts'

/** A host not heard of for this long is offline: three heartbeats. */
const OFFLINE_AFTER_SECONDS = 30

export interface HostRow {
  id: string
  name: string
  address: string
  role: HostRole
  source_addresses: string[]
  labels: Record<string, string>
  desired_revision: number
  applied_revision: number
  apply_error: string
  facts: HostFacts | null
  services: ServiceStatus[]
  /** As it said with its last report. */
  unheard: Unheard[]
  canaries: GatewayCanary[]
  seen_at: Date | null
  online: boolean
  revoked_at: Date | null
  created_at: Date
}

const COLUMNS = `id, name, address, role, source_addresses, labels, desired_revision,
  applied_revision, apply_error, facts, services, unheard, canaries,
  seen_at, revoked_at, created_at,
  coalesce(seen_at > now() - interval '${OFFLINE_AFTER_SECONDS} seconds', false) as online`

export function hostState(row: HostRow): Host['state'] {
  if (row.revoked_at !== null) return 'revoked'
  if (row.seen_at === null) return 'pending'
  return row.online ? 'online' : 'offline'
}

function hostMessage(row: HostRow): string {
  if (row.seen_at === null) return 'waits for its agent to enrol'
  if (!row.online) return `not heard of since ${row.seen_at.toISOString()}`
  if (row.apply_error !== '') return `cannot apply its spec: ${row.apply_error}`
  if (row.applied_revision < row.desired_revision) return 'applies a change'
  const low = row.facts !== null && isDiskLow(row.facts) ? `; ${sayFree(row.facts)}` : ''
  return `runs ${row.services.length} services${low}`
}

export function toHost(row: HostRow): Host {
  return {
    id: row.id,
    name: row.name,
    address: row.address,
    role: row.role,
    state: hostState(row),
    message: hostMessage(row),
    labels: row.labels,
    cpu_count: row.facts?.cpuCount ?? null,
    memory_bytes: row.facts?.memoryBytes ?? null,
    disk_free_bytes: row.facts?.diskFreeBytes ?? null,
    postgres_versions: Object.keys(row.facts?.postgresql ?? {}),
    programs: row.facts?.programs ?? {},
    services: row.services.map((service) => ({
      name: service.name,
      state: service.state,
      ready: service.ready,
      pid: service.pid,
      since: service.sinceEpoch === null ? null : new Date(service.sinceEpoch * 1000).toISOString(),
      message: service.message,
    })),
    seen_at: row.seen_at?.toISOString() ?? null,
    created_at: row.created_at.toISOString(),
  }
}

export async function insertHost(
  db: Queryable,
  host: {
    name: string
    address: string
    role: HostRole
    sourceAddresses: readonly string[]
    labels: Record<string, string>
  },
): Promise<HostRow> {
  try {
    const { rows } = await db.query<HostRow>(
      `insert into host (id, name, address, role, source_addresses, labels)
       values ($1, $2, $3, $4, $5, $6) returning ${COLUMNS}`,
      [newId('host'), host.name, host.address, host.role, host.sourceAddresses, host.labels],
    )
    return rows[0] as HostRow
  } catch (error) {
    for (const key of ['name', 'address'] as const) {
      if (isUniqueViolation(error, `host_${key}_key`)) {
        const said = `another host has the ${key} ${host[key]}`
        throw new HowdahError('name-taken', said, { cause: error })
      }
    }
    throw error
  }
}

export async function listHosts(db: Queryable, after = '', limit = 10_000): Promise<HostRow[]> {
  const { rows } = await db.query<HostRow>(
    `select ${COLUMNS} from host where id > $1 order by id limit $2`,
    [after, limit],
  )
  return rows
}

export async function listHostIds(db: Queryable): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>('select id from host')
  return rows.map((row) => row.id)
}

/** By id or name. */
export async function findHost(db: Queryable, reference: string): Promise<HostRow | undefined> {
  const { rows } = await db.query<HostRow>(
    `select ${COLUMNS} from host where id = $1 or name = $1`,
    [reference],
  )
  return rows[0]
}

/** True when something still lives on the host. */
export async function isHostUsed(db: Queryable, id: string): Promise<boolean> {
  const { rows } = await db.query<{ used: boolean }>(
    `select exists (select 1 from instance where host_id = $1)
       or exists (select 1 from gateway where host_id = $1)
       or exists (select 1 from dcs_member where host_id = $1) as used`,
    [id],
  )
  return rows[0]?.used === true
}

export async function deleteHost(db: Queryable, id: string): Promise<void> {
  await db.query('delete from host where id = $1', [id])
}

/**
 * Wakes the agents of these hosts when the transaction commits; they fetch a spec rendered anew.
 */
export async function touchHosts(tx: Queryable, ids: readonly string[]): Promise<void> {
  // In the order of ids: two operations that touch the same hosts must not wait for each other.
  for (const id of [...new Set(ids)].sort()) {
    await tx.query('update host set desired_revision = desired_revision + 1 where id = $1', [id])
    await notifyChange(tx, `host:${id}`)
  }
}

/** Returns what it had told before. */
export async function recordFacts(
  tx: Queryable,
  id: string,
  facts: HostFacts,
): Promise<HostFacts | undefined> {
  const { rows } = await tx.query<{ facts: HostFacts | null }>(
    `with before as (select facts from host where id = $1 for update)
     update host set facts = $2, seen_at = now() from before where id = $1
     returning before.facts`,
    [id, JSON.stringify(facts)],
  )
  return rows[0]?.facts ?? undefined
}

export async function recordReport(
  db: Queryable,
  id: string,
  report: {
    appliedRevision: number
    applyError: string
    services: readonly ServiceStatus[]
    unheard?: readonly Unheard[]
    canaries?: readonly GatewayCanary[]
  },
): Promise<void> {
  const { appliedRevision, applyError } = report
  const [services, unheard, canaries] = [
    report.services,
    report.unheard ?? [],
    report.canaries ?? [],
  ].map((list) => JSON.stringify(list))
  await db.query(
    `update host set applied_revision = $2, apply_error = $3, services = $4, unheard = $5,
       canaries = $6, seen_at = now()
     where id = $1`,
    [id, appliedRevision, applyError, services, unheard, canaries],
  )
}

/** A new token makes the older ones of this host worthless. */
export async function replaceEnrolmentToken(
  tx: Queryable,
  hostId: string,
  hash: Buffer,
  minutes: number,
): Promise<Date> {
  await tx.query('delete from enrolment_token where host_id = $1', [hostId])
  const { rows } = await tx.query<{ expires_at: Date }>(
    `insert into enrolment_token (hash, host_id, expires_at)
     values ($1, $2, now() + make_interval(mins => $3)) returning expires_at`,
    [hash, hostId, minutes],
  )
  return (rows[0] as { expires_at: Date }).expires_at
}

/**
 * The host of a live token, which is used up by this; undefined for any other. One of two that race
 * wins.
 */
export async function useEnrolmentToken(tx: Queryable, hash: Buffer): Promise<string | undefined> {
  const { rows } = await tx.query<{ host_id: string }>(
    `update enrolment_token set used_at = now()
     where hash = $1 and used_at is null and expires_at > now() returning host_id`,
    [hash],
  )
  return rows[0]?.host_id
}

export interface DcsMemberRow {
  host_id: string
  name: string
  client_port: number
  peer_port: number
}

export async function readDcs(
  db: Queryable,
): Promise<{ state: 'none' | 'creating' | 'available'; members: DcsMemberRow[] }> {
  const { rows } = await db.query<{ state: 'creating' | 'available' }>('select state from dcs')
  const members = await db.query<DcsMemberRow>(
    'select host_id, name, client_port, peer_port from dcs_member order by name',
  )
  return { state: rows[0]?.state ?? 'none', members: members.rows }
}

/** False when there is a dcs already. */
export async function insertDcs(tx: Queryable, members: readonly DcsMemberRow[]): Promise<boolean> {
  const { rowCount } = await tx.query(
    "insert into dcs (state) values ('creating') on conflict do nothing",
  )
  if (rowCount !== 1) return false
  for (const member of members) {
    await tx.query(
      'insert into dcs_member (host_id, name, client_port, peer_port) values ($1, $2, $3, $4)',
      [member.host_id, member.name, member.client_port, member.peer_port],
    )
  }
  return true
}

export async function markDcsAvailable(db: Queryable): Promise<void> {
  await db.query("update dcs set state = 'available'")
}
