// Owns the repair of an archive: a leader that died had not archived all it wrote, and the one
// after it counts what it received as archived. Such a segment is archived from wherever it still
// is.
import { describeError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { formatSegmentName, SEGMENT_BYTES, type WalRange } from '@howdah/core/wal.ts'
import { hostsById, leaderOf, patroniOf } from '../clusters/cluster-view.ts'
import { type ClusterRow, listInstances } from '../db/clusters.ts'
import { addEvent } from '../db/events.ts'
import type { StanzaRow } from '../db/repositories.ts'
import type { Platform } from '../operations/operation.ts'
import { lookAtArchive } from './archive-look.ts'
import type { ArchiveStatus } from './archive-status.ts'
import { accessOn, loadStanza, placeOn, runRepositoryTask } from './repository-access.ts'

const PUSH_TIMEOUT_MS = 60_000
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
  if (seen.error !== '' || seen.gaps.length === 0) return seen
  const repaired = await repairArchive(platform, stanza, seen.gaps)
  if (repaired.length === 0) return seen
  const from = repaired.map(({ segment, instance }) => `${segment} from ${instance}`).join(', ')
  await addEvent(platform.database, {
    kind: 'archive.repaired',
    message: `WAL of ${cluster.name} was missing in its repository and is archived now: ${from}`,
    clusterId: cluster.id,
  })
  return await lookAtArchive(platform, cluster, stanza, before)
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
