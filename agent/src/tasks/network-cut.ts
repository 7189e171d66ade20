// Owns the cut of a game day: packets between this host and the cluster's other hosts are dropped
// by the kernel. Whom they concern stands in sets whose members the kernel itself forgets after a
// while, so the cut ends whatever becomes of the agent.
import { access, constants } from 'node:fs/promises'
import { isIPv4, isIPv6 } from 'node:net'
import type { WatchedCluster } from '@howdah/core/host-spec.ts'
import { runProgram } from '../run-program.ts'
import { TaskError } from './task-error.ts'

const NFT = '/usr/sbin/nft'
const TABLE = 'inet howdah_drill'
const TIMEOUT_MS = 10_000
/** Simulated hosts talk to each other from here, whatever their own address is. */
const LOOPBACK = '127.0.0.1'

interface Ends {
  own: string[]
  others: string[]
}

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
  const input = renderCut(endsOf(clusters, ownAddress), Math.ceil(durationMs / 1000))
  await runProgram({ argv: [NFT, '-f', '-'], timeoutMs: TIMEOUT_MS, input })
}

function endsOf(clusters: readonly WatchedCluster[], own: string): Ends {
  const peers = clusters.flatMap((cluster) => cluster.peers.map(({ address }) => address))
  const members = clusters.flatMap(({ dcs }) => dcs.endpoints.map(hostOf))
  const nearby = own.startsWith('127.') ? [LOOPBACK] : []
  const others = [...new Set([...peers, ...members, ...nearby])]
  return { own: [own], others: others.filter((address) => address !== own) }
}

function hostOf(endpoint: string): string {
  return new URL(endpoint).hostname.replace(/^\[|\]$/g, '')
}

/** Pure. What is no address, a name perhaps, is left out. Seconds. */
export function renderCut({ own, others }: Ends, seconds: number): string {
  const lines = [`add table ${TABLE}`]
  for (const hook of ['input', 'output']) {
    lines.push(
      `add chain ${TABLE} ${hook} { type filter hook ${hook} priority -10; policy accept; }`,
      `flush chain ${TABLE} ${hook}`,
    )
  }
  const families = [
    { family: 'ip', type: 'ipv4_addr', is: isIPv4 },
    { family: 'ip6', type: 'ipv6_addr', is: isIPv6 },
  ]
  for (const { family, type, is } of families) {
    const sets = { [`own_${family}`]: own.filter(is), [`others_${family}`]: others.filter(is) }
    for (const [set, addresses] of Object.entries(sets)) {
      lines.push(
        `add set ${TABLE} ${set} { type ${type}; flags timeout; }`,
        `flush set ${TABLE} ${set}`,
        ...addresses.map((each) => `add element ${TABLE} ${set} { ${each} timeout ${seconds}s }`),
      )
    }
    // Both ways at both hooks: of simulated hosts, either end is here.
    const [mine, theirs] = [`@own_${family}`, `@others_${family}`]
    for (const hook of ['input', 'output']) {
      const rule = `add rule ${TABLE} ${hook} ${family}`
      lines.push(
        `${rule} saddr ${mine} ${family} daddr ${theirs} drop`,
        `${rule} saddr ${theirs} ${family} daddr ${mine} drop`,
      )
    }
  }
  return `${lines.join('\n')}\n`
}
