// Owns the copy of a cluster that a drill works on: which host takes it, and that it goes, whatever
// becomes of the drill.
import { HowdahError } from '@howdah/core/errors.ts'
import { HOST_LAYOUT } from '@howdah/core/host-spec.ts'
import { hostsById } from '../clusters/cluster-view.ts'
import { listInstances, takenPorts } from '../db/clusters.ts'
import {
  countCopies,
  type DrillCopy,
  deleteCopy,
  findCopy,
  insertCopy,
} from '../db/drill-copies.ts'
import { type HostRow, hostState } from '../db/hosts.ts'
import { askAgent } from './agent-task.ts'
import { formatSize } from './backup-steps.ts'
import type { Platform, StepContext } from './operation.ts'
import { lockPorts } from './place.ts'

const REMOVE_TIMEOUT_MS = 300_000
/** Names a socket, below what instances get. */
const PORT_FIRST = 1
const PORT_LAST = 1000
/** Of the database: it grows while WAL is replayed. */
const ROOM = 1.2

export interface CopyCandidate {
  id: string
  name: string
  freeBytes: number
  /** It has an instance of the cluster. */
  isOwn: boolean
  copies: number
}

/**
 * None of the cluster's own where there is another, so that it does not notice; then the one with
 * the fewest copies. Throws `no-capacity` where none has the room.
 */
export function chooseCopyHost<Candidate extends CopyCandidate>(
  candidates: readonly Candidate[],
  sizeBytes: number,
): Candidate {
  const needed = sizeBytes * ROOM
  const chosen = candidates
    .filter(({ freeBytes }) => freeBytes >= needed)
    .sort(
      (a, b) =>
        Number(a.isOwn) - Number(b.isOwn) || a.copies - b.copies || b.freeBytes - a.freeBytes,
    )[0]
  if (chosen !== undefined) return chosen
  const most = candidates.map(({ freeBytes }) => freeBytes).sort((a, b) => b - a)[0]
  const said =
    most === undefined
      ? 'no host is online'
      : `a copy needs ${formatSize(needed)}, and the most that a host has is ${formatSize(most)}`
  throw new HowdahError('no-capacity', said)
}

export function freeCopyPort(taken: ReadonlySet<number>): number {
  for (let port = PORT_FIRST; port <= PORT_LAST; port += 1) if (!taken.has(port)) return port
  throw new HowdahError('no-capacity', 'the host has no room for another drill')
}

/** Of this run of the step: one that an earlier run had begun nothing with is given back. */
export async function reserveCopy(
  step: StepContext,
  version: string,
  sizeBytes: number,
): Promise<DrillCopy & { host: HostRow }> {
  return await step.database.transaction(async (tx) => {
    await lockPorts(tx)
    await deleteCopy(tx, step.operationId)
    const own = new Set((await listInstances(tx, step.clusterId)).map(({ host_id }) => host_id))
    const copies = await countCopies(tx)
    const hosts = [...(await hostsById(tx)).values()].filter(
      (host) =>
        hostState(host) === 'online' &&
        host.facts?.postgresql[version] !== undefined &&
        host.facts.programs['pgbackrest'] !== undefined,
    )
    const candidates = hosts.map((host) => ({
      id: host.id,
      name: host.name,
      freeBytes: host.facts?.diskFreeBytes ?? 0,
      isOwn: own.has(host.id),
      copies: copies.get(host.id) ?? 0,
      host,
    }))
    const { host } = chooseCopyHost(candidates, sizeBytes)
    const port = freeCopyPort((await takenPorts(tx)).get(host.id) ?? new Set())
    const copy = { operation_id: step.operationId, host_id: host.id, port }
    await insertCopy(tx, copy)
    return { ...copy, host }
  })
}

export const copyName = (operationId: string): string => `drill_${operationId}`

/** Undefined once it is gone, and its row with it; otherwise why it is still there. */
export async function removeCopy(
  platform: Pick<Platform, 'database' | 'sealer' | 'changes'>,
  copy: DrillCopy,
): Promise<string | undefined> {
  const result = await askAgent(platform, {
    hostId: copy.host_id,
    timeoutMs: REMOVE_TIMEOUT_MS,
    action: { kind: 'remove-data', path: `${HOST_LAYOUT.data}/${copyName(copy.operation_id)}` },
  })
  if (result.ok) return void (await deleteCopy(platform.database, copy.operation_id))
  if (result.errorCode !== 'in-use') throw new HowdahError('agent-refused', result.error)
  return result.error
}

export async function cleanUp(step: StepContext): Promise<void> {
  await step.until([], REMOVE_TIMEOUT_MS, async () => {
    const copy = await findCopy(step.database, step.operationId)
    const why = copy === undefined ? undefined : await removeCopy(step, copy)
    if (why === undefined) return true
    await step.say(why)
    return undefined
  })
}
