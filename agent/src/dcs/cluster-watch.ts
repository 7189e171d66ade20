// Owns an agent's view of one cluster in the dcs: who leads, what Patroni keeps beside it, and our
// own keys. The leader key is written once and then only kept alive, so no event comes to the
// rescue of a watch that was lost: the keys are read again at every end of the stream, and every
// REREAD_MS besides.
import { request } from 'node:https'
import { describeError } from '@howdah/core/errors.ts'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import type { Logger } from 'pino'
import { makeHttpsAgent } from '../https-request.ts'
import { pause } from '../wake.ts'
import { connectEtcd, type EtcdClient, prefixEnd, toBase64 } from './etcd-client.ts'

/** The net under the stream: a member that is frozen says nothing, and closes nothing. */
const REREAD_MS = 1000
const STREAM_RETRY_MS = 200
/** The member of a host that vanished must be left before its silence is judged, after 1 to 3 s. */
const CALL_TIMEOUT_MS = 1000
/** A member answers in a few milliseconds, unless there is nobody to decide. */
const HEDGE_MS = 200
/** Then the log tells; the next read begins anew. */
const GIVE_UP_MS = 4000
/** So ends a watch that etcd does not grant, for one: in a stream that it leaves open. */
const CANCELLED = '"canceled":true'

export interface LeaderKey {
  name: string
  createRevision: string
  leaseId: string
}

export interface Promotion {
  timeline: number
  switchLsn: string
  newLeader: string
  /** Undefined where it does not say it. */
  at?: string | undefined
}

export interface ClusterView {
  leader: LeaderKey | undefined
  /** Patroni's names of the synchronous replicas; empty: none, or not in synchronous mode. */
  syncReplicas: readonly string[]
  /** Of the key that says so, at its last change; '0' without one. */
  syncRevision: string
  /** A switchover or failover that somebody asked Patroni for. */
  failover: { leader: string; candidate: string } | undefined
  paused: boolean
  /** The cluster has its system identifier: its first instance was made, up to its roles. */
  initialized: boolean
  /** `history`: the last promotion, as Patroni wrote it. */
  lastTimeline: Promotion | undefined
}

export interface ClusterWatch {
  view(): ClusterView | undefined
  /** Milliseconds since the dcs last answered; Infinity before the first answer. */
  silentMs(): number
  /**
   * Deletes the leader key if it still is the one that was seen, and if `syncRevision`, when given,
   * still is the one of the synchronous replicas. Returns whether it was.
   */
  deleteLeaderKey(seen: LeaderKey, syncRevision?: string): Promise<boolean>
  /** Milliseconds since the leader's lease was refreshed; undefined when nobody can tell. */
  leaseAgeMs(seen: LeaderKey): Promise<number | undefined>
  /** Reads now; false when there was no answer in time. */
  refresh(timeoutMs: number): Promise<boolean>
  subscribe(callback: () => void): () => void
  done: Promise<void>
}

interface Pair {
  key: string
  value: string
  createRevision: string
  modRevision: string
  leaseId: string
}

const EMPTY: ClusterView = {
  leader: undefined,
  syncReplicas: [],
  syncRevision: '0',
  failover: undefined,
  paused: false,
  initialized: false,
  lastTimeline: undefined,
}

/**
 * Each host of a cluster begins with its own member of the dcs, or else with another than its
 * neighbours: the loss of one is then not felt by all at the same moment, which may be that of a
 * failover.
 */
export function spreadEndpoints(cluster: WatchedCluster, hostId: string): WatchedCluster {
  const { endpoints } = cluster.dcs
  const place = Math.max(
    cluster.peers.findIndex((peer) => peer.hostId === hostId),
    0,
  )
  const { address } = cluster.peers[place] ?? {}
  const own = endpoints.findIndex((url) => URL.parse(url)?.hostname === address)
  const first = own === -1 ? place % endpoints.length : own
  const spread = [...endpoints.slice(first), ...endpoints.slice(0, first)]
  return { ...cluster, dcs: { ...cluster.dcs, endpoints: spread } }
}

