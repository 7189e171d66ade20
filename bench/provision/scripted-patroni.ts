// Owns one trial of the peer of `provision`: three patroni.yml, three processes, and a client that
// looks. Its etcd already runs, as ours does.
import { rm } from 'node:fs/promises'
import {
  countStreaming,
  findPeerLeader,
  type PeerDcs,
  type PeerInstance,
  type PeerPlace,
  startPatroniCluster,
} from '../peers/patroni-cluster.ts'
import { querySql } from '../sql.ts'
import { killLeftovers } from '../work-directory.ts'
import { pollUntil } from './poll.ts'

export interface ScriptedResult {
  exampleFile: string
  leaderMs: number
  firstWriteMs: number
  streamingMs: number
  totalMs: number
}

const WAIT = { intervalMs: 25, timeoutMs: 300_000 }

export async function runScriptedPatroni(
  place: PeerPlace,
  dcs: PeerDcs,
  scope: string,
  dynamic: Record<string, unknown>,
): Promise<ScriptedResult> {
  const startedMs = performance.now()
  const cluster = await startPatroniCluster(place, dcs, { scope, dynamic })
  try {
    let leader: PeerInstance | undefined
    const leaderMs = await pollUntil('a leader', WAIT, async () => {
      leader = await findPeerLeader(cluster)
      return leader !== undefined
    })
    const found = leader as PeerInstance
    const firstWriteMs = await pollUntil('a write', WAIT, async () => {
      await querySql(cluster.superuser(found.address), 'create table first_write (number int4)')
      return true
    })
    const streamingMs = await pollUntil(
      'two streaming replicas',
      WAIT,
      async () => (await countStreaming(cluster, found)) === 2,
    )
    return {
      exampleFile: cluster.exampleFile,
      leaderMs: Math.round(leaderMs - startedMs),
      firstWriteMs: Math.round(firstWriteMs - startedMs),
      streamingMs: Math.round(streamingMs - startedMs),
      totalMs: Math.round(Math.max(firstWriteMs, streamingMs) - startedMs),
    }
  } finally {
    await cluster.stop()
    for (const { directory } of cluster.instances) {
      await killLeftovers(directory)
      await rm(directory, { recursive: true, force: true })
    }
  }
}
