// Owns a cluster's backup policy, a part of its spec: when backups are taken, how long they are
// kept, and when the newest one is proven.
import { type Static, Type } from 'typebox'

const Cron = Type.String({ maxLength: 100, description: 'minute hour day month weekday' })
const MaybeCron = Type.Union([Cron, Type.Null()])
const Keep = (maximum: number) => Type.Union([Type.Integer({ minimum: 1, maximum }), Type.Null()])

export const BackupPolicy = Type.Object(
  {
    full: Cron,
    differential: MaybeCron,
    incremental: MaybeCron,
    drill: Type.Union([Cron, Type.Null()], { description: 'When the newest backup is proven' }),
    timezone: Type.String({ maxLength: 64 }),
    keep_full: Keep(1000),
    keep_days: Keep(3650),
  },
  { additionalProperties: false },
)

export const BackupPolicyChange = Type.Partial(BackupPolicy, {
  additionalProperties: false,
  minProperties: 1,
})

export type BackupPolicy = Static<typeof BackupPolicy>
export type BackupPolicyChange = Static<typeof BackupPolicyChange>

/** Spread over the night, so that a platform's clusters do not all begin at once. */
export function defaultBackupPolicy(clusterId: string): BackupPolicy {
  const minute = [...clusterId].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % 60
  return {
    full: `${minute} 1 * * 0`,
    differential: `${minute} 1 * * 1-6`,
    incremental: null,
    drill: `${minute} 4 * * *`,
    timezone: 'UTC',
    keep_full: 2,
    keep_days: null,
  }
}
