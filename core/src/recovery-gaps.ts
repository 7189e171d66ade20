// Decides whether WAL that the repository lacks, or none that leads on, is in the way of a
// recovery. Pure. A fork that ends at missing WAL harms nobody and says so; a restore in place has
// stopped the cluster by then, so it is refused where nobody can tell that its moment lies before.
import { HowdahError } from './errors.ts'
import type { BackupChoice, RecoveryPlan } from './recovery-plan.ts'
import {
  describeRange,
  formatLsn,
  parseLsn,
  SEGMENT_BYTES,
  segmentOf,
  type WalRange,
} from './wal.ts'

/** Numbers of the segments that a replay reads at most, both included. */
export interface Stretch {
  first: number
  last: number
}

type Planned = Pick<RecoveryPlan<BackupChoice>, 'backup' | 'target'>

/**
 * `backups`: all on the present history. Undefined where the chosen one is not: of its WAL nobody
 * looks what is missing.
 */
export function replayedStretch(
  plan: Planned,
  backups: readonly BackupChoice[],
): Stretch | undefined {
  if (!backups.some(({ id }) => id === plan.backup.id)) return undefined
  const lsn = lastLsn(plan, backups)
  return {
    first: segmentOf(parseLsn(plan.backup.info.lsn_start) ?? 0n),
    // What ends nowhere has to be JSON, too.
    last: lsn === undefined ? Number.MAX_SAFE_INTEGER : segmentOf(lsn),
  }
}

/** Where a time lies is known only by the backups that ended after it, a transaction not at all. */
function lastLsn(
  { backup, target }: Planned,
  backups: readonly BackupChoice[],
): bigint | undefined {
  if (target.kind === 'immediate') return parseLsn(backup.info.lsn_stop)
  if (target.kind === 'lsn') return parseLsn(target.value)
  if (target.kind !== 'time') return undefined
  const atMs = Date.parse(target.value)
  return backups
    .filter(({ stopped_at }) => stopped_at.getTime() > atMs)
    .flatMap(({ info }) => parseLsn(info.lsn_stop) ?? [])
    .reduce<bigint | undefined>((least, lsn) => ((least ?? lsn) < lsn ? least : lsn), undefined)
}

/**
 * Throws `outside-window` where the cluster has left the timeline of the backup: PostgreSQL follows
 * the present history, and would refuse to begin with it. `backups`: all on that history.
 */
export function refuseLeft(
  { backup, target, said }: Planned & { said: string },
  backups: readonly BackupChoice[],
): void {
  if (target.kind === 'immediate' || backups.some(({ id }) => id === backup.id)) return
  throw new HowdahError(
    'outside-window',
    `${said}: backup ${backup.label} was taken on timeline ${backup.info.timeline}, and the ` +
      'cluster was restored to before its end; from it only that end can, without another target',
  )
}

/** `gaps`: on the present history, where a number names one segment. */
export function gapWithin(
  gaps: readonly WalRange[],
  stretch: Stretch | undefined,
): WalRange | undefined {
  if (stretch === undefined) return undefined
  return gaps.find(({ first, last }) => last >= stretch.first && first <= stretch.last)
}

/** Throws `outside-window` with what is missing, and what can be had instead. */
export function refuseGap(
  plan: Planned & { said: string },
  known: { gaps: readonly WalRange[]; backups: readonly BackupChoice[]; inPlace: boolean },
): void {
  const { backup, target, said } = plan
  const isPlaced = target.kind !== 'time' && target.kind !== 'xid'
  if (!isPlaced && !known.inPlace) return
  const gap = gapWithin(known.gaps, replayedStretch(plan, known.backups))
  if (gap === undefined) return
  const missing = describeRange(gap)
  const between = `${said}: WAL is missing between backup ${backup.label} and there: ${missing}`
  if (isPlaced) throw new HowdahError('outside-window', between)
  const next = known.backups
    .filter(({ info, damage }) => damage === '' && startOf(info) > gap.last)
    .sort((a, b) => startOf(a.info) - startOf(b.info))[0]
  const after = next === undefined ? '' : `, or anything from backup ${next.label} on`
  throw new HowdahError(
    'outside-window',
    `${said}: WAL is missing after backup ${backup.label}, perhaps before that: ${missing}; ` +
      `in place an LSN before ${startOfSegment(gap.first)} can${after}; ` +
      'howdah fork tries it without stopping anything',
  )
}

const startOf = (info: BackupChoice['info']): number => segmentOf(parseLsn(info.lsn_start) ?? 0n)
const startOfSegment = (number: number): string => formatLsn(BigInt(number) * BigInt(SEGMENT_BYTES))
