// Owns the repository and stanza tables: where backups are, and which cluster keeps some there.
import { HowdahError } from '@howdah/core/errors.ts'
import { newId } from '@howdah/core/ids.ts'
import { isUniqueViolation, type Queryable } from '../database.ts'

/** What is no secret of an S3 repository; `key` and `secret` are sealed apart. */
export interface S3Settings {
  endpoint: string
  port: number
  bucket: string
  region: string
  uri_style: 'host' | 'path'
  prefix: string
  allow_private: boolean
  ca_pem: string | null
}

export type RepositoryRow = {
  id: string
  name: string
  is_default: boolean
  created_at: Date
  /** What stands in the place itself; null until somebody has looked. */
  place: string | null
  version: number
} & ({ kind: 'directory'; settings: { path: string } } | { kind: 's3'; settings: S3Settings })

export interface StanzaRow {
  cluster_id: string
  repository_id: string
  cluster_name: string
  postgres_version: string
  retired_at: Date | null
  expires_at: Date | null
  checked_at: Date | null
  status: unknown
  created_at: Date
  /** Its place was empty when it began there: what is in it is its own. */
  claimed: boolean
}

const COLUMNS = 'id, name, kind, settings, is_default, created_at, place, version'
const STANZA_COLUMNS = `cluster_id, repository_id, cluster_name, postgres_version, retired_at,
  expires_at, checked_at, status, created_at, claimed`

export async function insertRepository(
  tx: Queryable,
  repository: {
    name: string
    kind: string
    settings: unknown
    isDefault: boolean
    place: string | null
  },
): Promise<RepositoryRow> {
  if (repository.isDefault) await tx.query('update repository set is_default = false')
  try {
    const { rows } = await tx.query<RepositoryRow>(
      `insert into repository (id, name, kind, settings, is_default, place)
       values ($1, $2, $3, $4, $5, $6) returning ${COLUMNS}`,
      [
        newId('repository'),
        repository.name,
        repository.kind,
        JSON.stringify(repository.settings),
        repository.isDefault,
        repository.place,
      ],
    )
    return rows[0] as RepositoryRow
  } catch (error) {
    if (isUniqueViolation(error, 'repository_place_key')) throw placeTaken(repository.name, error)
    if (!isUniqueViolation(error, 'repository_name_key')) throw error
    const said = `there is a repository ${repository.name} already`
    throw new HowdahError('name-taken', said, { cause: error })
  }
}

function placeTaken(name: string, cause: unknown): HowdahError {
  const said = `${name} leads to the place of another repository`
  return new HowdahError('place-taken', said, { cause })
}

/** Of one that has none yet; throws `place-taken` where another has that one. */
export async function storePlace(
  tx: Queryable,
  row: Pick<RepositoryRow, 'id' | 'name'>,
  place: string,
): Promise<void> {
  try {
    await tx.query('update repository set place = $2 where id = $1 and place is null', [
      row.id,
      place,
    ])
  } catch (error) {
    throw isUniqueViolation(error, 'repository_place_key') ? placeTaken(row.name, error) : error
  }
}

/** Undefined when somebody else has changed it since `version`. */
export async function updateRepository(
  tx: Queryable,
  row: Pick<RepositoryRow, 'id' | 'version' | 'settings' | 'is_default'>,
): Promise<RepositoryRow | undefined> {
  if (row.is_default) {
    await tx.query('update repository set is_default = false where id <> $1', [row.id])
  }
  const { rows } = await tx.query<RepositoryRow>(
    `update repository set settings = $3, is_default = $4, version = version + 1
     where id = $1 and version = $2 returning ${COLUMNS}`,
    [row.id, row.version, JSON.stringify(row.settings), row.is_default],
  )
  return rows[0]
}

/** Where something is rendered from it: hosts of instances of clusters that archive there. */
export async function listRepositoryHosts(db: Queryable, id: string): Promise<string[]> {
  const { rows } = await db.query<{ host_id: string }>(
    `select distinct i.host_id from instance i join stanza s on s.cluster_id = i.cluster_id
     where s.repository_id = $1`,
    [id],
  )
  return rows.map(({ host_id }) => host_id)
}

