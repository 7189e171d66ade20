// Owns a backup as recovery chooses among them, for tests that do not care what else is in it.
import type { BackupChoice } from '../recovery-plan.ts'

/** Of one LSN and one moment, which its label names. */
export function sampleBackup(
  number: number,
  stopped: string,
  lsn: string,
  damage = '',
): BackupChoice {
  const info = {
    timeline: 1,
    lsn_start: lsn,
    lsn_stop: lsn,
    size_bytes: 1,
    read_bytes: 1,
    repository_bytes: 1,
    needs: [],
    page_errors: false,
  }
  const stopped_at = new Date(stopped)
  const label = `${stopped_at.toISOString().slice(0, 10).replaceAll('-', '')}-000000F`
  return { id: `bkp_${number}`, repository_id: 'rep', label, info, stopped_at, damage }
}
