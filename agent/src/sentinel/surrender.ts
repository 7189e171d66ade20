// Owns the word of a host whose instance led, and does not any more: cut off from the dcs alone,
// its Patroni made it a replica and could not tell the dcs. Its lease would run for many seconds
// more; the other hosts hear of it with the next beat, and take the claim away.
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type { ClusterWatch } from '../dcs/cluster-watch.ts'
import { pause } from '../wake.ts'
import type { ClusterHearing } from './heartbeats.ts'

const POLL_MS = 250
/** Patroni tries for seconds before it gives up; until then there is nothing to tell. */
const CUT_OFF_MS = 2000

interface Needs {
  instance: WatchedCluster['localInstances'][number]
  watch: Pick<ClusterWatch, 'view' | 'silentMs'>
  hearing: Pick<ClusterHearing, 'giveUp'>
  /** Undefined when it does not say. */
  isReplica(): Promise<boolean | undefined>
  signal: AbortSignal
}

export async function tellSurrender(needs: Needs): Promise<void> {
  const { instance, watch, hearing, signal } = needs
  let given: string | undefined
  while (!signal.aborted) {
    await pause(POLL_MS, signal)
    const leader = watch.view()?.leader
    const claim = leader?.name === instance.name ? leader.createRevision : undefined
    const cutOff = claim !== undefined && watch.silentMs() >= CUT_OFF_MS
    const gone = cutOff && (await needs.isReplica()) === true ? claim : undefined
    // Of its own claim only: another instance of this host may have given up, too.
    if (gone !== given) hearing.giveUp(gone)
    given = gone
  }
}