/** By id or name. */
export async function findRepository(
  db: Queryable,
  reference: string,
): Promise<RepositoryRow | undefined> {
  const { rows } = await db.query<RepositoryRow>(
    `select ${COLUMNS} from repository where id = $1 or name = $1`,
    [reference],
  )
  return rows[0]
}

export async function defaultRepository(db: Queryable): Promise<RepositoryRow | undefined> {
  const { rows } = await db.query<RepositoryRow>(
    `select ${COLUMNS} from repository where is_default`,
  )
  return rows[0]
}

export async function listRepositories(
  db: Queryable,
): Promise<(RepositoryRow & { clusters: number })[]> {
  const { rows } = await db.query<RepositoryRow & { clusters: number }>(
    `select ${COLUMNS}, (select count(*) from stanza where repository_id = repository.id)
       as clusters from repository order by id`,
  )
  return rows
}

export async function deleteRepository(tx: Queryable, id: string): Promise<void> {
  await tx.query('delete from repository where id = $1', [id])
}

export async function insertStanza(
  tx: Queryable,
  stanza: {
    clusterId: string
    repositoryId: string
    clusterName: string
    version: string
    next: boolean
  },
): Promise<void> {
  await tx.query(
    `insert into stanza (cluster_id, repository_id, cluster_name, postgres_version, next, claimed)
     values ($1, $2, $3, $4, $5, not $5)
     on conflict (cluster_id, repository_id) do update set retired_at = null, expires_at = null`,
    [stanza.clusterId, stanza.repositoryId, stanza.clusterName, stanza.version, stanza.next],
  )
}

/** Where the cluster will archive to, while it archives there, too. */
export async function nextStanza(db: Queryable, clusterId: string): Promise<StanzaRow | undefined> {
  const { rows } = await db.query<StanzaRow>(
    `select ${STANZA_COLUMNS} from stanza where cluster_id = $1 and next`,
    [clusterId],
  )
  return rows[0]
}

/**
 * The next one becomes the active one, and what was that is only read for as long as it is kept.
 */
export async function activateNext(
  tx: Queryable,
  clusterId: string,
  keepDays: number,
): Promise<void> {
  if ((await nextStanza(tx, clusterId)) === undefined) return
  await tx.query(
    `update stanza set retired_at = now(), expires_at = now() + make_interval(days => $2)
     where cluster_id = $1 and retired_at is null and not next`,
    [clusterId, keepDays],
  )
  await tx.query('update stanza set next = false where cluster_id = $1 and next', [clusterId])
}

/** From now on what is there is the cluster's own. */
export async function claimNext(tx: Queryable, clusterId: string): Promise<void> {
  await tx.query('update stanza set claimed = true where cluster_id = $1 and next', [clusterId])
}

/** Its time has come at once. */
export async function expireNext(tx: Queryable, clusterId: string): Promise<void> {
  await tx.query(
    `update stanza set next = false, retired_at = now(), expires_at = now()
     where cluster_id = $1 and next`,
    [clusterId],
  )
}

/** Where the cluster archives to now. */
export async function activeStanza(
  db: Queryable,
  clusterId: string,
): Promise<StanzaRow | undefined> {
  const { rows } = await db.query<StanzaRow>(
    `select ${STANZA_COLUMNS} from stanza
     where cluster_id = $1 and retired_at is null and not next`,
    [clusterId],
  )
  return rows[0]
}

/** By id or by the name that the cluster had; the one that archives now first. */
export async function findStanzas(db: Queryable, reference: string): Promise<StanzaRow[]> {
  const { rows } = await db.query<StanzaRow>(
    `select ${STANZA_COLUMNS} from stanza where cluster_id = $1 or cluster_name = $1
     order by retired_at desc nulls first`,
    [reference],
  )
  return rows
}

export async function listStanzasIn(db: Queryable, repositoryId: string): Promise<StanzaRow[]> {
  const { rows } = await db.query<StanzaRow>(
    `select ${STANZA_COLUMNS} from stanza where repository_id = $1 order by cluster_id`,
    [repositoryId],
  )
  return rows
}

export async function listActiveStanzas(db: Queryable): Promise<StanzaRow[]> {
  const { rows } = await db.query<StanzaRow>(
    `select ${STANZA_COLUMNS} from stanza where retired_at is null and not next
     order by cluster_id`,
  )
  return rows
}

