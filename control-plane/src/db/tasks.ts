// Owns the task table: commands for agents. An action is sealed, as it may hold a password.
import { newId } from '@howdah/core/ids.ts'
import type { Task, TaskAction, TaskResult } from '@howdah/core/protocol.ts'
import { notifyChange } from '../changes.ts'
import type { Queryable } from '../database.ts'
import type { Sealer } from '../sealing.ts'

export async function insertTask(
  tx: Queryable,
  sealer: Sealer,
  task: { hostId: string; operationId: string | null; timeoutMs: number; action: TaskAction },
): Promise<string> {
  const id = newId('task')
  await tx.query(
    `insert into task (id, host_id, operation_id, action, timeout_ms, state)
     values ($1, $2, $3, $4, $5, 'pending')`,
    [
      id,
      task.hostId,
      task.operationId,
      sealer.seal(`task:${id}`, JSON.stringify(task.action)),
      task.timeoutMs,
    ],
  )
  await notifyChange(tx, `host:${task.hostId}`)
  return id
}

/** What the agent of a host shall run and does not know yet. */
export async function listPendingTasks(
  db: Queryable,
  sealer: Sealer,
  hostId: string,
  known: readonly string[],
): Promise<Task[]> {
  const { rows } = await db.query<{ id: string; action: Buffer; timeout_ms: number }>(
    `select id, action, timeout_ms from task
     where host_id = $1 and state = 'pending' and id <> all($2) order by id limit 50`,
    [hostId, known],
  )
  return rows.map((row) => ({
    id: row.id,
    timeoutMs: row.timeout_ms,
    action: JSON.parse(sealer.open(`task:${row.id}`, row.action)) as TaskAction,
  }))
}

/**
 * Stores a result once; only for a task of this very host. Returns whether the agent may forget it.
 */
export async function recordResult(
  tx: Queryable,
  hostId: string,
  result: TaskResult,
): Promise<void> {
  await tx.query(
    `update task set state = 'done', result = $3, ended_at = now(), action = ''
     where id = $1 and host_id = $2 and state in ('pending', 'withdrawn')`,
    [result.id, hostId, JSON.stringify(result)],
  )
  await notifyChange(tx, `task:${result.id}`)
}

export async function readResult(db: Queryable, id: string): Promise<TaskResult | undefined> {
  const { rows } = await db.query<{ result: TaskResult | null }>(
    'select result from task where id = $1',
    [id],
  )
  return rows[0]?.result ?? undefined
}

/** Given up by whoever waited: an agent that comes late must not run it. */
export async function abandonTask(db: Queryable, id: string): Promise<void> {
  await db.query("delete from task where id = $1 and state = 'pending'", [id])
}

/** All tasks of an operation that no agent has answered; one that runs goes on to its end. */
export async function abandonTasks(tx: Queryable, operationId: string): Promise<void> {
  await tx.query(
    `update task set state = 'abandoned', action = ''
     where operation_id = $1 and state = 'pending'`,
    [operationId],
  )
}

/** Given up, and to be ended where it runs, also when its agent only comes back later. */
export async function withdrawTask(db: Queryable, id: string): Promise<void> {
  const { rows } = await db.query<{ host_id: string }>(
    `update task set state = 'withdrawn', action = '' where id = $1 and state = 'pending'
     returning host_id`,
    [id],
  )
  for (const { host_id } of rows) await notifyChange(db, `host:${host_id}`)
}

/** All of an operation that may still run, those of its earlier runs too. */
export async function withdrawTasks(tx: Queryable, operationId: string): Promise<void> {
  const { rows } = await tx.query<{ host_id: string }>(
    `update task set state = 'withdrawn', action = ''
     where operation_id = $1 and state in ('pending', 'abandoned') returning host_id`,
    [operationId],
  )
  const hosts = new Set(rows.map(({ host_id }) => host_id))
  for (const host of hosts) await notifyChange(tx, `host:${host}`)
}

/** What the agent of a host has not ended yet. */
export async function listWithdrawnTasks(db: Queryable, hostId: string): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>(
    "select id from task where host_id = $1 and state = 'withdrawn' order by id limit 1000",
    [hostId],
  )
  return rows.map(({ id }) => id)
}

/** Hosts on which something of the operation may still run. */
export async function listUnended(db: Queryable, operationId: string): Promise<string[]> {
  const { rows } = await db.query<{ host_id: string }>(
    "select distinct host_id from task where operation_id = $1 and state = 'withdrawn'",
    [operationId],
  )
  return rows.map(({ host_id }) => host_id)
}

/** Results are read once; what is old was read, or nobody waits for it any more. */
export async function deleteOldTasks(db: Queryable): Promise<void> {
  // A pending one may take a day, and must be there when it is answered.
  await db.query(
    `delete from task where created_at < now() - interval '1 day'
       and (state <> 'pending' or created_at < now() - interval '3 days')`,
  )
}
