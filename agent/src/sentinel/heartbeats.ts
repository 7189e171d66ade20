// Owns how the hosts of a cluster hear each other: small signed UDP datagrams, so that silence is
// known within a second, and nobody who does not know the cluster's key can keep a dead host alive
// or bring up a stranger.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { describeError } from '@howdah/core/errors.ts'
import { HEARTBEAT_PORT, type WatchedCluster } from '@howdah/core/host-spec.ts'
import type { Unheard } from '@howdah/core/protocol.ts'
import type { Logger } from 'pino'
import { Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { pause } from '../wake.ts'

const BEAT_MS = 200
/** Words of a host that was not heard for this long itself are stale. */
const FRESH_MS = BEAT_MS * 5
const MAC_BYTES = 32
const BODY_BYTES_MAX = 1024
const REBIND_MS = 1000
const NEVER_MS = 1_000_000_000
/** Long enough for a host that comes back, or has just joined. */
const UNHEARD_MS = 5000

const Beat = Type.Object({
  cluster: Type.String({ maxLength: 64 }),
  from: Type.String({ maxLength: 64 }),
  /**
   * Grows with each beat of a sender, also over its restarts (see beat-sequence.ts): a datagram
   * that is late is not news, nor is one that somebody kept.
   */
  sequence: Type.Integer({ minimum: 0 }),
  /** Hosts that the sender does not hear, with the milliseconds since it last did. */
  silent: Type.Record(Type.String(), Type.Integer({ minimum: 0 })),
  /** The claim to lead (its revision in the dcs) that an instance of the sender has given up. */
  gaveUp: Type.Optional(Type.String({ pattern: '^[0-9]{1,20}$' })),
  /** Gateways of the sender that hold their clients for a planned change. */
  held: Type.Optional(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 10 })),
})
type Beat = Type.Static<typeof Beat>
const beatParser = Compile(Beat)

function sign(key: string, body: Buffer): Buffer {
  return createHmac('sha256', key).update(body).digest()
}

export function encodeBeat(key: string, beat: Beat): Buffer {
  const body = Buffer.from(JSON.stringify(beat))
  return Buffer.concat([sign(key, body), body])
}

