// Owns the cut of a game day: packets between this host and the cluster's other hosts are dropped
// by the kernel. Whom they concern stands in sets whose members the kernel itself forgets after a
// while, so the cut ends whatever becomes of the agent. Hosts that are simulated on one machine
// share one network, in which nobody can tell them apart: they are not cut off.
import { access, constants } from 'node:fs/promises'
import { isIPv4, isIPv6 } from 'node:net'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import { runProgram } from '../run-program.ts'
import { TaskError } from './task-error.ts'

const NFT = '/usr/sbin/nft'
const TABLE = 'inet howdah_drill'
const TIMEOUT_MS = 10_000
/** Only root may; and a machine without the kernel's part says so when it is asked. */
export async function canCutNetwork(): Promise<boolean> {
  if (process.getuid?.() !== 0) return false
  const argv = [NFT, 'list', 'tables'] as const
  return await access(NFT, constants.X_OK)
    .then(() => runProgram({ argv, timeoutMs: TIMEOUT_MS }))
    .then(
      () => true,
      () => false,
    )
}

/** Ends by itself after `durationMs`; what is left then is a table that drops nothing. */
export async function cutNetwork(
  clusters: readonly WatchedCluster[],
  ownAddress: string,
  durationMs: number,
): Promise<void> {
  if (!(await canCutNetwork())) {
    throw new TaskError('refused', `the network needs ${NFT} and an agent of root to be cut`)
  }
  const others = othersOf(clusters, ownAddress)
  if (others.length === 0)
    throw new TaskError('refused', 'there is no other host to be cut off from')
  const input = renderCut(others, Math.ceil(durationMs / 1000))
  await runProgram({ argv: [NFT, '-f', '-'], timeoutMs: TIMEOUT_MS, input })
}

function othersOf(clusters: readonly WatchedCluster[], own: string): string[] {
  const peers = clusters.flatMap((cluster) => cluster.peers.map(({ address }) => address))
  const members = clusters.flatMap(({ dcs }) => dcs.endpoints.map(hostOf))
  // A zone (`%eth0`) is this host's own business, and no part of an address in a packet.
  return [...new Set([...peers, ...members])].filter((each) => each !== own && !each.includes('%'))
}

function hostOf(endpoint: string): string {
  return new URL(endpoint).hostname.replace(/^\[|\]$/g, '')
}

/** Pure. What is no address, a name perhaps, is left out. Seconds. */
export function renderCut(others: readonly string[], seconds: number): string {
  const families = [
    { family: 'ip', type: 'ipv4_addr', is: isIPv4 },
    { family: 'ip6', type: 'ipv6_addr', is: isIPv6 },
  ]
  const lines = [
    `add table ${TABLE}`,
    ...families.flatMap(({ family, type, is }) => [
      `add set ${TABLE} others_${family} { type ${type}; flags timeout; }`,
      `flush set ${TABLE} others_${family}`,
      ...others
        .filter((address) => is(address))
        .map(
          (address) => `add element ${TABLE} others_${family} { ${address} timeout ${seconds}s }`,
        ),
    ]),
    ...[
      { hook: 'input', end: 'saddr' },
      { hook: 'output', end: 'daddr' },
    ].flatMap(({ hook, end }) => [
      `add chain ${TABLE} ${hook} { type filter hook ${hook} priority -10; policy accept; }`,
      `flush chain ${TABLE} ${hook}`,
      ...families.map(
        ({ family }) => `add rule ${TABLE} ${hook} ${family} ${end} @others_${family} drop`,
      ),
    ]),
  ]
  return `${lines.join('\n')}\n`
}
