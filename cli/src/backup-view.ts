// Owns how backups, plans and the state of archiving are shown to people.
import type { Backup, BackupStatus, RestorePlan } from '@howdah/core/contract/backups.ts'
import {
  type Cell,
  formatAge,
  formatBytes,
  formatDuration,
  formatFields,
  formatTable,
  type Paint,
} from './output.ts'

export function provenCell(backup: Backup): Cell {
  if (backup.damage !== '') return { text: `damaged: ${backup.damage}`, style: 'red' }
  if (backup.proven_at === null) return { text: 'unproven', style: 'yellow' }
  const took = backup.proven_ms === null ? '' : ` in ${formatDuration(backup.proven_ms)}`
  return { text: `proven (restored${took}, ${formatAge(backup.proven_at)})`, style: 'green' }
}

export function formatBackups(paint: Paint, backups: readonly Backup[]): string[] {
  const rows = backups.map((backup): Cell[] => [
    backup.id,
    backup.label,
    backup.type,
    formatAge(backup.stopped_at),
    formatDuration(Date.parse(backup.stopped_at) - Date.parse(backup.started_at)),
    formatBytes(backup.info.size_bytes),
    formatBytes(backup.info.repository_bytes),
    backup.repository,
    provenCell(backup),
  ])
  const header = ['ID', 'LABEL', 'TYPE', 'TAKEN', 'IN', 'SIZE', 'STORED', 'REPOSITORY', 'STATE']
  return formatTable(paint, header, rows)
}

export function formatBackup(paint: Paint, backup: Backup): string[] {
  const { info } = backup
  return formatFields(paint, [
    ['id', backup.id],
    ['label', backup.label],
    ['type', backup.type],
    ['repository', backup.repository],
    ['started', backup.started_at],
    ['stopped', backup.stopped_at],
    ['LSN', `${info.lsn_start} to ${info.lsn_stop}, timeline ${info.timeline}`],
    ['size', formatBytes(info.size_bytes)],
    ['read', formatBytes(info.read_bytes)],
    ['stored', formatBytes(info.repository_bytes)],
    ['needs', info.needs.length === 0 ? 'nothing else' : info.needs.join(', ')],
    ['state', provenCell(backup)],
  ])
}

const formatSegments = (count: number) => (count === 1 ? '1 segment' : `${count} segments`)

export function formatPlan(paint: Paint, plan: RestorePlan): string[] {
  const to = plan.wal_to ?? 'the end of the archive'
  return formatFields(paint, [
    ['to', plan.target],
    ['accuracy', plan.accuracy],
    ['backup', `${plan.backup} in ${plan.repository}, ${formatBytes(plan.size_bytes)}`],
    ['WAL', `${plan.wal_from} to ${to}, at most ${formatSegments(plan.wal_segments)}`],
    ['takes about', plan.estimated_ms === null ? 'unknown' : formatDuration(plan.estimated_ms)],
  ])
}

const STATUS_STYLE = {
  ok: 'green',
  unproven: 'yellow',
  behind: 'yellow',
  broken: 'red',
  none: 'red',
} as const

export function formatStatus(paint: Paint, status: BackupStatus): string[] {
  const { window, archive, repository_bytes: bytes } = status
  const growth = bytes.per_day === null ? '' : `, ${formatBytes(bytes.per_day)} per day`
  const newest = status.newest_backup
  const proven = status.newest_proven
  const rpoTime =
    status.rpo_cluster_seconds === null
      ? ''
      : `, ${formatDuration(status.rpo_cluster_seconds * 1000)}`
  return formatFields(paint, [
    ['state', { text: status.state, style: STATUS_STYLE[status.state] }],
    ['', status.message],
    ['repository', status.repository ?? 'none'],
    ['can be restored', window === null ? 'nothing' : `${window.from} to ${window.to}`],
    ['lost with the leader', `${formatBytes(status.rpo_leader_bytes)}`],
    ['lost with the cluster', `${formatBytes(status.rpo_cluster_bytes)}${rpoTime}`],
    ['last archived', `${archive.last_segment ?? '—'} ${formatAge(archive.last_at)}`],
    ['waiting', `${archive.waiting_segments} segments`],
    ['gaps', archive.gaps.length === 0 ? 'none' : archive.gaps.join('; ')],
    ['newest backup', newest === null ? '—' : `${newest.label}, ${formatAge(newest.stopped_at)}`],
    ['newest proven', proven === null ? '—' : `${proven.label}, ${formatAge(proven.proven_at)}`],
    ['backups', formatBytes(bytes.backups)],
    ['archive', `${formatBytes(bytes.archive)}${growth}`],
    ['next', status.next_runs.map(({ kind, at }) => `${kind} ${at}`).join(', ') || '—'],
    ['checked', formatAge(status.checked_at)],
  ])
}
