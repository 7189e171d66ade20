// Owns how far an instance came that led and has ended: the far end of a loss receipt, whoever or
// whatever ended it. It is read at once, before its Patroni may rewind it, or from what that one
// kept where it was sooner, and told when the dcs says that another went on without it. What is in
// doubt is not told: a receipt without an end says that it is not known yet, one with an end that
// is too near would be false.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describeError } from '@howdah/core/errors.ts'
import { KEPT_END, UNFINISHED_MARK, type WatchedCluster } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import type { ClusterWatch } from '../dcs/cluster-watch.ts'
import type { EventStore } from '../event-store.ts'
import { pause } from '../wake.ts'
import { findPostmaster, wasShutDown, wasWritable } from './postmaster.ts'
import { forgetKeptEnd, readKeptEnd, readWalEnd, type WalEnd } from './wal-end.ts'

const LOOK_MS = 500
/** Of a hand-over: shorter than the two seconds that Patroni waits before it follows. */
const PROMOTION_MS = 500
/** A view of the dcs that is older does not say who leads now. */
const FRESH_VIEW_MS = 2000

interface Needs {
  cluster: Pick<WatchedCluster, 'id'>
  instance: Pick<WatchedCluster['localInstances'][number], 'name' | 'binDirectory'>
  watch: Pick<ClusterWatch, 'view' | 'silentMs'>
  events: Pick<EventStore, 'add'>
  log: Logger
  /** Whoever may read the data directory, when the agent is root. */
  dropTo: { uid: number; gid: number } | undefined
  signal: AbortSignal
}

export interface FormerLead {
  /** It took writes, and has ended. Resolves when that is told, or when nothing is to be told. */
  ended(): Promise<void>
  /** A postmaster runs there: of a replica, its Patroni has kept by now how far it came before. */
  began(): Promise<void>
}

export function watchFormerLead(needs: Needs, dataDirectory: string): FormerLead {
  const { instance, dropTo, log } = needs
  let latest = new AbortController()
  const tell = makeTeller(needs, dataDirectory)

  async function unlessFailed(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      const fields = { instance: instance.name, error: describeError(error) }
      log.error(fields, 'cannot tell where its WAL ends')
    }
  }

  return {
    ended() {
      // It led again since the last time: what was read then is not its end.
      latest.abort()
      latest = new AbortController()
      const signal = AbortSignal.any([needs.signal, latest.signal])
      return unlessFailed(async () => {
        const end = await findEnd({ ...needs, signal }, dataDirectory)
        if (end !== undefined) await tell(end, signal)
      })
    },
    async began() {
      const paths = [`${dataDirectory}${KEPT_END}`, join(dataDirectory, 'standby.signal')]
      // One that leads has gone on since.
      if (!paths.every((path) => existsSync(path))) return
      await unlessFailed(async () => {
        const end = await readKeptEnd(dataDirectory, dropTo)
        if (end === undefined || (await tell(end, needs.signal))) {
          await forgetKeptEnd(dataDirectory, dropTo)
        }
      })
    },
  }
}

/** Undefined while it is in doubt: its Patroni then keeps it. */
async function findEnd(
  { instance, dropTo, signal }: Needs,
  dataDirectory: string,
): Promise<WalEnd | undefined> {
  if (!isItsOwn(dataDirectory)) return undefined
  // Shut down in good order its WAL stays as it is, and clients wait for the processors.
  if (wasShutDown(dataDirectory)) await pause(PROMOTION_MS, signal)
  if (!wasWritable(dataDirectory)) return undefined
  const end = await readWalEnd(dataDirectory, instance.binDirectory, dropTo)
  if (!isItsOwn(dataDirectory)) return undefined
  // The recovery before a rewind goes on to the next segment: its Patroni has kept what was before.
  const kept = await readKeptEnd(dataDirectory, dropTo)
  return kept?.timeline === end?.timeline ? kept : end
}

/** Tells an end once, when another went on without it; false when that does not come about. */
function makeTeller(needs: Needs, dataDirectory: string) {
  const { cluster, instance, events } = needs
  let told: number | undefined
  return async (end: WalEnd, signal: AbortSignal): Promise<boolean> => {
    while (!signal.aborted) {
      const next = whatNext(needs, dataDirectory, end)
      if (next === 'leads-again') return false
      if (next === 'left-behind') {
        // What was read at its end, and what its Patroni kept, are the same.
        if (told === end.timeline) return true
        told = end.timeline
        const message = `its WAL ends at ${end.lsn} on timeline ${end.timeline}`
        const event = { clusterId: cluster.id, instance: instance.name, message }
        await events.add({ ...event, kind: 'wal-end-read', ...end })
        return true
      }
      await pause(LOOK_MS, signal)
    }
    return false
  }
}

/** It was not rewound, nor copied from another, nor is it being so. */
function isItsOwn(dataDirectory: string): boolean {
  const marks = [`${dataDirectory}${UNFINISHED_MARK}`, join(dataDirectory, 'backup_label')]
  return !marks.some((mark) => existsSync(mark))
}

function whatNext(
  { watch, instance }: Needs,
  dataDirectory: string,
  end: WalEnd,
): 'leads-again' | 'left-behind' | 'not-known' {
  const view = watch.silentMs() < FRESH_VIEW_MS ? watch.view() : undefined
  if (view?.leader === undefined) return 'not-known'
  if (view.leader.name === instance.name) {
    // Or its claim outlives it for a while.
    return findPostmaster(dataDirectory) === undefined ? 'not-known' : 'leads-again'
  }
  return (view.lastTimeline?.timeline ?? 0) > end.timeline ? 'left-behind' : 'not-known'
}