export function watchCluster(
  cluster: WatchedCluster,
  log: Logger,
  signal: AbortSignal,
): ClusterWatch {
  const { dcs } = cluster
  const client = connectEtcd(dcs, signal, {
    timeoutMs: CALL_TIMEOUT_MS,
    giveUpMs: GIVE_UP_MS,
    hedgeMs: HEDGE_MS,
  })
  const subscribers = new Set<() => void>()
  let view: ClusterView | undefined
  let answeredMs = Number.NEGATIVE_INFINITY

  async function readOnce(): Promise<void> {
    const reply = await client.call('kv/range', {
      key: toBase64(dcs.prefix),
      range_end: prefixEnd(dcs.prefix),
    })
    answeredMs = performance.now()
    const next = parseView(dcs.prefix, parsePairs(reply['kvs']))
    const changed = JSON.stringify(next) !== JSON.stringify(view)
    view = next
    if (changed) for (const callback of [...subscribers]) callback()
  }

  const read = oneAtATime(readOnce)
  const quietly = () =>
    read().catch((error: unknown) => {
      if (!signal.aborted) log.warn({ error: describeError(error) }, 'dcs does not answer')
    })

  const done = Promise.all([
    rereadLoop(quietly, signal),
    streamLoop({ cluster, client, read: quietly, log, signal }),
  ]).then(() => client.close())

  return {
    view: () => view,
    silentMs: () => performance.now() - answeredMs,
    async deleteLeaderKey(seen, syncRevision) {
      const deleted = await deleteLeaderKey(client, dcs.prefix, seen, syncRevision)
      // One that was not there any more: what we know is old.
      void quietly()
      return deleted
    },
    leaseAgeMs: (seen) => leaseAgeMs(client, seen),
    refresh: (timeoutMs) =>
      Promise.race([
        read().then(
          () => true,
          () => false,
        ),
        pause(timeoutMs, signal).then(() => false),
      ]),
    subscribe(callback) {
      subscribers.add(callback)
      return () => subscribers.delete(callback)
    },
    done,
  }
}

/**
 * One read at a time; a wish during a read makes one more, as the answer may be older than the
 * wish.
 */
function oneAtATime(readOnce: () => Promise<void>): () => Promise<void> {
  let reading: Promise<void> | undefined
  let again = false
  return () => {
    if (reading !== undefined) {
      again = true
      return reading
    }
    reading = (async () => {
      do {
        again = false
        await readOnce()
      } while (again)
    })().finally(() => {
      reading = undefined
    })
    return reading
  }
}

async function rereadLoop(read: () => Promise<void>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await read()
    await pause(REREAD_MS, signal)
  }
}

interface Streaming {
  cluster: WatchedCluster
  client: EtcdClient
  read: () => Promise<void>
  log: Logger
  signal: AbortSignal
}

/**
 * An event is only a reason to read: so there is one way to understand the keys, not two. The
 * stream goes where calls go: a member that is frozen closes nothing, but calls leave it.
 */
async function streamLoop(streaming: Streaming): Promise<void> {
  const { client, read, log, signal } = streaming
  while (!signal.aborted) {
    // Also renews a token that this member does not know: a watch cannot do that.
    await read()
    if (signal.aborted) return
    const endpoint = client.endpoint()
    const left = new AbortController()
    const endLooking = client.onMove(() => left.abort())
    try {
      await streamOnce(streaming, endpoint, AbortSignal.any([signal, left.signal]))
    } catch (error) {
      if (!signal.aborted) log.debug({ error: describeError(error), endpoint }, 'watch ended')
    } finally {
      endLooking()
    }
    if (!left.signal.aborted) await pause(STREAM_RETRY_MS, signal)
  }
}

async function streamOnce(
  { cluster: { dcs }, client, read }: Streaming,
  endpoint: string,
  signal: AbortSignal,
): Promise<void> {
  const authorization = await client.authorization()
  const agent = makeHttpsAgent({ caPem: dcs.caPem, checkName: true })
  return new Promise<void>((resolve, reject) => {
    const body = JSON.stringify({
      create_request: { key: toBase64(dcs.prefix), range_end: prefixEnd(dcs.prefix) },
    })
    const sent = request(`${endpoint}/v3/watch`, {
      agent,
      signal,
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(authorization === '' ? {} : { authorization }),
      },
    })
    sent.on('socket', (socket) => socket.setKeepAlive(true, 1000))
    sent.on('error', reject)
    sent.on('response', (response) => {
      if (response.statusCode !== 200) {
        response.resume()
        return reject(new Error(`etcd answered ${response.statusCode}`))
      }
      let tail = ''
      response.setEncoding('latin1').on('data', (text: string) => {
        void read()
        tail += text
        if (tail.includes(CANCELLED)) sent.destroy(new Error('etcd cancelled the watch'))
        tail = tail.slice(-CANCELLED.length)
      })
      response.on('end', resolve)
      response.on('error', reject)
    })
    sent.end(body)
  }).finally(() => agent.destroy())
}

