// Owns how much shared memory PostgreSQL takes with a set of parameters. It takes it all when it
// starts: with more than the machine has it does not start, and a restart that applies the
// parameters takes the cluster away.
import type { SizedParameter } from './contract/clusters.ts'
import { HowdahError } from './errors.ts'
import { INSTANCE_SLOTS_PER_HOST, type InstanceShare } from './sizing.ts'

const MIB = 1024 * 1024
// What PostgreSQL 15 takes, as `postgres -C shared_memory_size` tells it for many settings.
const BASE_BYTES = 3 * MIB
const BUFFER_OVERHEAD = 1.02
const BYTES_PER_PROCESS = 7000
const BYTES_PER_LOCK = 410
const BYTES_PER_PREDICATE_LOCK = 260
/** Processes that count besides those that a parameter names. */
const OTHER_PROCESSES = 10
/** The rest of a host is for sessions, the page cache and the platform. */
const HOST_FRACTION_MAX = 0.75

const UNITS: Record<string, number> = {
  B: 1,
  kB: 1024,
  MB: MIB,
  GB: 1024 * MIB,
  TB: 1024 ** 2 * MIB,
}

function amount(text: string): number {
  const match = /^([0-9]+)(B|kB|MB|GB|TB)?$/.exec(text)
  if (match === null) throw new Error(`BUG: ${text} is not a canonical amount`)
  return Number(match[1]) * (UNITS[match[2] ?? 'B'] as number)
}

/** An estimate, right within a quarter; PostgreSQL's defaults stand in for what is not given. */
export function sharedMemoryBytes(values: ReadonlyMap<string, string>): number {
  const of = (name: string, fallback: string) => amount(values.get(name) ?? fallback)
  const buffers = of('shared_buffers', '128MB')
  const processes =
    of('max_connections', '100') +
    of('max_prepared_transactions', '0') +
    of('max_worker_processes', '8') +
    of('max_wal_senders', '10') +
    of('autovacuum_max_workers', '3') +
    OTHER_PROCESSES
  const perProcess =
    BYTES_PER_PROCESS +
    of('max_locks_per_transaction', '64') * BYTES_PER_LOCK +
    of('max_pred_locks_per_transaction', '64') * BYTES_PER_PREDICATE_LOCK +
    of('track_activity_query_size', '1024')
  const wal = of('wal_buffers', `${Math.min(16 * MIB, Math.floor(buffers / 32))}B`)
  return BASE_BYTES + buffers * BUFFER_OVERHEAD + wal + processes * perProcess
}

/** Throws `invalid-parameter` when the smallest host of the cluster cannot hold it. */
export function requireSharedMemory(
  parameters: readonly SizedParameter[],
  share: InstanceShare,
): void {
  const needed = sharedMemoryBytes(new Map(parameters.map(({ name, value }) => [name, value])))
  const there = share.memoryBytes * INSTANCE_SLOTS_PER_HOST * HOST_FRACTION_MAX
  if (needed <= there) return
  const said = `PostgreSQL would take ${show(needed)} of shared memory, a host has ${show(there)}`
  throw new HowdahError('invalid-parameter', said)
}

const show = (bytes: number) => `${Math.ceil(bytes / MIB)} MB`
