// Owns the repair of an archive. A leader that died had not archived all it wrote, and the one
// after it counts what it received as archived: such a segment is archived from wherever it still
// is. And a leader may keep a part of one that nobody needs, and never get past it: it is told to.
import { describeError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import {
  formatSegmentName,
  parseLsn,
  parseSegmentName,
  SEGMENT_BYTES,
  segmentOf,
  type WalRange,
} from '@howdah/core/wal.ts'
import { hostsById, leaderOf, patroniOf } from '../clusters/cluster-view.ts'
import { findLeader } from '../clusters/leader-sql.ts'
import { type ClusterRow, listInstances } from '../db/clusters.ts'
import { addEvent } from '../db/events.ts'
import type { StanzaRow } from '../db/repositories.ts'
import { runTask } from '../operations/agent-task.ts'
import type { Platform } from '../operations/operation.ts'
import { lookAtArchive } from './archive-look.ts'
import { isRefused } from './archive-news.ts'
import type { ArchiveStatus } from './archive-status.ts'
import { accessOn, loadStanza, placeOn, runRepositoryTask } from './repository-access.ts'

const PUSH_TIMEOUT_MS = 60_000
const LEAVE_TIMEOUT_MS = 10_000
/** More is a hole that only a new backup closes in good time. */
const SEGMENTS_MAX = 64

/** What is missing and still there is archived at once; the look after that is what counts. */
export async function lookAndRepair(
  platform: Platform,
  cluster: ClusterRow,
  stanza: StanzaRow,
  before: ArchiveStatus,
): Promise<Awaited<ReturnType<typeof lookAtArchive>>> {
  const seen = await lookAtArchive(platform, cluster, stanza, before)
  if (seen.error !== '') return seen
  // The repository answers: what keeps the leader is the segment.
  if (isRefused(seen) && isAbandoned(seen.failedSegment, seen.starts)) {
    await leaveAbandoned(platform, cluster, seen.failedSegment ?? '').catch((error) =>
      platform.log.warn({ error: describeError(error) }, 'the leader is not told to go on'),
    )
  }
  if (seen.gaps.length === 0) return seen
  const repaired = await repairArchive(platform, stanza, seen.gaps)
  if (repaired.length === 0) return seen
  const now = await lookAtArchive(platform, cluster, stanza, before)
  const closed = closedOf(repaired, now)
  if (closed.length === 0) return now
  const from = closed.map(({ segment, instance }) => `${segment} from ${instance}`).join(', ')
  await addEvent(platform.database, {
    kind: 'archive.repaired',
    message: `WAL of ${cluster.name} was missing in its repository and is archived now: ${from}`,
    clusterId: cluster.id,
  })
  return now
}

/** The program takes a segment whose object is there, broken or cut, for one that is archived. */
export function closedOf<Repaired extends { segment: string }>(
  repaired: readonly Repaired[],
  { gaps, error }: Pick<ArchiveStatus, 'gaps' | 'error'>,
): Repaired[] {
  if (error !== '') return [...repaired]
  const open = segmentsOf(gaps)
  return repaired.filter(({ segment }) => !open.includes(segment))
}

/**
 * Whether the present history has nothing of a segment: its timeline was left in it or before it,
 * and the next one's begins with all that counts. A replica that was receiving it keeps its part,
 * and PostgreSQL has that archived when it is recycled, once the replica leads. Where another
 * instance's part was archived before, pgBackRest refuses a second one for ever.
 */
export function isAbandoned(
  segment: string | null,
  starts: readonly { timeline: number; lsn: string }[],
): boolean {
  const failed = parseSegmentName(segment ?? '')
  if (failed === undefined) return false
  const [next] = starts
    .filter(({ timeline }) => timeline > failed.timeline)
    .toSorted((a, b) => a.timeline - b.timeline)
  const lsn = parseLsn(next?.lsn ?? '')
  return lsn !== undefined && failed.number >= segmentOf(lsn)
}

async function leaveAbandoned(
  platform: Platform,
  cluster: ClusterRow,
  segment: string,
): Promise<void> {
  const leader = await findLeader(platform, cluster.id)
  if (leader === undefined) return
  const { host, instance } = leader
  const { left } = await runTask<{ left: boolean }>(platform, {
    hostId: host.id,
    timeoutMs: LEAVE_TIMEOUT_MS,
    action: {
      kind: 'leave-segment',
      dataDirectory: `${HOST_LAYOUT.data}/${instance.id}/pgdata`,
      segment,
    },
  })
  if (!left) return
  await addEvent(platform.database, {
    kind: 'archive.repaired',
    message:
      `${instance.name} could not archive ${segment}, and goes on without: ${cluster.name} left ` +
      'that timeline before its end',
    clusterId: cluster.id,
  })
}

/** The missing segments, the oldest first; none when there are too many. */
export function segmentsOf(gaps: readonly WalRange[]): string[] {
  const count = gaps.reduce((sum, { first, last }) => sum + last - first + 1, 0)
  if (count > SEGMENTS_MAX) return []
  return gaps.flatMap(({ timeline, first, last }) =>
    Array.from({ length: last - first + 1 }, (_, index) =>
      formatSegmentName({ timeline, number: first + index }),
    ),
  )
}

/**
 * Returns what was archived, with where it was found. Gaps lie on the history of the present
 * timeline, so whoever has received WAL beyond them has the very same bytes.
 */
async function repairArchive(
  platform: Platform,
  stanza: StanzaRow,
  gaps: readonly WalRange[],
): Promise<{ segment: string; instance: string }[]> {
  const { database, sealer, log } = platform
  const repository = await loadStanza(database, sealer, stanza)
  const hosts = await hostsById(database)
  const rows = await listInstances(database, stanza.cluster_id)
  const leader = leaderOf(hosts, rows)
  const end = BigInt(Math.max(...gaps.map(({ last }) => last)) + 1) * BigInt(SEGMENT_BYTES)
  const holders = rows
    .filter((row) => BigInt(patroniOf(hosts, row)?.walPosition ?? '0') >= end)
    .sort((a, b) => Number(b.id === leader?.id) - Number(a.id === leader?.id))
  const repaired: { segment: string; instance: string }[] = []
  let missing = segmentsOf(gaps)
  for (const row of holders) {
    const host = hosts.get(row.host_id)
    if (missing.length === 0 || host === undefined) break
    const { pushed } = await runRepositoryTask<{ pushed: string[] }>(
      platform,
      host.id,
      PUSH_TIMEOUT_MS,
      undefined,
      {
        kind: 'push-segments',
        repository: accessOn(repository, placeOn(host, row.id, row.postgres_port)),
        dataDirectory: `${HOST_LAYOUT.data}/${row.id}/pgdata`,
        segments: missing,
      },
    ).catch((error) => {
      log.warn({ instance: row.name, error: describeError(error) }, 'archive not repaired from it')
      return { pushed: [] as string[] }
    })
    repaired.push(...pushed.map((segment) => ({ segment, instance: row.name })))
    missing = missing.filter((segment) => !pushed.includes(segment))
  }
  return repaired
}