function parsePairs(kvs: unknown): Pair[] {
  if (!Array.isArray(kvs)) return []
  return kvs.map((kv: Record<string, unknown>) => ({
    key: Buffer.from(String(kv['key'] ?? ''), 'base64').toString('utf8'),
    value: Buffer.from(String(kv['value'] ?? ''), 'base64').toString('utf8'),
    createRevision: String(kv['create_revision'] ?? '0'),
    modRevision: String(kv['mod_revision'] ?? '0'),
    leaseId: String(kv['lease'] ?? '0'),
  }))
}

/** What cannot be read counts as absent: another program may write below the prefix. */
function parseJson(text: string | undefined): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text ?? '{}')
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

export function parseView(prefix: string, pairs: readonly Pair[]): ClusterView {
  const byName = new Map(pairs.map((pair) => [pair.key.slice(prefix.length), pair]))
  const leader = byName.get('leader')
  const sync = parseJson(byName.get('sync')?.value)
  const failover = parseJson(byName.get('failover')?.value)
  const config = parseJson(byName.get('config')?.value)
  const names = typeof sync['sync_standby'] === 'string' ? sync['sync_standby'] : ''
  return {
    ...EMPTY,
    leader:
      leader === undefined || leader.value === ''
        ? undefined
        : {
            name: leader.value,
            createRevision: leader.createRevision,
            leaseId: leader.leaseId,
          },
    syncRevision: byName.get('sync')?.modRevision ?? '0',
    syncReplicas: names.split(',').filter((name) => name !== ''),
    failover: byName.has('failover')
      ? { leader: String(failover['leader'] ?? ''), candidate: String(failover['member'] ?? '') }
      : undefined,
    paused: config['pause'] === true,
    // Patroni keeps it empty until then.
    initialized: /^[0-9]{10,}$/.test(byName.get('initialize')?.value ?? ''),
    lastTimeline: parseHistory(byName.get('history')?.value),
  }
}

/** Patroni's history: rows of [timeline before, LSN of the switch, reason, time, new leader]. */
function parseHistory(text: string | undefined): ClusterView['lastTimeline'] {
  const rows = Object.values(parseJson(text))
  const last = rows.at(-1)
  if (!Array.isArray(last) || typeof last[0] !== 'number') return undefined
  const atMs = Date.parse(String(last[3] ?? ''))
  return {
    timeline: last[0] + 1,
    switchLsn: String(last[1]),
    newLeader: String(last[4] ?? ''),
    at: Number.isNaN(atMs) ? undefined : new Date(atMs).toISOString(),
  }
}

async function deleteLeaderKey(
  client: EtcdClient,
  prefix: string,
  seen: LeaderKey,
  syncRevision: string | undefined,
): Promise<boolean> {
  const key = toBase64(`${prefix}leader`)
  const reply = await client.call('kv/txn', {
    // The revision at which it was made: the same holder that lost and won it again is another
    // claim.
    compare: [
      { key, target: 'CREATE', result: 'EQUAL', create_revision: seen.createRevision },
      { key, target: 'VALUE', result: 'EQUAL', value: toBase64(seen.name) },
      ...(syncRevision === undefined
        ? []
        : [
            {
              key: toBase64(`${prefix}sync`),
              target: 'MOD',
              result: 'EQUAL',
              mod_revision: syncRevision,
            },
          ]),
    ],
    success: [{ request_delete_range: { key } }],
    failure: [],
  })
  return reply['succeeded'] === true
}

async function leaseAgeMs(client: EtcdClient, seen: LeaderKey): Promise<number | undefined> {
  const reply = await client.call('lease/timetolive', { ID: seen.leaseId })
  const grantedSeconds = Number(reply['grantedTTL'])
  const leftSeconds = Number(reply['TTL'])
  if (!Number.isFinite(grantedSeconds) || !Number.isFinite(leftSeconds)) return undefined
  // Whole seconds, rounded by etcd in the holder's favour: the age is never overstated.
  return Math.max(0, (grantedSeconds - leftSeconds - 1) * 1000)
}
