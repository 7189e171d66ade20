// Owns what is written before a planned change of leader holds anybody, so that little is left for
// the leader's shutdown, which clients wait for: dirty pages, and WAL (decision 014). Nothing here
// is needed for the change itself.
import { describeError } from '@howdah/core/errors.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import {
  findLeader,
  runOnLeader,
  type Statement,
  statement,
  superuserConnection,
} from '../clusters/leader-sql.ts'
import { listInstances } from '../db/clusters.ts'
import { askAgent } from './agent-task.ts'
import type { StepContext } from './operation.ts'

const CHECKPOINT = statement('checkpoint')
/** A replica that takes longer to write out what is dirty is not waited for. */
const REPLICA_TIMEOUT_MS = 10_000
/** Of a segment; PostgreSQL's checkpoint makes the next one ahead when this one is 75 % full. */
const FILL = 0.8
/** Those of a larger segment would be more to write than is saved. */
const SEGMENT_BYTES_MAX = 16 * 1024 * 1024
const MESSAGE_BYTES = 64 * 1024

/**
 * A leader that archives ends its last segment early when it is shut down: it writes what is left
 * of it as zeros, sends those to its replicas, and begins another one, which each of them fills
 * with zeros first. Here the segment is filled while clients go on, with messages that replay and
 * logical decoding skip, and a checkpoint makes the next one. They are a transaction's, whose end
 * waits for the synchronous replica, so that nobody has to wait for them in the hold.
 */
export const FILL_WAL_SEGMENT: Statement = statement(
  `select pg_logical_emit_message(true, 'howdah', repeat(' ', $1::int))
   from (select setting::numeric as bytes from pg_settings where name = 'wal_segment_size') segment,
     lateral (
       select bytes * $2::numeric - (pg_current_wal_insert_lsn() - '0/0'::pg_lsn) % bytes as bytes
     ) missing,
     lateral generate_series(1, (missing.bytes / $1)::int)
   where segment.bytes <= $3`,
  [MESSAGE_BYTES, FILL, SEGMENT_BYTES_MAX],
)

/** Throws as `runOnLeader` does; what replicas answer changes nothing. Harmless to repeat. */
export async function shortenShutdown(step: StepContext): Promise<void> {
  await step.say('writes out what is dirty, so that the shutdown is short')
  await runOnLeader(step, 'postgres', [CHECKPOINT, FILL_WAL_SEGMENT, CHECKPOINT])
  const leader = await findLeader(step, step.clusterId)
  const hosts = await hostsById(step.database)
  const instances = await listInstances(step.database, step.clusterId)
  const replicas = instances.flatMap((instance) => {
    const host = hosts.get(instance.host_id)
    const isAsked = host?.online === true && instance.id !== leader?.instance.id
    return isAsked ? [{ instance, host }] : []
  })
  const askReplica = async (replica: (typeof replicas)[number]) => {
    const result = await askAgent(step, {
      hostId: replica.host.id,
      operationId: step.operationId,
      timeoutMs: REPLICA_TIMEOUT_MS,
      action: {
        kind: 'sql',
        connection: superuserConnection(replica, 'postgres'),
        requireLeader: false,
        statements: [CHECKPOINT],
      },
    })
    if (!result.ok) throw new Error(result.error)
  }
  await Promise.all(
    replicas.map((replica) =>
      askReplica(replica).catch((error: unknown) =>
        step.say(`${replica.instance.name} writes out nothing: ${describeError(error)}`),
      ),
    ),
  )
}
