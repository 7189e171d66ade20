// Owns finding out which process listens on an address and port, to name it to a person. Best
// effort: an ordinary user cannot see into another user's processes.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

const LISTEN = '0A'

/** For example `postgres (pid 812)`; undefined if it cannot be told. */
export function findPortHolder(address: string, port: number): string | undefined {
  const inodes = listeningInodes(address, port)
  if (inodes.size === 0) return undefined
  for (const pid of readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))) {
    if (holdsAny(pid, inodes)) return `${processName(pid)} (pid ${pid})`
  }
  return undefined
}

function listeningInodes(address: string, port: number): Set<string> {
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0')
  const hexAddress = hexOfIpv4(address)
  const inodes = new Set<string>()
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readTable(table)) {
      const fields = line.trim().split(/\s+/)
      const [local, state, inode] = [fields[1] ?? '', fields[3], fields[9]]
      const [localAddress = '', localPort] = local.split(':')
      if (state !== LISTEN || localPort !== hexPort || inode === undefined) continue
      const isWildcard = /^0+$/.test(localAddress)
      if (isWildcard || localAddress.endsWith(hexAddress)) inodes.add(inode)
    }
  }
  return inodes
}

// The kernel prints the address as a number in the machine's own byte order.
function hexOfIpv4(address: string): string {
  const bytes = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'))
  return bytes.reverse().join('').toUpperCase()
}

function readTable(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').slice(1)
  } catch {
    return []
  }
}

function holdsAny(pid: string, inodes: Set<string>): boolean {
  try {
    for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
      const target = readlinkSync(`/proc/${pid}/fd/${descriptor}`)
      const inode = /^socket:\[([0-9]+)\]$/.exec(target)?.[1]
      if (inode !== undefined && inodes.has(inode)) return true
    }
  } catch {
    // It ended while we looked, or is not ours to look into.
  }
  return false
}

function processName(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return 'a process'
  }
}
