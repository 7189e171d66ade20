// Owns which PostgreSQL parameters a user may set, and what each accepts. It is an allow-list: a
// parameter that names a command, a library or a path would be code execution as the service user
// (archive_command, shared_preload_libraries, dynamic_library_path …), so it can never be added
// here.
import { HowdahError } from './errors.ts'

export type ParameterRule =
  | { type: 'integer'; minimum: number; maximum: number; unit?: string; restart?: true }
  | { type: 'number'; minimum: number; maximum: number; unit?: string; restart?: true }
  | { type: 'size'; minimumBytes: number; maximumBytes: number; restart?: true }
  | { type: 'duration'; minimumMs: number; maximumMs: number; restart?: true }
  | { type: 'boolean'; restart?: true }
  | { type: 'enum'; values: readonly string[]; restart?: true }
  | { type: 'pattern'; pattern: string; says: string; restart?: true }
  | { type: 'timezone'; says: string; restart?: true }

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB
const TIB = 1024 * GIB
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

const size = (minimumBytes: number, maximumBytes: number): ParameterRule => ({
  type: 'size',
  minimumBytes,
  maximumBytes,
})
const duration = (minimumMs: number, maximumMs: number): ParameterRule => ({
  type: 'duration',
  minimumMs,
  maximumMs,
})
const integer = (minimum: number, maximum: number): ParameterRule => ({
  type: 'integer',
  minimum,
  maximum,
})
const number = (minimum: number, maximum: number): ParameterRule => ({
  type: 'number',
  minimum,
  maximum,
})
const flag: ParameterRule = { type: 'boolean' }
function restart<T extends ParameterRule>(rule: T): ParameterRule {
  return { ...rule, restart: true }
}

export const PARAMETER_RULES: Readonly<Record<string, ParameterRule>> = {
  autovacuum_analyze_scale_factor: number(0, 100),
  autovacuum_max_workers: restart(integer(1, 64)),
  autovacuum_naptime: duration(1000, HOUR_MS),
  autovacuum_vacuum_cost_delay: number(-1, 100),
  autovacuum_vacuum_cost_limit: integer(-1, 10_000),
  autovacuum_vacuum_scale_factor: number(0, 100),
  bgwriter_delay: duration(10, 10_000),
  checkpoint_completion_target: number(0, 1),
  checkpoint_timeout: duration(30_000, DAY_MS),
  client_min_messages: {
    type: 'enum',
    values: ['debug1', 'log', 'notice', 'warning', 'error'],
  },
  // Only the order: with another style Patroni cannot read the times that PostgreSQL tells it, and
  // the cluster has no leader for anybody. A session, a role or a database may still set its own.
  datestyle: {
    type: 'pattern',
    pattern: '^ISO(, ?(DMY|MDY|YMD))?$',
    says: 'ISO and an order, such as "ISO, DMY"',
  },
  deadlock_timeout: duration(1, HOUR_MS),
  default_statistics_target: integer(1, 10_000),
  default_transaction_isolation: {
    type: 'enum',
    values: ['read committed', 'repeatable read', 'serializable'],
  },
  effective_cache_size: size(8 * KIB, 8 * TIB),
  effective_io_concurrency: integer(0, 1000),
  hash_mem_multiplier: number(1, 1000),
  idle_in_transaction_session_timeout: duration(0, DAY_MS),
  idle_session_timeout: duration(0, DAY_MS),
  jit: flag,
  lock_timeout: duration(0, DAY_MS),
  log_autovacuum_min_duration: duration(-1, DAY_MS),
  log_connections: flag,
  log_disconnections: flag,
  log_lock_waits: flag,
  log_min_duration_statement: duration(-1, DAY_MS),
  log_statement: { type: 'enum', values: ['none', 'ddl', 'mod', 'all'] },
  log_temp_files: integer(-1, 2_147_483_647),
  maintenance_work_mem: size(MIB, 64 * GIB),
  max_connections: restart(integer(20, 10_000)),
  max_locks_per_transaction: restart(integer(10, 100_000)),
  max_parallel_maintenance_workers: integer(0, 1024),
  max_parallel_workers: integer(0, 1024),
  max_parallel_workers_per_gather: integer(0, 1024),
  max_pred_locks_per_transaction: restart(integer(10, 100_000)),
  max_prepared_transactions: restart(integer(0, 10_000)),
  max_replication_slots: restart(integer(8, 1000)),
  max_standby_streaming_delay: duration(-1, DAY_MS),
  max_wal_senders: restart(integer(8, 1000)),
  max_wal_size: size(64 * MIB, TIB),
  max_worker_processes: restart(integer(8, 1024)),
  min_wal_size: size(32 * MIB, TIB),
  random_page_cost: number(0, 1000),
  seq_page_cost: number(0, 1000),
  shared_buffers: restart(size(16 * MIB, 4 * TIB)),
  statement_timeout: duration(0, DAY_MS),
  temp_buffers: size(800 * KIB, 64 * GIB),
  temp_file_limit: size(MIB, TIB),
  timezone: {
    type: 'timezone',
    says: 'a zone of the tz database, such as "Asia/Ho_Chi_Minh" or "UTC"',
  },
  track_activity_query_size: restart(integer(100, 1_048_576)),
  track_io_timing: flag,
  vacuum_cost_delay: number(0, 100),
  vacuum_cost_limit: integer(1, 10_000),
  wal_buffers: restart(size(64 * KIB, GIB)),
  wal_compression: flag,
  wal_keep_size: size(0, TIB),
  work_mem: size(64 * KIB, 64 * GIB),
}

