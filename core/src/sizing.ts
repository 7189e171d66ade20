// Owns the PostgreSQL parameters of a cluster: what follows from the memory and disk that an
// instance may use, what the platform needs, and what the user asked for, each with its reason.
import type { SizedParameter } from './contract/clusters.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB

export interface InstanceShare {
  memoryBytes: number
  cpuCount: number
  diskBytes: number
}

/**
 * What one of `instanceSlots` instances on a host may use. The smallest host of a cluster decides.
 */
export function instanceShare(
  hosts: readonly { memoryBytes: number; cpuCount: number; diskBytes: number }[],
  instanceSlots: number,
): InstanceShare {
  const smallest = (values: number[]) => Math.min(...values)
  return {
    memoryBytes: Math.floor(smallest(hosts.map((host) => host.memoryBytes)) / instanceSlots),
    cpuCount: smallest(hosts.map((host) => host.cpuCount)),
    diskBytes: Math.floor(smallest(hosts.map((host) => host.diskBytes)) / instanceSlots),
  }
}

/** Instances that a host is sized for; a fifth one on the same host shares what there is. */
export const INSTANCE_SLOTS_PER_HOST = 4

function clamp(value: number, minimum: number, maximum: number): number {
  return Math.max(minimum, Math.min(maximum, Math.floor(value)))
}

function mebibytes(bytes: number): string {
  return `${Math.floor(bytes / MIB)}MB`
}

/** Rounded to 16 MB: the size of a WAL segment, so that the numbers read well. */
function walSize(bytes: number): string {
  return `${Math.max(2, Math.floor(bytes / (16 * MIB))) * 16}MB`
}

interface Sizes extends InstanceShare {
  connections: number
  sharedBuffersBytes: number
  maxWalBytes: number
  workers: number
  /** As it reads in a reason. */
  memory: string
  disk: string
}

function deriveSizes(share: InstanceShare): Sizes {
  const { memoryBytes, diskBytes, cpuCount } = share
  return {
    ...share,
    connections: clamp(memoryBytes / (8 * MIB), 60, 500),
    sharedBuffersBytes: clamp(memoryBytes / 4, 32 * MIB, 32 * GIB),
    maxWalBytes: clamp(diskBytes / 20, 256 * MIB, 16 * GIB),
    workers: clamp(cpuCount, 2, 64),
    memory: mebibytes(memoryBytes),
    disk: `${Math.floor(diskBytes / GIB)} GB of disk`,
  }
}

function workMemBytes({ memoryBytes, sharedBuffersBytes, connections }: Sizes): number {
  return clamp((memoryBytes - sharedBuffersBytes) / (connections * 2), MIB, 256 * MIB)
}

interface SizedRow {
  name: string
  value: (sizes: Sizes) => string
  reason: (sizes: Sizes) => string
}

const SIZED_PARAMETERS: readonly SizedRow[] = [
  {
    name: 'max_connections',
    value: ({ connections }) => String(connections),
    reason: ({ memory }) =>
      `one per 8 MB of ${memory}, 60 to 500; clients share them through the pooler`,
  },
  {
    name: 'shared_buffers',
    value: ({ sharedBuffersBytes }) => mebibytes(sharedBuffersBytes),
    reason: ({ memory }) => `a quarter of the ${memory} that an instance may use`,
  },
  {
    name: 'effective_cache_size',
    value: ({ memoryBytes }) => mebibytes(memoryBytes * 0.7),
    reason: ({ memory }) => `what PostgreSQL and the page cache hold of ${memory} together`,
  },
  {
    name: 'work_mem',
    value: (sizes) => mebibytes(workMemBytes(sizes)),
    reason: ({ memory, connections }) =>
      `the rest of ${memory}, shared by ${connections} connections with two sorts each`,
  },
  {
    name: 'maintenance_work_mem',
    value: ({ memoryBytes }) => mebibytes(clamp(memoryBytes / 16, 16 * MIB, 2 * GIB)),
    reason: ({ memory }) => `a sixteenth of ${memory}, for vacuum and index builds`,
  },
  {
    name: 'max_wal_size',
    value: ({ maxWalBytes }) => walSize(maxWalBytes),
    reason: ({ disk }) => `a twentieth of ${disk}: checkpoints by time, not by volume`,
  },
  {
    name: 'min_wal_size',
    value: ({ maxWalBytes }) => walSize(maxWalBytes / 4),
    reason: () => 'a quarter of max_wal_size: segments are recycled, not made anew',
  },
  {
    name: 'wal_keep_size',
    value: ({ maxWalBytes }) => walSize(maxWalBytes / 4),
    reason: () => 'a replica may be away for this much WAL without a slot',
  },
  {
    name: 'max_slot_wal_keep_size',
    value: ({ diskBytes }) => walSize(diskBytes / 5),
    reason: ({ disk }) =>
      `a lost replica may hold back a fifth of ${disk}, then its slot is dropped`,
  },
  {
    name: 'max_worker_processes',
    value: ({ workers }) => String(workers + 8),
    reason: ({ workers }) => `${workers} for parallel queries, 8 for the rest`,
  },
  {
    name: 'max_parallel_workers',
    value: ({ workers }) => String(workers),
    reason: () => 'one per processor',
  },
  {
    name: 'max_parallel_workers_per_gather',
    value: ({ workers }) => String(clamp(workers / 2, 1, 8)),
    reason: () => 'half of the processors for one query',
  },
]