/** Undefined for anything but a well-signed beat of a cluster that `keyOf` knows. */
export function decodeBeat(
  keyOf: (clusterId: string) => string | undefined,
  datagram: Buffer,
): Beat | undefined {
  if (datagram.length > MAC_BYTES + BODY_BYTES_MAX) return undefined
  const body = datagram.subarray(MAC_BYTES)
  let beat: unknown
  try {
    beat = JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
  if (!beatParser.Check(beat)) return undefined
  const key = keyOf(beat.cluster)
  if (key === undefined || !timingSafeEqual(datagram.subarray(0, MAC_BYTES), sign(key, body))) {
    return undefined
  }
  return beat
}

/** What one cluster's hosts hear of each other, as seen from this one. */
export interface ClusterHearing {
  /** Milliseconds since the host was heard, or since it says that it heard us. */
  silentMs(hostId: string): number
  /**
   * For each other host that is heard itself: how long it and `hostId` have not heard each other.
   */
  othersSilentMs(hostId: string): number[]
  /** Another sign of life than a heartbeat: the host counts as heard now, whatever it says. */
  noteAlive(hostId: string): void
  /** Said with each beat from now on, until it is undefined. */
  giveUp(claim: string | undefined): void
  /** What the host said of that with its last beat; undefined when that is stale, too. */
  gaveUp(hostId: string): string | undefined
  /** Said with each beat, and at once when it begins. */
  hold(gatewayId: string, held: boolean): void
  /**
   * All of them hold their clients, as their hosts say from now on. Rejects when `signal` aborts.
   */
  awaitHeld(gatewayIds: readonly string[], signal: AbortSignal): Promise<void>
  /** How many of the other hosts are heard. */
  heardCount(): number
  otherCount: number
}

interface Peer {
  heardMs: number
  sequence: number
  silent: Readonly<Record<string, number>>
  gaveUp: string | undefined
}

interface Member {
  cluster: WatchedCluster
  others: WatchedCluster['peers']
  peers: Map<string, Peer>
  /** By host: when it last gave another sign of life than a beat. */
  aliveMs: Map<string, number>
  givenUp: string | undefined
  /** Gateways of this host. */
  held: Set<string>
  /** Called with what any host says that it holds. */
  listeners: Set<(gatewayIds: readonly string[]) => void>
  beatNow: () => void
  startedMs: number
}

export interface Heartbeats {
  join(cluster: WatchedCluster): ClusterHearing
  leave(clusterId: string): void
  /** Hosts of which no beat has come for `UNHEARD_MS`, whatever else of them answers. */
  unheard(): Unheard[]
  done: Promise<void>
}

/**
 * One socket for all clusters of this host; it opens with the first of them. Its beats count from
 * `firstBeat`.
 */
export function startHeartbeats(
  hostId: string,
  firstBeat: number,
  log: Logger,
  signal: AbortSignal,
): Heartbeats {
  const members = new Map<string, Member>()
  let sequence = firstBeat
  let open: Socket | undefined
  const onSocket = (socket: Socket | undefined) => {
    open = socket
  }

  function receive(datagram: Buffer): void {
    const beat = decodeBeat((id) => members.get(id)?.cluster.heartbeatKey, datagram)
    const member = beat === undefined ? undefined : members.get(beat.cluster)
    if (beat === undefined || member === undefined) return
    const before = member.peers.get(beat.from)
    if (before !== undefined && beat.sequence <= before.sequence) return
    const { sequence: sequenceOfPeer, silent, gaveUp } = beat
    const heardMs = performance.now()
    member.peers.set(beat.from, { heardMs, sequence: sequenceOfPeer, silent, gaveUp })
    for (const listener of member.listeners) listener(beat.held ?? [])
  }

  function send(socket: Socket): void {
    sequence += 1
    for (const member of members.values()) {
      const silent: Record<string, number> = {}
      for (const { hostId: id } of member.others) {
        const ms = Math.min(silentMsOf(member, id), notAliveMs(member, id))
        if (ms > BEAT_MS * 2) silent[id] = Math.round(Math.min(ms, NEVER_MS))
      }
      const { cluster, givenUp } = member
      const gaveUp = givenUp === undefined ? {} : { gaveUp: givenUp }
      const held = member.held.size === 0 ? {} : { held: [...member.held] }
      const beat = { cluster: cluster.id, from: hostId, sequence, silent, ...gaveUp, ...held }
      const datagram = encodeBeat(cluster.heartbeatKey, beat)
      // A peer that is away answers with an ICMP error or with nothing: both only mean silence.
      for (const { address } of member.others) {
        socket.send(datagram, HEARTBEAT_PORT, address, () => undefined)
      }
    }
  }

  const ownAddress = () =>
    [...members.values()][0]?.cluster.peers.find((peer) => peer.hostId === hostId)?.address

  return {
    join(cluster) {
      const member = makeMember(cluster, hostId, () => {
        if (open !== undefined) send(open)
      })
      members.set(cluster.id, member)
      return hearingOf(member, hostId)
    },
    leave: (clusterId) => void members.delete(clusterId),
    unheard: () =>
      [...members.values()].flatMap((member) =>
        member.others
          .filter((peer) => silentMsOf(member, peer.hostId) > UNHEARD_MS)
          .map((peer) => ({ cluster: member.cluster.id, host: peer.hostId })),
      ),
    done: beatForever(ownAddress, { receive, send, onSocket }, log, signal),
  }
}

function makeMember(cluster: WatchedCluster, hostId: string, beatNow: () => void): Member {
  return {
    cluster,
    others: cluster.peers.filter((peer) => peer.hostId !== hostId),
    peers: new Map(),
    aliveMs: new Map(),
    givenUp: undefined,
    held: new Set(),
    listeners: new Set(),
    beatNow,
    startedMs: performance.now(),
  }
}

/** Before the first beat, silence is counted from the moment when we began to listen. */
function silentMsOf(member: Member, hostId: string): number {
  return performance.now() - (member.peers.get(hostId)?.heardMs ?? member.startedMs)
}

function notAliveMs(member: Member, hostId: string): number {
  return performance.now() - (member.aliveMs.get(hostId) ?? Number.NEGATIVE_INFINITY)
}

function hearingOf(member: Member, ownId: string): ClusterHearing {
  const isFresh = (id: string) => member.peers.has(id) && silentMsOf(member, id) < FRESH_MS
  // What it said is as old as its beat, and the silence goes on until it says otherwise.
  const saysSilentMs = (from: string, of: string) => {
    const saidMs = isFresh(from) ? (member.peers.get(from)?.silent[of] ?? 0) : 0
    return saidMs === 0 ? 0 : saidMs + silentMsOf(member, from)
  }
  // A host that is cut off one way is heard by all and hears nobody: it can keep no lease and no
  // replica, so its own word that it is deaf counts as much as our silence. Only what was heard at
  // first hand is ever sent on: two hosts would otherwise confirm each other's silence for ever.
  return {
    otherCount: member.others.length,
    // But one that is deaf for beats only, and answers, is cut off from nothing that matters.
    silentMs(hostId) {
      const silentMs = Math.max(silentMsOf(member, hostId), saysSilentMs(hostId, ownId))
      return Math.min(silentMs, notAliveMs(member, hostId))
    },
    noteAlive: (hostId) => void member.aliveMs.set(hostId, performance.now()),
    giveUp(claim) {
      member.givenUp = claim
    },
    gaveUp: (hostId) => (isFresh(hostId) ? member.peers.get(hostId)?.gaveUp : undefined),
    hold(gatewayId, held) {
      if (held) member.held.add(gatewayId)
      else member.held.delete(gatewayId)
      if (!held) return
      for (const listener of member.listeners) listener([gatewayId])
      member.beatNow()
    },
    awaitHeld(gatewayIds, signal) {
      const missing = new Set(gatewayIds.filter((id) => !member.held.has(id)))
      return new Promise((resolve, reject) => {
        const end = () => member.listeners.delete(listener)
        const listener = (held: readonly string[]) => {
          for (const id of held) missing.delete(id)
          if (missing.size > 0) return
          end()
          resolve()
        }
        member.listeners.add(listener)
        signal.addEventListener('abort', () => {
          end()
          reject(signal.reason)
        })
        listener([])
      })
    },
    heardCount: () => member.others.filter((peer) => isFresh(peer.hostId)).length,
    othersSilentMs: (hostId) =>
      member.others
        .filter((peer) => peer.hostId !== hostId && isFresh(peer.hostId))
        .map(({ hostId: id }) => Math.max(saysSilentMs(id, hostId), saysSilentMs(hostId, id))),
  }
}

interface Beating {
  receive(datagram: Buffer): void
  send(socket: Socket): void
  /** The one to send over, from now on. */
  onSocket(socket: Socket | undefined): void
}

async function beatForever(
  ownAddress: () => string | undefined,
  { receive, send, onSocket }: Beating,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const address = ownAddress()
    const socket =
      address === undefined
        ? undefined
        : await openSocket(address, receive).catch((error: unknown) => {
            log.warn({ error: describeError(error) }, 'cannot listen for heartbeats yet')
            return undefined
          })
    if (socket === undefined) {
      await pause(REBIND_MS, signal)
      continue
    }
    let broken = false
    socket.on('error', () => {
      broken = true
    })
    onSocket(socket)
    while (!signal.aborted && !broken && ownAddress() === address) {
      send(socket)
      await pause(BEAT_MS, signal)
    }
    onSocket(undefined)
    socket.close()
  }
}

function openSocket(address: string, receive: (datagram: Buffer) => void): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    socket.once('error', reject)
    socket.on('message', receive)
    socket.bind(HEARTBEAT_PORT, address, () => {
      socket.off('error', reject)
      resolve(socket)
    })
  })
}
