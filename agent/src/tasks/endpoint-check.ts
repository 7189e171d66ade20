// Owns which addresses a repository's endpoint may have. A name is looked up here, on the host that
// connects, each time before anything does: what the control plane saw may be another answer.
import { lookup } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import { describeError } from '@howdah/core/errors.ts'
import { TaskError } from './task-error.ts'

/** Never an endpoint, whoever allows it: metadata services of clouds, and no host at all. */
const NEVER: readonly [string, number, 'ipv4' | 'ipv6'][] = [
  ['0.0.0.0', 8, 'ipv4'],
  ['100.100.100.200', 32, 'ipv4'],
  ['168.63.129.16', 32, 'ipv4'],
  ['169.254.0.0', 16, 'ipv4'],
  ['192.0.0.192', 32, 'ipv4'],
  ['224.0.0.0', 3, 'ipv4'],
  ['::', 128, 'ipv6'],
  ['fd00:ec2::254', 128, 'ipv6'],
  ['fe80::', 10, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
]
/** Where a platform's own hosts may be: only when an administrator says so. */
const PRIVATE: readonly [string, number, 'ipv4' | 'ipv6'][] = [
  ['10.0.0.0', 8, 'ipv4'],
  ['100.64.0.0', 10, 'ipv4'],
  ['127.0.0.0', 8, 'ipv4'],
  ['172.16.0.0', 12, 'ipv4'],
  ['192.168.0.0', 16, 'ipv4'],
  ['::1', 128, 'ipv6'],
  ['fc00::', 7, 'ipv6'],
]

function blockList(rows: typeof NEVER): BlockList {
  const list = new BlockList()
  for (const [address, prefix, family] of rows) list.addSubnet(address, prefix, family)
  return list
}

const never = blockList(NEVER)
const inside = blockList(PRIVATE)

/** The IPv4 address that is written as an IPv6 one: mapped, or for a translator (NAT64). */
function embedded(address: string): string | undefined {
  const rest = /^(?:::ffff:|64:ff9b::)([0-9a-f:.]+)$/i.exec(address)?.[1]
  if (rest === undefined || isIP(rest) === 4) return rest
  const words = rest.split(':').map((word) => Number.parseInt(word, 16))
  const [high, low] = words.length === 1 ? [0, words[0]] : words
  if (words.length > 2 || high === undefined || low === undefined) return undefined
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

/** Why an endpoint may not have this address; undefined when it may. */
export function refuseAddress(address: string, allowPrivate: boolean): string | undefined {
  const plain = embedded(address) ?? address
  const family = isIP(plain) === 4 ? 'ipv4' : 'ipv6'
  if (never.check(plain, family)) return `${address} is no address of a repository`
  if (inside.check(plain, family) && !allowPrivate) {
    return `${address} is in a private network, which an administrator has to allow`
  }
  return undefined
}

/** Throws TaskError; every address that the name has must be one that may be. */
export async function checkEndpoint(endpoint: {
  host: string
  allowPrivate: boolean
}): Promise<void> {
  const found = await lookup(endpoint.host, { all: true }).catch((cause: unknown) => {
    const said = `cannot look ${endpoint.host} up: ${describeError(cause)}`
    throw new TaskError('unreachable', said, { cause })
  })
  const why = found
    .map(({ address }) => refuseAddress(address, endpoint.allowPrivate))
    .find((reason) => reason !== undefined)
  if (why !== undefined) throw new TaskError('refused', `${endpoint.host}: ${why}`)
}