function sizedParameters(share: InstanceShare): SizedParameter[] {
  const sizes = deriveSizes(share)
  return SIZED_PARAMETERS.map(({ name, value, reason }) => {
    return { name, value: value(sizes), source: 'sized' as const, reason: reason(sizes) }
  })
}

const PLATFORM_PARAMETERS: readonly (readonly [string, string, string])[] = [
  ['wal_level', 'replica', 'replicas and archiving need it'],
  ['hot_standby', 'on', 'the read endpoint reads from replicas'],
  ['wal_log_hints', 'on', 'pg_rewind brings a former leader back without a copy'],
  ['max_wal_senders', '16', 'five instances, base copies and backups at once'],
  ['max_replication_slots', '16', 'one per replica, and some to spare'],
  ['wal_compression', 'on', 'full-page images shrink; costs little'],
  ['archive_timeout', '60s', 'at most a minute of work is outside the archive'],
  ['password_encryption', 'scram-sha-256', 'no md5 anywhere'],
  ['ssl', 'on', 'TLS on every hop'],
  ['ssl_min_protocol_version', 'TLSv1.2', 'nothing older is needed by any driver of today'],
  ['track_commit_timestamp', 'on', 'recovery to a time can say what it reached'],
  ['log_checkpoints', 'on', 'the log explains stalls'],
  ['log_lock_waits', 'on', 'the log explains stalls'],
  ['log_line_prefix', '%m [%p] %q%u@%d/%a ', 'who did it, in each line'],
  [
    'idle_in_transaction_session_timeout',
    '600s',
    'a forgotten transaction blocks vacuum and switchovers',
  ],
  ['tcp_keepalives_idle', '10', 'a lost peer is noticed within half a minute'],
  ['tcp_keepalives_interval', '5', 'a lost peer is noticed within half a minute'],
  ['tcp_keepalives_count', '3', 'a lost peer is noticed within half a minute'],
  ['wal_receiver_timeout', '10s', 'a replica leaves a dead leader soon'],
  ['wal_sender_timeout', '5s', 'a leader waits no longer for a replica that is frozen'],
  ['wal_retrieve_retry_interval', '500ms', 'a replica finds its leader again at once'],
]

/**
 * All parameters of a cluster in the order of their names; the user's value wins over the others'.
 */
export function clusterParameters(
  share: InstanceShare,
  userParameters: Readonly<Record<string, string>>,
): SizedParameter[] {
  const merged = new Map<string, SizedParameter>()
  for (const entry of sizedParameters(share)) merged.set(entry.name, entry)
  for (const [name, value, reason] of PLATFORM_PARAMETERS) {
    merged.set(name, { name, value, source: 'platform', reason })
  }
  for (const [name, value] of Object.entries(userParameters)) {
    const before = merged.get(name)
    const reason = before === undefined ? 'set by you' : `set by you; ${before.value} otherwise`
    merged.set(name, { name, value, source: 'user', reason })
  }
  return [...merged.values()].sort((a, b) => a.name.localeCompare(b.name))
}
