// Owns the backup_door table: which leaders let a backup in that runs beside one of their replicas.
// A door is open only while its operation runs, so one that was forgotten is closed all the same.
import type { Queryable } from '../database.ts'

export interface DoorRow {
  operation_id: string
  cluster_id: string
  instance_id: string
  host_id: string
  port: number
  client: string
}

const COLUMNS = 'operation_id, cluster_id, instance_id, host_id, port, client'

/** Whose secrets those of a door are. */
export const doorOwner = (operationId: string): string => `door:${operationId}`

export async function insertDoor(tx: Queryable, door: DoorRow): Promise<void> {
  await tx.query(
    `insert into backup_door (${COLUMNS}) values ($1, $2, $3, $4, $5, $6)
     on conflict (operation_id) do update set instance_id = $3, host_id = $4, port = $5,
       client = $6`,
    [door.operation_id, door.cluster_id, door.instance_id, door.host_id, door.port, door.client],
  )
}

export async function findDoor(db: Queryable, operationId: string): Promise<DoorRow | undefined> {
  const { rows } = await db.query<DoorRow>(
    `select ${COLUMNS} from backup_door where operation_id = $1`,
    [operationId],
  )
  return rows[0]
}

export async function listDoors(db: Queryable, clusterId: string): Promise<DoorRow[]> {
  const { rows } = await db.query<DoorRow>(
    `select ${COLUMNS} from backup_door where cluster_id = $1`,
    [clusterId],
  )
  return rows
}

/** Those of operations that run. */
export async function listOpenDoors(db: Queryable, clusterId: string): Promise<DoorRow[]> {
  const { rows } = await db.query<DoorRow>(
    `select ${COLUMNS} from backup_door d where cluster_id = $1 and exists (
       select from operation o where o.id = d.operation_id and o.state in ('pending', 'running'))`,
    [clusterId],
  )
  return rows
}

/**
 * Ports and keys of doors whose rows are gone, as with a deleted cluster or an instance that was
 * removed while the door was open.
 */
export async function deleteLeftDoors(db: Queryable): Promise<void> {
  for (const table of ['port_allocation', 'secret']) {
    await db.query(
      `delete from ${table} where starts_with(owner, 'door:') and not exists (
         select from operation o where owner = 'door:' || o.id
           and o.state in ('pending', 'running'))`,
    )
  }
}

export async function deleteDoor(tx: Queryable, operationId: string): Promise<void> {
  await tx.query('delete from backup_door where operation_id = $1', [operationId])
}