/** Retired ones whose backups nobody may want any more, and nobody reads right now. */
export async function listExpiredStanzas(db: Queryable): Promise<StanzaRow[]> {
  const { rows } = await db.query<StanzaRow>(
    `select ${STANZA_COLUMNS} from stanza s where expires_at < now() and not exists (
       select from operation o where o.state in ('pending', 'running')
         and ((o.cluster_id = s.cluster_id and o.lane = 'backup')
           or (o.input->'stanza'->>'cluster_id' = s.cluster_id
             and o.input->'stanza'->>'repository_id' = s.repository_id)))
     order by expires_at`,
  )
  return rows
}

/** An operation that began with one of its backups and still reads there; drills run alone. */
export async function findReader(
  db: Queryable,
  stanza: Pick<StanzaRow, 'cluster_id' | 'repository_id'>,
): Promise<{ id: string; title: string } | undefined> {
  const { rows } = await db.query<{ id: string; title: string }>(
    `select id, title from operation where state in ('pending', 'running')
       and input->'stanza'->>'cluster_id' = $1 and input->'stanza'->>'repository_id' = $2
     order by id limit 1`,
    [stanza.cluster_id, stanza.repository_id],
  )
  return rows[0]
}

export async function retireStanza(
  tx: Queryable,
  clusterId: string,
  keepDays: number,
): Promise<void> {
  await tx.query(
    `update stanza set next = false, retired_at = coalesce(retired_at, now()),
       expires_at = coalesce(expires_at, now() + make_interval(days => $2))
     where cluster_id = $1`,
    [clusterId, keepDays],
  )
}

export async function deleteStanza(
  tx: Queryable,
  stanza: Pick<StanzaRow, 'cluster_id' | 'repository_id'>,
): Promise<void> {
  const key = [stanza.cluster_id, stanza.repository_id]
  await tx.query('delete from backup where cluster_id = $1 and repository_id = $2', key)
  await tx.query('delete from stanza where cluster_id = $1 and repository_id = $2', key)
  for (const table of ['restore_point', 'taken_back']) {
    await tx.query(
      `delete from ${table} where cluster_id = $1
         and not exists (select from stanza where stanza.cluster_id = $1)`,
      [stanza.cluster_id],
    )
  }
}

/** What was seen of it no longer holds: it is looked at anew. */
export async function forgetStanzaStatus(tx: Queryable, clusterId: string): Promise<void> {
  await tx.query(
    `update stanza set status = null, checked_at = null
     where cluster_id = $1 and retired_at is null and not next`,
    [clusterId],
  )
}

/** Which looks are under way: a repository's places are taken, or a cluster is being looked at. */
export interface Busy {
  repositories: readonly string[]
  clusters: readonly string[]
}

/**
 * The one that was not looked at for the longest; whoever claims it looks. None that is busy, but
 * for one that is asked for: the look under way may be waiting for a leader that is gone.
 */
export async function claimStanzaCheck(
  db: Queryable,
  everySeconds: number,
  busy: Busy,
): Promise<StanzaRow | undefined> {
  const { rows } = await db.query<StanzaRow>(
    `update stanza set checked_at = now(), look_soon = false where (cluster_id, repository_id) = (
       select s.cluster_id, s.repository_id from stanza s
       join cluster c on c.id = s.cluster_id and c.state = 'available'
       where s.retired_at is null and not s.next and s.repository_id <> all($2)
         and (s.look_soon or (s.cluster_id <> all($3) and (s.checked_at is null
              or s.checked_at < now() - make_interval(secs => $1))))
       order by s.look_soon desc, s.checked_at nulls first limit 1 for update of s skip locked)
     returning ${STANZA_COLUMNS}`,
    [everySeconds, busy.repositories, busy.clusters],
  )
  return rows[0]
}

/** At the next round, instead of a minute later. */
export async function askForStanzaCheck(tx: Queryable, clusterId: string): Promise<void> {
  await tx.query('update stanza set look_soon = true where cluster_id = $1', [clusterId])
}

export async function storeStanzaStatus(
  tx: Queryable,
  stanza: Pick<StanzaRow, 'cluster_id' | 'repository_id'>,
  status: unknown,
): Promise<void> {
  await tx.query(
    `update stanza set checked_at = now(), status = $3
     where cluster_id = $1 and repository_id = $2`,
    [stanza.cluster_id, stanza.repository_id, JSON.stringify(status)],
  )
}