const SIZE_UNITS: Record<string, number> = { B: 1, kB: KIB, MB: MIB, GB: GIB, TB: TIB }
const DURATION_UNITS: Record<string, number> = {
  ms: 1,
  s: 1000,
  min: 60_000,
  h: HOUR_MS,
  d: DAY_MS,
}

function refuse(name: string, value: unknown, expectation: string): never {
  const said = `${name} = ${JSON.stringify(value)}: expected ${expectation}`
  throw new HowdahError('invalid-parameter', said, {
    fields: [{ pointer: `/parameters/${name}`, message: `expected ${expectation}` }],
  })
}

/**
 * The amount in base units. A bare number has PostgreSQL's own unit for sizes nowhere here: it is
 * refused.
 */
function parseAmount(text: string, units: Record<string, number>): number | undefined {
  const match = /^(-?[0-9]{1,15})\s?([A-Za-z]{0,3})$/.exec(text)
  if (match === null) return undefined
  const amount = Number(match[1])
  const unit = match[2] ?? ''
  if (unit === '') return amount === 0 || amount === -1 ? amount : undefined
  return Object.hasOwn(units, unit) ? amount * (units[unit] as number) : undefined
}

function parseNumber(value: unknown): number | undefined {
  const text = String(value)
  if (typeof value === 'boolean' || !/^-?[0-9]{1,15}(\.[0-9]{1,9})?$/.test(text)) return undefined
  return Number(text)
}

function formatBytes(bytes: number): string {
  for (const [unit, factor] of [
    ['TB', TIB],
    ['GB', GIB],
    ['MB', MIB],
    ['kB', KIB],
  ] as const) {
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`
  }
  return `${bytes}B`
}

function within(value: number | undefined, minimum: number, maximum: number): boolean {
  return value !== undefined && value >= minimum && value <= maximum
}

/**
 * PostgreSQL with a zone that it does not know goes on until its next start, and then never starts
 * again.
 */
function isTimezone(text: string): boolean {
  if (!/^(UTC|GMT|[A-Z][A-Za-z_]+(\/[A-Z][A-Za-z0-9_+-]+){1,2})$/.test(text)) return false
  try {
    new Intl.DateTimeFormat('en', { timeZone: text })
    return true
  } catch {
    return false
  }
}

/**
 * The value as PostgreSQL shall read it, in one canonical spelling.
 * Throws `invalid-parameter` with the accepted range for anything else, also for unknown names.
 */
export function parseParameter(name: string, value: string | number | boolean): string {
  const rule = Object.hasOwn(PARAMETER_RULES, name) ? PARAMETER_RULES[name] : undefined
  if (rule === undefined) {
    const said = `${JSON.stringify(name)} is not a parameter that can be set`
    throw new HowdahError('invalid-parameter', said, {
      fields: [{ pointer: `/parameters/${name}`, message: 'unknown or not allowed' }],
    })
  }
  const text = String(value)
  switch (rule.type) {
    case 'boolean':
      if (/^(on|true|yes|1)$/i.test(text)) return 'on'
      if (/^(off|false|no|0)$/i.test(text)) return 'off'
      return refuse(name, value, 'on or off')
    case 'integer':
    case 'number': {
      const parsed = parseNumber(value)
      const whole = rule.type === 'number' || Number.isInteger(parsed)
      if (whole && within(parsed, rule.minimum, rule.maximum)) return String(parsed)
      const kind = rule.type === 'integer' ? 'a whole number' : 'a number'
      return refuse(name, value, `${kind} from ${rule.minimum} to ${rule.maximum}`)
    }
    case 'size': {
      const bytes = parseAmount(text, SIZE_UNITS)
      if (within(bytes, rule.minimumBytes, rule.maximumBytes)) return formatBytes(bytes ?? 0)
      const range = `${formatBytes(rule.minimumBytes)} to ${formatBytes(rule.maximumBytes)}`
      return refuse(name, value, `a size with its unit (kB, MB, GB, TB) from ${range}`)
    }
    case 'duration': {
      const ms = parseAmount(text, DURATION_UNITS)
      if (within(ms, rule.minimumMs, rule.maximumMs)) return ms === -1 ? '-1' : `${ms}ms`
      const range = `${rule.minimumMs} ms to ${rule.maximumMs} ms`
      return refuse(name, value, `a duration with its unit (ms, s, min, h, d) from ${range}`)
    }
    case 'enum': {
      const found = rule.values.find((allowed) => allowed === text.toLowerCase())
      return found ?? refuse(name, value, `one of ${rule.values.join(', ')}`)
    }
    case 'pattern':
      return new RegExp(rule.pattern).test(text) ? text : refuse(name, value, rule.says)
    case 'timezone':
      return isTimezone(text) ? text : refuse(name, value, rule.says)
  }
}

export function parseParameters(
  parameters: Readonly<Record<string, string | number | boolean>>,
): Record<string, string> {
  const parsed: Record<string, string> = {}
  for (const [name, value] of Object.entries(parameters)) parsed[name] = parseParameter(name, value)
  return parsed
}

export function requiresRestart(name: string): boolean {
  return Object.hasOwn(PARAMETER_RULES, name) && PARAMETER_RULES[name]?.restart === true
}
