// Owns the rows that say where drills keep a copy. A row is a port on a host that names the copy's
// socket, so no two copies of a host meet; it stays until the copy is removed, whoever does that.
import type { Queryable } from '../database.ts'
import { allocatePorts } from './clusters.ts'

const OWNER = 'drill:'

export interface DrillCopy {
  operation_id: string
  host_id: string
  port: number
}

export async function insertCopy(tx: Queryable, copy: DrillCopy): Promise<void> {
  await allocatePorts(tx, copy.host_id, OWNER + copy.operation_id, [copy.port])
}

export async function findCopy(db: Queryable, operationId: string): Promise<DrillCopy | undefined> {
  const { rows } = await db.query<DrillCopy>(
    'select $2::text as operation_id, host_id, port from port_allocation where owner = $1',
    [OWNER + operationId, operationId],
  )
  return rows[0]
}

/** The number of copies on each host that has any. */
export async function countCopies(db: Queryable): Promise<Map<string, number>> {
  const { rows } = await db.query<{ host_id: string; count: number }>(
    `select host_id, count(*)::integer as count from port_allocation
     where starts_with(owner, $1) group by host_id`,
    [OWNER],
  )
  return new Map(rows.map(({ host_id, count }) => [host_id, count]))
}

/** Of operations that do not run: they ended where nobody could clean up. */
export async function listLeftCopies(db: Queryable): Promise<DrillCopy[]> {
  const { rows } = await db.query<DrillCopy>(
    `select substr(owner, length($1) + 1) as operation_id, host_id, port from port_allocation
     where starts_with(owner, $1) and not exists (
       select from operation o where $1 || o.id = owner and o.state in ('pending', 'running'))`,
    [OWNER],
  )
  return rows
}

export async function deleteCopy(tx: Queryable, operationId: string): Promise<void> {
  await tx.query('delete from port_allocation where owner = $1', [OWNER + operationId])
}
